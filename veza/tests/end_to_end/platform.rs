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
const POLL: Duration = Duration::from_millis(50);

/// A running platform; killed when this is dropped.
pub struct Platform {
    data: TempDir,
    process: Child,
    url: String,
    client: Client,
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let polling = async {
        while !condition().await {
            // poll
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

impl Platform {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        // The private PostgreSQL runs as another user when this one is root.
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let (process, url) = launch(&data).await;
        Self { data, process, url, client: Client::new() }
    }

    pub async fn kill_and_restart(&mut self) {
        self.process.kill().await.unwrap();
        fs::remove_file(self.data.path().join("run.json")).unwrap();
        (self.process, self.url) = launch(&self.data).await;
    }

    pub async fn stop(mut self) {
        let pid = self.process.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(ended.expect("ends in time").unwrap().success());
    }

    /// Where its doors are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
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

    /// The token in the mail to this address.
    pub fn mailed_token(&self, email: &str) -> String {
        let folder = self.data.path().join("outbox/email");
        let mails = fs::read_dir(folder).unwrap();
        let texts = mails.map(|mail| fs::read_to_string(mail.unwrap().path()).unwrap());
        let mail = texts.into_iter().find(|text| text.contains(email)).expect("a mail was sent");
        let line = mail.lines().find_map(|line| line.strip_prefix("Token: "));
        line.expect("it has a token").trim().to_owned()
    }

    /// What `veza-replay --json` prints, beside the running platform.
    pub async fn replay(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_veza-replay"))
            .args(["--json", "--data"])
            .arg(self.data.path())
            .args(args)
            .output()
            .await
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
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

async fn launch(data: &TempDir) -> (Child, String) {
    let process = Command::new(env!("CARGO_BIN_EXE_veza"))
        .args(["serve", "--data"])
        .arg(data.path())
        .env("VEZA_HTTP", "127.0.0.1:0")
        .env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:0")
        .env("VEZA_PUBLIC_URL", "http://veza.test")
        .env_remove("VEZA_DATABASE_URL")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let file = data.path().join("run.json");
    eventually("the platform is ready", async || file.exists()).await;
    let run: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    (process, format!("http://{}", run["http"].as_str().unwrap()))
}
