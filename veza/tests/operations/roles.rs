//! Every role as a process of its own: the shortest story through all of them, and each killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::process::{
    PATIENCE, Process, database, ended, eventually, folder, free_address, postgres_runs_in, veza,
};

const ROLES: [&str; 5] = ["event-store", "projector", "saga", "query-api", "command-api"];

/// What the processes share.
pub struct Shared {
    settings: Vec<(&'static str, String)>,
    /// Fixed, so that the others find the store again after it was killed.
    listens: String,
}

impl Shared {
    pub async fn new(data: &Path) -> Self {
        let listens = free_address();
        let settings = vec![
            ("VEZA_DATABASE_URL", database().await),
            ("VEZA_OBJECTS", format!("file://{}", data.join("objects").display())),
            ("VEZA_KEYS", data.join("keys").display().to_string()),
        ];
        Self { settings, listens }
    }

    /// Gives all that are started from now on this setting.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    /// The same without it.
    pub fn unset(&mut self, name: &str) {
        self.settings.retain(|(known, _)| *known != name);
    }

    /// What `veza-replay projections` says with these settings.
    pub async fn projections(&self, data: &Path) -> Vec<Value> {
        let mut listing = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        listing.args(["projections", "--json", "--data"]).arg(data);
        listing.envs(self.settings.iter().cloned());
        let output = ended(listing).await;
        let listed = String::from_utf8(output.stdout).unwrap();
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts a role as a process of its own.
    pub async fn start(&self, data: &Path, role: &str) -> Process {
        let keeps_events = role == "event-store";
        let file = if keeps_events { "run.json".to_owned() } else { format!("run-{role}.json") };
        Process::start(data, &file, self.command(data, role)).await
    }

    /// Has all models made anew, while the processes are at work.
    pub async fn rebuild(&self, data: &Path) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        command.arg("--data").arg(data).args(["rebuild", "--all"]);
        command.env("VEZA_EVENT_STORE", format!("esdb://{}?tls=false", self.listens));
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        let rebuilt = ended(command).await;
        assert!(rebuilt.status.success(), "{rebuilt:?}");
    }

    /// What starts it.
    pub fn command(&self, data: &Path, role: &str) -> Command {
        let mut command = veza(data, &["serve", "--role", role]);
        command.env("VEZA_EVENT_STORE_LISTEN", &self.listens);
        if role != "event-store" {
            command.env("VEZA_EVENT_STORE", format!("esdb://{}?tls=false", self.listens));
        }
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        command
    }
}

/// Uploads and publishes a track through the doors of commands, and finds it through those of
/// queries.
async fn publish_and_see(processes: &BTreeMap<&str, Process>, nina: &str, title: &str) {
    let (commands, queries) = (&processes["command-api"], &processes["query-api"]);
    let upload = commands.request(Method::POST, "/api/v1/uploads", Some(nina)).body(tone());
    let upload: Value = upload.send().await.unwrap().json().await.unwrap();
    let new = json!({ "upload_id": upload["id"], "title": title, "tags": [] });
    let (status, track) = commands.post("/api/v1/tracks", Some(nina), new).await;
    assert_eq!(status, 201, "{track}");
    let id = track["id"].as_str().unwrap();
    let publication = format!("/api/v1/tracks/{id}/publication");
    eventually("the track is published", async || {
        commands.post(&publication, Some(nina), Value::Null).await.0 == 200
    })
    .await;
    let (_, published) = commands.post(&publication, Some(nina), Value::Null).await;
    let query = json!({ "query": format!("{{ track(id: \"{id}\") {{ title published }} }}") });
    let request = queries.request(Method::POST, "/graphql", Some(nina)).json(&query);
    let request = request.header("veza-min-position", published["position"].as_str().unwrap());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["data"]["track"], json!({ "title": title, "published": true }));
}

