//! The runner's promises: exactly once in effect, poison stays with its key, rebuilds are unseen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use event_schemas::UserId;
use event_schemas::user::{UserEmailConfirmed, UserEvent, UserRegistered};
use event_store::{EventStore, Position};
use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::postgres::{Models, projections};
use projections::*;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database;
use crate::memory_store::MemoryStore;

pub const LIMIT: Duration = Duration::from_secs(20);

pub fn start(pool: &PgPool, store: &Arc<MemoryStore>, what: Vec<Arc<dyn Projection>>) -> Runner {
    let store: Arc<dyn EventStore> = store.clone();
    Runner::start(pool.clone(), store, what, CancellationToken::new())
}

pub async fn reached(runner: &Runner, models: &[ModelId], position: Position) {
    let waited = runner.watermarks().wait_for(models, position, LIMIT).await;
    waited.expect("the models come that far");
}

fn registered(handle: &str) -> (UserId, UserEvent) {
    let user_id = UserId(Uuid::new_v4());
    let (handle, display_name) = (handle.to_owned(), handle.to_uppercase());
    (user_id, UserRegistered { user_id, handle, display_name }.into())
}

pub fn register(store: &MemoryStore, handle: &str) -> (UserId, Position) {
    let (user, event) = registered(handle);
    (user, store.put::<UserEvent>(user, event))
}

pub async fn until<F: Future<Output = bool>>(mut there: impl FnMut() -> F) {
    let poll = async {
        while !there().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, poll).await.expect("it happens in time");
}

#[tokio::test]
async fn events_before_and_after_the_start_are_applied_once() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (before, _) = register(&store, "before");
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (after, position) = register(&store, "after");
    reached(&runner, &[MODEL], position).await;
    let profiles = Models::new(&pool).profiles;
    assert_eq!(profiles.by_ids(&[before, after]).await.expect("they are read").len(), 2);
    assert!(runner.drain(LIMIT).await);

    let (late, position) = register(&store, "late");
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], position).await;
    assert!(profiles.by_id(late).await.expect("it is read").is_some());
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
    let rows = checkpoints(&pool).await.expect("they are read");
    assert_eq!((rows[0].position, rows[0].status.as_str()), (position, "stopped"));
}

#[tokio::test]
async fn the_checkpoint_follows_the_log_over_events_of_others() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    register(&store, "somebody");
    let position = store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    reached(&runner, &[MODEL], position).await;
    // A process that runs nothing sees the same in PostgreSQL.
    let remote = Watermarks::remote(pool.clone());
    remote.wait_for(&[MODEL], position, LIMIT).await.expect("it is committed");
    let beyond = Position::new(position.get() + 1);
    let waited = remote.wait_for(&[MODEL], beyond, Duration::from_millis(50)).await;
    assert!(matches!(waited, Err(WaitError::NotYetVisible { reached, .. }) if reached == position));
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_poison_event_parks_its_key_in_order_and_nothing_else() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let bad = UserId(Uuid::new_v4());
    let poison =
        store.put_raw("user", &bad.to_string(), "UserRegistered", b"{\"handle\":7}".to_vec());
    let behind = store.put::<UserEvent>(bad, UserEmailConfirmed { user_id: bad });
    let (good, position) = register(&store, "good");
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], position).await;
    assert!(Models::new(&pool).profiles.by_id(good).await.expect("it is read").is_some());
    let parked = parked_events(&pool, MODEL).await.expect("they are read");
    assert_eq!(parked.iter().map(|event| event.position).collect::<Vec<_>>(), [poison, behind]);
    assert!(parked[0].reason.contains("not readable"), "{}", parked[0].reason);

    // One that comes live is parked behind them, too.
    let live = store.put::<UserEvent>(bad, UserEmailConfirmed { user_id: bad });
    reached(&runner, &[MODEL], live).await;
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read").len(), 3);
    assert!(runner.drain(LIMIT).await);
}

