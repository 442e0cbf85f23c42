//! Search: the suite on each engine, and the feed from events.

use std::sync::Arc;
use std::time::Duration;

use event_schemas::audio::{
    Master, TrackCreated, TrackEvent, TrackMasterTakenDown, TrackPublished,
};
use event_schemas::user::{UserEvent, UserProfileChanged, UserRegistered};
use event_schemas::{TrackId, UserId};
use projections::Target;
use projections::search::postgres::MODEL;
use projections::search::{
    PostgresSearch, SearchChange, SearchDocument, SearchFeed, SearchIndex, SearchQuery, Subject,
    conformance,
};
use sqlx::{Connection as _, Executor, PgPool};
use uuid::Uuid;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, start};

fn feed(pool: &PgPool) -> Arc<SearchFeed> {
    Arc::new(SearchFeed::new(MODEL, Arc::new(PostgresSearch::new(pool.clone()))))
}

async fn found(pool: &PgPool, text: &str) -> Vec<Subject> {
    let query = SearchQuery { text: text.to_owned(), kind: None, offset: 0, limit: 10 };
    PostgresSearch::new(pool.clone()).search(&query).await.expect("it is answered")
}

fn draft(store: &MemoryStore, artist_id: UserId, title: &str) -> TrackId {
    let track_id = TrackId(Uuid::new_v4());
    let master = Master {
        object_key: "masters/1".to_owned(),
        sha256: String::new(),
        size_bytes: 1,
        media_type: "audio/wav".to_owned(),
    };
    let (title, tags) = (title.to_owned(), vec!["ambient".to_owned()]);
    let created = TrackCreated { track_id, artist_id, title, tags, master };
    store.put::<TrackEvent>(track_id, created);
    track_id
}

#[tokio::test]
async fn postgresql_does_what_an_index_must() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let runner = start(&pool, &store, vec![feed(&pool)]);
    reached(&runner, &[MODEL], store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec())).await;
    let mut connection = pool.acquire().await.expect("a connection");
    connection.execute("SET search_path = search_v5, public").await.expect("it is set");
    let index = PostgresSearch::new(pool.clone());
    conformance::holds(&index, &mut connection).await;

    // Two letters the wrong way round.
    let titles =
        ["Midnight Train", "Gitarre", "Sine", "Полночь"].map(|title| song(title.to_owned()));
    index.write(Target::Live, &mut connection, &titles).await.expect("they are written");
    for (typed, number) in [
        ("midinght trian", 0),
        ("tarin", 0),
        ("giatrre", 1),
        ("snie", 2),
        ("плоночь", 3),
        ("midnihgt tr", 0),
    ] {
        let SearchChange::Put(wanted) = &titles[number] else { unreachable!("it is put") };
        assert_eq!(found(&pool, typed).await.first(), Some(&wanted.subject), "{typed}");
    }

    // Words of scripts without spaces, wherever they stand.
    let titles = ["東京の夜", "夜明け", "カタカナ", "東へ"].map(|title| song(title.to_owned()));
    index.write(Target::Live, &mut connection, &titles).await.expect("they are written");
    for (typed, number) in
        [("東京", 0), ("京の", 0), ("の夜", 0), ("明け", 1), ("タカ", 2), ("東", 3)]
    {
        let SearchChange::Put(wanted) = &titles[number] else { unreachable!("it is put") };
        assert_eq!(found(&pool, typed).await.first(), Some(&wanted.subject), "{typed}");
    }
    assert!(runner.drain(LIMIT).await);
}

fn song(title: String) -> SearchChange {
    let subject = Subject::Track(TrackId(Uuid::new_v4()));
    SearchChange::Put(SearchDocument { subject, title, handle: None, words: "ada".to_owned() })
}

