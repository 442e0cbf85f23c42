//! Several processes with the role of the sagas: one of them at a time runs them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::process::{Process, database, eventually, folder, free_address, replay, veza};
use crate::roles::tone;

/// How long it may take until another process runs the sagas.
const TURN_TIME_MAX: Duration = Duration::from_secs(20);

/// All of a platform but its sagas.
struct Stage {
    folder: TempDir,
    database: String,
    listens: String,
    platform: Process,
    artist: String,
    buyer: String,
    listing: Value,
}

impl Stage {
    /// With a licence on sale, which took the sagas of the folder `saga` to come so far.
    async fn set(saga: &Path) -> (Self, Process) {
        let (folder, database, listens) = (folder(), database().await, free_address());
        let data = folder.path();
        let roles = ["event-store", "projector", "query-api", "command-api"];
        let flags = roles.iter().flat_map(|role| ["--role", role]);
        let mut command = veza(data, &["serve"].into_iter().chain(flags).collect::<Vec<_>>());
        command.env("VEZA_DATABASE_URL", &database).env("VEZA_EVENT_STORE_LISTEN", &listens);
        command.env("VEZA_OBJECTS", format!("file://{}", data.join("objects").display()));
        command.env("VEZA_KEYS", data.join("keys"));
        let platform = Process::start(data, "run.json", command).await;
        let artist = platform.member("nina", "artist").await;
        let buyer = platform.member("otis", "listener").await;
        let listing = Value::Null;
        let mut stage = Self { folder, database, listens, platform, artist, buyer, listing };
        let first = stage.sagas(saga).await;
        until(&first, "running").await;
        stage.listing = stage.offer().await;
        (stage, first)
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process that has the sagas, with this data folder.
    async fn sagas(&self, data: &Path) -> Process {
        let mut command = veza(data, &["serve", "--role", "saga"]);
        command.env("VEZA_DATABASE_URL", &self.database);
        command.env("VEZA_EVENT_STORE", format!("esdb://{}?tls=false", self.listens));
        command.env("VEZA_OBJECTS", format!("file://{}", self.data().join("objects").display()));
        command.env("VEZA_KEYS", self.data().join("keys"));
        Process::opening(data, &free_address(), command).await
    }

    async fn done(&self, path: &str, token: &str, body: Value) -> Value {
        let (status, done) = self.platform.post(path, Some(token), body).await;
        assert_eq!(status, 201, "{path}: {done}");
        done["id"].clone()
    }

    /// A licence of a track that was published, for as many as want it.
    async fn offer(&self) -> Value {
        let upload = self.platform.request(Method::POST, "/api/v1/uploads", Some(&self.artist));
        let upload: Value = upload.body(tone()).send().await.unwrap().json().await.unwrap();
        let new = json!({ "upload_id": upload["id"], "title": "Tone", "tags": [] });
        let track = self.done("/api/v1/tracks", &self.artist, new).await;
        let publication = format!("/api/v1/tracks/{}/publication", track.as_str().unwrap());
        eventually("the track can be published", async || {
            self.platform.post(&publication, Some(&self.artist), Value::Null).await.0 == 200
        })
        .await;
        let new = json!({
            "track_id": track, "kind": "non_exclusive", "delivery": "instant",
            "price": { "amount_minor": 2500, "currency": "EUR" },
        });
        self.done("/api/v1/listings", &self.artist, new).await
    }

    async fn order(&self, method: &str) -> String {
        let new = json!({ "listing_id": self.listing, "payment_method": method });
        let order = self.done("/api/v1/orders", &self.buyer, new).await;
        order.as_str().unwrap().to_owned()
    }

    /// Accepts the order, as soon as it was delivered and paid.
    async fn accept(&self, order: &str) {
        let acceptance = format!("/api/v1/orders/{order}/acceptance");
        eventually("the order is delivered", async || {
            self.platform.post(&acceptance, Some(&self.buyer), Value::Null).await.0 == 200
        })
        .await;
    }

    /// Cuts the connection of whoever runs the sagas.
    async fn cut_lease(&self) -> bool {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (classid::int8 << 32 | objid::int8) = hashtextextended('veza sagas run', 0)";
        sqlx::query_scalar(cut).fetch_one(&mut database).await.unwrap()
    }
}

/// What the sandbox gateway in this folder has done for an order, in order.
fn booked(data: &Path, order: &str) -> Vec<String> {
    let lines = fs::read_to_string(data.join("sandbox-gateway/ledger.jsonl")).unwrap();
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_order = entries.filter(|entry| entry["order_id"] == order);
    of_order.map(|entry| entry["request"]["operation"].as_str().unwrap().to_owned()).collect()
}

/// What the process tells of itself, which is ready.
async fn parts(process: &Process) -> Value {
    let answer = process.get("/readyz").await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    answer["parts"].clone()
}

async fn faring(process: &Process) -> String {
    parts(process).await["sagas"].as_str().unwrap().to_owned()
}

const STANDS_BY: &str = "standing by: another process runs them";

async fn until(process: &Process, faring_so: &str) {
    let began = Instant::now();
    eventually(faring_so, async || faring(process).await == faring_so).await;
    assert!(began.elapsed() < TURN_TIME_MAX, "{faring_so}: {:?}", began.elapsed());
}

#[tokio::test]
async fn of_two_with_books_of_their_own_one_settles_each_order_and_nobody_is_charged_twice() {
    const ALL: [&str; 3] = ["authorise", "capture", "pay_out"];
    let (one, other) = (folder(), folder());
    let (one, other) = (one.path(), other.path());
    let (stage, first) = Stage::set(one).await;
    let second = stage.sagas(other).await;
    until(&second, STANDS_BY).await;
    let metrics = second.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nveza_sagas_running 0\n"), "{metrics}");

    let settled = stage.order("sandbox:ok").await;
    stage.accept(&settled).await;
    eventually("it is paid out", async || booked(one, &settled) == ALL).await;
    assert_eq!(fs::read_to_string(other.join("sandbox-gateway/ledger.jsonl")).unwrap(), "");
    let under_way = stage.order("sandbox:ok").await;
    eventually("that it is paid is recorded", async || {
        let run = format!("saga-checkout-{under_way}");
        let recorded = replay(stage.data(), &["events", &run]).await;
        let is_it = |event: &Value| event["type"] == "SagaStepCompleted";
        recorded.iter().filter(|event| is_it(event)).any(|it| it.to_string().contains("capture"))
    })
    .await;

    first.kill().await;
    until(&second, "running").await;
    let new = stage.order("sandbox:ok").await;
    stage.accept(&new).await;
    eventually("it is paid out", async || booked(other, &new) == ALL).await;
    // What its books don't know is neither done again nor left out, but told.
    stage.accept(&under_way).await;
    eventually("it waits for an operator", async || {
        let told = parts(&second).await["degraded"].clone();
        told.as_str().is_some_and(|told| told.starts_with("1 runs of sagas wait for an operator"))
    })
    .await;
    assert!(booked(other, &under_way).is_empty());

    let first = stage.sagas(one).await;
    until(&first, STANDS_BY).await;
    second.stop().await;
    until(&first, "running").await;
    replay(stage.data(), &["resume", &format!("saga-checkout-{under_way}")]).await;
    eventually("it is paid out", async || booked(one, &under_way) == ALL).await;
    assert!(booked(one, &new).is_empty());
    first.stop().await;
    stage.platform.stop().await;
}

#[tokio::test]
async fn two_on_one_folder_take_over_what_is_under_way() {
    let shared = folder();
    let data = shared.path();
    let (stage, first) = Stage::set(data).await;
    let second = stage.sagas(data).await;
    until(&second, STANDS_BY).await;
    let under_way = stage.order("sandbox:slow:1000").await;
    eventually("it has begun", async || {
        let began = replay(stage.data(), &["events", &format!("saga-checkout-{under_way}")]).await;
        began.len() > 2
    })
    .await;
    first.kill().await;
    until(&second, "running").await;
    stage.accept(&under_way).await;
    let all = ["authorise", "capture", "pay_out"];
    eventually("it is paid out", async || booked(data, &under_way) == all).await;

    let third = stage.sagas(data).await;
    until(&third, STANDS_BY).await;
    assert!(stage.cut_lease().await);
    eventually("one of them runs the sagas", async || {
        let mut both = [faring(&second).await, faring(&third).await];
        both.sort_unstable();
        both == ["running", STANDS_BY]
    })
    .await;
    let after = stage.order("sandbox:ok").await;
    stage.accept(&after).await;
    eventually("it is paid out", async || booked(data, &after) == all).await;
    for process in [second, third, stage.platform] {
        process.stop().await;
    }
}

/// A store in the data folder that has an event of each of these streams, types and texts.
async fn with_events(data: &Path, events: &[(&str, &str, &str)]) {
    let options = EmbeddedOptions::folder(data.join("events"));
    let store = EmbeddedStore::open(options).await.unwrap();
    for (stream, event_type, text) in events {
        let event = NewEvent {
            id: EventId(uuid::Uuid::new_v4()),
            event_type: EventType::new(*event_type).unwrap(),
            content_type: ContentType::Binary,
            data: (*text).to_owned().into(),
            metadata: Vec::new().into(),
        };
        let stream = StreamName::new(*stream).unwrap();
        store.append(&stream, ExpectedRevision::NoStream, vec![event]).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn books_that_are_empty_where_somebody_has_paid_are_told() {
    let told = async |events: &[(&str, &str, &str)]| {
        let folder = folder();
        let (data, log) = (folder.path(), folder.path().join("log"));
        with_events(data, events).await;
        let platform = Process::logging(data, veza(data, &["serve"]), &log).await;
        platform.stop().await;
        let said = fs::read_to_string(&log).unwrap();
        said.lines().filter(|line| line.contains("the sandbox's ledger is empty")).count()
    };
    assert_eq!(told(&[("payment-abc", "PaymentRequested", "{}")]).await, 0);
    assert_eq!(told(&[("payment-abc", "PaymentAuthorised", "{}")]).await, 1);
}

#[tokio::test]
async fn streams_that_only_look_like_those_of_sagas_are_told_once() {
    let folder = folder();
    let data = folder.path();
    let events = [
        ("saga-abc", "SagaStarted", "{}"),
        ("saga-checkout-abc", "SagaStarted", "no JSON"),
        ("saga-def", "Note", "no JSON"),
    ];
    with_events(data, &events).await;
    let mut said = String::new();
    for start in ["first", "second"] {
        let log = data.join(start);
        let platform = Process::logging(data, veza(data, &["serve"]), &log).await;
        until(&platform, "running").await;
        if start == "first" {
            let says = || fs::read_to_string(&log).unwrap();
            eventually("it tells", async || says().contains("as runs of sagas are none")).await;
        }
        platform.stop().await;
        said += &fs::read_to_string(&log).unwrap();
    }
    // The read model of sagas parks them, once.
    assert!(!said.contains("ERROR sagas"), "{said}");
    let told: Vec<_> = said.lines().filter(|line| line.contains("as runs of sagas")).collect();
    assert!(matches!(told[..], [told] if told.contains("count=2") && told.contains("saga-abc")));
}