/// Profiles whose projector refuses some handles until told otherwise, and may fail for a while.
struct Moody {
    refuses: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

#[async_trait]
impl Projection for Moody {
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
        target: Target,
        connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        ProfilesProjection.apply(target, connection, events).await?;
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(ApplyError::Transient("just now".into()));
        }
        assert!(!self.panics.swap(false, Ordering::SeqCst), "moody");
        for envelope in events {
            if let Event::User(UserEvent::UserRegistered(event)) = &envelope.event
                && event.handle.starts_with("refused")
                && self.refuses.load(Ordering::SeqCst)
            {
                return Err(ApplyError::poison("the handle is refused"));
            }
        }
        Ok(())
    }
}

fn moody(refuses: bool, fails: bool, panics: bool) -> (Arc<Moody>, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(refuses));
    let moody = Moody {
        refuses: refuses.clone(),
        fails: Arc::new(AtomicBool::new(fails)),
        panics: Arc::new(AtomicBool::new(panics)),
    };
    (Arc::new(moody), refuses)
}

#[tokio::test]
async fn what_comes_before_poison_of_its_key_is_applied_whatever_else_is_in_the_batch() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (good, _) = register(&store, "good");
    let unreadable =
        store.put_raw("user", &good.to_string(), "UserEmailConfirmed", b"{\"user_id\":7}".to_vec());
    let (_, refused) = register(&store, "refused");
    let (projection, _) = moody(true, false, false);
    let runner = start(&pool, &store, vec![projection]);
    reached(&runner, &[MODEL], refused).await;
    assert!(Models::new(&pool).profiles.by_id(good).await.expect("it is read").is_some());
    let parked = parked_events(&pool, MODEL).await.expect("they are read");
    let positions: Vec<Position> = parked.iter().map(|event| event.position).collect();
    assert_eq!(positions, [unreadable, refused]);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_parked_key_is_tried_again_when_asked_for() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (first, _) = register(&store, "first");
    let (refused, _) = register(&store, "refused");
    let confirmed = store.put::<UserEvent>(refused, UserEmailConfirmed { user_id: refused });
    let (projection, refuses) = moody(true, false, false);
    let runner = start(&pool, &store, vec![projection]);
    reached(&runner, &[MODEL], confirmed).await;
    let profiles = Models::new(&pool).profiles;
    assert!(profiles.by_id(first).await.expect("it is read").is_some());
    assert!(profiles.by_id(refused).await.expect("it is read").is_none());
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read").len(), 2);

    refuses.store(false, Ordering::SeqCst);
    let asked = retry_parked(&pool, MODEL, Some(&format!("user-{refused}"))).await;
    assert_eq!(asked.expect("it is asked"), 2);
    until(|| async { parked_events(&pool, MODEL).await.expect("they are read").is_empty() }).await;
    let profile = profiles.by_id(refused).await.expect("it is read").expect("it is there now");
    assert!(profile.email_confirmed);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn all_keys_are_tried_again_while_events_come_and_somebody_waits() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    register(&store, "refused1");
    let (_, last) = register(&store, "refused2");
    let (projection, refuses) = moody(true, false, false);
    let runner = start(&pool, &store, vec![projection]);
    reached(&runner, &[MODEL], last).await;
    refuses.store(false, Ordering::SeqCst);
    let watermarks = runner.watermarks();
    let far = Position::new(u64::from(u32::MAX));
    let waits = tokio::spawn(async move { watermarks.wait_for(&[MODEL], far, LIMIT * 2).await });
    assert_eq!(retry_parked(&pool, MODEL, None).await.expect("it is asked"), 2);
    let mut number = 0;
    let at_work = || {
        number += 1;
        register(&store, &format!("another{number}"));
        async { parked_events(&pool, MODEL).await.expect("they are read").is_empty() }
    };
    until(at_work).await;
    waits.abort();
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn failures_and_panics_are_tried_again_and_leave_nothing_half_done() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (projection, _) = moody(false, true, true);
    let runner = start(&pool, &store, vec![projection]);
    let (user, position) = register(&store, "patient");
    reached(&runner, &[MODEL], position).await;
    assert!(Models::new(&pool).profiles.by_id(user).await.expect("it is read").is_some());
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    let rows = checkpoints(&pool).await.expect("they are read");
    assert_eq!((rows[0].status.as_str(), rows[0].reason.as_deref()), ("running", None));
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_runner_goes_on_after_postgresql_cut_its_connections() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let runner = start(&pool, &store, projections());
    let (_, position) = register(&store, "one");
    reached(&runner, &[MODEL], position).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    pool.execute(cut).await.expect("they are cut");
    let (user, position) = register(&store, "two");
    reached(&runner, &[MODEL], position).await;
    let found = Models::new(&pool).profiles.by_handle("two").await.expect("it is read");
    assert_eq!(found.map(|profile| profile.user_id), Some(user));
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn two_processes_share_the_work_of_one() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let first = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (_, position) = register(&store, "one");
    reached(&first, &[MODEL], position).await;
    let second = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (_, position) = register(&store, "two");
    reached(&second, &[MODEL], position).await;
    assert!(first.drain(LIMIT).await);
    let (user, position) = register(&store, "three");
    reached(&second, &[MODEL], position).await;
    assert!(Models::new(&pool).profiles.by_id(user).await.expect("it is read").is_some());
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    assert!(second.drain(LIMIT).await);
}

