//! `veza event-store` with TLS and users, as it is started.

use std::os::unix::fs::PermissionsExt as _;

use eventstore::{Client, Error, ReadAllOptions};

use tokio::process::Command;

use crate::{PATIENCE, command, refusal, started};

async fn reads(uri: &str) -> eventstore::Result<()> {
    let client = Client::new(uri.parse().unwrap()).unwrap();
    client.read_all(&ReadAllOptions::default()).await?.next().await.map(drop)
}

/// One flag is enough for a test machine: what is printed is what a client needs, also after the
/// server was stopped, and when the password is one's own.
#[tokio::test]
async fn a_test_machine_has_tls_and_users_by_one_flag() {
    let data = tempfile::tempdir().unwrap();
    let dev = |listen: &str| {
        let mut command = command(&data, listen);
        command.arg("--dev");
        command
    };
    let (mut server, uri) = started(dev("127.0.0.1:0")).await;
    assert!(uri.starts_with("esdb://admin:changeit@127.0.0.1:"), "{uri}");
    reads(&uri).await.unwrap();
    let wrong = uri.replace("changeit", "wrong");
    assert!(matches!(reads(&wrong).await, Err(Error::AccessDenied)));
    let root = std::fs::read(data.path().join("tls/ca.crt")).unwrap();
    for key in ["ca.key", "node.key"] {
        let mode = std::fs::metadata(data.path().join("tls").join(key)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    server.kill().await.unwrap();

    let mut elsewhere = dev("0.0.0.0:0");
    elsewhere.env("EVENTSTORE_ADVERTISE_HOST", "localhost");
    let (mut server, uri) = started(elsewhere).await;
    assert!(uri.starts_with("esdb://admin:changeit@localhost:"), "{uri}");
    reads(&uri).await.unwrap();
    assert_eq!(std::fs::read(data.path().join("tls/ca.crt")).unwrap(), root, "it is kept");
    server.kill().await.unwrap();
}

/// Given a folder whose server takes TLS alone, then tools reach it on behalf of the user who is
/// set, and where none is they say what to set.
#[tokio::test]
async fn tools_reach_by_its_folder_a_server_that_takes_tls_alone() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = command(&data, "127.0.0.1:0");
    dev.arg("--dev");
    let (mut server, uri) = started(dev).await;
    let client = Client::new(uri.parse().unwrap()).unwrap();
    let event = eventstore::EventData::binary("Heard", Vec::new().into());
    client.append_to_stream("song-1", &Default::default(), event).await.unwrap();
    for (credentials, is_told, words) in [
        ("", false, "asks who calls: set VEZA_EVENT_STORE_CREDENTIALS=<user>:<password>"),
        ("admin:wrong", false, "access"),
        ("admin:changeit", true, "song-1@0  Heard"),
    ] {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        replay.arg("--data").arg(data.path()).args(["events", "song-1"]);
        replay.env("VEZA_EVENT_STORE_CREDENTIALS", credentials);
        let output = tokio::time::timeout(PATIENCE, replay.output()).await.expect("ends").unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.success(), is_told, "{credentials}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{credentials}: {said}");
    }
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_certificate_and_passwords_are_given_by_an_operator() {
    let made = tempfile::tempdir().unwrap();
    let mut first = command(&made, "127.0.0.1:0");
    first.arg("--dev");
    let (mut server, _) = started(first).await;
    server.kill().await.unwrap();

    let data = tempfile::tempdir().unwrap();
    let file = |name: &str| made.path().join("tls").join(name);
    let mut given = command(&data, "127.0.0.1:0");
    given.arg("--certificate-file").arg(file("node.crt"));
    given.env("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE", file("node.key"));
    given.env("KURRENTDB_DEFAULT_ADMIN_PASSWORD", "secret");
    let (mut server, uri) = started(given).await;
    assert!(uri.starts_with("esdb://<user>:<password>@127.0.0.1:"), "{uri}");
    let uri = format!("{uri}&tlsCaFile={}", file("ca.crt").display());
    let of = |credentials| uri.replace("<user>:<password>", credentials);
    reads(&of("admin:secret")).await.unwrap();
    assert!(matches!(reads(&of("admin:changeit")).await, Err(Error::AccessDenied)));
    server.kill().await.unwrap();
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_refused_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    for (flags, words) in [
        (&["--insecure", "--dev"][..], "--insecure: there is no certificate then"),
        (&["--dev", "--certificate-file", "x"], "--dev: it makes a certificate"),
        (&["--certificate-file", "x"], "--certificate-file: it goes with"),
        (&["--certificate-private-key-file", "x"], "--certificate-file: it goes with"),
        (&["--trusted-root-certificates-path", "x"], "it is for a server with a certificate"),
        (
            &["--certificate-file", "/nope/x", "--certificate-private-key-file", "/nope/y"],
            "/nope/x: No such file",
        ),
    ] {
        let mut command = command(&data, "127.0.0.1:0");
        command.args(flags);
        let said = refusal(command).await;
        assert!(said.contains(words), "{flags:?}: {said}");
    }
    let mut empty = command(&data, "127.0.0.1:0");
    empty.env("EVENTSTORE_DEFAULT_OPS_PASSWORD", "x".repeat(2000));
    let said = refusal(empty).await;
    assert!(said.contains("EVENTSTORE_DEFAULT_OPS_PASSWORD: the password is longer"), "{said}");
}
