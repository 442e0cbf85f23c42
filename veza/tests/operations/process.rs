//! Processes of the real binary, each in a folder that the test owns.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Polls until the condition holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A folder that PostgreSQL's own user can pass through, as it must when this one is root.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// An address that nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The URL of an empty database of one's own, on a server that outlives the processes of a test.
pub async fn database() -> String {
    let server = std::env::var("VEZA_TEST_DATABASE_URL").expect("set by make test");
    let name = format!("operations_{}", uuid::Uuid::new_v4().simple());
    let options: PgConnectOptions = server.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// `veza ARGS` on the data folder, on any free ports, with no setting from outside.
pub fn veza(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VEZA_") {
            command.env_remove(name);
        }
    }
    command.args(args).arg("--data").arg(data);
    command.env("VEZA_HTTP", "127.0.0.1:0").env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The same, begun by a shell that has done something first.
pub fn veza_after(script: &str, data: &Path, args: &[&str]) -> Command {
    let plain = veza(data, args);
    let plain = plain.as_std();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script} && exec \"$@\""), "sh"]).arg(plain.get_program());
    command.args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What it said and how it ended, which it must do by itself.
pub async fn ended(mut command: Command) -> Output {
    let ending = tokio::time::timeout(PATIENCE, command.output()).await;
    ending.expect("it ends by itself").unwrap()
}

/// A process that serves HTTP.
pub struct Process {
    child: Option<Child>,
    data: PathBuf,
    pub url: String,
    client: Client,
}

impl Process {
    /// Starts it, and waits until its run file says where it is, and its models are there.
    pub async fn start(data: &Path, run_file: &str, mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        Self::as_it_is(data, run_file, command).await
    }

    /// Starts the whole platform, its log in a file.
    pub async fn logging(data: &Path, mut command: Command, log: &Path) -> Self {
        command.stdout(Stdio::null()).stderr(fs::File::create(log).unwrap());
        Self::as_it_is(data, "run.json", command).await
    }

    /// The same, with what it says going where the command has it.
    pub async fn as_it_is(data: &Path, run_file: &str, mut command: Command) -> Self {
        let file = data.join(run_file);
        let _ = fs::remove_file(&file);
        let mut child = command.spawn().unwrap();
        let polling = async {
            while !file.exists() {
                assert!(child.try_wait().unwrap().is_none(), "it ended before it was ready");
                tokio::time::sleep(POLL).await; // poll
            }
        };
        tokio::time::timeout(PATIENCE, polling).await.expect("ready in time");
        let run: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(run["pid"], child.id().unwrap(), "the run file is its own");
        let url = format!("http://{}", run["http"].as_str().unwrap());
        let process =
            Self { child: Some(child), data: data.to_owned(), url, client: Client::new() };
        eventually("its models are there", async || !process.is_starting().await).await;
        process
    }

    /// Whether it is not ready only until its models are there.
    async fn is_starting(&self) -> bool {
        let answer: Value = self.get("/readyz").await.json().await.unwrap();
        let why = answer["detail"].as_str().unwrap_or_default();
        why.contains("not built yet: ") || why.contains("not looked at yet: ")
    }

    /// Starts it with its door at this address, and waits until that is open: it may not be ready.
    pub async fn opening(data: &Path, address: &str, command: Command) -> Self {
        Self::telling(data, address, command, Stdio::null()).await
    }

    /// The same, with what it tells going there.
    pub async fn telling(data: &Path, address: &str, mut command: Command, to: Stdio) -> Self {
        command.stdout(to).stderr(Stdio::inherit());
        Self::as_told(data, address, command).await
    }

    /// The same, with all that it says going where the command has it.
    pub async fn as_told(data: &Path, address: &str, command: Command) -> Self {
        let process = Self::beginning(data, address, command).await;
        eventually("it has started", async || {
            let answer = process.request(Method::GET, "/readyz", None).send().await;
            let answer = async { answer?.json::<Value>().await }.await;
            answer.is_ok_and(|answer| answer["parts"]["process"] != "starting")
        })
        .await;
        process
    }

    /// Starts it with its door at this address, and waits until somebody answers there.
    pub async fn beginning(data: &Path, address: &str, mut command: Command) -> Self {
        command.env("VEZA_HTTP", address);
        let (child, url) = (Some(command.spawn().unwrap()), format!("http://{address}"));
        let process = Self { child, data: data.to_owned(), url, client: Client::new() };
        eventually("its door is open", async || {
            process.request(Method::GET, "/healthz", None).send().await.is_ok()
        })
        .await;
        process
    }

