//! Who calls over HTTP/1.1, and what is not encrypted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_store::grpc::ServeOptions;
use event_store::users::DefaultPasswords;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, Users};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Server;

async fn ask(server: &Server, path: &str, authorization: &str) -> String {
    let mut connection = TcpStream::connect(server.address()).await.expect("connect");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: here\r\n{authorization}Connection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("read");
    answer
}

fn basic(text: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(text))
}

#[tokio::test]
async fn a_password_is_asked_for_where_it_is_needed() {
    let folder = TempDir::new().expect("folder");
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    let store: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(options).await.expect("store"));
    let users = Users::new(Arc::clone(&store));
    let passwords = DefaultPasswords::new(Some("secret".to_owned()), None).expect("passwords");
    users.make_defaults(passwords).await.expect("users");
    let again = DefaultPasswords::new(Some("other".to_owned()), None).expect("passwords");
    users.make_defaults(again).await.expect("who is there stays as they are");
    assert!(!users.admin_has_the_default_password().await.expect("known"));
    let options = ServeOptions { users: Some(users), ..ServeOptions::default() };
    let server = Server::serving(store, "127.0.0.1:0", options).await;
    let (right, wrong) = (basic("admin:secret"), basic("admin:changeit"));
    for (path, authorization, code) in [
        ("/info", "", " 200 "),
        ("/ping", "", " 200 "),
        ("/gossip", "", " 200 "),
        ("/health/live", "", " 204 "),
        ("/info", &right, " 200 "),
        ("/info", &wrong, " 401 "),
        ("/info", "Authorization: Bearer x\r\n", " 401 "),
        ("/nowhere", "", " 401 "),
        ("/nowhere", &right, " 404 "),
        ("/users", "", " 401 "),
        ("/users", &right, " 200 "),
        ("/users/ops", &right, " 200 "),
        ("/users/nobody", &right, " 404 "),
        ("/users/%zz", &right, " 400 "),
    ] {
        let answer = ask(&server, path, authorization).await;
        let line = answer.lines().next().expect("a line");
        assert!(line.contains(code), "{path} {authorization}: {line}");
        let asks = answer.to_lowercase().contains("www-authenticate: basic ");
        assert_eq!(asks, code == " 401 ", "{answer}");
        let told = |login: &str| answer.contains(&format!("\"loginName\":\"{login}\""));
        let (admin, ops) = (path == "/users", path.starts_with("/users"));
        assert_eq!(
            (told("admin"), told("ops")),
            (admin && code == " 200 ", ops && code == " 200 "),
            "{answer}"
        );
    }
    assert!(ask(&server, "/info", "").await.contains("\"internal\""));
    let open = Server::start().await;
    assert!(ask(&open, "/info", &wrong).await.contains("\"insecure\""), "nobody is asked there");
}
