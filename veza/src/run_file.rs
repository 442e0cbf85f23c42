//! `<data>/run.json`: where a running platform, or its event store alone, is, for tools and tests.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config::Role;
use crate::listening::{Guarded, Listening};

/// The file that is locked by whoever looks for a name; nothing is ever in it.
const TURN: &str = ".run.lock";

/// How long it is until a file is tried again that could not be written.
const PAUSE: Duration = Duration::from_secs(1);

/// The file of this process, once it can be written; it goes when this is dropped.
#[derive(Debug)]
pub struct RunFile(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// It could not be written yet.
    Trying,
    There(Written),
    /// It is not to be there any more.
    Gone,
}

/// A file that is there.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    /// What it says: by that this process knows it for its own.
    text: String,
}

/// What a run file is to say.
#[derive(Clone, Debug)]
struct Content {
    roles: Vec<Role>,
    http: Option<SocketAddr>,
    event_store: Option<Listening>,
}

/// A process that runs on a data folder, as its run file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pid: u64,
    /// When it began, as the kernel tells it; older releases don't say.
    born: Option<String>,
    roles: Vec<String>,
    event_store: Option<Listening>,
}

impl RunFile {
    /// Says where the doors of this process are, once they are open; whether it is ready is for
    /// `/readyz` to say.
    ///
    /// Of several processes on one data folder `run.json` is the one's that keeps the events in
    /// it; the others', and only then, is `run-<role>.json`, or `run-<role>.<pid>.json` where
    /// another process has that name, and lives. What those left that were killed goes.
    ///
    /// Where it can't be written, as on a full disk, which keeps nobody from reading, that is said,
    /// and tried again until it is there.
    pub fn write(
        data: &Path,
        roles: &[Role],
        http: Option<SocketAddr>,
        event_store: Option<Listening>,
    ) -> Self {
        let content = Content { roles: roles.to_owned(), http, event_store };
        match content.write(data) {
            Ok(written) => Self(Arc::new(Mutex::new(State::There(written)))),
            Err(error) => {
                untold(data, content.event_store.as_ref(), &error);
                let state = Arc::new(Mutex::new(State::Trying));
                tokio::spawn(try_again(data.to_owned(), content, Arc::clone(&state)));
                Self(state)
            }
        }
    }
}

async fn try_again(data: PathBuf, content: Content, state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Trying) {
            return;
        }
        if let Ok(written) = content.write(&data) {
            tracing::info!(file = %written.path.display(), "tools find this process again");
            *state = State::There(written);
            return;
        }
    }
}

