//! One run of the server: making its data, starting or adopting it, and its end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, Connection};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::{PORT, PostgresError, ROLE, binaries, options};

/// Crash recovery replays the write-ahead log, `max_wal_size` of it at most.
const READY_SECONDS_MAX: u64 = 300;
/// How often whoever waits for that is told.
const STILL_WAITING: Duration = Duration::from_secs(15);
/// A fast shutdown ends with a checkpoint.
const FAST_STOP_SECONDS_MAX: u64 = 60;
const IMMEDIATE_STOP_SECONDS_MAX: u64 = 10;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What a killed Veza left starting gets ready, or ends; and the processes of a killed server end
/// by themselves once they see it.
const LEFTOVERS_SECONDS_MAX: u64 = 30;
const POLL: Duration = Duration::from_millis(50);
/// A log longer than this is put aside at the next start.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// What the server is told at each start, so that it holds for data of older Vezas too.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    // The queries are short; compiling them costs more than it brings.
    "jit=off",
    "log_checkpoints=off",
];

/// A server that runs, or ran.
#[derive(Debug)]
pub struct Server {
    data: PathBuf,
    pid: u32,
    /// None when it was adopted: then it is nobody's child, and is looked at instead of waited for.
    child: Option<Child>,
    /// Where in the log what it says begins.
    log_begin: u64,
    /// Whether it was ready once, and is its supervisor's from then on.
    was_ready: bool,
}

impl Drop for Server {
    /// Whoever gives up waiting for a server to start must not leave it behind.
    fn drop(&mut self) {
        if !self.was_ready && self.child.is_some() {
            // Nobody is left to tell that it failed; the next start adopts what did not end.
            let _ = self.signal(Signal::INT);
        }
    }
}

impl Server {
    /// Adopts the server that runs in `folder` or starts one, and waits until it is ready.
    pub async fn start(folder: &Path, account: &Account) -> Result<Server, PostgresError> {
        let data = folder.join("data");
        let log = folder.join("postgres.log");
        let bin = binaries::fitting(&data)?;
        if !data.is_dir() {
            init(&bin, folder, &data, account).await?;
        }
        if let Some(server) = Server::adopt(folder, &data, &log).await? {
            return Ok(server);
        }
        let mut server = Server::spawn(&bin, folder, data, &log, account)?;
        tracing::debug!(pid = server.pid, "private PostgreSQL starts");
        server.ready(folder, &log).await?;
        Ok(server)
    }

