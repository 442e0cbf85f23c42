//! A log in the place of the one that a model was filled from: the model is not served as if it
//! were of this one, and is not thrown away unasked either.

use std::sync::Arc;
use std::time::Duration;

use event_store::{EventStore, Position};
use projections::postgres::Models;
use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::runner::Status;
use projections::{Checkpoint, OnPoison, Rebuild, WaitError, Watermarks, checkpoints};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, register, start, until};

/// Fills the model from a log of three events.
async fn filled(pool: &PgPool) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    let mut position = Position::START;
    for handle in ["ada", "bob", "cyd"] {
        (_, position) = register(&store, handle);
    }
    let runner = start(pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], position).await;
    assert!(runner.drain(LIMIT).await);
    store
}

async fn row(pool: &PgPool) -> Checkpoint {
    checkpoints(pool).await.expect("they are read").remove(0)
}

async fn refused(pool: &PgPool, why: &str) {
    until(async || {
        let row = row(pool).await;
        row.is_of_another_log() && row.reason.is_some_and(|reason| reason.contains(why))
    })
    .await;
}

#[tokio::test]
async fn a_model_of_another_log_is_left_alone_until_it_is_rebuilt() {
    let pool = database::fresh().await;
    filled(&pool).await;
    let other = MemoryStore::new();
    let runner = start(&pool, &other, vec![Arc::new(ProfilesProjection)]);
    refused(&pool, "the log ends at 0, before 3").await;
    assert!(row(&pool).await.reason.expect("it says why").contains("veza-replay rebuild profiles"));

    // It grows past the place where the model is.
    let (eve, first) = register(&other, "eve");
    let mut last = first;
    for handle in ["fay", "gus", "hal", "ian"] {
        (_, last) = register(&other, handle);
    }
    refused(&pool, "the event at 3 is another one").await;
    for watermarks in [runner.watermarks(), Watermarks::remote(pool.clone())] {
        let waited = watermarks.wait_for(&[MODEL], first, Duration::from_millis(20)).await;
        assert!(matches!(waited, Err(WaitError::NotYetVisible { .. })), "{waited:?}");
        let asked = watermarks.check_log(MODEL, LIMIT).await;
        assert!(matches!(asked, Err(WaitError::AnotherLog { model: MODEL })), "{asked:?}");
    }
    assert_eq!(row(&pool).await.position, Position::new(3), "nothing was applied");

    let rebuild = Rebuild {
        pool: pool.clone(),
        store: other.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let rebuilt = rebuild.run(Box::new(|_| {})).await.expect("it is rebuilt");
    assert_eq!((rebuilt.events, rebuilt.position), (5, last));
    let (_, next) = register(&other, "joy");
    reached(&runner, &[MODEL], next).await;
    for watermarks in [runner.watermarks(), Watermarks::remote(pool.clone())] {
        watermarks.check_log(MODEL, LIMIT).await.expect("it is of this log now");
    }
    let profiles = Models::new(&pool).profiles;
    assert!(profiles.by_id(eve).await.expect("it is read").is_some());
    assert!(profiles.by_handle("ada").await.expect("it is read").is_none(), "it was of the other");
    assert_eq!(row(&pool).await.status, Status::Running.as_str());
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_model_of_another_log_stays_so_while_the_store_is_away() {
    let pool = database::fresh().await;
    filled(&pool).await;
    let other = MemoryStore::new();
    let runner = start(&pool, &other, vec![Arc::new(ProfilesProjection)]);
    refused(&pool, "the log ends at 0, before 3").await;
    other.away(true);
    // What the first look came to was written down before the second.
    until(async || other.refusals() >= 2).await;
    for watermarks in [runner.watermarks(), Watermarks::remote(pool.clone())] {
        let asked = watermarks.check_log(MODEL, LIMIT).await;
        assert!(matches!(asked, Err(WaitError::AnotherLog { model: MODEL })), "{asked:?}");
    }
    assert!(row(&pool).await.is_of_another_log());
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn nobody_counts_on_a_model_before_its_log_was_looked_at() {
    let pool = database::fresh().await;
    let store = filled(&pool).await;
    for (log, is_of_it) in [(store, true), (MemoryStore::new(), false)] {
        let lease = hold_lease(&pool).await;
        let runner = start(&pool, &log, vec![Arc::new(ProfilesProjection)]);
        let watermarks = runner.watermarks();
        // Long enough for a process that waits for the lease to look at the row.
        let asked = watermarks.check_log(MODEL, Duration::from_secs(1)).await;
        assert!(matches!(asked, Err(WaitError::NotLookedAt { model: MODEL })), "{asked:?}");
        let (asked, freed) = tokio::join!(watermarks.check_log(MODEL, LIMIT), lease.close());
        freed.expect("it closes");
        match asked {
            Ok(()) => assert!(is_of_it),
            Err(error) => assert!(!is_of_it && matches!(error, WaitError::AnotherLog { .. })),
        }
        assert!(runner.drain(LIMIT).await);
    }
}

/// Another process takes the model's lease, and does nothing with it until it goes.
async fn hold_lease(pool: &PgPool) -> PgConnection {
    let mut lease = PgConnection::connect_with(&pool.connect_options()).await.expect("it answers");
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("veza projection run {MODEL}"))
        .execute(&mut lease)
        .await
        .expect("the lease is free");
    lease
}

#[tokio::test]
async fn who_runs_no_model_looks_in_the_store_whose_log_it_is() {
    let pool = database::fresh().await;
    let store = filled(&pool).await;
    let looking_at = |store: &Arc<MemoryStore>| {
        Watermarks::remote(pool.clone()).looking_at(Arc::clone(store) as Arc<dyn EventStore>)
    };
    let of_it = looking_at(&store);
    of_it.check_log(MODEL, LIMIT).await.expect("it is of this log");
    // Nobody has run the model since the log is another one: its row says nothing of that.
    let other = MemoryStore::new();
    let asked = looking_at(&other).check_log(MODEL, LIMIT).await;
    assert!(matches!(asked, Err(WaitError::AnotherLog { model: MODEL })), "{asked:?}");
    assert!(!row(&pool).await.is_of_another_log());
    for handle in ["eve", "fay", "gus", "hal"] {
        register(&other, handle);
    }
    let asked = looking_at(&other).check_log(MODEL, LIMIT).await;
    assert!(matches!(asked, Err(WaitError::AnotherLog { model: MODEL })), "{asked:?}");

    // Who has not looked yet waits for the store; who has goes by that.
    store.away(true);
    let asked = looking_at(&store).check_log(MODEL, LIMIT).await;
    assert!(matches!(asked, Err(WaitError::NotLookedAt { model: MODEL })), "{asked:?}");
    of_it.check_log(MODEL, LIMIT).await.expect("it was seen to be of this log");
}

#[tokio::test]
async fn a_log_that_comes_back_is_followed_where_it_was_left() {
    let pool = database::fresh().await;
    let store = filled(&pool).await;
    let runner = start(&pool, &MemoryStore::new(), vec![Arc::new(ProfilesProjection)]);
    refused(&pool, "the log ends at 0").await;
    assert!(runner.drain(LIMIT).await);

    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (dot, position) = register(&store, "dot");
    reached(&runner, &[MODEL], position).await;
    let profiles = Models::new(&pool).profiles;
    assert!(profiles.by_id(dot).await.expect("it is read").is_some());
    assert!(profiles.by_handle("ada").await.expect("it is read").is_some());
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn an_event_of_others_and_one_that_is_gone_leave_the_log_known() {
    let pool = database::fresh().await;
    let store = filled(&pool).await;
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let elsewhere = store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    reached(&runner, &[MODEL], elsewhere).await;
    assert!(runner.drain(LIMIT).await);
    store.remove(elsewhere);

    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    let (_, position) = register(&store, "dot");
    reached(&runner, &[MODEL], position).await;
    assert!(runner.drain(LIMIT).await);
}