impl Content {
    fn write(&self, data: &Path) -> anyhow::Result<Written> {
        let keeps_events = self.roles.contains(&Role::EventStore);
        let roles: Vec<_> = self.roles.iter().map(|role| role.name()).collect();
        let document = json!({
            "pid": std::process::id(),
            "born": born(std::process::id().into()),
            "roles": roles,
            "http": self.http.map(|address| address.to_string()),
            "event_store": self.event_store.as_ref().map(|it| it.address.to_string()),
            "event_store_tls": self.event_store.as_ref().and_then(|it| it.guarded.as_ref()),
        });
        let text = format!("{document:#}\n");
        // Of those that start at once one looks for a name after the other. Without a lock, as on a
        // full disk, two may find the same, and are none the worse for it otherwise. Who keeps the
        // events need not look.
        let lock = || File::create(data.join(TURN)).and_then(|turn| turn.lock().map(|()| turn));
        let turn = (!keeps_events).then(lock);
        if matches!(turn, Some(Ok(_))) {
            remove_those_of_the_gone(data);
        }
        let path = free_name(data, &roles.join("+"), keeps_events);
        let unfinished = data.join(format!(".run-{}.json", std::process::id()));
        fs::write(&unfinished, &text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .inspect_err(|_| drop(fs::remove_file(&unfinished)))
            .with_context(|| format!("can't write {}", path.display()))?;
        drop(turn);
        Ok(Written { path, text })
    }
}

/// The name that no other process has which lives; but that of who keeps the events is always the
/// same, and the data folder's lock sees to it that there is one of them.
fn free_name(data: &Path, roles: &str, keeps_events: bool) -> PathBuf {
    let first = data.join("run.json");
    if keeps_events || !data.join("events").is_dir() && !is_of_another(&first) {
        return first;
    }
    let second = data.join(format!("run-{roles}.json"));
    if !is_of_another(&second) {
        return second;
    }
    data.join(format!("run-{roles}.{}.json", std::process::id()))
}

/// Says what goes wrong while nobody finds this process by its data folder.
fn untold(data: &Path, event_store: Option<&Listening>, error: &anyhow::Error) {
    let error = format!("{error:#}");
    match event_store.and_then(|it| it.connection(data, Some("<user>:<password>")).ok()) {
        Some(connection) => tracing::warn!(
            error,
            "tools don't find this event store by its data folder until that is over: name it to \
             them with --store {connection}"
        ),
        None => tracing::warn!(
            error,
            "tools don't see by the data folder that this process runs until that is over"
        ),
    }
}

/// Removes the run files of processes that are gone from here, while no other process puts one
/// there; whether one of another container is gone, nobody here can see. Who keeps the events may
/// put one there at any time, so `run.json` stays: the next one replaces it.
fn remove_those_of_the_gone(data: &Path) {
    let numbered_by = numbered_by();
    for (path, running) in run_files(data) {
        let is_of_here = running.born.as_ref().is_some_and(|born| born.starts_with(&numbered_by));
        if path != data.join("run.json") && is_of_here && !running.lives() {
            // It misleads nobody: its process is gone.
            let _ = fs::remove_file(path);
        }
    }
}

/// Where the event store of the platform that runs on this folder listens.
pub fn event_store(data: &Path) -> io::Result<Listening> {
    let running = read(&data.join("run.json"))?;
    if !running.lives() {
        return Err(io::Error::other("it is of a platform that is gone"));
    }
    running.event_store.ok_or_else(|| io::Error::other("it has no event store of its own"))
}

/// The processes that run on this folder, by their run files; none of one that is gone.
pub fn running(data: &Path) -> Vec<Running> {
    let mut running: Vec<_> = run_files(data).map(|(_, running)| running).collect();
    running.retain(Running::lives);
    running.sort_by_key(|running| running.pid);
    running
}

/// The files of this folder that are named as run files are, and can be read as such.
fn run_files(data: &Path) -> impl Iterator<Item = (PathBuf, Running)> {
    let entries = fs::read_dir(data).into_iter().flatten().filter_map(Result::ok);
    let is_one =
        |name: &str| name == "run.json" || name.starts_with("run-") && name.ends_with(".json");
    let named = entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_one));
    // One that goes meanwhile is of a process that has ended.
    named.filter_map(|entry| Some((entry.path(), read(&entry.path()).ok()?)))
}

fn read(path: &Path) -> io::Result<Running> {
    let document: Value = serde_json::from_slice(&fs::read(path)?)?;
    let pid = document["pid"].as_u64().ok_or_else(|| io::Error::other("it names no process"))?;
    let roles = document["roles"].as_array();
    let roles = roles.ok_or_else(|| io::Error::other("it names no roles"))?.iter();
    let address = document["event_store"].as_str().and_then(|address| address.parse().ok());
    let guarded: Option<Guarded> = serde_json::from_value(document["event_store_tls"].clone())?;
    let event_store = address.map(|address| Listening { address, guarded });
    let born = name(&document["born"]);
    Ok(Running { pid, born, roles: roles.filter_map(name).collect(), event_store })
}

fn name(text: &Value) -> Option<String> {
    text.as_str().map(str::to_owned)
}

/// Where numbers of processes mean what they do here: in a container they may mean others.
fn numbered_by() -> String {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    namespace.to_string_lossy().into_owned()
}

/// When the process began, by which it is told from a later one of the same number: by whom it was
/// numbered, what boot that was, and how many ticks after it. None where there is no such process,
/// or where it has ended and only its parent has not taken note of it yet (a zombie).
fn born(pid: u64) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may have blanks and brackets in it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    let ticks = fields.nth(18)?;
    (!has_ended).then(|| format!("{} {} {ticks}", numbered_by(), boot.trim()))
}

impl Running {
    fn lives(&self) -> bool {
        let born = born(self.pid);
        born.is_some() && (self.born.is_none() || self.born == born)
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.roles.join("+"), self.pid)
    }
}

