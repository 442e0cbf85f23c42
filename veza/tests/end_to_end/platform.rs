//! A real platform in a folder of its own, and its public doors.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked for.
pub const POLL: Duration = Duration::from_millis(50);

/// A running platform; killed when this is dropped, and its private PostgreSQL with it.
pub struct Platform {
    data: TempDir,
    settings: Vec<(&'static str, &'static str)>,
    process: Child,
    url: String,
    client: Client,
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

impl Platform {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more settings, each as its variable.
    pub async fn start_with(settings: &[(&'static str, &'static str)]) -> Self {
        let mut platform = Self::begin_start(settings);
        platform.url = ready(platform.data.path(), &mut platform.process).await;
        platform
    }

    /// Starts one in a new folder, and returns at once.
    pub fn begin_start(settings: &[(&'static str, &'static str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        // The private PostgreSQL runs as another user when this one is root.
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let settings = settings.to_vec();
        let process = spawn(data.path(), &settings);
        Self { data, settings, process, url: String::new(), client: Client::new() }
    }

    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// As SIGKILL does.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again, and returns once it is ready.
    pub async fn restart(&mut self) {
        self.begin_restart();
        self.url = ready(self.data.path(), &mut self.process).await;
    }

    /// Starts it again, and returns at once.
    pub fn begin_restart(&mut self) {
        let _ = fs::remove_file(self.data.path().join("run.json"));
        self.process = spawn(self.data.path(), &self.settings);
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Where its HTTP is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it says in `run.json`.
    pub fn run_file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.data.path().join("run.json")).unwrap()).unwrap()
    }

    pub async fn stop(self) {
        self.stop_and_keep().await;
    }

    /// Stops it and keeps its folder: all but a restart is then in vain.
    pub async fn stop_and_keep(mut self) -> Self {
        let pid = self.process.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(ended.expect("ends in time").unwrap().success());
        self
    }

    pub fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::GET, path, None)).await
    }

    /// Sends a command; one whose body is null says no more than its route.
    pub async fn post(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let request = self.request(Method::POST, path, token);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    pub async fn upload(&self, token: &str, audio: Vec<u8>) -> (u16, Value) {
        let request = self.request(Method::POST, "/api/v1/uploads", Some(token));
        self.send(request.body(audio)).await
    }

    /// The mails to this address, the last one first.
    pub fn mails(&self, email: &str) -> Vec<String> {
        let folder = self.data.path().join("outbox/email");
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|mail| mail.unwrap().path()).collect();
        // They are named by their time.
        paths.sort_unstable_by(|one, other| other.cmp(one));
        let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
        texts.filter(|text| text.contains(email)).collect()
    }

    /// The token in the last mail to this address.
    pub fn mailed_token(&self, email: &str) -> String {
        let mail = self.mails(email).into_iter().next().expect("a mail was sent");
        let line = mail.lines().find_map(|line| line.strip_prefix("Token: "));
        line.expect("it has a token").trim().to_owned()
    }

    /// What `veza-replay --json` prints, beside the running platform.
    pub async fn replay(&self, args: &[&str]) -> Value {
        let output = self.replay_command(args).arg("--json").output().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// `veza-replay` on the data folder, to be run.
    pub fn replay_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        command.arg("--data").arg(self.data.path()).args(args);
        command.env_remove("VEZA_DATABASE_URL").kill_on_drop(true);
        command
    }

    /// What the sandbox gateway has done for an order, in order.
    pub fn ledger(&self, order: &str) -> Vec<String> {
        let ledger = self.data.path().join("sandbox-gateway/ledger.jsonl");
        let lines = fs::read_to_string(ledger).unwrap();
        let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_order = entries.filter(|entry| entry["order_id"] == order);
        of_order.map(|e| e["request"]["operation"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Platform {
    /// After a failed test PostgreSQL would outlive the platform, as it does a crash.
    fn drop(&mut self) {
        let note = self.data.path().join("postgres/data/postmaster.pid");
        let note = fs::read_to_string(note).unwrap_or_default();
        let is_server = |pid: &&str| {
            let folder = fs::read_link(format!("/proc/{pid}/cwd"));
            folder.is_ok_and(|folder| folder.ends_with("postgres/data"))
        };
        if let Some(pid) = note.lines().next().filter(is_server) {
            let _ = self.process.start_kill();
            let _ = std::process::Command::new("kill").args(["-QUIT", pid]).status();
        }
    }
}

fn spawn(data: &Path, settings: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_veza"))
        .args(["serve", "--data"])
        .arg(data)
        .env("VEZA_HTTP", "127.0.0.1:0")
        .env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:0")
        .env("VEZA_PUBLIC_URL", "http://veza.test")
        .env_remove("VEZA_DATABASE_URL")
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Its address, once its models are there too.
async fn ready(data: &Path, process: &mut Child) -> String {
    let file = data.join("run.json");
    let polling = async {
        while !file.exists() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the platform did not start: {ended:?}");
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.expect("the platform is ready in time");
    let run: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let url = format!("http://{}", run["http"].as_str().unwrap());
    let polling = async {
        while is_starting(&url).await {
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.expect("its models are there in time");
    url
}

/// Whether it is not ready only until its models are there.
async fn is_starting(url: &str) -> bool {
    let answer = reqwest::get(format!("{url}/readyz")).await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let why = answer["detail"].as_str().unwrap_or_default();
    why.contains("not built yet: ") || why.contains("not looked at yet: ")
}
