//! Streams that are named as those of runs are, and are none.

use event_store::Position;

use super::*;

/// Given a checkpoint of a release that took them in, they are out of the list as soon as it is
/// saved; a run of a kind that is not known here stays in it.
#[tokio::test]
async fn what_is_no_run_is_not_waited_for_and_what_is_one_of_another_release_is() {
    let faulty = Faulty::new(Fault::IsAway, 0);
    let (store, stream, running) = begin(&faulty).await;
    until(&store, &stream, |run| run.state.end.is_some()).await;
    running.drain().await;
    let journal = Journal::new(store.clone());
    let trigger = ReadStream::forward(StreamName::new("trigger-1").unwrap());
    let trigger = store.read_stream(trigger).await.unwrap().next().await.unwrap().unwrap();
    let other = SagaDefinition { kind: "other", ..saga(&faulty) };
    let start = Start { subject: SUBJECT, input: Value::Null };
    journal.start(&other, start, &trigger, DateTime::UNIX_EPOCH).await.unwrap();
    let other = journal::stream_of("other", SUBJECT).to_string();
    let unfinished: BTreeSet<String> =
        ["saga-abc", "saga-faulty-abc", other.as_str()].map(str::to_owned).into();
    for name in ["saga-abc", "saga-faulty-abc"] {
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: EventType::new("SagaStarted").unwrap(),
            content_type: ContentType::Json,
            data: Bytes::from_static(b"{}"),
            metadata: Bytes::new(),
        };
        let stream = StreamName::new(name).unwrap();
        store.append(&stream, ExpectedRevision::Any, vec![event]).await.unwrap();
    }
    let checkpoints = StreamName::new("sagacheckpoint-platform").unwrap();
    for position in [store.head().await.unwrap(), Position::START] {
        let left = checkpoint::Checkpoint { position, unfinished: unfinished.clone() };
        left.save(&*store, &checkpoints).await.unwrap();
        let clock = SkippingClock::new(TimeDelta::days(1));
        let running = Running::start(store.clone(), vec![saga(&faulty)], clock);
        let begin = std::time::Instant::now();
        loop {
            let seen = checkpoint::Checkpoint::load(&*store, &checkpoints).await.unwrap();
            if seen.position >= position && seen.unfinished.iter().eq([&other]) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{seen:?}");
            tokio::time::sleep(Duration::from_millis(1)).await; // poll
        }
        running.drain().await;
    }
}
