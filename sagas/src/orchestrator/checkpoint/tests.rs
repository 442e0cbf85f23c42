//! A checkpoint is what was last saved, costs what has changed, and rests when nothing happens.

use std::sync::Arc;
use std::time::Duration;

use event_store::{EmbeddedOptions, EmbeddedStore, Filter, SubscribeFrom};
use futures::StreamExt;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::harness::memory_store::MemoryStore;
use crate::orchestrator::{SagaRuntime, SagaSettings};

fn stream() -> StreamName {
    StreamName::new("sagacheckpoint-test").unwrap()
}

/// Appends so many events of others, for a checkpoint to tell of.
async fn grow(store: &dyn EventStore, count: usize) {
    let other = StreamName::new("elsewhere-1").unwrap();
    let event = |_| NewEvent {
        id: EventId(Uuid::now_v7()),
        event_type: EventType::new("Noted").unwrap(),
        content_type: ContentType::Json,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
    };
    let events = (0..count).map(event).collect();
    store.append(&other, ExpectedRevision::Any, events).await.unwrap();
}

#[tokio::test]
async fn one_that_tells_of_more_than_was_before_it_is_of_another_log() {
    let store = MemoryStore::new();
    grow(&store, 5).await;
    let mut checkpoint = Checkpoint { position: Position::new(5), ..Checkpoint::START };
    checkpoint.save(&store, &stream()).await.unwrap();
    assert_eq!(Checkpoint::load(&store, &stream()).await.unwrap(), checkpoint);
    checkpoint.position = Position::new(700);
    checkpoint.save(&store, &stream()).await.unwrap();
    let refused = Checkpoint::load(&store, &stream()).await;
    let Err(CheckpointError::AnotherLog { position, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*position, checkpoint.position);

    let name = "test".to_owned();
    let settings = SagaSettings { name, ..SagaSettings::default() };
    let runtime = SagaRuntime::new(Arc::new(store), Vec::new(), settings);
    let ended = runtime.run(CancellationToken::new()).await;
    assert!(matches!(ended, Err(CheckpointError::AnotherLog { .. })), "{ended:?}");
}

#[tokio::test]
async fn none_is_saved_to_a_log_that_ends_before_it() {
    let (store, other) = (MemoryStore::new(), MemoryStore::new());
    grow(&store, 9).await;
    grow(&other, 5).await;
    let mut keeper = Keeper::load(&store, stream()).await.unwrap();
    keeper.took(Position::new(8));
    keeper.save(&store).await.unwrap();
    keeper.took(Position::new(9));
    let refused = keeper.save(&other).await;
    assert!(matches!(refused, Err(CheckpointError::LogExchanged { .. })), "{refused:?}");
    assert_eq!(other.head().await.unwrap(), Position::new(5));
    assert_eq!(Checkpoint::load(&other, &stream()).await.unwrap(), Checkpoint::START);
}

/// What happens to a runtime.
#[derive(Clone, Debug)]
enum Step {
    Started(u8),
    Over(u8),
    Saved,
    /// It dies, and another begins where it had saved.
    Killed,
    /// Another runtime saves under the same name meanwhile.
    Intruded(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..20).prop_map(Step::Started),
        3 => (0_u8..20).prop_map(Step::Over),
        3 => Just(Step::Saved),
        1 => Just(Step::Killed),
        1 => (0_u8..20).prop_map(Step::Intruded),
    ];
    proptest::collection::vec(step, 0..60)
}

async fn play(steps: Vec<Step>) {
    let store = MemoryStore::new();
    grow(&store, 60).await;
    let mut keeper = Keeper::load(&store, stream()).await.unwrap();
    let mut saved = Checkpoint::START;
    for (step, at) in steps.into_iter().zip(1..) {
        let position = Position::new(at);
        match step {
            Step::Started(run) => {
                keeper.took(position);
                keeper.started(&format!("saga-{run}"));
            }
            Step::Over(run) => {
                keeper.took(position);
                keeper.over(&format!("saga-{run}"));
            }
            Step::Saved if keeper.matters => {
                keeper.save(&store).await.unwrap();
                saved = keeper.checkpoint.clone();
            }
            Step::Saved => keeper.save(&store).await.unwrap(),
            Step::Killed => keeper = Keeper::load(&store, stream()).await.unwrap(),
            Step::Intruded(run) => {
                saved = Checkpoint { position, ..Checkpoint::START };
                saved.unfinished.insert(format!("saga-{run}"));
                saved.save(&store, &stream()).await.unwrap();
            }
        }
        assert_eq!(Checkpoint::load(&store, &stream()).await.unwrap(), saved);
    }
}

