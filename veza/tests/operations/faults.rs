//! What goes wrong at the start: each ends with one clear line, and leaves nothing behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::process::{Process, ended, eventually, folder, postgres_runs_in, veza};

/// That this start fails, says so in one line that begins so, and that nothing is left of it.
async fn fails(data: &Path, command: Command, because: &str) -> String {
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{because}: {told}");
    assert!(told.starts_with(&format!("veza: {because}")), "expected {because:?}, was {told:?}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!data.join("run.json").exists(), "{because}: it left its run file");
    assert!(!postgres_runs_in(data), "{because}: it left its PostgreSQL");
    told
}

fn serve(data: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_LOG", "error").envs(settings.iter().copied());
    command
}

#[tokio::test]
async fn a_bad_setting_or_a_busy_port_stops_the_start_with_one_line() {
    let folder = folder();
    let data = folder.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let esdb = "esdb://127.0.0.1:1?tls=false";
    let split: &[(&str, &str)] = &[
        ("VEZA_DATABASE_URL", "postgres://veza@127.0.0.1:1/veza"),
        ("VEZA_OBJECTS", "file:///srv/objects"),
        ("VEZA_KEYS", "/srv/keys"),
    ];
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("VEZA_HTTP", "8080")], "VEZA_HTTP: must be an address and a port"),
        (&[("VEZA_ROLES", "king")], "VEZA_ROLES: must be all, or some of command-api"),
        (&[("VEZA_ROLES", "saga")], "VEZA_DATABASE_URL: must be set where the roles are split"),
        (
            &[split, &[("VEZA_ROLES", "saga")]].concat(),
            "VEZA_EVENT_STORE: must be set where the roles are split",
        ),
        (
            &[("VEZA_ROLES", "event-store"), ("VEZA_EVENT_STORE", esdb)],
            "VEZA_EVENT_STORE: must be embedded",
        ),
        (
            &[("VEZA_EVENT_STORE_LISTEN", "0.0.0.0:0")],
            "VEZA_EVENT_STORE_LISTEN: 0.0.0.0:0 can be reached from other machines",
        ),
        (&[("VEZA_LOG", "veza=loud")], "VEZA_LOG: must be a filter"),
        (&[("VEZA_HTTP", &address)], &format!("can't listen on {address} (setting http)")),
        (
            &[("VEZA_EVENT_STORE_LISTEN", &address)],
            &format!("can't listen on {address} (setting event_store_listen)"),
        ),
    ];
    for (settings, because) in table {
        fails(&data, serve(&data, settings), because).await;
        assert!(!data.join("events").exists(), "{because}: it left an event store");
    }
}

/// Given a log in JSON, then what stops the start is a document too; and given a connection string
/// that can't be read, then what is secret in it is not repeated.
#[tokio::test]
async fn what_stops_the_start_is_told_as_the_log_is_and_without_secrets() {
    let folder = folder();
    let data = folder.path().join("data");
    let json = [("VEZA_LOG_FORMAT", "json"), ("VEZA_HTTP", "8080")];
    let said = ended(serve(&data, &json)).await.stderr;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert!(said["message"].as_str().unwrap().starts_with("VEZA_HTTP: must be"), "{said}");
    assert!(said["level"] == "ERROR" && said["timestamp"].is_string(), "{said}");
    let esdb = [
        ("VEZA_EVENT_STORE", "esdb://admin:hush@127.0.0.1:x?tls=false"),
        ("VEZA_DATABASE_URL", "postgres://veza@127.0.0.1:1/veza"),
    ];
    let said = fails(&data, serve(&data, &esdb), "the setting event_store: ").await;
    assert!(!said.contains("hush"), "{said}");
}

/// Given a PostgreSQL whose certificate is to be believed whatever name it has, then TLS is begun.
#[tokio::test]
async fn postgresql_is_reached_by_tls_with_any_name() {
    const TLS_HANDSHAKE: u8 = 0x16;
    let folder = folder();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("postgres://veza@{address}/veza?sslmode=verify-ca");
    let starting = ended(serve(folder.path(), &[("VEZA_DATABASE_URL", &url)]));
    let answering = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"S").await.unwrap();
        socket.read_u8().await.unwrap()
    };
    tokio::select! {
        began = answering => assert_eq!(began, TLS_HANDSHAKE),
        output = starting => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Given ports that a process which was killed still holds, then the next one waits, and serves
/// once they are let go.
#[tokio::test]
async fn ports_that_are_just_let_go_are_waited_for() {
    let folder = folder();
    let data = folder.path().join("data");
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, event_store] = held.each_ref().map(|held| held.local_addr().unwrap().to_string());
    let log = folder.path().join("log");
    let mut command =
        serve(&data, &[("VEZA_HTTP", &http), ("VEZA_EVENT_STORE_LISTEN", &event_store)]);
    command.args(["--role", "event-store"]).env("VEZA_LOG", "veza=debug");
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let let_go = async {
        eventually("it waits", async || {
            fs::read_to_string(&log).unwrap().contains("it is waited for")
        })
        .await;
        drop(held);
    };
    let starting = Process::as_it_is(&data, "run.json", command);
    let (process, ()) = tokio::join!(starting, let_go);
    assert_eq!(process.url, format!("http://{http}"));
    process.stop().await;
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_said_to_be_ignored() {
    let folder = folder();
    let mut command = veza(folder.path(), &["config"]);
    command.env("VEZA_NOPE", "1");
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.lines().count() == 1, "{told}");
    assert!(told.starts_with("veza: VEZA_NOPE is ignored: "), "{told}");

    // Beside the platform too; there is no store to look into.
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(folder.path()).arg("streams").env("VEZA_NOPE", "1");
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && told.lines().count() == 2, "{told}");
    assert!(told.starts_with("veza-replay: VEZA_NOPE is ignored: "), "{told}");
}

