//! Meilisearch: the adapter against recorded answers of a real server, and against one where
//! `VEZA_TEST_MEILISEARCH_URL` names it (with `VEZA_TEST_MEILISEARCH_KEY`).

use std::sync::{Arc, Mutex};

use event_schemas::TrackId;
use projections::search::{
    MeilisearchIndex, SearchChange, SearchDocument, SearchIndex, SearchQuery, Subject, SubjectKind,
    conformance,
};
use projections::{ApplyError, QueryError, Target};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::database;

/// What the adapter asks to make an index that is not there, and is answered.
const CREATE: [&str; 4] = [
    "index/create",
    "index/create/task",
    "settings/patch-same-again",
    "settings/patch-same-again/task",
];

/// A server that gives recorded answers in the order of a script, and keeps what it was sent.
struct Replay {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    left: Arc<Mutex<Vec<Value>>>,
}

impl Replay {
    async fn of(steps: &[&str]) -> Self {
        let recorded: Vec<Value> = include_str!("meilisearch.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a recorded line"))
            .collect();
        let named = |step: &&str| {
            let line = recorded.iter().find(|line| line["step"] == **step);
            line.unwrap_or_else(|| panic!("{step} is not in the fixture")).clone()
        };
        let left: Vec<Value> = steps.iter().rev().map(named).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (bodies, left) = (Arc::new(Mutex::default()), Arc::new(Mutex::new(left)));
        let replay = Self { url, bodies: Arc::clone(&bodies), left: Arc::clone(&left) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &bodies, &left).await;
            }
        });
        replay
    }

    async fn start(steps: &[&str]) -> (Self, MeilisearchIndex) {
        let replay = Self::of(steps).await;
        let index = MeilisearchIndex::open(&replay.url, Some("a-key"), "tracks");
        (replay, index.expect("the key is one"))
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().expect("no test panics with it").clone()
    }

    fn assert_done(&self) {
        let left = self.left.lock().expect("no test panics with it");
        assert!(left.is_empty(), "the adapter did not ask for {}", left[left.len() - 1]["step"]);
    }
}

async fn answer(stream: TcpStream, bodies: &Mutex<Vec<Value>>, left: &Mutex<Vec<Value>>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await.expect("a request") > 2 {
        head.push(std::mem::take(&mut line).trim_end().to_lowercase());
    }
    let body = read_body(&mut stream, &head).await;
    bodies
        .lock()
        .expect("no test panics with it")
        .push(serde_json::from_slice(&body).unwrap_or(Value::Null));
    let step = left.lock().expect("no test panics with it").pop().unwrap_or(Value::Null);
    let request = &step["request"];
    let asked = (request["method"].as_str(), request["path"].as_str());
    let expected = match asked {
        (Some(method), Some(path)) => format!("{method} {path} http/1.1").to_lowercase(),
        _ => "nothing".to_owned(),
    };
    let (status, body) = if same(&head[0], &expected) {
        (step["response"]["status"].to_string(), step["response"]["body"].to_string())
    } else {
        ("418".to_owned(), json!({ "expected": expected, "asked": head[0] }).to_string())
    };
    let head = format!(
        "HTTP/1.1 {status} recorded\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it is answered");
    stream.shutdown().await.expect("it is closed");
}

/// The body, whose length is told before it.
async fn read_body(stream: &mut BufReader<TcpStream>, head: &[String]) -> Vec<u8> {
    let told = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; told.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).await.expect("the whole body");
    body
}

/// Whether two request lines are the same but for the index.
fn same(asked: &str, recorded: &str) -> bool {
    let plain = |line: &str| line.replace("-build", "").replace("-next", "");
    plain(asked) == plain(recorded)
}

fn put() -> (Subject, SearchChange) {
    let subject = Subject::Track(TrackId(Uuid::new_v4()));
    let (title, words) = ("Midnight Rain".to_owned(), "Ada".to_owned());
    (subject, SearchChange::Put(SearchDocument { subject, title, handle: None, words }))
}

fn asks(text: &str, kind: Option<SubjectKind>) -> SearchQuery {
    SearchQuery { text: text.to_owned(), kind, offset: 0, limit: 5 }
}