#[tokio::test]
async fn what_matches_everything_is_neither_ranked_whole_nor_done_for_nobody() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let runner = start(&pool, &store, vec![feed(&pool)]);
    reached(&runner, &[MODEL], store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec())).await;
    let index = PostgresSearch::new(pool.clone());
    let mut connection = pool.acquire().await.expect("a connection");
    connection.execute("SET search_path = search_v5, public").await.expect("it is set");
    let mut songs: Vec<_> = (0..3000).map(|number| song(format!("a song {number}"))).collect();
    songs.push(song("A".to_owned()));
    let SearchChange::Put(named) = songs[3000].clone() else { unreachable!("it is put") };
    index.write(Target::Live, &mut connection, &songs).await.expect("they are written");
    assert_eq!(found(&pool, "a").await[0], named.subject, "the one that is named so comes first");

    // While nobody gets an answer, many ask and go away.
    let mut lock = connection.begin().await.expect("it begins");
    lock.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE").await.expect("it is locked");
    for _ in 0..16 {
        let query = SearchQuery { text: "a".to_owned(), kind: None, offset: 0, limit: 10 };
        let gone = tokio::time::timeout(Duration::from_millis(20), index.search(&query)).await;
        assert!(gone.is_err(), "{gone:?}");
    }
    let under_way = async {
        let waiting = "SELECT count(*) FROM pg_locks
                       WHERE NOT granted AND relation = 'documents'::regclass";
        loop {
            // A slow server comes to them only later.
            let waiting: i64 =
                sqlx::query_scalar(waiting).fetch_one(&mut *lock).await.expect("it is counted");
            if waiting > 0 {
                return waiting;
            }
        }
    };
    let waiting = tokio::time::timeout(LIMIT, under_way).await.expect("some are under way");
    assert!(waiting <= 4, "{waiting} searches are under way for nobody");
    lock.rollback().await.expect("it is unlocked");
    let query = SearchQuery { text: "a".to_owned(), kind: None, offset: 0, limit: 10 };
    assert_eq!(index.search(&query).await.expect("it is answered")[0], named.subject);
    assert!(runner.drain(LIMIT).await);
}

/// Given somebody who has lost their handle, as they never proved an address, then it finds whoever
/// has it now, before those who call themselves so.
#[tokio::test]
async fn a_handle_finds_whoever_has_it() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let [first, second] = [UserId(Uuid::new_v4()), UserId(Uuid::new_v4())];
    for (user_id, display_name) in [(first, "Nina"), (second, "Somebody")] {
        let (handle, display_name) = ("nina".to_owned(), display_name.to_owned());
        store.put::<UserEvent>(user_id, UserRegistered { user_id, handle, display_name });
    }
    let runner = start(&pool, &store, vec![feed(&pool)]);
    reached(&runner, &[MODEL], store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec())).await;
    assert_eq!(found(&pool, "@nina").await, [second, first].map(Subject::Person));
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn tracks_are_found_while_they_are_published_also_by_their_artists_new_name() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let user_id = UserId(Uuid::new_v4());
    let (handle, display_name) = ("ada".to_owned(), "Ada".to_owned());
    store.put::<UserEvent>(user_id, UserRegistered { user_id, handle, display_name });
    let track_id = draft(&store, user_id, "Analytical Engine");
    let runner = start(&pool, &store, vec![feed(&pool)]);
    reached(&runner, &[MODEL], store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec())).await;
    assert_eq!(found(&pool, "analytical engine").await, []);

    let published = store.put::<TrackEvent>(track_id, TrackPublished { track_id });
    reached(&runner, &[MODEL], published).await;
    assert_eq!(found(&pool, "analitical engine").await, [Subject::Track(track_id)]);

    let (display_name, bio) = ("Countess".to_owned(), String::new());
    let renamed =
        store.put::<UserEvent>(user_id, UserProfileChanged { user_id, display_name, bio });
    reached(&runner, &[MODEL], renamed).await;
    let hits = found(&pool, "countess").await;
    assert_eq!(hits, [Subject::Person(user_id), Subject::Track(track_id)]);

    let (by, reason) = (user_id, "a sample was not cleared".to_owned());
    let down = TrackMasterTakenDown { track_id, by, reason };
    let down = store.put::<TrackEvent>(track_id, down);
    reached(&runner, &[MODEL], down).await;
    assert_eq!(found(&pool, "analytical engine").await, []);
    let (display_name, bio) = ("Baroness".to_owned(), String::new());
    let renamed =
        store.put::<UserEvent>(user_id, UserProfileChanged { user_id, display_name, bio });
    reached(&runner, &[MODEL], renamed).await;
    assert_eq!(found(&pool, "baroness").await, [Subject::Person(user_id)]);
    assert!(runner.drain(LIMIT).await);
}