/// Whether the file is of another process, which lives.
fn is_of_another(path: &Path) -> bool {
    let running = read(path).ok();
    running.is_some_and(|it| it.pid != u64::from(std::process::id()) && it.lives())
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::There(file) = std::mem::replace(&mut *state, State::Gone)
            && fs::read_to_string(&file.path).is_ok_and(|text| text == file.text)
        {
            // Left behind it misleads nobody for long: its process is gone.
            let _ = fs::remove_file(&file.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that outlives every test.
    const ANOTHER: u64 = 1;

    fn write(data: &Path) -> RunFile {
        RunFile::write(data, &[Role::CommandApi], None, None)
    }

    fn path(file: &RunFile) -> PathBuf {
        match &*file.0.lock().unwrap() {
            State::There(file) => file.path.clone(),
            other => panic!("it is not there: {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_can_not_be_written_is_when_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let file = write(&data);
        fs::create_dir(&data).unwrap();
        let begun = std::time::Instant::now();
        while matches!(*file.0.lock().unwrap(), State::Trying) {
            assert!(begun.elapsed().as_secs() < 30, "it is not written");
            tokio::task::yield_now().await;
        }
        assert_eq!(running(&data).len(), 1);
        drop(file);
        assert_eq!(running(&data).len(), 0);
        // One that never came to be leaves nothing, then or later.
        fs::remove_dir_all(&data).unwrap();
        drop(write(&data));
        assert!(!data.exists());
    }

    #[test]
    fn a_name_is_free_again_when_its_process_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        fs::create_dir(data.join("events")).unwrap();
        let plain = data.join("run-command-api.json");
        let own = data.join(format!("run-command-api.{}.json", std::process::id()));
        let gone = "another boot 1";
        for (pid, born, lives) in [
            (ANOTHER, born(ANOTHER), true),
            (ANOTHER, None, true),
            (ANOTHER, Some(gone.to_owned()), false),
            (u64::from(u32::MAX), None, false),
        ] {
            let document = json!({ "pid": pid, "born": born, "roles": ["command-api"] });
            fs::write(&plain, document.to_string()).unwrap();
            assert_eq!(running(data).len(), usize::from(lives), "{document}");
            let file = write(data);
            assert_eq!(&path(&file), if lives { &own } else { &plain }, "{document}");
            let running = running(data).iter().map(Running::to_string).collect::<Vec<_>>();
            let named = format!("command-api (process {})", std::process::id());
            assert!(running.contains(&named), "{running:?}");
            drop(file);
            assert_eq!((own.exists(), plain.exists()), (false, lives), "{document}");
        }
    }

    #[test]
    fn who_looks_for_a_name_removes_the_files_of_processes_that_are_gone() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let (gone, lives) = (json!(u32::MAX), json!(ANOTHER));
        let (roles, here) = (json!(["saga"]), format!("{} boot 1", numbered_by()));
        let elsewhere = json!({ "pid": gone, "born": "pid:[2] boot 1", "roles": roles });
        let gone_from_here = json!({ "pid": gone, "born": here, "roles": roles });
        let files = [
            ("run-saga.json", gone_from_here.clone(), false),
            ("run-saga.4294967295.json", gone_from_here, false),
            ("run-saga.2.json", elsewhere, true),
            ("run-saga.1.json", json!({ "pid": lives, "roles": roles }), true),
            ("run-notes.json", json!({ "pid": gone }), true),
            ("run-times.json", json!([1, 2]), true),
            ("runway.json", json!({ "pid": gone, "roles": roles }), true),
        ];
        for (name, document, _) in &files {
            fs::write(data.join(name), document.to_string()).unwrap();
        }
        let file = write(data);
        for (name, _, stays) in &files {
            assert_eq!(data.join(name).exists(), *stays, "{name}");
        }
        assert!(path(&file).exists());
    }

    #[test]
    fn a_process_that_has_ended_is_gone_before_its_parent_takes_note() {
        let data = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("cat");
        let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = u64::from(child.id());
        let document = json!({ "pid": pid, "born": born(pid), "roles": ["saga"] });
        fs::write(data.path().join("run-saga.json"), document.to_string()).unwrap();
        assert_eq!(running(data.path()).len(), 1);
        drop(child.stdin.take());
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let begun = std::time::Instant::now();
        while !stat().contains(") Z ") {
            assert!(begun.elapsed().as_secs() < 30, "it has not ended");
            std::thread::yield_now();
        }
        assert_eq!(running(data.path()), []);
        child.wait().unwrap();
    }

    #[test]
    fn a_file_that_another_has_put_in_its_place_stays() {
        let data = tempfile::tempdir().unwrap();
        let file = write(data.path());
        let path = path(&file);
        assert_eq!(path, data.path().join("run.json"));
        let document = json!({ "pid": ANOTHER, "roles": ["event-store"] }).to_string();
        fs::write(&path, &document).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(path).unwrap(), document);
    }
}