#[tokio::test]
async fn a_rebuild_is_unseen_and_equals_the_live_model() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    for number in 0..3_000 {
        register(&store, &format!("before{number}"));
    }
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (_, position) = register(&store, "last");
    reached(&runner, &[MODEL], position).await;
    sqlx::query("UPDATE profiles_v1.profiles SET bio = 'spoilt'")
        .execute(&pool)
        .await
        .expect("it is spoilt");

    let count = "SELECT count(*) FROM profiles_v1.profiles";
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (pool, done, store) = (pool.clone(), done.clone(), store.clone());
        tokio::spawn(async move {
            let mut added = 0;
            while !done.load(Ordering::SeqCst) {
                let seen: i64 =
                    sqlx::query_scalar(count).fetch_one(&pool).await.expect("always readable");
                assert!(seen >= 3_001, "a half-built model of {seen} was read");
                register(&store, &format!("during{added}"));
                added += 1;
            }
            added
        })
    };
    let rebuild = Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let progress = rebuild.run(Box::new(|_| {})).await.expect("it is rebuilt");
    done.store(true, Ordering::SeqCst);
    let added: i64 = reader.await.expect("the reader saw whole models only");
    assert!(progress.events >= 3_001 && progress.events_per_second() > 0.0);
    reached(&runner, &[MODEL], store.head().await.expect("it is there")).await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.expect("readable");
    assert_eq!(after, 3_001 + added);
    let spoilt = "SELECT count(*) FROM profiles_v1.profiles WHERE bio <> ''";
    let spoilt: i64 = sqlx::query_scalar(spoilt).fetch_one(&pool).await.expect("readable");
    assert_eq!(spoilt, 0);
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_cancelled_rebuild_drops_what_it_has_built() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    for number in 0..5_000 {
        register(&store, &format!("user{number}"));
    }
    let rebuild = |cancel: &CancellationToken| Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: cancel.clone(),
    };
    let cancel = CancellationToken::new();
    let told = cancel.clone();
    let listener = Box::new(move |progress: RebuildProgress| {
        assert!(progress.events < 5_000, "it did not stop between two batches");
        told.cancel();
    });
    let ended = rebuild(&cancel).run(listener).await;
    assert!(matches!(ended, Err(RebuildError::Cancelled)), "{ended:?}");
    let left = "SELECT count(*) FROM information_schema.schemata
                WHERE schema_name LIKE 'profiles%'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.expect("readable");
    assert_eq!(left, 0, "something of the rebuild is left");
    let done = rebuild(&CancellationToken::new()).run(Box::new(|_| {})).await;
    assert_eq!(done.expect("it is rebuilt").events, 5_000);
}

