//! A publisher's connection: what it may send, and what it need not.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event_store::RecordedEvent;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::{Delivery, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::time::{Instant, sleep};

use crate::kafka::outage::Brokers;
use crate::kafka::record::Record;
use crate::kafka::tails::Tails;
use crate::kafka::{EventBusError, partition, topic_of, topics};

/// How often it is looked whether the topics are still there, while a batch is not confirmed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How long brokers may take to tell of their topics then.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// How long brokers that answer may confirm nothing. For so long they may be short of replicas, and
/// have records that nobody is shown yet: who began anew would send those again.
const UNCONFIRMED_TIME_MAX: Duration = Duration::from_secs(120);

/// What is sent through, as long as the topics stay as they were when it was made.
pub(crate) struct Link {
    producer: FutureProducer<Brokers>,
    tails: Tails,
    brokers: Brokers,
    /// Where each partition of each topic ended when that was heard of last.
    ends: Mutex<HashMap<(String, i32), i64>>,
    /// How many records were confirmed.
    confirmed: AtomicU64,
}

impl Link {
    pub(super) fn new(producer: FutureProducer<Brokers>, tails: Tails, brokers: Brokers) -> Self {
        let ends = Mutex::new(tails.ends().collect());
        Self { producer, tails, brokers, ends, confirmed: AtomicU64::new(0) }
    }

    /// Sends the events, which are in the log's order, and returns when the brokers have all of
    /// them. Waits for brokers that are down or slow, but not for those that answer and can't
    /// confirm any more what they were sent. An error leaves it open which were taken, and ends the
    /// use of this.
    pub(crate) async fn publish(&self, events: &[RecordedEvent]) -> Result<(), EventBusError> {
        tokio::select! {
            biased;
            sent = self.send(events) => sent,
            outlived = self.outlived() => Err(outlived),
        }
    }

    async fn send(&self, events: &[RecordedEvent]) -> Result<(), EventBusError> {
        let mut unconfirmed = VecDeque::new();
        for event in events {
            let topic = topic_of(event.stream.category());
            let partitions = self.tails.partitions(&topic)?;
            let partition = partition::of(event.stream.as_str().as_bytes(), partitions);
            if self.tails.reached(&topic, partition) >= event.position {
                continue;
            }
            let Record { value, headers } = Record::of(event);
            let mut record = FutureRecord::to(&topic)
                .partition(partition)
                .key(event.stream.as_str())
                .payload(&value)
                .headers(headers);
            loop {
                match self.producer.send_result(record) {
                    Ok(sent) => break unconfirmed.push_back((topic, sent)),
                    Err((error, _)) if !is_full(&error) => return Err(error.into()),
                    Err((error, back)) => {
                        // What is confirmed makes room.
                        let (topic, sent) = unconfirmed.pop_front().ok_or(error)?;
                        self.confirmed(topic, sent).await?;
                        record = back;
                    }
                }
            }
        }
        let is_any_sent = !unconfirmed.is_empty();
        for (topic, sent) in unconfirmed {
            self.confirmed(topic, sent).await?;
        }
        if is_any_sent {
            self.brokers.answered();
        }
        Ok(())
    }

    async fn confirmed(&self, topic: String, sent: DeliveryFuture) -> Result<(), EventBusError> {
        match sent.await {
            Ok(Ok(Delivery { partition, offset, .. })) => {
                self.confirmed.fetch_add(1, Ordering::Relaxed);
                let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                let end = ends.entry((topic, partition)).or_default();
                *end = offset.saturating_add(1).max(*end);
                Ok(())
            }
            Ok(Err((error, _))) => Err(error.into()),
            Err(_canceled) => Err(EventBusError::CutOff),
        }
    }

    /// Returns once nothing more can come of this, while something is to be confirmed.
    async fn outlived(&self) -> EventBusError {
        let so_far = || self.confirmed.load(Ordering::Relaxed);
        let (mut seen, mut since) = (so_far(), Instant::now());
        loop {
            sleep(LOOK_INTERVAL).await;
            match self.look().await {
                Ok(()) if so_far() == seen && since.elapsed() > UNCONFIRMED_TIME_MAX => {
                    return EventBusError::Unconfirmed;
                }
                Ok(()) if so_far() == seen => {}
                // Brokers that are away are waited for, whatever they have when they are back.
                Ok(()) | Err(EventBusError::Kafka(_)) => {
                    (seen, since) = (so_far(), Instant::now());
                }
                Err(error) => return error,
            }
        }
    }

    /// Looks whether the brokers have the topics still that they had: as many partitions, and in
    /// each at least as much.
    pub(crate) async fn look(&self) -> Result<(), EventBusError> {
        let producer = self.producer.clone();
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // librdkafka blocks.
        let looking = tokio::task::spawn_blocking(move || other_topic(&producer, ends));
        let other = looking.await.map_err(|_| EventBusError::CutOff)??;
        self.brokers.answered();
        other.map_or(Ok(()), |topic| Err(EventBusError::OtherTopic { topic }))
    }
}

/// A topic that is not the one of which partitions ended there, if there is one.
fn other_topic(
    producer: &FutureProducer<Brokers>,
    ends: HashMap<(String, i32), i64>,
) -> Result<Option<String>, KafkaError> {
    let client = producer.client();
    let metadata = client.fetch_metadata(None, LOOK_TIME_MAX)?;
    for topic in topics() {
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.map_or(0, |found| found.partitions().len());
        if found != ends.keys().filter(|(of, _)| *of == topic).count() {
            return Ok(Some(topic));
        }
    }
    for ((topic, partition), known) in ends.into_iter().filter(|(_, known)| *known > 0) {
        let (_, end) = client.fetch_watermarks(&topic, partition, LOOK_TIME_MAX)?;
        if end < known {
            return Ok(Some(topic));
        }
    }
    Ok(None)
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}
