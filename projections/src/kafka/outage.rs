//! What is told of brokers that can't be reached: that they are away, now and then that they still
//! are, and that they answer again.
//!
//! librdkafka says it for every try of every client, several times a second. Only two things that
//! it says together mean that Kafka is away: that a connection failed, and that no broker is left.
//! One alone is a broker of several, or a connection that was closed because it was idle.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info, warn};

/// How long it takes from telling of an outage to telling of one again, be it the same or not.
const REMINDER: Duration = Duration::from_secs(60);

/// How librdkafka marks what it logs of a connection that failed.
const FAILED: &str = "FAIL";

/// The same of settings that it warns of, and the one that is meant as it is set: its promise that
/// no record follows one that was given up is needed.
const SETTING: &str = "CONFWARN";
const GAPLESS: &str = "enable.gapless.guarantee";

/// What is known of the brokers, and what was told.
#[derive(Debug, Default)]
struct Outage {
    /// How a connection failed since the brokers last answered.
    failure: Option<String>,
    /// No broker was left since they last answered.
    is_total: bool,
    /// Whether somebody was told, who is to hear of its end.
    is_told: bool,
    told_at: Option<Instant>,
}

impl Outage {
    /// A connection failed: what is to be told of that.
    fn failed(&mut self, reason: &str, now: Instant) -> Option<String> {
        self.failure = Some(reason.to_owned());
        self.tell(now)
    }

    /// No broker is left: what is to be told of that.
    fn left_alone(&mut self, now: Instant) -> Option<String> {
        self.is_total = true;
        self.tell(now)
    }

    fn tell(&mut self, now: Instant) -> Option<String> {
        let reason = self.failure.as_ref().filter(|_| self.is_total)?;
        if self.told_at.is_some_and(|told| now.saturating_duration_since(told) < REMINDER) {
            return None;
        }
        (self.is_told, self.told_at) = (true, Some(now));
        Some(reason.clone())
    }

    /// Whether none answers, told or not.
    fn goes_on(&self) -> bool {
        self.is_total && self.failure.is_some()
    }

    /// A broker answers: whether that is to be told.
    fn answered(&mut self) -> bool {
        (self.failure, self.is_total) = (None, false);
        mem::take(&mut self.is_told)
    }
}

/// Hears what all clients of an event bus say of its brokers, and logs what is worth it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brokers(Arc<Mutex<Outage>>);

impl Brokers {
    /// Whether they are away.
    pub(crate) fn are_away(&self) -> bool {
        self.with(|outage| outage.goes_on())
    }

    /// The same, where that was told.
    pub(crate) fn are_missed(&self) -> bool {
        self.with(|outage| outage.is_told)
    }

    /// They did what was asked of them.
    pub(crate) fn answered(&self) {
        if self.with(Outage::answered) {
            info!("Kafka answers again");
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Outage) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `reason` begins with the broker's address.
fn warn_of(reason: Option<String>) {
    if let Some(reason) = reason {
        warn!(reason, "Kafka can't be reached; it is waited for");
    }
}

impl ClientContext for Brokers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == SETTING && message.contains(GAPLESS) {
            return debug!(target: "librdkafka", "{message}");
        }
        if facility != FAILED {
            return DefaultClientContext.log(level, facility, message);
        }
        debug!(target: "librdkafka", reason = message, "a connection failed");
        warn_of(self.with(|outage| outage.failed(message, Instant::now())));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                warn_of(self.with(|outage| outage.left_alone(Instant::now())));
            }
            // No error: who reads how far partitions have come has come to the end of one.
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            // What was logged as failed is told here once more.
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL,
            ) => {}
            _ => DefaultClientContext.error(error, reason),
        }
    }
}

impl ConsumerContext for Brokers {}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const REFUSED: &str = "127.0.0.1:9092/bootstrap: Connect failed: Connection refused";

    #[test]
    fn an_outage_is_told_at_once_then_every_minute_and_when_it_is_over() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        assert_eq!(outage.failed(REFUSED, begin), None, "others may be there");
        assert_eq!(outage.left_alone(begin).as_deref(), Some(REFUSED));
        // Eight times a second, as it is tried by ever new clients.
        let told: Vec<Duration> = (1..=8 * 150)
            .map(|eighth| Duration::from_millis(eighth * 125))
            .filter(|&after| {
                let failed = outage.failed(REFUSED, begin + after);
                failed.or(outage.left_alone(begin + after)).is_some()
            })
            .collect();
        assert_eq!(told, [REMINDER, 2 * REMINDER]);
        assert!(outage.answered(), "its end is told");
        assert!(!outage.answered(), "and only once");
    }

    #[test]
    fn what_is_no_outage_is_not_told() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(outage.failed(REFUSED, now), None, "one broker of several");
        }
        assert!(!outage.answered());
        assert_eq!(outage.left_alone(now), None, "brokers close connections that are idle");
        assert!(!outage.answered());
    }

    #[test]
    fn brokers_that_come_and_go_are_told_of_once_a_minute_too() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        let (mut away, mut back) = (0, 0);
        for second in 0..180 {
            let now = begin + Duration::from_secs(second);
            let failed = outage.failed(REFUSED, now);
            away += usize::from(failed.or(outage.left_alone(now)).is_some());
            back += usize::from(outage.answered());
        }
        assert_eq!((away, back), (3, 3));
    }

    #[test]
    fn what_librdkafka_says_of_a_closed_port_is_an_outage() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        drop(port);
        let brokers = Brokers::default();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &address).set("group.id", "nobody");
        config.set("log.thread.name", "false");
        let begin = Instant::now();
        while !brokers.are_missed() {
            assert!(begin.elapsed() < PATIENCE, "it says nothing");
            let consumer: BaseConsumer<Brokers> =
                config.create_with_context(brokers.clone()).unwrap();
            assert!(consumer.fetch_metadata(None, Duration::from_secs(1)).is_err());
            // What it said is heard by the time it is gone.
            drop(consumer);
        }
        let reason = brokers.with(|outage| outage.failure.clone()).unwrap();
        assert!(reason.starts_with(&address) && reason.contains("refused"), "{reason}");
        brokers.answered();
        assert!(!brokers.are_missed());
    }
}
