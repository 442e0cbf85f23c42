//! ClickHouse: the suite on both engines, and what a server that is down, slow or cut off does.

use std::sync::Arc;

use event_schemas::analytics::{PlayEvent, TrackPlayed};
use event_schemas::{PlayId, TrackId, UserId};
use event_store::{EventStore, Position};
use projections::analytics::{PlayStatistics, TrackPlays, conformance};
use projections::clickhouse::plays::MODEL;
use projections::clickhouse::{ClickHouse, ClickHousePlays, ClickHousePlaysProjection};
use projections::postgres::Plays;
use projections::postgres::plays::{MODEL as POSTGRES, PlaysProjection};
use projections::*;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database;
use crate::door::{Door, Mode};
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, start, until};

/// The address of the server that the tests share.
fn address() -> String {
    let Ok(url) = std::env::var("VEZA_TEST_CLICKHOUSE_URL") else {
        panic!("VEZA_TEST_CLICKHOUSE_URL is not set: run the tests through `make test`");
    };
    url.strip_prefix("http://").expect("it is http").to_owned()
}

/// A database of the test's own, behind a door.
struct Stage {
    door: Door,
    server: ClickHouse,
    plays: ClickHousePlays,
    pool: PgPool,
    store: Arc<MemoryStore>,
    track: TrackId,
}

impl Stage {
    async fn new(mode: Mode) -> Self {
        let door = Door::before(&address(), mode).await;
        let name = format!("plays_{}", Uuid::new_v4().simple());
        let server = ClickHouse::open(&format!("{}/?database={name}", door.url)).expect("a URL");
        let plays = ClickHousePlays::new(server.clone());
        let (pool, store) = (database::fresh().await, MemoryStore::new());
        Self { door, server, plays, pool, store, track: TrackId(Uuid::new_v4()) }
    }

    fn projection(&self) -> Arc<ClickHousePlaysProjection> {
        Arc::new(ClickHousePlaysProjection::new(self.server.clone()))
    }

    fn start(&self) -> Runner {
        start(&self.pool, &self.store, vec![self.projection(), Arc::new(PlaysProjection)])
    }

    /// So many listenings, each of another listener.
    fn play(&self, times: u64) -> Position {
        let mut position = Position::START;
        for _ in 0..times {
            let (play_id, track_id) = (PlayId(Uuid::new_v4()), self.track);
            let (artist_id, listener_id) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
            let played = TrackPlayed {
                play_id,
                track_id,
                artist_id,
                listener_id,
                listened_ms: 1_000,
                heard_until: None,
            };
            position = self.store.put::<PlayEvent>(play_id, played);
        }
        position
    }

    async fn assert_plays(&self, plays: u64) {
        let expected = TrackPlays { plays, listeners: plays, listened_ms: plays * 1_000 };
        assert_eq!(self.plays.of_track(self.track).await.expect("it is answered"), expected);
    }

    async fn rebuild(&self) -> RebuildProgress {
        let store: Arc<dyn EventStore> = self.store.clone();
        let rebuild = Rebuild {
            pool: self.pool.clone(),
            store,
            projection: self.projection(),
            on_poison: OnPoison::Stop,
            cancel: CancellationToken::new(),
        };
        rebuild.run(Box::new(|_| {})).await.expect("it is rebuilt")
    }

    async fn sql(&self, statement: &str) {
        let client = ::clickhouse::Client::default().with_url(format!("http://{}", address()));
        let client = client.with_database(self.database());
        client.query(statement).execute().await.expect("it is run");
    }

    fn database(&self) -> &str {
        self.server.database()
    }
}