async fn connection() -> PgConnection {
    database::fresh().await.acquire().await.expect("a connection").detach()
}

#[tokio::test]
async fn whether_the_index_is_there_is_asked_and_a_failure_is_no_answer() {
    let (replay, index) = Replay::start(&["index/get-not-found", "index/get"]).await;
    assert!(!index.has_live().await.expect("it is answered"));
    assert!(index.has_live().await.expect("it is answered"));
    replay.assert_done();
    let gone = MeilisearchIndex::open("http://127.0.0.1:1", None, "tracks").expect("no key");
    let asked = gone.has_live().await;
    assert!(matches!(asked, Err(ApplyError::Transient(_))), "{asked:?}");
}

#[tokio::test]
async fn a_write_returns_when_its_tasks_have_succeeded() {
    let steps = [
        "documents/post",
        "documents/post/task",
        "documents/delete-batch",
        "documents/delete-batch/task",
    ];
    let (replay, index) = Replay::start(&steps).await;
    let ((kept, change), (gone, outdated)) = (put(), put());
    let changes = [outdated, change, SearchChange::Remove(gone)];
    index.write(Target::Live, &mut connection().await, &changes).await.expect("it is written");
    replay.assert_done();
    let (Subject::Track(kept), Subject::Track(gone)) = (kept, gone) else {
        panic!("they are tracks");
    };
    let bodies = replay.bodies();
    assert_eq!(bodies[0].as_array().map(Vec::len), Some(1), "the removed one is not sent");
    assert_eq!(bodies[0][0]["id"], format!("track-{kept}"));
    assert_eq!(bodies[2], json!([format!("track-{gone}")]));
}

#[tokio::test]
async fn a_canceled_task_is_waited_for_and_is_no_success() {
    let steps = ["tasks/to-cancel-1", "tasks/cancel/immediately-after", "tasks/canceled"];
    let (replay, index) = Replay::start(&steps).await;
    let written = index.write(Target::Live, &mut connection().await, &[put().1]).await;
    assert!(matches!(written, Err(ApplyError::Transient(_))), "{written:?}");
    replay.assert_done();
}

#[tokio::test]
async fn a_task_that_failed_for_its_document_parks_it() {
    let steps = ["documents/invalid-id-slash", "documents/invalid-id-slash/task"];
    let (replay, index) = Replay::start(&steps).await;
    let written = index.write(Target::Live, &mut connection().await, &[put().1]).await;
    let Err(ApplyError::Poison(reason)) = written else {
        panic!("another outcome: {written:?}");
    };
    assert!(reason.to_string().contains("trk/1"), "{reason}");
    replay.assert_done();
}