/// The schemas of the model that are not the live one.
async fn leftovers(pool: &PgPool) -> Vec<String> {
    let sql = "SELECT nspname::text FROM pg_namespace
               WHERE nspname LIKE 'profiles%' AND nspname <> 'profiles_v1' ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(pool).await.expect("they are listed")
}

#[tokio::test]
async fn what_a_killed_rebuild_leaves_is_dropped_by_the_next_start() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    for number in 0..5_000 {
        register(&store, &format!("user{number}"));
    }
    let projection: Arc<dyn Projection> = Arc::new(ProfilesProjection);
    let runner = start(&pool, &store, vec![projection.clone()]);
    let head = store.head().await.expect("it is there");
    reached(&runner, &[MODEL], head).await;
    assert!(runner.drain(LIMIT).await);

    // A process that dies closes its connections without a word, and so does a task that is gone.
    let (told, mut batches) = tokio::sync::mpsc::unbounded_channel();
    let rebuild = Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: projection.clone(),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let progress = move |_| told.send(()).expect("it is listened to");
    let rebuilding = tokio::spawn(rebuild.run(Box::new(progress)));
    batches.recv().await.expect("a batch is done");
    rebuilding.abort();
    assert!(rebuilding.await.expect_err("it is gone").is_cancelled());
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE locktype = 'advisory' AND datname = current_database()";
    let none = |count: i64| count == 0;
    until(|| async { none(sqlx::query_scalar(locks).fetch_one(&pool).await.expect("counted")) })
        .await;
    sqlx::query("CREATE SCHEMA profiles_v1_old").execute(&pool).await.expect("it is made");
    assert_eq!(leftovers(&pool).await, ["profiles_v1_build", "profiles_v1_old"]);

    let runner = start(&pool, &store, vec![projection]);
    until(|| async { leftovers(&pool).await.is_empty() }).await;
    let (user, position) = register(&store, "late");
    reached(&runner, &[MODEL], position).await;
    let profiles = Models::new(&pool).profiles;
    assert!(profiles.by_id(user).await.expect("it is read").is_some());
    assert!(runner.drain(LIMIT).await);
}

/// Another rebuild of the same model is waited for a little, as one that was killed is on its way
/// out; and not for ever.
#[tokio::test]
async fn a_rebuild_waits_for_one_that_was_killed() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    register(&store, "one");
    let rebuild = || Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let mut other = pool.acquire().await.expect("a connection").detach();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("veza projection rebuild {MODEL}"))
        .execute(&mut other)
        .await
        .expect("nobody else has it");
    let refused = rebuild().run(Box::new(|_| {})).await;
    assert!(matches!(refused, Err(RebuildError::Busy(MODEL))), "{refused:?}");
    let (rebuilt, closed) = tokio::join!(rebuild().run(Box::new(|_| {})), other.close());
    closed.expect("it is closed");
    assert_eq!(rebuilt.expect("it is rebuilt").events, 1);
}

