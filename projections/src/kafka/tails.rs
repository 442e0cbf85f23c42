//! Tails: how far each partition has come, by the headers of its last record.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use event_store::{EventId, EventStore, Position};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::kafka::outage::Brokers;
use crate::kafka::record::{ID, POSITION};
use crate::kafka::{EventBusError, REQUEST_TIMEOUT};
use crate::mark::Mark;

/// How many records are looked at from a partition's end, at first and when none of them is ours.
const LOOKS: [i64; 2] = [1, 1_000];

/// The last event in each partition of each topic, and where each ends.
pub(crate) struct Tails(HashMap<String, BTreeMap<i32, Tail>>);

/// How far a partition has come.
#[derive(Clone, Copy, Default)]
struct Tail {
    /// The offset that the next record gets.
    end: i64,
    /// The last event; `None` in an empty partition.
    last: Option<Mark>,
}

impl Tails {
    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// How many partitions the topic has.
    pub(crate) fn partitions(&self, topic: &str) -> Result<i32, EventBusError> {
        let partitions = self.0.get(topic).map_or(0, BTreeMap::len);
        match i32::try_from(partitions) {
            Ok(partitions) if partitions > 0 => Ok(partitions),
            _ => Err(no_topic(topic)),
        }
    }

    /// What is at or before this position need not be sent to the partition.
    pub(crate) fn reached(&self, topic: &str, partition: i32) -> Position {
        let last = self.0.get(topic).and_then(|of| of.get(&partition)?.last);
        last.map_or(Position::START, |last| last.position)
    }

    /// Where each partition ends.
    pub(crate) fn ends(&self) -> impl Iterator<Item = ((String, i32), i64)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(&number, tail)| ((topic.clone(), number), tail.end))
        })
    }

    /// Whether it is this log that was published before. Another one counts its own positions: by
    /// them, events that were never sent would be taken for sent.
    pub(crate) async fn check(&self, store: &dyn EventStore) -> Result<(), EventBusError> {
        for (topic, partitions) in &self.0 {
            for (&partition, tail) in partitions {
                let Some(last) = tail.last else {
                    continue;
                };
                if !last.is_in(store).await? {
                    return Err(EventBusError::AnotherLog { topic: topic.clone(), partition });
                }
            }
        }
        Ok(())
    }
}

fn no_topic(topic: &str) -> EventBusError {
    EventBusError::NoTopic { topic: topic.to_owned(), reason: "no broker has it".to_owned() }
}

/// Reads the tails of these topics, all of which must be there; with none named it only tells which
/// topics are there.
pub(crate) async fn read(
    mut config: ClientConfig,
    brokers: &Brokers,
    topics: Vec<String>,
) -> Result<Tails, EventBusError> {
    config
        // No group is joined; librdkafka wants a name all the same.
        .set("group.id", "veza-publisher")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20");
    let brokers = brokers.clone();
    // librdkafka's consumer blocks.
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer<Brokers> = config.create_with_context(brokers)?;
        if topics.is_empty() { list(&consumer) } else { all(&consumer, topics) }
    });
    reading.await.unwrap_or(Err(EventBusError::CutOff))
}

fn list(consumer: &BaseConsumer<Brokers>) -> Result<Tails, EventBusError> {
    let metadata = consumer.fetch_metadata(None, REQUEST_TIMEOUT)?;
    let topics = metadata.topics().iter();
    Ok(Tails(topics.map(|topic| (topic.name().to_owned(), BTreeMap::new())).collect()))
}

fn all(consumer: &BaseConsumer<Brokers>, topics: Vec<String>) -> Result<Tails, EventBusError> {
    let mut tails = HashMap::new();
    for topic in topics {
        let partitions = of_topic(consumer, &topic)?;
        tails.insert(topic, partitions);
    }
    Ok(Tails(tails))
}

fn of_topic(
    consumer: &BaseConsumer<Brokers>,
    topic: &str,
) -> Result<BTreeMap<i32, Tail>, EventBusError> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.filter(|found| !found.partitions().is_empty());
    let found = found.ok_or_else(|| no_topic(topic))?;
    let mut tails = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for partition in found.partitions().iter().map(|partition| partition.id()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        tails.insert(partition, Tail { end: high, last: None });
        if high > low {
            ends.insert(partition, (low, high));
        }
    }
    for look in LOOKS {
        if ends.is_empty() {
            break;
        }
        for (partition, tail) in last_of_ours(consumer, topic, &ends, look)? {
            ends.remove(&partition);
            tails.entry(partition).or_default().last = Some(tail);
        }
    }
    match ends.into_keys().next() {
        // Never guessed: whatever is sent to it might be there already.
        Some(partition) => Err(EventBusError::Unreadable { topic: topic.to_owned(), partition }),
        None => Ok(tails),
    }
}

/// The last events of ours in partitions, as far as one is in the last `look` records.
fn last_of_ours(
    consumer: &BaseConsumer<Brokers>,
    topic: &str,
    ends: &BTreeMap<i32, (i64, i64)>,
    look: i64,
) -> Result<BTreeMap<i32, Mark>, EventBusError> {
    let mut assigned = TopicPartitionList::with_capacity(ends.len());
    for (&partition, &(low, high)) in ends {
        let from = Offset::Offset(low.max(high - look));
        assigned.add_partition_offset(topic, partition, from)?;
    }
    consumer.assign(&assigned)?;
    let mut tails = BTreeMap::new();
    let mut unread: HashSet<i32> = ends.keys().copied().collect();
    let mut deadline = Instant::now() + REQUEST_TIMEOUT;
    while let Some(&partition) = unread.iter().next() {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(message)) => {
                deadline = Instant::now() + REQUEST_TIMEOUT;
                if let Some(tail) = event_of(&message) {
                    tails.insert(message.partition(), tail);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) if left.is_zero() => return Err(error.into()),
            // Brokers come and go while the time runs.
            Some(Err(_)) => {}
            None => {
                return Err(EventBusError::Unreadable { topic: topic.to_owned(), partition });
            }
        }
    }
    Ok(tails)
}

/// The event that the record is of.
fn event_of(message: &BorrowedMessage<'_>) -> Option<Mark> {
    let headers = message.headers()?;
    let text = |key| {
        let header = headers.iter().find(|header| header.key == key)?;
        str::from_utf8(header.value?).ok()
    };
    let position = Position::new(text(POSITION)?.parse().ok()?);
    let id = EventId(text(ID)?.parse::<Uuid>().ok()?);
    Some(Mark { position, id })
}