#[tokio::test]
async fn split_roles_work_together_and_each_may_be_killed() {
    let folder = folder();
    let data = folder.path();
    let shared = Shared::new(data).await;
    let mut processes = BTreeMap::new();
    // The others are first, and wait for the store.
    std::fs::create_dir(data.join("events")).unwrap();
    let (projector, saga, queries, commands, store) = tokio::join!(
        shared.start(data, "projector"),
        shared.start(data, "saga"),
        shared.start(data, "query-api"),
        shared.start(data, "command-api"),
        shared.start(data, "event-store"),
    );
    for (role, process) in ROLES.into_iter().zip([store, projector, saga, queries, commands]) {
        eventually(&format!("{role} is ready"), async || {
            process.get("/readyz").await.status() == 200
        })
        .await;
        processes.insert(role, process);
    }
    assert_eq!(processes["projector"].get("/api/v1/tracks").await.status(), 404);
    assert_eq!(processes["query-api"].get("/docs").await.status(), 404);

    let nina = processes["command-api"].member("nina", "artist").await;
    publish_and_see(&processes, &nina, "First").await;
    for role in ROLES {
        processes.remove(role).unwrap().kill().await;
        if role == "event-store" {
            let commands = &processes["command-api"];
            eventually("commands are not ready without the store", async || {
                let answer = commands.get("/readyz").await;
                let status = answer.status();
                let problem: Value = answer.json().await.unwrap();
                status == 503 && problem["detail"].as_str().unwrap().starts_with("event_store: ")
            })
            .await;
        }
        if role == "projector" {
            // But for that of profiles, which the command API needs and fills then.
            let queries = &processes["query-api"];
            eventually("nobody fills the models, and that is told", async || {
                let ready: Value = queries.get("/readyz").await.json().await.unwrap();
                ready["parts"]["projections"]["tracks_v3"] == "not run"
            })
            .await;
            let mut listing = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
            listing.args(["projections", "--json", "--data"]).arg(data);
            listing.envs(shared.settings.iter().cloned());
            let output = ended(listing).await;
            let listed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{listed}");
            let mut others = listed.lines().filter(|line| !line.contains(r#""profiles""#));
            assert!(others.all(|line| line.contains(r#""status":"not run""#)), "{listed}");
        }
        processes.insert(role, shared.start(data, role).await);
        for (other, process) in &processes {
            eventually(&format!("{other} is ready after {role} was killed"), async || {
                process.get("/readyz").await.status() == 200
            })
            .await;
        }
        publish_and_see(&processes, &nina, &format!("After {role}")).await;
    }
    for role in ROLES.iter().rev() {
        processes.remove(role).unwrap().stop().await;
    }
}

/// Given a store that is a server of its own, takes TLS alone and asks who calls, then all roles
/// work over it, and go on by themselves when it was killed and is back.
#[tokio::test]
async fn split_roles_work_over_a_server_that_takes_tls_alone_and_is_killed() {
    let folder = folder();
    let data = folder.path();
    let mut shared = Shared::new(data).await;
    let listens = shared.listens.clone();
    let serve = async || {
        let mut command = veza(data, &["event-store", "--dev"]);
        command.env("EVENTSTORE_LISTEN", &listens).stdout(Stdio::null()).stderr(Stdio::inherit());
        let run_file = data.join("run.json");
        let _ = std::fs::remove_file(&run_file);
        let server = command.spawn().unwrap();
        eventually("it serves", async || run_file.exists()).await;
        server
    };
    let mut server = serve().await;
    let root = data.join("tls/ca.crt");
    let secured = format!("esdb://admin:changeit@{listens}?tls=true&tlsCaFile={}", root.display());
    shared.set("VEZA_EVENT_STORE", &secured);
    let (projector, saga, queries, commands) = tokio::join!(
        shared.start(data, "projector"),
        shared.start(data, "saga"),
        shared.start(data, "query-api"),
        shared.start(data, "command-api"),
    );
    let started = [projector, saga, queries, commands];
    let processes: BTreeMap<_, _> = ROLES.into_iter().skip(1).zip(started).collect();
    let all_are_ready = async || {
        for (role, process) in &processes {
            eventually(&format!("{role} is ready"), async || {
                process.get("/readyz").await.status() == 200
            })
            .await;
        }
    };
    all_are_ready().await;
    let nina = processes["command-api"].member("nina", "artist").await;
    publish_and_see(&processes, &nina, "Before").await;
    server.kill().await.unwrap();
    eventually("commands are not ready without the store", async || {
        processes["command-api"].get("/readyz").await.status() == 503
    })
    .await;
    server = serve().await;
    all_are_ready().await;
    publish_and_see(&processes, &nina, "After").await;
    for process in processes.into_values() {
        process.stop().await;
    }
    server.kill().await.unwrap();
}

/// `veza-replay events --json` on the folder.
fn listing(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.args(["events", "--json", "--data"]).arg(data).env_remove("VEZA_DATABASE_URL");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn nobody_takes_the_folder_from_a_store_that_others_wait_for() {
    let folder = folder();
    let data = folder.path();
    let shared = Shared::new(data).await;
    std::fs::create_dir(data.join("events")).unwrap();
    let (store, projector) =
        tokio::join!(shared.start(data, "event-store"), shared.start(data, "projector"));
    store.kill().await;
    let output = ended(listing(data)).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    let named = format!("there run projector (process {})", projector.pid());
    assert!(told.contains(&named) && told.lines().count() == 1, "{told}");

    let waiting = tokio::spawn(ended(listing(data)));
    let store = shared.start(data, "event-store").await;
    let output = waiting.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    projector.stop().await;
    store.stop().await;
    assert!(ended(listing(data)).await.status.success(), "nothing runs on it");
}

#[tokio::test]
async fn the_same_role_twice_on_one_folder_has_two_run_files() {
    let folder = folder();
    let data = folder.path();
    let shared = Shared::new(data).await;
    std::fs::create_dir(data.join("events")).unwrap();
    let (store, first) =
        tokio::join!(shared.start(data, "event-store"), shared.start(data, "projector"));
    let own = data.join("run-projector.json");
    let before = std::fs::read_to_string(&own).unwrap();
    let mut command = veza(data, &["serve", "--role", "projector"]);
    command.env("VEZA_EVENT_STORE", format!("esdb://{}?tls=false", shared.listens));
    command.envs(shared.settings.iter().cloned());
    let second = Process::opening(data, &free_address(), command).await;
    let others = data.join(format!("run-projector.{}.json", second.pid()));
    eventually("it has one of its own", async || others.exists()).await;
    assert_eq!(std::fs::read_to_string(&own).unwrap(), before);
    // For who keeps the events; to others it is nothing.
    second.signal("-USR1");
    first.stop().await;
    assert!(others.exists() && !own.exists());
    assert_eq!(second.get("/healthz").await.status(), 200);
    second.stop().await;
    assert!(!others.exists() && data.join("run.json").exists());
    store.stop().await;
}

/// The script, on any free ports.
fn run_roles(data: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/local/run-roles");
    let mut command = Command::new(script);
    command.arg(env!("CARGO_BIN_EXE_veza")).env("VEZA_DATA", data).env("FIRST_PORT", "0");
    command.env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:0").env("TMPDIR", data);
    for name in ["VEZA_DATABASE_URL", "VEZA_EVENT_STORE", "VEZA_OBJECTS", "VEZA_KEYS"] {
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_script_says_in_its_own_words_which_role_died() {
    let folder = folder();
    let data = folder.path();
    let mut script = run_roles(data).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("run-roles: every role runs") {
                let run = std::fs::read(data.join("run-projector.json")).unwrap();
                let run: Value = serde_json::from_slice(&run).unwrap();
                let pid = run["pid"].to_string();
                Command::new("kill").args(["-KILL", &pid]).status().await.unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it starts and ends");
    let output = script.wait_with_output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told, "run-roles: projector ended (code 137): stopping the rest\n");
    assert!(!postgres_runs_in(data));
}

#[tokio::test]
async fn the_script_starts_every_role_and_leaves_nothing_behind() {
    let folder = folder();
    let data = folder.path();
    let mut script = run_roles(data).spawn().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("run-roles: every role runs") {
                let pid = script.id().unwrap().to_string();
                Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
            }
            said.push(line);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it starts and ends");
    assert_eq!(script.wait().await.unwrap().code(), Some(143));
    for name in ["postgres", "event-store", "projector", "saga", "query-api", "command-api"] {
        let of_role = |line: &&String| line.starts_with(&format!("{name:<11} | "));
        let last = said.iter().rfind(of_role).unwrap_or_else(|| panic!("{name} said nothing"));
        assert!(last.ends_with("stopping"), "{last}");
    }
    assert!(!postgres_runs_in(data));
    let left = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter_map(|name| name.into_string().ok()).collect();
    assert!(!left.iter().any(|name| name.starts_with("run") || name.starts_with("veza-roles")));
}

/// A second of a 440 Hz tone, 16 bit, mono, 8 kHz.
pub fn tone() -> Vec<u8> {
    const RATE_HZ: u32 = 8000;
    let samples = (0..RATE_HZ).map(|n| {
        let phase = f64::from(n) * 440.0 * std::f64::consts::TAU / f64::from(RATE_HZ);
        (phase.sin() * 12_000.0) as i16
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let size = u32::try_from(data.len()).unwrap();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + size).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(RATE_HZ.to_le_bytes());
    wav.extend((2 * RATE_HZ).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(size.to_le_bytes());
    wav.extend(data);
    wav
}