#[tokio::test]
async fn an_index_that_a_later_release_brought_is_made_without_a_rebuild() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (_, position) = register(&store, "one");
    let runner = start(&pool, &store, projections());
    let all: Vec<_> = projections().iter().map(|projection| projection.id()).collect();
    reached(&runner, &all, position).await;
    assert!(runner.drain(LIMIT).await);
    pool.execute("DROP INDEX sagas_v1.sagas_by_position").await.expect("it is dropped");
    pool.execute("DROP SCHEMA profiles_v1 CASCADE").await.expect("it is dropped");

    let runner = start(&pool, &store, projections());
    let position = store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    reached(&runner, &all, position).await;
    let there = "SELECT to_regclass('sagas_v1.sagas_by_position') IS NOT NULL";
    let there: bool = sqlx::query_scalar(there).fetch_one(&pool).await.expect("it is told");
    assert!(there, "runs of sagas are paged without an index");
    // What is not there at all is not made somewhere else.
    let elsewhere = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let elsewhere: i64 = sqlx::query_scalar(elsewhere).fetch_one(&pool).await.expect("counted");
    assert_eq!(elsewhere, 0);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_strict_rebuild_stops_at_poison_and_leaves_the_live_model() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (user, _) = register(&store, "kept");
    let poison = store.put_raw("user", "x", "UserTeleported", b"{}".to_vec());
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], poison).await;
    let rebuild = Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let error = rebuild.run(Box::new(|_| {})).await.expect_err("it stops");
    let RebuildError::Batch(projections::runner::BatchError::Poison { position, reason }) = error
    else {
        panic!("another error");
    };
    assert_eq!(position, poison);
    assert!(reason.contains("UserTeleported"), "{reason}");
    assert!(Models::new(&pool).profiles.by_id(user).await.expect("it is read").is_some());
    assert!(runner.drain(LIMIT).await);
}

/// Keeps batches in a sink of its own, and is cut off after the first one is in it.
struct Outside {
    batches: Mutex<Vec<Vec<Position>>>,
    cut_off: AtomicBool,
    hold: Arc<Semaphore>,
}

const OUTSIDE: ModelId = ModelId { name: "outside", version: 1 };

#[async_trait]
impl Projection for Outside {
    fn id(&self) -> ModelId {
        OUTSIDE
    }

    fn categories(&self) -> &'static [&'static str] {
        &["user"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn pins_batches(&self) -> bool {
        true
    }

    async fn apply(
        &self,
        _: Target,
        _: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        let batch = events.iter().map(Envelope::position).collect();
        self.batches.lock().expect("no test panics with it").push(batch);
        if self.cut_off.load(Ordering::SeqCst) {
            self.hold.acquire().await.expect("it is open").forget();
            return Err(ApplyError::Transient("cut off".into()));
        }
        Ok(())
    }
}

/// A batch of three that is cut off when it is in the sink; what is done meanwhile; and the batches
/// that follow.
async fn batches_after_a_cut(meanwhile: impl Fn(&MemoryStore, Position)) -> Vec<Vec<u64>> {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (hold, cut_off) = (Arc::new(Semaphore::new(0)), AtomicBool::new(false));
    let outside = Arc::new(Outside { batches: Mutex::default(), cut_off, hold: hold.clone() });
    let runner = start(&pool, &store, vec![outside.clone()]);
    let first = store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    reached(&runner, &[OUTSIDE], first).await;
    assert!(runner.drain(LIMIT).await);

    outside.cut_off.store(true, Ordering::SeqCst);
    for handle in ["one", "two", "three"] {
        register(&store, handle);
    }
    let end = store.head().await.expect("it is there");
    let runner = start(&pool, &store, vec![outside.clone()]);
    let batches = || outside.batches.lock().expect("no test panics with it").clone();
    until(|| async { batches().len() == 1 }).await;
    meanwhile(&store, end);
    outside.cut_off.store(false, Ordering::SeqCst);
    hold.add_permits(1);
    reached(&runner, &[OUTSIDE], store.head().await.expect("it is there")).await;
    assert!(runner.drain(LIMIT).await);
    batches().into_iter().map(|batch| batch.into_iter().map(Position::get).collect()).collect()
}

#[tokio::test]
async fn a_batch_that_may_be_in_a_sink_is_repeated_with_the_same_ends() {
    let batches = batches_after_a_cut(|store, _| {
        register(store, "four");
    })
    .await;
    assert_eq!(batches, [vec![2, 3, 4], vec![2, 3, 4], vec![5]]);
}

#[tokio::test]
async fn a_batch_whose_last_event_is_gone_is_not_waited_for() {
    let batches = batches_after_a_cut(|store, end| store.remove(end)).await;
    assert_eq!(batches, [vec![2, 3, 4], vec![2, 3]]);
}
