//! Projections over the real embedded store: states and emitted events, through restarts, kills,
//! resets and faults; and the system's own.

#[path = "projections/faults.rs"]
mod faults;
#[path = "given/events.rs"]
#[expect(dead_code, reason = "others look at all that there is")]
mod given;
#[path = "projections/making.rs"]
mod making;
#[path = "projections/survival.rs"]
mod survival;
#[path = "projections/system.rs"]
mod system;

use std::sync::Arc;
use std::time::Duration;

use event_store::log::SimDisk;
use event_store::projections::{
    CreateProjection, ProjectionError, ProjectionMode, ProjectionStatistics, Projections, Which,
};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, EventType, ExpectedRevision, NewEvent, ReadError,
    ReadStream, RecordedEvent,
};
use futures::TryStreamExt;
use given::{event, stream};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store on a simulated disk, and the projections on it.
struct Place {
    disk: SimDisk,
    store: Arc<EmbeddedStore>,
    projections: Projections,
}

impl Place {
    async fn new() -> Self {
        Self::on(SimDisk::new()).await
    }

    async fn on(disk: SimDisk) -> Self {
        let options = EmbeddedOptions::disk(Arc::new(disk.clone()));
        let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
        let projections = Projections::start(Arc::clone(&store) as _, false).await.unwrap();
        Self { disk, store, projections }
    }

    /// Closes nothing: the projections and the store are gone as in a kill, and come back.
    async fn kill(self) -> Self {
        let disk = self.disk.clone();
        drop(self.projections);
        drop(self.store);
        // What was written and not synced is gone.
        Self::on(disk.cut_power(|| false)).await
    }

    async fn restart(self) -> Self {
        self.projections.close().await;
        self.store.close().await.unwrap();
        Self::on(self.disk.clone()).await
    }

    /// Appends events of a type, each with an id and a number of its own.
    async fn append(&self, to: &str, kind: &str, numbers: impl IntoIterator<Item = u64>) {
        let event_type = EventType::new(kind).unwrap();
        let of = |number| NewEvent { event_type: event_type.clone(), ..event(number) };
        let events = numbers.into_iter().map(of).collect();
        self.store.append(&stream(to), ExpectedRevision::Any, events).await.unwrap();
    }

    /// A continuous projection that may emit.
    async fn create(&self, name: &str, query: &str) {
        self.projections.create(continuous(name, query)).await.unwrap();
    }

    async fn statistics(&self, name: &str) -> ProjectionStatistics {
        let mut told = self.projections.statistics(&Which::Named(name.to_owned())).await.unwrap();
        told.remove(0)
    }

    /// Waits until what is told of the projection is so.
    async fn until(
        &self,
        name: &str,
        so: impl Fn(&ProjectionStatistics) -> bool,
    ) -> ProjectionStatistics {
        let polled = async {
            loop {
                let told = self.statistics(name).await;
                if so(&told) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(1)).await; // poll
            }
        };
        match tokio::time::timeout(PATIENCE, polled).await {
            Ok(told) => told,
            Err(_) => panic!("it never comes to that: {:?}", self.statistics(name).await),
        }
    }

    /// Waits until it has handled so many events.
    async fn handled(&self, name: &str, events: u64) {
        self.until(name, |told| told.events_processed_after_restart >= events).await;
    }

    /// The state of a partition, as JSON.
    async fn state(&self, name: &str, partition: &str) -> String {
        let state = self.projections.state(name, partition).await.unwrap();
        state.as_deref().unwrap_or("nothing").to_owned()
    }

    async fn read(&self, name: &str) -> Vec<RecordedEvent> {
        match self.store.read_stream(ReadStream::forward(stream(name))).await {
            Ok(events) => events.try_collect().await.unwrap(),
            Err(ReadError::StreamNotFound(_)) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// The data of the events of a stream, as text.
    async fn data(&self, name: &str) -> Vec<String> {
        let text = |event: RecordedEvent| String::from_utf8(event.data.to_vec()).unwrap();
        self.read(name).await.into_iter().map(text).collect()
    }
}

fn continuous(name: &str, query: &str) -> CreateProjection {
    CreateProjection {
        name: Some(name.to_owned()),
        mode: ProjectionMode::Continuous,
        query: query.to_owned(),
        emit_enabled: true,
        track_emitted_streams: false,
    }
}

/// Counts the events of a stream, and emits each number once.
const COUNT: &str = "fromStream('s').when({$init: () => ({n: 0}), \
    Add(s, e) { s.n += 1; emit('out', 'Counted', {n: s.n, of: e.data.number}); }}).outputState()";