#[tokio::test]
async fn searches_quote_filters_and_tell_failures_apart() {
    let steps = ["search/plain-two-words", "search/index-not-found", "search/too-many-requests"];
    let (replay, index) = Replay::start(&steps).await;
    let foreign = index.search(&asks("midnight", Some(SubjectKind::Track))).await;
    assert!(matches!(foreign, Err(QueryError::Malformed { .. })), "{foreign:?}");
    let missing = index.search(&asks("!\"\\", None)).await;
    assert!(matches!(missing, Err(QueryError::NotBuilt)), "{missing:?}");
    let busy = index.search(&asks("x", Some(SubjectKind::Track))).await;
    assert!(matches!(busy, Err(QueryError::Search(_))), "{busy:?}");
    assert_eq!(index.search(&asks(" \0 ", None)).await.expect("it is answered"), []);
    replay.assert_done();
    let bodies = replay.bodies();
    assert_eq!(bodies[0]["q"], "midnight");
    assert_eq!(bodies[0]["filter"], "kind = \"track\"");
    assert_eq!(bodies[1]["filter"], r#"exact = "!\"\\""#);
}

#[tokio::test]
async fn who_has_the_handle_is_asked_for_before_the_others() {
    let steps = ["multi/federated-weight-limit", "multi/one-bad-filter"];
    let (replay, index) = Replay::start(&steps).await;
    let wanted = SearchQuery { offset: 5, ..asks("@Nina \"", Some(SubjectKind::Person)) };
    let foreign = index.search(&wanted).await;
    assert!(matches!(foreign, Err(QueryError::Malformed { .. })), "{foreign:?}");
    let earlier = index.search(&asks("nina", None)).await;
    assert!(matches!(earlier, Err(QueryError::NotBuilt)), "{earlier:?}");
    replay.assert_done();
    let body = &replay.bodies()[0];
    assert_eq!(body["federation"], json!({ "offset": 5, "limit": 5 }));
    let queries = json!([
        {
            "indexUid": "tracks", "q": "", "filter": r#"handle = "Nina \"""#,
            "attributesToRetrieve": ["id"], "federationOptions": { "weight": 2.0 },
        },
        {
            "indexUid": "tracks", "q": "@Nina \"",
            "filter": r#"kind = "person" AND handle != "Nina \"""#,
            "attributesToRetrieve": ["id"], "federationOptions": { "weight": 1.0 },
        },
    ]);
    assert_eq!(body["queries"], queries);
}

#[tokio::test]
async fn a_shadow_is_made_anew_and_swapped() {
    let existing = ["index/create-existing", "index/create-existing/task", CREATE[2], CREATE[3]];
    let mut steps = vec!["index/delete-unknown", "index/delete-unknown/task"];
    steps.extend(CREATE);
    steps.extend(existing);
    steps.extend(["swap/ok", "swap/ok/task"]);
    steps.extend(existing);
    steps.extend(["swap/unknown-index", "swap/unknown-index/task"]);
    let (replay, index) = Replay::start(&steps).await;
    index.begin_shadow().await.expect("it is made");
    index.swap_shadow().await.expect("it is swapped");
    let unswapped = index.swap_shadow().await;
    assert!(matches!(unswapped, Err(ApplyError::Transient(_))), "{unswapped:?}");
    replay.assert_done();
    let bodies = replay.bodies();
    assert_eq!(bodies[2], json!({ "uid": "tracks-build", "primaryKey": "id" }));
    assert_eq!(bodies[4]["filterableAttributes"], json!(["kind", "exact", "handle"]));
    assert_eq!(bodies[10][0]["indexes"], json!(["tracks", "tracks-build"]));
}

/// Something else is at the address: a page for people, and a stream without an end.
#[tokio::test]
async fn what_meilisearch_never_says_is_an_error_that_names_the_server() {
    let page = "<html>It works!</html>";
    let length = page.len();
    let page = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{page}");
    let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned();
    for (begins, goes_on, because) in
        [(page, false, "expected value"), (endless, true, "more than")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let answering = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.expect("a request") > 2 {
                line.clear();
            }
            let piece = [b' '; 64 * 1024];
            let mut sent = stream.write_all(begins.as_bytes()).await;
            while goes_on && sent.is_ok() {
                sent = stream.write_all(&piece).await;
            }
            // Closed only when the other side has done so, or there would be no answer.
            let mut rest = Vec::new();
            _ = stream.read_to_end(&mut rest).await;
        });
        let index = MeilisearchIndex::open(&url, None, "tracks").expect("no key");
        let Err(ApplyError::Transient(error)) = index.has_live().await else {
            panic!("that is taken for an answer of Meilisearch");
        };
        let said = error.to_string();
        assert!(said.contains(&url) && said.contains(because), "{said}");
        drop(index);
        answering.await.expect("it answers until nobody listens");
    }
}

#[tokio::test]
async fn a_real_server_does_what_an_index_must() {
    let Ok(url) = std::env::var("VEZA_TEST_MEILISEARCH_URL") else {
        eprintln!("skipped: VEZA_TEST_MEILISEARCH_URL is not set");
        return;
    };
    let key = std::env::var("VEZA_TEST_MEILISEARCH_KEY").ok();
    let name = format!("veza-{}", Uuid::new_v4().simple());
    let index = MeilisearchIndex::open(&url, key.as_deref(), &name).expect("the key is one");
    assert!(!index.has_live().await.expect("it is answered"));
    index.begin_shadow().await.expect("it is made");
    index.swap_shadow().await.expect("it is swapped");
    assert!(index.has_live().await.expect("it is answered"));
    conformance::holds(&index, &mut connection().await).await;
}
