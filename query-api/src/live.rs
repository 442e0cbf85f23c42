//! What happens now: one subscription of the store feeds every subscriber of this process.
//!
//! A subscriber follows one topic. What it has not taken yet waits in a bounded queue; when that is
//! full it is told so, follows anew, and reads what it has missed from the model. The log's head as
//! it follows makes that exact: what came up to it is in the past, what comes after it will be
//! delivered.

pub mod messages;
pub mod order;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use event_schemas::social::{ChannelEvent, MessageEvent};
use event_schemas::{ChannelId, OrderId};
use event_store::{
    Delivery, EventStore, Filter, Position, RecordedEvent, StoreError, SubscribeError,
    SubscribeFrom,
};
use futures::StreamExt as _;
use projections::{Envelope, Event, postgres};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::limits::{EVENTS_WAITING_MAX, HUB_TIME_MAX, TOPICS_MAX};

/// How long to wait before the store is asked again, after it could not be.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The streams that something is followed of.
const STREAMS: [&str; 5] = ["channel-", "message-", "order-", "escrow-", "payment-"];

/// What can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What is said in a channel, and who leaves it.
    Channel(ChannelId),
    /// What happens to an order, its escrow and its payment.
    Order(OrderId),
}

impl Topic {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Message(MessageEvent::MessagePosted(event)) => {
                Some(Self::Channel(event.channel_id))
            }
            Event::Channel(ChannelEvent::ChannelMemberLeft(event)) => {
                Some(Self::Channel(event.channel_id))
            }
            event => postgres::Order::of(event).map(Self::Order),
        }
    }
}

/// Follows the store for everybody.
pub struct Hub {
    store: Arc<dyn EventStore>,
    state: Mutex<State>,
    /// Becomes true once the position is known, and errs once the hub has stopped.
    began: watch::Receiver<bool>,
}

struct State {
    /// Everything up to here has been given to whoever followed then.
    position: Position,
    topics: HashMap<Topic, broadcast::Sender<Arc<Envelope>>>,
}

/// That the store can't be followed, which is told when it begins and when it is over.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    fn goes_on(&mut self, error: &(dyn Error + 'static)) {
        if self.since.is_none() {
            tracing::warn!(error, "the event store can't be followed: it is tried again and again");
        }
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            let away_seconds = since.elapsed().as_secs();
            tracing::info!(away_seconds, "the event store is followed again");
        }
    }
}

impl Hub {
    /// Starts to follow the store, until it is to stop.
    pub fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Arc<Self> {
        let (sender, began) = watch::channel(false);
        let state = State { position: Position::START, topics: HashMap::new() };
        let hub = Arc::new(Self { store, state: Mutex::new(state), began });
        let running = Arc::clone(&hub);
        tokio::spawn(async move {
            stop.run_until_cancelled(running.run(&sender)).await;
            // Without senders every follower's stream ends.
            running.state().topics.clear();
        });
        hub
    }

    async fn run(&self, began: &watch::Sender<bool>) {
        let mut outage = Outage::default();
        let head = loop {
            match self.store.head().await {
                Ok(head) => break head,
                Err(error) => outage.goes_on(&error),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        self.state().position = head;
        began.send_replace(true);
        loop {
            let position = self.state().position;
            let from = match position {
                Position::START => SubscribeFrom::Start,
                position => SubscribeFrom::After(position),
            };
            let filter = Filter::stream_prefixes(STREAMS);
            match self.store.subscribe_all(from, Some(filter)).await {
                Ok(mut deliveries) => loop {
                    outage.is_over();
                    match deliveries.next().await {
                        Some(Ok(Delivery::Event(event))) => self.publish(event),
                        Some(Ok(Delivery::Checkpoint(position))) => self.moved(position),
                        Some(Ok(Delivery::CaughtUp | Delivery::FellBehind)) => {}
                        // It is closed with the process.
                        Some(Err(SubscribeError::Store(StoreError::Closed))) => break,
                        Some(Err(error)) => {
                            outage.goes_on(&error);
                            break;
                        }
                        None => break,
                    }
                },
                Err(error) => outage.goes_on(&error),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    fn moved(&self, position: Position) {
        let mut state = self.state();
        state.position = state.position.max(position);
    }

    fn publish(&self, event: RecordedEvent) {
        let position = event.position;
        let mut state = self.state();
        if state.topics.is_empty() {
            state.position = position;
            return;
        }
        // Opened while nobody waits for it; who follows meanwhile is given it as well.
        drop(state);
        let opened = Envelope::open(event);
        state = self.state();
        state.position = position;
        match opened {
            Ok(envelope) => {
                let topic = Topic::of(&envelope.event);
                if let Some(sender) = topic.and_then(|topic| state.topics.get(&topic)) {
                    // Whoever follows no more is gone from the topics soon.
                    let _ = sender.send(Arc::new(envelope));
                }
            }
            // The projections park it, or pass over what is not the platform's, and say so.
            Err(error) => tracing::debug!(%position, %error, "an event can't be opened"),
        }
    }

    /// Follows a topic from the position that is returned: what is behind it will be delivered.
    /// It is the log's head, so that what was just appended is in the past; where the store can't
    /// be asked, as far as was delivered.
    ///
    /// # Errors
    /// When the store can't be followed, or the process stops.
    pub async fn follow(self: &Arc<Self>, topic: Topic) -> Result<(Following, Position), Failure> {
        let mut began = self.began.clone();
        match timeout(HUB_TIME_MAX, began.wait_for(|began| *began)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(Failure::NotYetVisible),
        }
        let (following, position) = self.add(topic)?;
        // Asked after it is followed: between the two nothing is lost.
        let head = match timeout(HUB_TIME_MAX, self.store.head()).await {
            Ok(Ok(head)) => head.max(position),
            Ok(Err(_)) | Err(_) => position,
        };
        Ok((following, head))
    }

    /// A follower, and up to where has been delivered already.
    fn add(self: &Arc<Self>, topic: Topic) -> Result<(Following, Position), Failure> {
        let mut state = self.state();
        if state.topics.len() >= TOPICS_MAX && !state.topics.contains_key(&topic) {
            return Err(Failure::Overloaded);
        }
        let sender =
            state.topics.entry(topic).or_insert_with(|| broadcast::Sender::new(EVENTS_WAITING_MAX));
        let events = sender.subscribe();
        Ok((Following { events, topic, hub: Arc::clone(self) }, state.position))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }
}

/// What is delivered of one topic.
pub struct Following {
    events: broadcast::Receiver<Arc<Envelope>>,
    topic: Topic,
    hub: Arc<Hub>,
}

/// The next of a topic.
pub enum Next {
    /// This happened.
    Event(Arc<Envelope>),
    /// More happened than waits: follow anew, and read from the model.
    Missed,
    /// The process stops.
    End,
}

impl Following {
    /// What happens next.
    pub async fn next(&mut self) -> Next {
        match self.events.recv().await {
            Ok(envelope) => Next::Event(envelope),
            Err(broadcast::error::RecvError::Lagged(_)) => Next::Missed,
            Err(broadcast::error::RecvError::Closed) => Next::End,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        // This one still counts.
        let is_last = |sender: &broadcast::Sender<_>| sender.receiver_count() <= 1;
        if state.topics.get(&self.topic).is_some_and(is_last) {
            state.topics.remove(&self.topic);
        }
    }
}