#[tokio::test]
async fn both_engines_count_alike() {
    let stage = Stage::new(Mode::Open).await;
    let runner = stage.start();
    let record = async |listenings: Vec<(TrackPlayed, chrono::DateTime<chrono::Utc>)>| {
        let mut last = Position::START;
        for (played, at) in listenings {
            last = stage.store.put_at::<PlayEvent>(played.play_id, played, at);
        }
        reached(&runner, &[MODEL, POSTGRES], last).await;
    };
    let built = stage.store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    reached(&runner, &[MODEL, POSTGRES], built).await;
    conformance::holds(&stage.plays, record).await;
    conformance::holds(&Plays::new(stage.pool.clone()), record).await;
    assert_eq!(parked_events(&stage.pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn what_was_inserted_and_not_confirmed_counts_once() {
    let stage = Stage::new(Mode::Open).await;
    let runner = stage.start();
    let position = stage.play(10);
    reached(&runner, &[MODEL], position).await;
    stage.door.cut_answers_to_inserts(3);
    let position = stage.play(50);
    reached(&runner, &[MODEL], position).await;
    assert_eq!(stage.door.cuts_left(), 0, "the door did cut answers off");
    stage.assert_plays(60).await;
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_repetition_in_other_batches_and_without_tokens_counts_once() {
    let stage = Stage::new(Mode::Open).await;
    let runner = stage.start();
    let position = stage.play(20);
    reached(&runner, &[MODEL], position).await;
    assert!(runner.drain(LIMIT).await);
    // As after a restore of PostgreSQL: the checkpoint is older than the rows, batches differ.
    let back = "UPDATE projection.checkpoints SET position = 7, pinned_position = NULL";
    sqlx::query(back).execute(&stage.pool).await.expect("it is set back");
    sqlx::query("TRUNCATE plays_v1.track_days, plays_v1.track_listeners")
        .execute(&stage.pool)
        .await
        .expect("it is emptied");
    let runner = stage.start();
    let position = stage.play(5);
    reached(&runner, &[MODEL], position).await;
    stage.assert_plays(25).await;
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn while_it_is_down_others_go_on_and_nothing_is_lost() {
    let stage = Stage::new(Mode::Shut).await;
    let runner = stage.start();
    let position = stage.play(30);
    reached(&runner, &[POSTGRES], position).await;
    let down = stage.plays.of_track(stage.track).await;
    assert!(matches!(down, Err(QueryError::Analytics(_))), "{down:?}");
    until(|| async {
        let rows = checkpoints(&stage.pool).await.unwrap_or_default();
        let row = rows.iter().find(|row| row.name == MODEL.name);
        row.is_some_and(|row| !row.built && row.status == "retrying" && row.reason.is_some())
    })
    .await;

    stage.door.turn(Mode::Open);
    reached(&runner, &[MODEL], position).await;
    stage.assert_plays(30).await;

    stage.door.turn(Mode::Shut);
    let position = stage.play(10);
    reached(&runner, &[POSTGRES], position).await;
    until(|| async {
        let rows = checkpoints(&stage.pool).await.expect("they are read");
        let row = rows.iter().find(|row| row.name == MODEL.name).expect("it was built");
        row.status == "retrying" && row.failing_position == Some(Position::new(31))
    })
    .await;
    stage.door.turn(Mode::Open);
    reached(&runner, &[MODEL], position).await;
    stage.assert_plays(40).await;
    assert_eq!(parked_events(&stage.pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn readers_are_told_in_time_and_by_type_what_is_wrong() {
    let stage = Stage::new(Mode::Open).await;
    let unbuilt = stage.plays.of_track(stage.track).await;
    assert!(matches!(unbuilt, Err(QueryError::NotBuilt)), "{unbuilt:?}");
    for mode in [Mode::Shut, Mode::Silent, Mode::Lying] {
        stage.door.turn(mode);
        let wrong = stage.plays.days(stage.track, 7).await;
        assert!(matches!(wrong, Err(QueryError::Analytics(_))), "{mode:?}: {wrong:?}");
    }
}

#[tokio::test]
async fn a_rebuild_equals_the_live_model_and_a_swap_can_be_repeated() {
    let stage = Stage::new(Mode::Open).await;
    let runner = stage.start();
    let position = stage.play(3_000);
    reached(&runner, &[MODEL], position).await;
    stage.sql("TRUNCATE TABLE plays_v1").await;
    stage.assert_plays(0).await;
    let progress = stage.rebuild().await;
    assert_eq!(progress.events, 3_000);
    stage.assert_plays(3_000).await;
    stage.projection().swap_shadow().await.expect("nothing is left to swap");
    stage.assert_plays(3_000).await;

    // What a swap that was cut off after the exchange leaves: the old model as the shadow.
    stage.sql("CREATE TABLE plays_v1_build AS plays_v1 COMMENT ''").await;
    stage.projection().swap_shadow().await.expect("the old model is dropped");
    stage.assert_plays(3_000).await;
    let position = stage.play(1);
    reached(&runner, &[MODEL], position).await;
    stage.assert_plays(3_001).await;
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_server_that_lost_its_table_gets_all_of_it_again() {
    let stage = Stage::new(Mode::Open).await;
    let runner = stage.start();
    let position = stage.play(40);
    reached(&runner, &[MODEL], position).await;
    stage.sql("DROP TABLE plays_v1").await;
    // The running projection finds out by the next batch, a started one at once.
    let position = stage.play(2);
    reached(&runner, &[MODEL], position).await;
    stage.assert_plays(42).await;
    assert!(runner.drain(LIMIT).await);
}