proptest! {
    #[test]
    fn what_was_last_saved_is_loaded(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test]
async fn a_saving_costs_what_has_changed_however_many_runs_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::folder(folder.path())).await.unwrap();
    grow(&store, 4_500).await;
    let mut keeper = Keeper::load(&store, stream()).await.unwrap();
    let run = |number| format!("saga-checkout-{}", Uuid::from_u128(number));
    for number in 0..3_000 {
        keeper.started(&run(number));
    }
    let mut position = Position::new(3_000);
    keeper.took(position);
    keeper.save(&store).await.unwrap();
    for number in 0..1_500 {
        position = Position::new(position.get() + 1);
        keeper.took(position);
        keeper.over(&run(number));
        keeper.save(&store).await.unwrap();
        let last = store.last_event(&stream()).await.unwrap().unwrap();
        assert!(last.data.len() < 200 || number > 0 && last.event_type.as_str() == WHOLE_TYPE);
    }
    let events = store.read_stream(ReadStream::forward(stream())).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    let bytes: usize = events.iter().map(|event| event.data.len()).sum();
    assert!(bytes < 3 * 3_000 * 60, "{} events of {bytes} bytes are kept", events.len());
    let loaded = Checkpoint::load(&store, &stream()).await.unwrap();
    assert_eq!((loaded.position, loaded.unfinished.len()), (position, 1_500));
}

#[tokio::test]
async fn one_that_kept_a_single_event_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::folder(folder.path())).await.unwrap();
    grow(&store, 8).await;
    // As earlier releases left it.
    let old = br#"{"position":7,"unfinished":["saga-a"]}"#.to_vec();
    append(&store, &stream(), ExpectedRevision::Any, WHOLE_TYPE, old).await.unwrap();
    let kept = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream(), ExpectedRevision::Any, kept).await.unwrap();
    let mut keeper = Keeper::load(&store, stream()).await.unwrap();
    for run in ["saga-b", "saga-c"] {
        keeper.took(Position::new(8));
        keeper.started(run);
        keeper.save(&store).await.unwrap();
    }
    let loaded = Checkpoint::load(&store, &stream()).await.unwrap();
    assert_eq!(loaded.unfinished.into_iter().collect::<Vec<_>>(), ["saga-a", "saga-b", "saga-c"]);
}

#[tokio::test]
async fn while_nothing_happens_the_log_does_not_grow() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::folder(folder.path())).await.unwrap();
    let store: Arc<dyn EventStore> = Arc::new(store);
    let note = |name: &str| {
        let (store, stream) = (store.clone(), StreamName::new(name).unwrap());
        async move {
            append(&*store, &stream, ExpectedRevision::Any, "Noted", b"{}".to_vec()).await.unwrap()
        }
    };
    let settings =
        SagaSettings { checkpoint_every: Duration::from_millis(1), ..SagaSettings::default() };
    let runtime = SagaRuntime::new(store.clone(), Vec::new(), settings);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { runtime.run(stopped).await.unwrap() });
    // Of a run's category, so it is taken in and saved.
    let taken = note("saga-nothing-1").await.position.unwrap();
    let kept = StreamName::new("sagacheckpoint-platform").unwrap();
    let filter = Filter::stream_prefixes(["sagacheckpoint-".to_owned()]);
    let mut saves = store.subscribe_all(SubscribeFrom::Start, Some(filter)).await.unwrap();
    while Checkpoint::load(&*store, &kept).await.unwrap().position < taken {
        saves.next().await.unwrap().unwrap();
    }
    // Fifty times something happens that is none of its business, and what it then saves, if it
    // does, would be the next such thing.
    for _ in 0..50 {
        note("elsewhere-1").await;
        tokio::time::sleep(Duration::from_millis(5)).await; // poll: no save is what is looked for
    }
    stop.cancel();
    running.await.unwrap();
    let last = store.last_event(&kept).await.unwrap().unwrap();
    assert_eq!(last.revision, Revision::FIRST, "it was saved again");
}
