//! A broker of a test's own, that can be paused and killed, and what its topics hold.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Broker {
    process: Child,
    address: String,
}

/// A record, as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub partition: i32,
    pub key: String,
    pub value: Value,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(key, _)| key == name);
        &header.unwrap_or_else(|| panic!("no header {name}")).1
    }

    pub fn position(&self) -> u64 {
        self.header("position").parse().expect("a number")
    }
}

impl Broker {
    /// An empty broker on a free port.
    pub fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        Self { process: launch(&address), address }
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Its topics are gone with it.
    pub fn kill(&mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it has ended");
    }

    pub fn start_again(&mut self) {
        self.process = launch(&self.address);
    }

    /// Sends it a signal, as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Makes the topics, with so many partitions each.
    pub async fn make(&self, topics: &[String], partitions: i32) {
        let mut config = ClientConfig::new();
        let client = config.set("bootstrap.servers", &self.address);
        let client: AdminClient<DefaultClientContext> = client.create().expect("a client");
        let new: Vec<NewTopic> = topics
            .iter()
            .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1)))
            .collect();
        let options = AdminOptions::new().request_timeout(Some(LIMIT));
        let made = client.create_topics(&new, &options).await.expect("the broker answers");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// How many partitions a topic has.
    pub async fn partitions(&self, topic: &str) -> i32 {
        let (address, topic) = (self.address.clone(), topic.to_owned());
        let looking = tokio::task::spawn_blocking(move || {
            let mut config = ClientConfig::new();
            let consumer = config.set("bootstrap.servers", address).set("group.id", "a-reader");
            let consumer: BaseConsumer = consumer.create().expect("a consumer");
            let metadata = consumer.fetch_metadata(None, LIMIT).expect("it is answered");
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            found.map_or(0, |found| found.partitions().len() as i32)
        });
        looking.await.expect("it is looked at")
    }

    /// All records of a topic, partition by partition; none where there is no such topic.
    pub async fn records(&self, topic: &str) -> Vec<Seen> {
        let (address, topic) = (self.address.clone(), topic.to_owned());
        let reading = tokio::task::spawn_blocking(move || read(&address, &topic));
        reading.await.expect("it is read")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(address: &str) -> Child {
    let Ok(binary) = std::env::var("VEZA_TEST_KAFKA_BROKER_BINARY") else {
        panic!("VEZA_TEST_KAFKA_BROKER_BINARY is not set: run the tests through `make test`");
    };
    let url = format!("tcp://{address}");
    let process = Command::new(binary)
        .args(["broker", "--silent", "--storage-engine", "memory://tansu/"])
        .args(["--listener-url", &url, "--advertised-listener-url", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the broker starts");
    let deadline = Instant::now() + LIMIT;
    while !answers(address) {
        assert!(Instant::now() < deadline, "the broker does not answer");
        std::thread::sleep(Duration::from_millis(20)); // poll
    }
    process
}

/// Whether it answers a request for its versions (ApiVersions, version 0).
fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let timeout = stream.set_read_timeout(Some(LIMIT));
    timeout.and_then(|()| stream.write_all(&request)).is_ok()
        && stream.read_exact(&mut [0; 8]).is_ok()
}

fn read(address: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "a-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(None, LIMIT).expect("it is answered");
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Vec::new();
    };
    let mut assigned = TopicPartitionList::new();
    for partition in found.partitions() {
        let added = assigned.add_partition_offset(topic, partition.id(), Offset::Beginning);
        added.expect("it is there");
    }
    consumer.assign(&assigned).expect("it is assigned");
    let (mut seen, mut left) = (Vec::new(), found.partitions().len());
    while left > 0 {
        match consumer.poll(LIMIT).expect("the broker answers in time") {
            Ok(message) => {
                let headers = message.headers().into_iter().flat_map(|all| all.iter());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let value = message.payload().expect("a value");
                seen.push(Seen {
                    partition: message.partition(),
                    key: text(message.key().expect("a key")),
                    value: serde_json::from_slice(value).expect("JSON"),
                    headers: headers
                        .map(|header| (header.key.to_owned(), text(header.value.unwrap_or(b""))))
                        .collect(),
                });
            }
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(_) => {}
        }
    }
    seen.sort_by_key(|record| record.partition);
    seen
}
