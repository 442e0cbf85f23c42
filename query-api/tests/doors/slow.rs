//! Queries that PostgreSQL is slow with: they end, they say why, and they hold up nobody else.

use std::time::Duration;

use access::Role;
use futures::future::join_all;
use projections::postgres::{profiles, tracks};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage};

/// More than there are connections for.
const QUERIES: usize = 20;

#[tokio::test]
async fn slow_queries_are_given_up_and_starve_nobody() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    stage.track(nina, "Song").await;
    stage.caught_up().await;
    let query = "{ tracks { nodes { title } } }";
    let mut holder = stage.pool.acquire().await.unwrap();
    let mut lock = holder.begin().await.unwrap();
    let exclusive = format!("LOCK TABLE {}.tracks IN ACCESS EXCLUSIVE MODE", tracks::MODEL);
    lock.execute(exclusive.as_str()).await.unwrap();
    let slow = join_all((0..QUERIES).map(|_| stage.code(None, query, Value::Null)));
    let meanwhile = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
                       AND database = (SELECT oid FROM pg_database
                                       WHERE datname = current_database())";
        let under_way = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&stage.pool).await.unwrap() < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, under_way).await.expect("queries are under way");
        // Projections go on, and so does whoever needs a connection.
        let otis = stage.user("otis", Role::Listener).await;
        let (head, models) = (stage.store.head().await.unwrap(), [profiles::MODEL]);
        let limit = Duration::from_secs(3);
        stage.watermarks.wait_for(&models, head, limit).await.expect("projections go on");
        let found = sqlx::query("SELECT FROM profiles_v1.profiles WHERE user_id = $1").bind(otis.0);
        let found = timeout(limit, found.fetch_one(&stage.pool)).await;
        found.expect("a connection is free").unwrap();
    };
    let (codes, ()) = tokio::join!(slow, meanwhile);
    let given_up = codes.iter().filter(|code| *code == "TIMEOUT").count();
    let in_vain = codes.iter().filter(|code| *code == "UNAVAILABLE").count();
    assert!(given_up > 0 && in_vain > 0 && given_up + in_vain == QUERIES, "{codes:?}");
    lock.rollback().await.unwrap();
    let seen = stage.data(None, query, Value::Null).await;
    assert_eq!(seen["tracks"]["nodes"][0]["title"], "Song");
    drop(holder);
    stage.end().await;
}
