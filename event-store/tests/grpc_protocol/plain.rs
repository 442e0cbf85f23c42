//! The HTTP/1.1 endpoints on the same port, and connections that never ask anything.

use std::time::Duration;

use event_store::grpc::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, offered, stream};

/// Asks, and answers with the status line and the body.
async fn ask(server: &Server, method: &str, path: &str) -> (String, String) {
    let mut connection = TcpStream::connect(server.address()).await.expect("connect");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().expect("a line").to_owned(), body.to_owned())
}

#[tokio::test]
async fn probes_are_answered() {
    let server = Server::start().await;
    for (method, path, code) in [
        ("GET", "/health/live", " 204 "),
        ("HEAD", "/health/live", " 204 "),
        ("GET", "/health/live?liveCode=200", " 200 "),
        ("GET", "/ping", " 200 "),
        ("GET", "/nowhere", " 404 "),
        ("POST", "/gossip", " 405 "),
    ] {
        let (line, _) = ask(&server, method, path).await;
        assert!(line.contains(code), "{method} {path}: {line}");
    }
}

#[tokio::test]
async fn gossip_names_the_leader_and_where_it_is() {
    let server = Server::start().await;
    let (_, body) = ask(&server, "GET", "/gossip").await;
    let gossip: serde_json::Value = serde_json::from_str(&body).expect("json");
    let member = &gossip["members"][0];
    assert_eq!(member["state"], "Leader");
    let port = server.serving.local_addr().port();
    assert_eq!(member["httpEndPointPort"], port);
    let (_, body) = ask(&server, "GET", "/info").await;
    let info: serde_json::Value = serde_json::from_str(&body).expect("json");
    assert!(info["esVersion"].as_str().expect("a version").starts_with("26.1."));
}

/// Given a server that is reached at another host and port than those it listens on, then whoever
/// asks where it is is told these.
#[tokio::test]
async fn what_is_advertised_is_told() {
    let (host, port) = (Some("localhost".to_owned()), Some(4321));
    let options =
        ServeOptions { advertise_host: host, advertise_port: port, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let (_, body) = ask(&server, "GET", "/gossip").await;
    let gossip: serde_json::Value = serde_json::from_str(&body).expect("json");
    let member = &gossip["members"][0];
    assert_eq!(member["httpEndPointIp"], "localhost");
    assert_eq!(member["httpEndPointPort"], 4321);
}

/// Given a port that is advertised, as behind a proxy, then clients that discover dial it.
#[tokio::test]
async fn clients_that_discover_dial_what_is_advertised() {
    let reached = Server::start().await;
    let port = reached.serving.local_addr().port();
    let options = ServeOptions { advertise_port: Some(port), ..ServeOptions::default() };
    let asked = Server::start_with(options).await;
    let told = ask(&asked, "GET", "/gossip").await.1;
    assert!(told.contains(&format!("\"httpEndPointPort\":{port},")), "{told}");
    let uri = format!("esdb+discover://{}?tls=false", asked.address());
    let client = eventstore::Client::new(uri.parse().expect("settings")).expect("client");
    let options = Default::default();
    client.append_to_stream("tale-1", &options, offered("Told", 1)).await.expect("append");
    assert!(reached.store.last_event(&stream("tale-1")).await.expect("read").is_some());
}

#[tokio::test]
async fn a_discovering_client_finds_the_server() {
    let server = Server::start().await;
    let settings = format!("esdb+discover://{}?tls=false", server.address());
    let client = eventstore::Client::new(settings.parse().expect("settings")).expect("client");
    let version = client.server_info().await.expect("discovered").version();
    assert!(version == (26, 1));
}

#[tokio::test]
async fn who_never_calls_is_let_go_and_who_has_called_is_not() {
    let first_call_time_max = Duration::from_secs(1);
    let options = ServeOptions { first_call_time_max, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let mut caller = TcpStream::connect(server.address()).await.expect("connect");
    let mut call = async || {
        caller.write_all(b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n").await.expect("write");
        let mut line = [0; 12];
        caller.read_exact(&mut line).await.expect("an answer");
        let mut rest = [0; 1024];
        // The headers end in the same packet; there is no body.
        let read = caller.read(&mut rest).await.expect("its end");
        assert!(&line == b"HTTP/1.1 204" && rest[..read].ends_with(b"\r\n\r\n"));
    };
    call().await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let greeted = [preface, b"\0\0\0\x04\0\0\0\0\0"].concat();
    for said in [b"".as_slice(), b"P", &preface[..20], preface, &greeted, b"GET /pi"] {
        let mut silent = TcpStream::connect(server.address()).await.expect("connect");
        silent.write_all(said).await.expect("write");
        let mut answer = Vec::new();
        let ending = silent.read_to_end(&mut answer);
        // One that is reset has ended as well.
        let ended = tokio::time::timeout(Duration::from_secs(30), ending).await;
        assert!(ended.is_ok(), "it is kept after {said:?}");
    }
    call().await;
}

#[tokio::test]
async fn more_connections_than_may_be_wait_for_their_turn() {
    let options = ServeOptions { connections_max: 2, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let silent = TcpStream::connect(server.address()).await.expect("connect");
    assert!(ask(&server, "GET", "/ping").await.0.contains(" 200 "), "there is a place left");
    let other = TcpStream::connect(server.address()).await.expect("connect");
    let waits = ask(&server, "GET", "/ping");
    tokio::pin!(waits);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut waits).await;
    assert!(waited.is_err(), "both places are taken");
    drop(silent);
    let answered = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert!(answered.expect("a place became free").0.contains(" 200 "));
    drop(other);
}