    /// The whole platform.
    pub async fn platform(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = veza(data, &["serve"]);
        command.envs(settings.iter().copied());
        Self::start(data, "run.json", command).await
    }

    /// Calls from this address of this machine from now on, on new connections.
    pub fn call_from(&mut self, address: IpAddr) {
        self.client = Client::builder().local_address(address).build().unwrap();
    }

    pub fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path, None).send().await.unwrap()
    }

    /// Sends a command; the status is 0 when nobody answers.
    pub async fn post(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let request = self.request(Method::POST, path, token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let Ok(response) = request.send().await else {
            return (0, Value::Null);
        };
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub async fn sign_up(&self, handle: &str, role: &str) -> (u16, Value) {
        let new = json!({
            "handle": handle, "display_name": handle, "email": format!("{handle}@example.org"),
            "password": "correct horse", "roles": [role],
        });
        self.post("/api/v1/users", None, new).await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> (u16, Value) {
        let credentials = json!({ "email": email, "password": password });
        self.post("/api/v1/sessions", None, credentials).await
    }

    /// The token of somebody who signed up and confirmed their address by the mail in `data`.
    pub async fn member(&self, handle: &str, role: &str) -> String {
        assert_eq!(self.sign_up(handle, role).await.0, 201);
        self.confirmed(&format!("{handle}@example.org")).await
    }

    /// The token of somebody who signed up, once they confirmed their address by the mail in
    /// `data`.
    pub async fn confirmed(&self, email: &str) -> String {
        let token = json!({ "token": self.mailed_token(email) });
        assert_eq!(self.post("/api/v1/email-confirmations", None, token).await.0, 200);
        let (status, session) = self.log_in(email, "correct horse").await;
        assert_eq!(status, 201, "{session}");
        session["access_token"].as_str().unwrap().to_owned()
    }

    pub fn mailed_token(&self, email: &str) -> String {
        let mails = fs::read_dir(self.data.join("outbox/email")).unwrap();
        let texts = mails.map(|mail| fs::read_to_string(mail.unwrap().path()).unwrap());
        let mail = texts.into_iter().find(|text| text.contains(email)).expect("a mail was sent");
        let line = mail.lines().find_map(|line| line.strip_prefix("Token: "));
        line.expect("it has a token").trim().to_owned()
    }

    pub fn pid(&self) -> String {
        self.child.as_ref().unwrap().id().unwrap().to_string()
    }

    pub fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([name, &self.pid()]).status().unwrap().success());
    }

    /// As SIGKILL does.
    pub async fn kill(mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Waits for its end; the exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended.expect("ends in time").unwrap().code()
    }

    /// As SIGTERM does; it must end well.
    pub async fn stop(self) {
        self.signal("-TERM");
        assert_eq!(self.ended().await, Some(0));
    }
}

impl Drop for Process {
    /// After a failed test it drains still, so that its PostgreSQL does not outlive it.
    fn drop(&mut self) {
        if let Some(pid) = self.child.as_mut().and_then(|child| child.id()) {
            let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
            let gone = || !Path::new(&format!("/proc/{pid}/exe")).exists();
            let tries = PATIENCE.as_millis() / POLL.as_millis();
            for _ in (0..tries).take_while(|_| !gone()) {
                std::thread::sleep(POLL); // poll
            }
        }
    }
}

/// Whether any PostgreSQL works in the folder.
pub fn postgres_runs_in(data: &Path) -> bool {
    !postgres_in(data).is_empty()
}

/// The processes of the PostgreSQL that works in the folder.
pub fn postgres_in(data: &Path) -> Vec<String> {
    let Ok(folder) = fs::canonicalize(data.join("postgres/data")) else {
        return Vec::new();
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let works_in = |process: &fs::DirEntry| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
    };
    let found = processes.filter(works_in);
    found.filter_map(|process| process.file_name().into_string().ok()).collect()
}

/// PostgreSQL that has stopped where it stood; it goes on when this is dropped.
pub struct Frozen(Vec<String>);

impl Frozen {
    pub fn all(data: &Path) -> Self {
        let frozen = Self(postgres_in(data));
        assert!(!frozen.0.is_empty(), "it runs");
        frozen.tell("-STOP");
        frozen
    }

    fn tell(&self, signal: &str) {
        // One of them may have ended meanwhile, as workers of PostgreSQL do.
        let mut telling = std::process::Command::new("kill");
        telling.arg(signal).args(&self.0).status().unwrap();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.tell("-CONT");
    }
}

/// `veza-replay --json ARGS` on the data folder: a document a line.
pub async fn replay(data: &Path, args: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(args).arg("--json").env_remove("VEZA_DATABASE_URL");
    let output = ended(command).await;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
