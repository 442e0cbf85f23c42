//! The private PostgreSQL, with real servers in folders of their own: it keeps what it was given
//! through stops, kills and a Veza that went without a word.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{ConnectOptions, PgConnection};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use veza::postgres::{PostgresError, PrivatePostgres};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that any user can enter, as the server may run as another one.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

async fn start(above: &TempDir) -> PrivatePostgres {
    PrivatePostgres::start(&above.path().join("postgres")).await.unwrap()
}

async fn connect(postgres: &PrivatePostgres) -> PgConnection {
    postgres.connect_options().connect().await.unwrap()
}

async fn note(postgres: &PrivatePostgres, text: &str) {
    let connection = &mut connect(postgres).await;
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (note text)")
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO notes VALUES ($1)").bind(text).execute(connection).await.unwrap();
}

async fn notes(postgres: &PrivatePostgres) -> Vec<String> {
    let connection = &mut connect(postgres).await;
    sqlx::query_scalar("SELECT note FROM notes ORDER BY note").fetch_all(connection).await.unwrap()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let polling = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await; // poll
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Starts a server from a runtime that then vanishes, as that of a killed Veza does: nothing is
/// stopped, waited for or released but by the system.
fn start_and_vanish(folder: &Path) -> u32 {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let postgres = runtime.block_on(PrivatePostgres::start(folder)).unwrap();
    runtime.block_on(note(&postgres, "before"));
    let pid = postgres.pid();
    std::mem::forget(postgres);
    // Ends its tasks where they stand, and returns when all are gone.
    drop(runtime);
    pid
}

#[tokio::test]
async fn it_keeps_its_data_through_a_stop_and_is_gone_after_one() {
    let above = open_folder();
    let postgres = start(&above).await;
    note(&postgres, "kept").await;
    let pid = postgres.pid();
    postgres.stop().await.unwrap();
    assert!(!is_running(pid));

    let postgres = start(&above).await;
    assert_eq!(notes(&postgres).await, ["kept"]);
    let by_url: sqlx::postgres::PgConnectOptions = postgres.url().parse().unwrap();
    let database: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut by_url.connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(database, "veza");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn it_stays_out_of_our_process_group_and_is_not_root() {
    let above = open_folder();
    let postgres = start(&above).await;
    let stat = fs::read_to_string(format!("/proc/{}/stat", postgres.pid())).unwrap();
    let group = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap();
    assert_eq!(group, postgres.pid().to_string());
    let status = fs::read_to_string(format!("/proc/{}/status", postgres.pid())).unwrap();
    assert!(!status.contains("\nUid:\t0\t"), "{status}");
    let folder = fs::metadata(above.path().join("postgres")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn killed_it_comes_back_with_all_that_was_committed() {
    let above = open_folder();
    let postgres = start(&above).await;
    for round in ["1", "2"] {
        note(&postgres, round).await;
        let pid = postgres.pid();
        kill(pid);
        until("it is started again", || postgres.pid() != pid).await;
    }
    assert_eq!(notes(&postgres).await, ["1", "2"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn one_left_by_a_vanished_veza_is_adopted_watched_and_stopped() {
    let above = open_folder();
    let folder = above.path().join("postgres");
    let left = std::thread::spawn(move || start_and_vanish(&folder)).join().unwrap();
    let postgres = start(&above).await;
    assert_eq!(postgres.pid(), left);
    assert_eq!(notes(&postgres).await, ["before"]);

    kill(left);
    until("the adopted one is started again", || postgres.pid() != left).await;
    assert_eq!(notes(&postgres).await, ["before"]);
    let pid = postgres.pid();
    postgres.stop().await.unwrap();
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_second_veza_is_refused_and_does_no_harm() {
    let above = open_folder();
    let postgres = start(&above).await;
    let second = PrivatePostgres::start(&above.path().join("postgres")).await.unwrap_err();
    assert!(matches!(second, PostgresError::InUse { .. }), "{second}");
    note(&postgres, "first").await;
    assert_eq!(notes(&postgres).await, ["first"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_just_let_go_is_waited_for() {
    let above = open_folder();
    start(&above).await.stop().await.unwrap();
    let folder = above.path().join("postgres");
    let held = fs::File::open(folder.join("lock")).unwrap();
    held.lock().unwrap();
    let mut starting = pin!(PrivatePostgres::start_when_free(&folder));
    assert!(futures::poll!(starting.as_mut()).is_pending(), "it was refused once");
    drop(held);
    starting.await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn stale_notes_with_the_number_of_another_process_do_not_keep_it_down() {
    let above = open_folder();
    start(&above).await.stop().await.unwrap();
    let folder = above.path().join("postgres");
    let note = format!("{}\n/elsewhere\n1\n5432\n\n\n  1 1\nready\n", std::process::id());
    fs::write(folder.join("data/postmaster.pid"), &note).unwrap();
    fs::write(folder.join(".s.PGSQL.5432.lock"), &note).unwrap();
    start(&above).await.stop().await.unwrap();
}

#[tokio::test]
async fn dropped_it_is_told_to_end() {
    let above = open_folder();
    let postgres = start(&above).await;
    let pid = postgres.pid();
    drop(postgres);
    until("it ends", || !is_running(pid)).await;
}

#[tokio::test]
async fn given_up_while_it_starts_it_is_not_left_behind() {
    let above = open_folder();
    start(&above).await.stop().await.unwrap();
    let folder = above.path().join("postgres");
    let pid_of = || {
        let note = fs::read_to_string(folder.join("data/postmaster.pid")).ok()?;
        note.lines().next()?.parse::<u32>().ok()
    };
    let spawned = until("it is spawned", || pid_of().is_some());
    // Whether it was ready before we gave up is the machine's to say; gone it must be either way.
    tokio::select! {
        biased;
        () = spawned => {}
        started = PrivatePostgres::start(&folder) => drop(started.unwrap()),
    }
    until("it ends", || pid_of().is_none_or(|pid| !is_running(pid))).await;
}

#[tokio::test]
async fn what_keeps_it_down_is_said_in_one_line() {
    let above = open_folder();
    let long = above.path().join("l".repeat(100));
    let said = PrivatePostgres::start(&long).await.unwrap_err();
    assert!(matches!(said, PostgresError::PathTooLong { .. }), "{said}");

    let folder = above.path().join("postgres");
    start(&above).await.stop().await.unwrap();
    fs::write(folder.join("data/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let said = PrivatePostgres::start(&folder).await.unwrap_err().to_string();
    assert!(said.contains("did not start: ") && said.contains("postgres.log"), "{said}");
    assert_eq!(said.lines().count(), 1);

    fs::write(folder.join("data/PG_VERSION"), "8\n").unwrap();
    let said = PrivatePostgres::start(&folder).await.unwrap_err();
    assert!(matches!(said, PostgresError::OtherVersion { major: 8, .. }), "{said}");
}

#[tokio::test]
async fn a_folder_closed_to_its_user_is_named() {
    let above = tempfile::tempdir().unwrap();
    fs::set_permissions(above.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let result = PrivatePostgres::start(&above.path().join("postgres")).await;
    if geteuid().is_root() {
        let said = result.unwrap_err().to_string();
        let expected = format!("user postgres, who cannot enter {}:", above.path().display());
        assert!(said.contains(&expected), "{said}");
    } else {
        // It runs as ourselves, for whom the folder is open.
        result.unwrap().stop().await.unwrap();
    }
}
