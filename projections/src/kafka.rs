//! Kafka: every event of the platform, for others.
//!
//! A topic a category, `veza.<category>` (`veza.order`, `veza.track`, …); the key is the stream's
//! name, placed as Java's clients place it, so a stream keeps its order and joins line up. The
//! value is JSON (see `record`), and headers repeat what consumers filter by.
//!
//! What reached a partition is read from its last record when a publisher begins, and is not sent
//! again; the checkpoint in PostgreSQL moves when all of a batch is confirmed. So an event is in
//! its topic once, in order, also after a kill, and when the checkpoint is lost. Two things can
//! repeat records, and consumers that mind compare the header `id`: partitions that are added while
//! a batch is unconfirmed or its checkpoint is lost, and a broker that held back what a publisher
//! had sent before it was killed, or before it began anew.
//!
//! Brokers that are away are waited for. Those that are back without what a topic had may
//! never confirm what was sent to it since: publishing begins anew then, by what is there.
//!
//! A record's own time is that of its publication, so that a topic's retention does not take the
//! past away as it arrives; the event's is in the value.
//!
//! Publishing is an effect, not a model: it is no projection, and no rebuild repeats it.

mod link;
mod outage;
mod partition;
mod record;
mod tails;

use std::time::Duration;

use event_schemas::EventFamily as _;
use event_schemas::analytics::PlayEvent;
use event_schemas::audio::TrackEvent;
use event_schemas::commerce::{EscrowEvent, ListingEvent, OrderEvent, PaymentEvent};
use event_schemas::saga::SagaEvent;
use event_schemas::social::{ChannelEvent, MessageEvent};
use event_schemas::user::UserEvent;
use event_store::{EventStore, Filter, ReadError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::projection::ModelId;
pub(crate) use link::Link;
use outage::Brokers;

/// The name and version of the checkpoint, as if it were a model.
pub const MODEL: ModelId = ModelId { name: "kafka", version: 1 };

/// What every topic's name begins with; the category follows.
pub const TOPIC_PREFIX: &str = "veza.";

/// The categories that are published: all that the platform has, but for what it keeps of commands.
pub const CATEGORIES: [&str; 10] = [
    UserEvent::CATEGORY,
    TrackEvent::CATEGORY,
    PlayEvent::CATEGORY,
    ChannelEvent::CATEGORY,
    MessageEvent::CATEGORY,
    ListingEvent::CATEGORY,
    OrderEvent::CATEGORY,
    EscrowEvent::CATEGORY,
    PaymentEvent::CATEGORY,
    SagaEvent::CATEGORY,
];

/// How many partitions a topic gets that is not there; one that is there is taken as it is.
const PARTITIONS: i32 = 6;

/// How long brokers may take to tell of their topics, or to make them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes that wait to be sent.
const QUEUE_KIB_MAX: &str = "65536";

/// Largest message; brokers take 1 MiB unless they are told otherwise.
const MESSAGE_BYTES_MAX: &str = "1000000";

/// Kafka, by its brokers. Nothing is connected before it is needed.
#[derive(Clone, Debug)]
pub struct EventBus {
    addresses: String,
    brokers: Brokers,
}

/// Why events were not published.
#[derive(Debug, Error)]
pub enum EventBusError {
    /// The brokers, or the way to them.
    #[error("Kafka did not do its work: {0}")]
    Kafka(#[from] KafkaError),
    /// A topic is not there and could not be made.
    #[error("the topic {topic} is not there: {reason}")]
    NoTopic {
        /// Which.
        topic: String,
        /// Why it could not be made.
        reason: String,
    },
    /// What the topic has already can't be told.
    #[error("the last records of partition {partition} of {topic} can't be read as ours")]
    Unreadable {
        /// Which topic.
        topic: String,
        /// Which of its partitions.
        partition: i32,
    },
    /// The topics have what another log had.
    #[error(
        "partition {partition} of {topic} has events of another log: publish to other brokers, or \
         delete the topics"
    )]
    AnotherLog {
        /// Which topic.
        topic: String,
        /// Which of its partitions.
        partition: i32,
    },
    /// The brokers answer, and have another topic than was there when publishing began.
    #[error("the topic {topic} is not the one that was there: it is looked at anew")]
    OtherTopic {
        /// Which.
        topic: String,
    },
    /// The brokers answer, and what was sent long ago is still not confirmed.
    #[error("Kafka answers, and does not confirm what was sent: it is looked at anew")]
    Unconfirmed,
    /// The log could not be asked what it has.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The work was given up in the middle.
    #[error("publishing was cut off")]
    CutOff,
}

impl EventBus {
    /// The bus of these brokers, `host:port` each.
    pub fn new(brokers: &[String]) -> Self {
        Self { addresses: brokers.join(","), brokers: Brokers::default() }
    }

    /// The filter that keeps the events that are published.
    pub fn filter() -> Filter {
        Filter::stream_prefixes(CATEGORIES.iter().map(|category| format!("{category}-")))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.addresses)
            .set("client.id", "veza")
            // What is logged of a broker begins with its address.
            .set("log.thread.name", "false")
            // Topics are made here, and not by the brokers' own measure because somebody asked.
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Whether no broker answers, as far as somebody who publishes has found.
    pub fn is_away(&self) -> bool {
        self.brokers.are_away()
    }

    /// The same, where that was told.
    pub(crate) fn is_missed(&self) -> bool {
        self.brokers.are_missed()
    }

    /// Makes topics that are missing, reads how far each partition has come, and is ready to send.
    pub(crate) async fn connect(&self, store: &dyn EventStore) -> Result<Link, EventBusError> {
        let reader = self.config();
        let mut tails = tails::read(reader.clone(), &self.brokers, Vec::new()).await?;
        self.brokers.answered();
        let missing: Vec<String> = topics().filter(|topic| !tails.has_topic(topic)).collect();
        if !missing.is_empty() {
            self.make(&missing).await?;
        }
        tails = tails::read(reader, &self.brokers, topics().collect()).await?;
        tails.check(store).await?;
        let producer = self
            .config()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A record that is refused stops those behind it, so that a partition's last record
            // tells what is there.
            .set("enable.gapless.guarantee", "true")
            // Never given up, so that no record can follow one that was: brokers that are down are
            // waited for, and know a record that they have already.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "5")
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX)
            .create_with_context(self.brokers.clone())?;
        Ok(Link::new(producer, tails, self.brokers.clone()))
    }

    async fn make(&self, topics: &[String]) -> Result<(), EventBusError> {
        let admin: AdminClient<Brokers> =
            self.config().create_with_context(self.brokers.clone())?;
        // As many replicas as the brokers' own default says.
        let new = |topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1));
        let new: Vec<NewTopic> = topics.iter().map(|topic| new(topic)).collect();
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        for made in admin.create_topics(&new, &options).await? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, error)) => {
                    return Err(EventBusError::NoTopic { topic, reason: error.to_string() });
                }
            }
        }
        Ok(())
    }
}

fn topics() -> impl Iterator<Item = String> {
    CATEGORIES.iter().map(|category| topic_of(category))
}

fn topic_of(category: &str) -> String {
    format!("{TOPIC_PREFIX}{category}")
}
