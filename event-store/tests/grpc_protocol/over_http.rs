//! Streams and figures over plain HTTP, as `curl` asks for them.

use event_store::{ExpectedRevision, ReadStream};
use futures::TryStreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, event, stream};

/// An answer: its status, its head, and its body.
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(it, _)| it.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value).unwrap_or_else(|| panic!("no {name}: {}", self.head))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn link(&self, relation: &str) -> Option<String> {
        let links = self.json()["links"].as_array().expect("links").clone();
        let link = links.into_iter().find(|link| link["relation"] == relation)?;
        let uri = link["uri"].as_str().expect("a text").to_owned();
        let (_, path) = uri.split_once("/streams/").expect("of a stream");
        Some(format!("/streams/{path}"))
    }

    fn titles(&self) -> Vec<String> {
        let entries = self.json()["entries"].as_array().expect("entries").clone();
        entries.iter().map(|entry| entry["title"].as_str().expect("a title").to_owned()).collect()
    }
}

pub async fn ask(server: &Server, request: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut connection = TcpStream::connect(server.address()).await.expect("connect");
    let address = server.address();
    let mut text = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    headers.iter().for_each(|header| text.push_str(&format!("{header}\r\n")));
    let sent = [text.as_bytes(), b"\r\n", body].concat();
    connection.write_all(&sent).await.expect("write");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("read");
    let answer = String::from_utf8(answer).expect("a text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}

async fn get(server: &Server, path: &str) -> Answer {
    ask(server, &format!("GET {path}"), &[], b"").await
}

async fn told(server: &Server, name: &str, count: u64) {
    for number in 0..count {
        let events = vec![event(number)];
        server.store.append(&stream(name), ExpectedRevision::Any, events).await.expect("append");
    }
}

const JSON: &str = "Content-Type: application/json";
const LIST: &str = "Content-Type: application/vnd.eventstore.events+json";
const TYPE: &str = "ES-EventType: Told";
const ID: &str = "ES-EventId: 11111111-1111-1111-1111-111111111111";

#[tokio::test]
async fn pages_lead_through_a_stream_both_ways() {
    let server = Server::start().await;
    told(&server, "a/b é", 45).await;
    let head = get(&server, "/streams/a%2Fb%20%C3%A9").await;
    assert_eq!((head.code, head.json()["headOfStream"].as_bool()), (200, Some(true)));
    assert!(head.header("content-type").starts_with("application/vnd.eventstore.atom+json"));
    let (mut older, mut seen) = (Some(head), Vec::new());
    while let Some(page) = older {
        seen.extend(page.titles());
        older = match page.link("next") {
            Some(next) => Some(get(&server, &next).await),
            None => None,
        };
    }
    let expected: Vec<_> = (0..45).rev().map(|number| format!("{number}@a/b é")).collect();
    assert_eq!(seen, expected);

    let mut newer = get(&server, "/streams/a%2Fb%20%C3%A9/0/forward/20").await;
    let mut seen = Vec::new();
    while !newer.titles().is_empty() {
        seen.extend(newer.titles().into_iter().rev());
        newer = get(&server, &newer.link("previous").expect("what may come")).await;
    }
    assert_eq!(seen, expected.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(newer.json()["headOfStream"], true);
}

#[tokio::test]
async fn pages_lead_through_the_log_both_ways() {
    let server = Server::start().await;
    told(&server, "one", 15).await;
    told(&server, "two", 15).await;
    let mut page = get(&server, "/streams/$all/head/backward/7").await;
    let mut seen = page.titles();
    while let Some(next) = page.link("next") {
        page = get(&server, &next).await;
        seen.extend(page.titles());
    }
    assert_eq!(seen.len(), 30);
    assert_eq!((seen[0].as_str(), seen[29].as_str()), ("14@two", "0@one"));
    let first = format!("/streams/%24all/{}/forward/9", "0".repeat(32));
    let mut page = get(&server, &first).await;
    let mut again = Vec::new();
    while !page.titles().is_empty() {
        again.extend(page.titles().into_iter().rev());
        page = get(&server, &page.link("previous").expect("what may come")).await;
    }
    seen.reverse();
    assert_eq!(again, seen);
    assert_eq!(get(&server, "/streams/%24all").await.titles().len(), 20);
}

#[tokio::test]
async fn an_event_is_told_in_each_form() {
    let server = Server::start().await;
    told(&server, "s", 3).await;
    let entry = get(&server, "/streams/s/1").await.json();
    assert_eq!(entry["content"]["data"]["number"], 1);
    assert_eq!(entry["content"]["eventNumber"], 1);
    let accept = async |path: &str, accepted: &str| {
        ask(&server, &format!("GET {path}"), &[&format!("Accept: {accepted}")], b"").await
    };
    let data = accept("/streams/s/head", "application/json").await;
    assert_eq!(data.json()["number"], 2);
    let whole = accept("/streams/s/0", "application/vnd.eventstore.event+json").await.json();
    assert_eq!((&whole["eventStreamId"], &whole["metadata"]["by"]), (&"s".into(), &"test".into()));
    let bytes = accept("/streams/s/0", "application/octet-stream").await;
    assert_eq!(bytes.body, "{\"number\": 0}");
    let page = get(&server, "/streams/s?embed=body").await.json();
    assert_eq!(page["entries"][0]["data"], "{\"number\": 2}");
    assert_eq!(page["entries"][0]["metaData"], "{\"by\": \"test\"}");
    assert_eq!(page["entries"][0]["eventType"], "Numbered");
    assert_eq!(get(&server, "/streams/s").await.json()["entries"][0].get("data"), None);
    for (path, accepted, code) in [
        ("/streams/s", "application/atom+xml", 406),
        ("/streams/s", "application/octet-stream", 406),
        ("/streams/s/9", "*/*", 404),
        ("/streams/none", "*/*", 404),
        ("/streams/s/0/sideways/1", "*/*", 404),
        ("/streams/s/x", "*/*", 400),
        ("/streams/%ff", "*/*", 400),
    ] {
        assert_eq!(accept(path, accepted).await.code, code, "{path} as {accepted}");
    }
    let head = ask(&server, "HEAD /streams/s", &[], b"").await;
    assert_eq!((head.code, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn events_are_appended_once_however_often_they_are_sent() {
    let server = Server::start().await;
    for _ in 0..2 {
        let made = ask(&server, "POST /streams/s", &[JSON, TYPE, ID], b"{\"n\": 1}").await;
        assert_eq!(made.code, 201, "{}", made.body);
        assert!(made.header("location").ends_with("/streams/s/0"));
    }
    let sent = ask(&server, "POST /streams/s", &[JSON, TYPE], b"{\"n\": 2}").await;
    assert_eq!(sent.code, 307);
    let place = sent.header("location").to_owned();
    let (_, place) = place.split_once("/streams/").expect("of the stream");
    for _ in 0..2 {
        let path = format!("POST /streams/{place}");
        let made = ask(&server, &path, &[JSON, "Kurrent-EventType: Told"], b"{\"n\": 2}").await;
        assert!(made.code == 201 && made.header("location").ends_with("/streams/s/1"));
    }
    let list = br#"[
        {"eventId": "22222222-2222-2222-2222-222222222222", "eventType": "A", "data": {"a": 1.0}},
        {"eventId": "33333333-3333-3333-3333-333333333333", "eventType": "B", "data": "text"}
    ]"#;
    let made = ask(&server, "POST /streams/s", &[LIST, "ES-ExpectedVersion: 1"], list).await;
    assert!(made.code == 201 && made.header("location").ends_with("/streams/s/2"), "{}", made.body);
    let wrong = ask(&server, "POST /streams/s", &[JSON, TYPE, ID, "ES-ExpectedVersion: 7"], b"{}");
    let wrong = wrong.await;
    assert!(wrong.head.starts_with("HTTP/1.1 400 Wrong expected EventNumber"), "{}", wrong.head);
    assert_eq!(wrong.header("ES-CurrentVersion"), "3");
    let read = server.store.read_stream(ReadStream::forward(stream("s"))).await.expect("read");
    let data: Vec<_> = read.map_ok(|event| event.data).try_collect().await.expect("events");
    assert_eq!(data, ["{\"n\": 1}", "{\"n\": 2}", "{\"a\": 1.0}", "text"]);
}

/// As EventStoreDB has it, and its clients' own tests: the data of one event is not looked at.
#[tokio::test]
async fn data_that_is_no_json_is_kept_as_it_came() {
    let server = Server::start().await;
    let made = ask(&server, "POST /streams/s", &[JSON, TYPE, ID], b"****").await;
    assert_eq!(made.code, 201);
    let told = get(&server, "/streams/s/0").await.json();
    assert_eq!(told["content"]["data"], "****");
}

#[tokio::test]
async fn what_can_not_be_appended_is_refused_with_a_reason() {
    let server = Server::start().await;
    let cases: [(&str, &[&str], &[u8], u16); 11] = [
        ("/streams/s", &[TYPE, ID], b"{}", 415),
        ("/streams/s", &["Content-Type: text/xml", TYPE, ID], b"<a/>", 415),
        ("/streams/s", &[JSON, ID], b"{}", 400),
        ("/streams/s", &[JSON, TYPE, "ES-EventId: x"], b"{}", 400),
        ("/streams/s", &[JSON, TYPE, ID, "ES-ExpectedVersion: -9"], b"{}", 400),
        ("/streams/s", &[JSON, TYPE, ID], b"\xff", 400),
        ("/streams/s", &[LIST], b"[{]", 400),
        ("/streams/s", &[LIST], b"[]", 400),
        ("/streams/s/metadata", &[JSON], b"[1]", 400),
        ("/streams/s", &[JSON, TYPE, ID, "Content-Length: 4194305"], b"", 413),
        ("/streams/$all", &[JSON, TYPE, ID], b"{}", 405),
    ];
    for (path, headers, body, code) in cases {
        let answer = ask(&server, &format!("POST {path}"), headers, body).await;
        assert_eq!(answer.code, code, "{path} {headers:?}: {}", answer.body);
        assert!(code == 405 || answer.body.len() > 10, "a reason: {}", answer.body);
    }
    let put = ask(&server, "PUT /streams/s", &[JSON], b"{}").await;
    assert!(put.code == 405 && put.header("allow").contains("POST"));
    assert_eq!(get(&server, "/streams/s").await.code, 404, "nothing was kept");
}

#[tokio::test]
async fn metadata_is_set_and_told_and_streams_are_deleted() {
    let server = Server::start().await;
    told(&server, "s", 5).await;
    assert_eq!(get(&server, "/streams/s/metadata").await.code, 404);
    let body = br#"{"$maxCount": 2, "mine": true}"#;
    let set = ask(&server, "POST /streams/s/metadata", &[JSON, ID], body).await;
    assert_eq!(set.code, 201, "{}", set.body);
    assert_eq!(get(&server, "/streams/s").await.titles(), ["4@s", "3@s"]);
    let metadata =
        ask(&server, "GET /streams/s/metadata", &["Accept: application/json"], b"").await;
    assert_eq!(metadata.json()["mine"], true);

    assert_eq!(ask(&server, "DELETE /streams/s", &[], b"").await.code, 204);
    assert_eq!(get(&server, "/streams/s").await.code, 404);
    let wrong = ask(&server, "DELETE /streams/s", &["ES-ExpectedVersion: 99"], b"").await;
    assert_eq!(wrong.code, 400);
    let gone = ask(&server, "DELETE /streams/s", &["ES-HardDelete: True"], b"").await;
    assert_eq!(gone.code, 204);
    assert_eq!(get(&server, "/streams/s").await.code, 410);
    let late = ask(&server, "POST /streams/s", &[JSON, TYPE, ID], b"{}").await;
    assert_eq!(late.code, 410);
}

#[tokio::test]
async fn figures_are_told_as_a_tree_in_part_and_flat() {
    let server = Server::start().await;
    let id = std::process::id();
    let whole = get(&server, "/stats").await.json();
    assert_eq!(whole["proc"]["id"], id);
    assert!(whole["es"]["checksum"].is_u64());
    assert_eq!(get(&server, "/stats/proc").await.json()["id"], id);
    assert_eq!(get(&server, "/stats?group=false").await.json()["proc-id"], id);
    assert_eq!(get(&server, "/stats/nothing").await.code, 404);
    assert_eq!(get(&server, "/stats/proc?group=false").await.code, 400);
    assert_eq!(get(&server, "/info").await.json()["features"]["atomPub"], true);
}

/// Given a page of large events, then it ends before it is too large, and the next goes on there.
#[tokio::test]
async fn pages_are_bounded_by_what_is_in_them() {
    let server = Server::start().await;
    for number in 0..6 {
        let data = format!("\"{}\"", "x".repeat(1_500_000)).into();
        let events = vec![event_store::NewEvent { data, ..event(number) }];
        server.store.append(&stream("s"), ExpectedRevision::Any, events).await.expect("append");
    }
    let page = get(&server, "/streams/s?embed=body").await;
    assert_eq!(page.titles(), ["5@s", "4@s", "3@s"]);
    let next = page.link("next").expect("there is more");
    assert_eq!(get(&server, &format!("{next}?embed=body")).await.titles(), ["2@s", "1@s", "0@s"]);
    assert_eq!(get(&server, "/streams/s").await.titles().len(), 6, "none is in there");
}
