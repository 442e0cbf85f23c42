//! Persistent subscriptions over the real embedded store: what survives restarts and kills, what
//! each answer of a consumer leads to, how messages are spread, and how groups come and go.

#[path = "given/events.rs"]
mod given;
#[path = "persistent/groups.rs"]
mod groups;
#[path = "persistent/messages.rs"]
mod messages;
#[path = "persistent/survival.rs"]
mod survival;

use std::sync::Arc;
use std::time::Duration;

use event_store::log::SimDisk;
use event_store::persistent::{
    Connecting, Consumer, Delivered, EventSource, GroupId, GroupInfo, PersistentError,
    PersistentSubscriptions, Settings, StartFrom,
};
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision};
use futures::StreamExt;
use given::event;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store on a simulated disk, and the subscriptions on it.
struct Place {
    disk: SimDisk,
    store: Arc<EmbeddedStore>,
    subscriptions: PersistentSubscriptions,
}

impl Place {
    async fn new() -> Self {
        Self::on(SimDisk::new()).await
    }

    async fn on(disk: SimDisk) -> Self {
        let options = EmbeddedOptions::disk(Arc::new(disk.clone()));
        Self::opened(disk, options).await
    }

    /// With a store that has no room ahead: each append needs more of the disk.
    async fn without_room() -> Self {
        let disk = SimDisk::new();
        let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(1);
        Self::opened(disk, options).await
    }

    async fn opened(disk: SimDisk, options: EmbeddedOptions) -> Self {
        let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
        let subscriptions = PersistentSubscriptions::start(Arc::clone(&store) as _).await.unwrap();
        Self { disk, store, subscriptions }
    }

    /// Closes nothing: the groups and the store are gone as in a kill, and come back.
    async fn kill(self) -> Self {
        let disk = self.disk.clone();
        drop(self.subscriptions);
        drop(self.store);
        // What was written and not synced is gone.
        Self::on(disk.cut_power(|| false)).await
    }

    async fn restart(self) -> Self {
        self.subscriptions.close().await;
        self.store.close().await.unwrap();
        Self::on(self.disk.clone()).await
    }

    /// Appends events with these numbers to a stream.
    async fn append(&self, stream: &str, numbers: impl IntoIterator<Item = u64>) {
        let events = numbers.into_iter().map(event).collect();
        self.store.append(&given::stream(stream), ExpectedRevision::Any, events).await.unwrap();
    }

    /// A group of this stream, from its start.
    async fn group(&self, stream: &str, change: impl FnOnce(&mut Settings)) -> GroupId {
        let group = GroupId::new(EventSource::new(stream).unwrap(), "workers").unwrap();
        let mut settings = settings();
        change(&mut settings);
        self.subscriptions.create(&group, None, settings).await.unwrap();
        group
    }

    async fn connect(&self, group: &GroupId, buffer: u32) -> Consumer {
        let connecting = Connecting::new("a consumer", buffer);
        self.subscriptions.connect(group, connecting).await.unwrap()
    }

    async fn info(&self, group: &GroupId) -> GroupInfo {
        self.subscriptions.info(group).await.unwrap()
    }

    /// Waits until what is told of the group is so.
    async fn until(&self, group: &GroupId, so: impl Fn(&GroupInfo) -> bool) -> GroupInfo {
        let polled = async {
            loop {
                let info = self.info(group).await;
                if so(&info) {
                    return info;
                }
                tokio::time::sleep(Duration::from_millis(1)).await; // poll
            }
        };
        match tokio::time::timeout(PATIENCE, polled).await {
            Ok(info) => info,
            Err(_) => panic!("it never comes to that: {:?}", self.info(group).await),
        }
    }
}

fn settings() -> Settings {
    Settings {
        start_from: StartFrom::Start,
        min_checkpoint_count: 1,
        max_checkpoint_count: 1,
        ..Settings::default()
    }
}

async fn next(consumer: &mut Consumer) -> Result<Delivered, PersistentError> {
    let next = tokio::time::timeout(PATIENCE, consumer.deliveries.next()).await;
    next.expect("a delivery comes").expect("there is no end")
}

/// The numbers of the next messages, in order, and how often they were tried.
async fn numbers(consumer: &mut Consumer, count: usize) -> Vec<(u64, u32)> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let delivered = next(consumer).await.unwrap();
        numbers.push((number(&delivered), delivered.retry_count));
    }
    numbers
}

/// The number that an event was made of.
fn number(delivered: &Delivered) -> u64 {
    let data = &delivered.message.content().expect("the event can be read").data;
    let text = std::str::from_utf8(data).unwrap();
    text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// Whether there is nothing for the consumer at the moment.
fn is_quiet(consumer: &mut Consumer) -> bool {
    futures::FutureExt::now_or_never(consumer.deliveries.next()).is_none()
}
