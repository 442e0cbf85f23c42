//! The five projections that every store has.

use std::sync::Arc;

use event_store::projections::{DeleteStreams, Projections, Which};
use event_store::{EventId, EventStore, ExpectedRevision, NewEvent};
use uuid::Uuid;

use super::{Place, ProjectionError, event, stream};

const ALL: [&str; 5] =
    ["$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_there_and_stopped_at_first() {
    let place = Place::new().await;
    let told = place.projections.statistics(&Which::All).await.unwrap();
    let told: Vec<_> = told.iter().map(|it| (&*it.name, &*it.status)).collect();
    assert_eq!(told, ALL.map(|name| (name, "Stopped")));
    let deleted = place.projections.delete("$streams", DeleteStreams::default()).await;
    assert!(matches!(deleted, Err(ProjectionError::Refused(_))), "{deleted:?}");
    let changed = place.projections.update("$streams", String::new(), None).await;
    assert!(matches!(changed, Err(ProjectionError::Refused(_))), "{changed:?}");
    for name in ALL {
        place.projections.enable(name).await.unwrap();
    }
    let place = place.restart().await;
    for name in ALL {
        assert_eq!(place.statistics(name).await.status, "Running", "{name}");
    }
    assert_eq!(place.statistics("$by_category").await.progress, 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_begin_with_the_store_where_that_is_asked() {
    let place = Place::new().await;
    place.projections.close().await;
    let projections = Projections::start(Arc::clone(&place.store) as _, true).await.unwrap();
    let place = Place { projections, ..place };
    for name in ALL {
        assert_eq!(place.statistics(name).await.status, "Running", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_listed_and_what_belongs_together_is_linked() {
    let place = Place::new().await;
    place.append("tale-1", "Told", 0..2).await;
    for name in ["$streams", "$stream_by_category", "$by_correlation_id"] {
        place.projections.enable(name).await.unwrap();
    }
    place.append("tale-2", "Told", 2..3).await;
    let correlated = NewEvent {
        id: EventId(Uuid::from_u128(1000)),
        metadata: "{\"$correlationId\":\"c1\"}".into(),
        ..event(3)
    };
    place.store.append(&stream("song"), ExpectedRevision::Any, vec![correlated]).await.unwrap();
    let place = place.kill().await;
    for name in ["$streams", "$stream_by_category", "$by_correlation_id"] {
        place.until(name, |told| told.progress >= 100.0).await;
        place.projections.disable(name).await.unwrap();
    }
    let streams = place.data("$streams").await;
    for link in ["0@tale-1", "0@tale-2", "0@song"] {
        assert_eq!(streams.iter().filter(|it| *it == link).count(), 1, "{link}: {streams:?}");
    }
    assert_eq!(place.data("$category-tale").await, ["tale-1", "tale-2"]);
    assert_eq!(place.data("$bc-c1").await, ["0@song"]);
}

/// They emit for every stream, and yet many appends make few of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_a_short_time_is_written_together() {
    const STREAMS: u64 = 40;
    let place = Place::new().await;
    place.projections.enable("$streams").await.unwrap();
    for number in 0..STREAMS {
        place.append(&format!("tale-{number}"), "Told", number..number + 1).await;
    }
    place.until("$streams", |told| told.events_processed_after_restart >= STREAMS).await;
    place.projections.disable("$streams").await.unwrap();
    let links = place.data("$streams").await;
    let links = links.iter().filter(|it| it.starts_with("0@tale-")).count();
    assert_eq!(links as u64, STREAMS);
    let last = place.store.last_event(&stream("$projections-$streams-checkpoint")).await;
    let written = last.unwrap().unwrap().revision.get() + 1;
    assert!(written < STREAMS / 2, "{written}");
}