    /// The server that an earlier Veza left in `data`, once it is ready; none when nothing is left
    /// of it, not even its notes.
    ///
    /// A server that was only just spawned has no note yet and is in `folder` still, so whoever is
    /// there is looked at again until it has one, or is gone. Of a server that was killed, the
    /// notes stay while one of its processes lives: by them PostgreSQL itself sees the danger. Then
    /// they go: PostgreSQL would do that too, but takes any process that was since given the same
    /// number for that server, and one that was killed and that nobody has buried, and then never
    /// starts again.
    async fn adopt(
        folder: &Path,
        data: &Path,
        log: &Path,
    ) -> Result<Option<Server>, PostgresError> {
        let until = Instant::now() + Duration::from_secs(LEFTOVERS_SECONDS_MAX);
        loop {
            if let Some(pid) = running_in(data) {
                tracing::info!(pid, "private PostgreSQL runs already; adopting it");
                let data = data.to_owned();
                let mut server = Server { data, pid, child: None, log_begin: 0, was_ready: false };
                match server.ready(folder, log).await {
                    // It was on its way out.
                    Err(PostgresError::Start { .. }) => {}
                    done => return done.map(|()| Some(server)),
                }
            }
            if !any_lives_in(&[folder, data])? {
                break;
            }
            if Instant::now() > until {
                return Ok(None);
            }
            sleep(POLL).await;
        }
        for note in [data.join("postmaster.pid"), folder.join(format!(".s.PGSQL.{PORT}.lock"))] {
            match fs::remove_file(&note) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(PostgresError::at(&note, e));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn spawn(
        bin: &Path,
        folder: &Path,
        data: PathBuf,
        log: &Path,
        account: &Account,
    ) -> Result<Server, PostgresError> {
        let output = open_log(log)?;
        let log_begin = output.metadata().map_err(|e| PostgresError::at(log, e))?.len();
        let errors = output.try_clone().map_err(|e| PostgresError::at(log, e))?;
        let mut command = Command::new(bin.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(folder).args(["-p", &PORT.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .env_clear()
            .current_dir(folder)
            .process_group(0);
        account.assume(&mut command);
        let child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|e| PostgresError::at(&bin.join("postgres"), e))?;
        let pid = child.id().expect("it was not waited for yet");
        Ok(Server { data, pid, child: Some(child), log_begin, was_ready: false })
    }

    /// Waits until it takes connections.
    async fn ready(&mut self, folder: &Path, log: &Path) -> Result<(), PostgresError> {
        let options = options(folder);
        let until = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
        let mut told = Instant::now();
        loop {
            let connecting = tokio::time::timeout(CONNECT_MAX, options.connect());
            if let Ok(Ok(connection)) = connecting.await {
                // What was asked is answered; how the farewell went does not matter.
                let _ = connection.close().await;
                self.was_ready = true;
                return Ok(());
            }
            if self.has_ended()? {
                let words = last_words(log, self.log_begin);
                return Err(PostgresError::Start { words, log: log.to_owned() });
            }
            if Instant::now() > until {
                let seconds = READY_SECONDS_MAX;
                return Err(PostgresError::NotReady { seconds, log: log.to_owned() });
            }
            if told.elapsed() > STILL_WAITING {
                told = Instant::now();
                let (words, log) = (last_words(log, self.log_begin), log.display());
                tracing::warn!(words, %log, "PostgreSQL is not ready yet; it is waited for");
            }
            sleep(POLL).await;
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn has_ended(&mut self) -> Result<bool, PostgresError> {
        match &mut self.child {
            Some(child) => {
                let ended = child.try_wait().map_err(|e| PostgresError::at(&self.data, e))?;
                Ok(ended.is_some())
            }
            None => Ok(!lives_in(self.pid, &self.data)),
        }
    }

    /// Returns when it has ended, by whatever cause.
    pub async fn ended(&mut self) -> Result<(), PostgresError> {
        if let Some(child) = &mut self.child {
            child.wait().await.map_err(|e| PostgresError::at(&self.data, e))?;
            return Ok(());
        }
        while !self.has_ended()? {
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends it: first a fast shutdown (sessions are cut, then a checkpoint), and when that takes
    /// too long an immediate one (the next start recovers).
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        let steps =
            [(Signal::INT, FAST_STOP_SECONDS_MAX), (Signal::QUIT, IMMEDIATE_STOP_SECONDS_MAX)];
        for (signal, seconds) in steps {
            self.signal(signal)?;
            let wait = Duration::from_secs(seconds);
            if let Ok(ended) = tokio::time::timeout(wait, self.ended()).await {
                return ended;
            }
        }
        Err(PostgresError::NotEnded { pid: self.pid })
    }

    fn signal(&mut self, signal: Signal) -> Result<(), PostgresError> {
        if self.has_ended()? {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the id of a process that runs is positive");
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(PostgresError::at(&self.data, errno.into())),
        }
    }
}

/// Tells the server that runs on `data` to end: sessions are cut, then it checkpoints.
pub fn tell_to_end(pid: u32, data: &Path) {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(process) = process.filter(|_| lives_in(pid, data)) {
        // Whoever only tells does not wait to hear that it was gone already.
        let _ = kill_process(process, Signal::INT);
    }
}

/// Makes the data folder, aside and then renamed, so that a half-made one is never taken for whole.
async fn init(
    bin: &Path,
    folder: &Path,
    data: &Path,
    account: &Account,
) -> Result<(), PostgresError> {
    let aside = folder.join("data.new");
    // One that a killed Veza left at work would write into what is made here.
    let until = Instant::now() + Duration::from_secs(LEFTOVERS_SECONDS_MAX);
    while any_lives_in(&[folder, &aside])? && Instant::now() < until {
        sleep(POLL).await;
    }
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|e| PostgresError::at(&aside, e))?;
    }
    let mut command = Command::new(bin.join("initdb"));
    command
        .arg("-D")
        .arg(&aside)
        .args(["--username", ROLE, "--encoding", "UTF8", "--locale", "C.UTF-8"])
        // The folder's own permissions are the lock on this door, and there is no other door.
        .args(["--auth-local", "trust", "--auth-host", "reject", "--data-checksums"])
        .current_dir(folder)
        .env_clear()
        .process_group(0);
    account.assume(&mut command);
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| PostgresError::at(&bin.join("initdb"), e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // Behind the cause it only says what it clears away.
        let is_cause = |line: &&str| ["FATAL", "PANIC", "error"].iter().any(|it| line.contains(it));
        let cause = said.lines().find(is_cause).or(said.lines().last());
        let words = cause.unwrap_or("it said nothing").trim().to_owned();
        return Err(PostgresError::Init { words });
    }
    fs::rename(&aside, data).map_err(|e| PostgresError::at(data, e))
}

/// The server that runs on `data`, by the note that it keeps there of itself.
fn running_in(data: &Path) -> Option<u32> {
    let note = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = note.lines().next()?.trim().parse().ok()?;
    lives_in(pid, data).then_some(pid)
}

/// Whether that process is a PostgreSQL on `data`: each of them works in its data folder.
fn lives_in(pid: u32, data: &Path) -> bool {
    let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok();
    works_in.is_some() && works_in == data.canonicalize().ok()
}

/// Whether any process of PostgreSQL works in one of these folders.
fn any_lives_in(folders: &[&Path]) -> Result<bool, PostgresError> {
    let processes = Path::new("/proc");
    let mut pids = fs::read_dir(processes)
        .map_err(|e| PostgresError::at(processes, e))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.any(|pid| folders.iter().any(|folder| lives_in(pid, folder)) && is_postgres(pid)))
}

/// Whether that process runs a program of PostgreSQL, or is about to (it is a Veza until then), and
/// not, say, an operator's shell.
fn is_postgres(pid: u32) -> bool {
    let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    // Behind the name of a program that an upgrade has removed stands a remark.
    let name = program.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    ["postgres", "initdb"].iter().any(|ours| name.starts_with(ours))
        || std::env::current_exe().is_ok_and(|veza| veza == program)
}

fn open_log(path: &Path) -> Result<File, PostgresError> {
    let at = |e| PostgresError::at(path, e);
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1")).map_err(at)?;
    }
    File::options().create(true).append(true).open(path).map_err(at)
}

/// Why it ended, as its log has it from there on: what is before is of servers long gone.
fn last_words(log: &Path, begin: u64) -> String {
    let said = fs::read(log).unwrap_or_default();
    let said = said.get(usize::try_from(begin).unwrap_or(usize::MAX)..).unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    // Whoever knocked too early is told so, which is no cause.
    let is_cause = |line: &&str| {
        let fatal = line.contains("FATAL:") || line.contains("PANIC:");
        fatal && !line.contains("FATAL:  the database system is ")
    };
    let fatal = said.lines().rfind(is_cause);
    fatal.or(said.lines().last()).unwrap_or("it said nothing").trim().to_owned()
}