#[tokio::test]
async fn folders_that_can_not_be_used_are_named() {
    let folder = folder();
    let data = folder.path().join("data");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("data");
    let about = format!("can't use the data folder {} (setting data)", inside.display());
    fails(&inside, serve(&inside, &[]), &about).await;
    // Nobody can write there, not even root.
    let about = "can't use the data folder /proc/veza (setting data)";
    fails(Path::new("/proc/veza"), serve(Path::new("/proc/veza"), &[]), about).await;
    let objects = [("VEZA_OBJECTS", "file:///proc/objects")];
    let about = "can't use the folder /proc/objects (setting objects)";
    fails(&data, serve(&data, &objects), about).await;
    let keys = [("VEZA_KEYS", "/proc/keys")];
    let about = "can't open the keys of people (setting keys): can't use the folder /proc/keys";
    fails(&data, serve(&data, &keys), about).await;
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let about = format!("everybody may write in {} (setting data)", open.display());
    fails(&open, serve(&open, &[]), &about).await;
    // With its usual log: that one is the only line.
    fs::create_dir_all(data.join("keys")).unwrap();
    let bad = data.join("keys/digest-key");
    fs::write(&bad, "short").unwrap();
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
    let about = format!("the file {} does not hold a key", bad.display());
    fails(&data, veza(&data, &["serve"]), &about).await;
    fs::remove_file(&bad).unwrap();
    // What failed does not keep the folder from the next start.
    Process::platform(&data, &[]).await.stop().await;
}

#[tokio::test]
async fn parts_that_are_missing_are_named() {
    let folder = folder();
    let data = folder.path().join("data");
    let nothing = folder.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let path = [("PATH", nothing.to_str().unwrap())];
    fails(&data, serve(&data, &path), "ffmpeg is missing").await;

    let nowhere = [("VEZA_DATABASE_URL", "postgres://veza@127.0.0.1:1/veza")];
    let about = "PostgreSQL at 127.0.0.1:1 can't be reached (setting database_url): ";
    let said = fails(&data, serve(&data, &nowhere), about).await;
    assert!(said.contains("Connection refused"), "{said}");
    let server = std::env::var("VEZA_TEST_DATABASE_URL").expect("set by make test");
    let (server, _) = server.rsplit_once('/').unwrap();
    let missing = [("VEZA_DATABASE_URL", &*format!("{server}/no_such_database"))];
    let said = fails(&data, serve(&data, &missing), "PostgreSQL at ").await;
    assert!(said.contains("database \"no_such_database\" does not exist"), "{said}");

    if rustix::process::geteuid().is_root() {
        // Without root nothing can be hidden; `postgres::binaries` is tested by itself as well.
        let mut hidden = Command::new("unshare");
        let script = "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"";
        hidden.args(["-m", "sh", "-c", script, "sh"]);
        let plain = serve(&data, &[]);
        let plain = plain.as_std();
        hidden.arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => hidden.env(name, value),
                None => hidden.env_remove(name),
            };
        }
        fails(&data, hidden, "PostgreSQL is not installed").await;
    } else {
        assert!(std::env::var_os("CI").is_none(), "a user who may mount is needed");
        eprintln!("skipped in part: a user who may mount is needed");
    }
}

#[tokio::test]
async fn the_second_on_a_data_folder_stops_and_the_first_goes_on() {
    let folder = folder();
    let data = folder.path();
    let first = Process::platform(data, &[]).await;
    let output = ended(serve(data, &[])).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.starts_with("veza: the event store in ") && told.lines().count() == 1, "{told}");
    assert!(told.contains("is open in another process"), "{told}");
    assert_eq!(first.get("/readyz").await.status(), 200);
    assert_eq!(first.sign_up("nina", "artist").await.0, 201);
    first.stop().await;
}

#[tokio::test]
async fn whoever_waits_for_a_store_can_be_stopped() {
    let folder = folder();
    let data = folder.path();
    let esdb = [("VEZA_EVENT_STORE", "esdb://127.0.0.1:1?tls=false")];
    let mut child = serve(data, &esdb).spawn().unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("event store  waiting for it"), "{line}");
    let pid = child.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), child.wait()).await;
    assert_eq!(ended.expect("at once").unwrap().code(), Some(0));
    eventually("nothing is left", async || !data.join("run.json").exists()).await;
}
