//! Bodies that come slowly, never, too large, encoded, or to nobody; and what becomes of their
//! connections.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::doors::silence;
use crate::process::{PATIENCE, Process, folder};

/// A connection on which every byte is the test's own.
struct Wire(TcpStream);

/// An answer, as it came.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

impl Wire {
    async fn to(platform: &Process) -> Self {
        let address = platform.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends the head of a POST with a JSON body of so many bytes.
    async fn post(&mut self, path: &str, length: u64, more: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: veza\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{more}\r\n"
        );
        self.send(head.as_bytes()).await;
    }

    /// Up to the empty line, in lower case.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    async fn answer(&mut self) -> Answer {
        let reading = async {
            let head = self.head().await;
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.expect("a length").parse().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            Answer { status, head, body: serde_json::from_slice(&body).unwrap() }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time")
    }

    /// Sends a part of a body, once the handler asks for it.
    async fn begin(&mut self, path: &str, length: u64, part: &[u8]) {
        self.post(path, length, "expect: 100-continue\r\n").await;
        assert!(self.head().await.starts_with("http/1.1 100 "));
        self.send(part).await;
    }
}

#[tokio::test]
async fn half_a_body_does_not_hold_up_the_stop() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let mut wire = Wire::to(&platform).await;
    wire.begin("/api/v1/sessions", 12, b"{\"a\"").await;
    platform.signal("-TERM");
    let ended = tokio::time::timeout(Duration::from_secs(10), platform.ended());
    let (ended, answer) = tokio::join!(ended, wire.answer());
    assert_eq!(ended.expect("soon"), Some(0));
    assert_eq!((answer.status, answer.closes()), (408, true), "{}", answer.head);
}

#[tokio::test]
async fn a_slow_body_is_its_senders_fault() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let slow = async |path| {
        let mut wire = Wire::to(&platform).await;
        wire.begin(path, 12, b"{\"a\"").await;
        wire.answer().await
    };
    let answers = tokio::join!(slow("/api/v1/sessions"), slow("/api/v1/users"), slow("/graphql"));
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(answer.body["type"], "urn:veza:problem:request-timeout");
        assert_eq!((answer.status, answer.closes()), (408, true), "{}", answer.head);
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    for path in ["/api/v1/sessions", "/api/v1/users", "/graphql"] {
        let mut wire = Wire::to(&platform).await;
        wire.post(path, 99_000_000_000, "").await;
        let answer = wire.answer().await;
        assert_eq!(answer.body["type"], "urn:veza:problem:payload-too-large", "{path}");
        assert_eq!((answer.status, answer.closes()), (413, true), "{path}: {}", answer.head);
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_sent_as_it_is_is_told_so() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = platform.member("nina", "artist").await;
    let send = async |path: &str, header: (&str, &str), body: &[u8]| {
        let request = platform.request(Method::POST, path, Some(&nina));
        let request = match header.0 {
            "content-type" => request,
            _ => request.header("content-type", "application/json"),
        };
        let answer = request.header(header.0, header.1).body(body.to_vec()).send().await.unwrap();
        let decodes = answer.headers().get("accept-encoding").cloned();
        (answer.status().as_u16(), decodes, answer.json::<Value>().await.unwrap())
    };
    let (gzip, plain) =
        (b"\x1f\x8b\x08\0\0\0\0\0".as_slice(), b"{ \"name\": \"lobby\" }".as_slice());
    for path in
        ["/api/v1/channels", "/api/v1/users", "/api/v1/sessions", "/api/v1/uploads", "/graphql"]
    {
        for (coding, body) in [("gzip", gzip), ("GZIP", plain), ("identity, br", plain)] {
            let (status, decodes, problem) = send(path, ("content-encoding", coding), body).await;
            let kind = &problem["type"];
            let expected = json!("urn:veza:problem:unsupported-media-type");
            assert_eq!((status, kind), (415, &expected), "{path} {coding}");
            assert_eq!(decodes.unwrap(), "identity", "{path} {coding}");
            let told = problem["detail"].as_str().unwrap();
            assert!(told.contains("Content-Encoding"), "{path} {coding}: {told}");
        }
    }
    for coding in ["identity", "Identity", ""] {
        let (status, _, answer) =
            send("/api/v1/channels", ("content-encoding", coding), plain).await;
        assert_eq!(status, 201, "{coding:?}: {answer}");
    }
    let form = b"--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nRIFF\r\n--x--\r\n";
    let said = ("content-type", "multipart/form-data; boundary=x");
    let (status, _, problem) = send("/api/v1/uploads", said, form).await;
    let told = json!("send the audio itself as the body, and not in a form");
    assert_eq!((status, &problem["detail"]), (415, &told), "{problem}");
    let part = ("content-range", "bytes 0-43/1000");
    let (status, _, problem) = send("/api/v1/uploads", part, &silence()).await;
    let told = json!("send the whole file; ranges are not taken");
    assert_eq!((status, &problem["detail"]), (400, &told), "{problem}");
    assert_eq!(problem["type"], "urn:veza:problem:malformed");
    platform.stop().await;
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_or_says_that_it_does_not() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[("VEZA_RATE_LIMITS", "off")]).await;
    let mut wire = Wire::to(&platform).await;
    let channel = json!({ "name": "lobby" }).to_string();
    for attempt in 0..50 {
        wire.post("/api/v1/channels", channel.len() as u64, "").await;
        wire.send(channel.as_bytes()).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.closes()), (401, false), "{attempt}: {}", answer.head);
    }
    // Nobody wants to read that much only to refuse it; the refusal arrives all the same.
    wire.post("/api/v1/uploads", 10_000_000, "").await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.closes()), (401, true), "{}", answer.head);

    for attempt in 0..20 {
        let request = platform.request(Method::POST, "/api/v1/uploads", None);
        let answer = request.body(vec![0; 10_000_000]).send().await;
        assert_eq!(answer.expect("an answer").status(), 401, "{attempt}");
    }

    // Whoever asks first whether to send the body is not asked for it.
    let mut wire = Wire::to(&platform).await;
    wire.post("/api/v1/channels", channel.len() as u64, "expect: 100-continue\r\n").await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.closes()), (401, true), "{}", answer.head);
    platform.stop().await;
}
