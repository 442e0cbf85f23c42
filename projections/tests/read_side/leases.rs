//! One process at a time: a process that waits for the lease does no harm, and one that has lost
//! its way to PostgreSQL does not pass for one at work.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use event_store::Position;
use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::{ApplyError, Envelope, Lease, ModelId, Projection, Target, checkpoints};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, register, start, until};

/// The backends that have an advisory lock, or else those that ask for one.
async fn backends(pool: &PgPool, holding: bool) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND query LIKE '%pg_try_advisory_lock%' AND query NOT LIKE '%pg_stat_activity%'
                 AND $1 = pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)
               UNION SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE $1 AND locktype = 'advisory' AND granted AND datname = current_database()";
    sqlx::query_scalar(sql).bind(holding).fetch_all(pool).await.expect("they are listed")
}

async fn status(pool: &PgPool) -> (String, Option<String>) {
    let rows = checkpoints(pool).await.expect("they are read");
    let row = rows.into_iter().find(|row| row.name == MODEL.name).expect("it was built");
    (row.status, row.reason)
}

#[tokio::test]
async fn a_standby_whose_connection_is_cut_says_nothing_of_the_model() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let first = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&first, &[MODEL], register(&store, "one").1).await;
    let second = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    until(|| async { !backends(&pool, false).await.is_empty() }).await;
    let waiting = backends(&pool, false).await;
    let holding = backends(&pool, true).await;
    assert!(waiting.iter().all(|pid| !holding.contains(pid)), "{waiting:?} {holding:?}");
    for pid in &waiting {
        let cut = sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&pool).await;
        cut.expect("it is cut");
    }
    // By the time it waits again it has told of its failure.
    let again = || async { backends(&pool, false).await.iter().any(|pid| !waiting.contains(pid)) };
    until(again).await;
    assert_eq!(backends(&pool, true).await, holding, "the other one was to keep the lease");
    assert_eq!(status(&pool).await, ("running".to_owned(), None));
    assert!(second.drain(LIMIT).await);
    assert_eq!(status(&pool).await, ("running".to_owned(), None));
    assert!(first.drain(LIMIT).await);
    assert_eq!(status(&pool).await, ("stopped".to_owned(), None));
}

#[tokio::test]
async fn work_that_commits_elsewhere_ends_as_its_lease_does() {
    let pool = database::fresh().await;
    let mut first = Lease::take(&pool, "work", || panic!("nobody has it")).await.unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let (others, tells) = (pool.clone(), Arc::clone(&told));
    let waiting = tokio::spawn(async move {
        Lease::take(&others, "work", || tells.store(true, Ordering::SeqCst)).await
    });
    until(|| async { told.load(Ordering::SeqCst) }).await;
    assert_eq!(first.kept(async { 7 }).await.unwrap(), 7);
    for pid in backends(&pool, true).await {
        let cut = sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&pool).await;
        cut.expect("it is cut");
    }
    let lost = timeout(LIMIT, first.kept(pending::<()>())).await.expect("it sees that soon");
    assert!(lost.is_err());
    let mut second = timeout(LIMIT, waiting).await.expect("it is free").unwrap().unwrap();
    assert_eq!(second.kept(async { 8 }).await.unwrap(), 8);
    second.end().await.unwrap();
    Lease::take(&pool, "work", || panic!("nobody has it")).await.unwrap();
}

/// Long enough that silence is noticed, and then told.
const PATIENCE: Duration = Duration::from_secs(60);

async fn signal(backend: i32, what: &str) {
    let sent = Command::new("kill").args([what, &backend.to_string()]).status().await;
    assert!(sent.expect("it is sent").success(), "{what} could not be sent to the backend");
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_given_up_and_told_of() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], register(&store, "one").1).await;
    let holding = backends(&pool, true).await;
    let &[backend] = &holding[..] else {
        panic!("one lease was to be held: {holding:?}");
    };
    signal(backend, "-STOP").await;
    let (_, position) = register(&store, "two");
    let told = timeout(PATIENCE, async {
        while status(&pool).await.0 == "running" {
            sleep(Duration::from_millis(50)).await; // poll
        }
    });
    let told = told.await;
    let (now, reason) = status(&pool).await;
    // Before anything else, so that the server can be stopped whatever comes.
    signal(backend, "-CONT").await;
    assert!(told.is_ok(), "it passes for one at work: {now}, {reason:?}");
    assert!(reason.is_some_and(|reason| reason.contains("has applied nothing")));
    reached(&runner, &[MODEL], position).await;
    assert_eq!(status(&pool).await, ("running".to_owned(), None));
    assert!(runner.drain(LIMIT).await);
}

/// A model whose process hangs as soon as it has the lease: nothing in it goes on.
struct HangingProcess(Mutex<mpsc::Receiver<()>>);

#[async_trait]
impl Projection for HangingProcess {
    fn id(&self) -> ModelId {
        MODEL
    }

    fn categories(&self) -> &'static [&'static str] {
        &["user"]
    }

    fn tables(&self) -> &'static [&'static str] {
        ProfilesProjection.tables()
    }

    async fn apply(
        &self,
        _: Target,
        _: &mut PgConnection,
        _: &[Envelope],
    ) -> Result<(), ApplyError> {
        Ok(())
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        // The whole thread, with its connections: it ends when the test does.
        let _ = self.0.lock().expect("only one waits").recv();
        Ok(true)
    }
}

#[tokio::test]
async fn a_process_that_hangs_loses_its_lease_to_the_one_that_waits() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (release, held) = mpsc::channel();
    let options = (*pool.connect_options()).clone();
    let events = store.clone();
    let hanging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("it is built").block_on(async {
            let pool = PgPoolOptions::new().connect_lazy_with(options);
            let projection = Arc::new(HangingProcess(Mutex::new(held)));
            let runner = start(&pool, &events, vec![projection]);
            // It comes to nothing while it hangs; what it does afterwards disturbs nobody.
            let _ = runner.watermarks().wait_for(&[MODEL], Position::new(1), LIMIT).await;
            assert!(runner.drain(LIMIT).await);
        });
    });
    until(|| async { !backends(&pool, true).await.is_empty() }).await;
    let (_, position) = register(&store, "one");
    let other = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let taken = other.watermarks();
    let taken = taken.wait_for(&[MODEL], position, PATIENCE).await;
    taken.expect("the other one takes over");
    drop(release);
    assert!(other.drain(LIMIT).await);
    tokio::task::spawn_blocking(move || hanging.join().expect("it ends")).await.expect("it ends");
}
