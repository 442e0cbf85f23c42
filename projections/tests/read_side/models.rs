//! The models: filled from events by the runner, asked by their queries, and the same when rebuilt.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use event_schemas::analytics::{PlayEvent, TrackPlayed};
use event_schemas::audio::{
    AudioProperties, Master, TrackCreated, TrackEvent, TrackMasterTakenDown, TrackPublished,
    TrackTranscodeFailed, TrackTranscoded,
};
use event_schemas::saga::{SagaCompleted, SagaEvent, SagaStarted, SagaStepFailed};
use event_schemas::social::*;
use event_schemas::*;
use event_store::EventStore;
use projections::analytics::{PlayStatistics as _, TrackPlays};
use projections::postgres::sagas::SagaStatus;
use projections::postgres::tracks::TrackStatus;
use projections::postgres::{Models, projections};
use projections::*;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, start};

/// The models, run over a log that the test writes.
pub struct Stage {
    pool: PgPool,
    pub store: Arc<MemoryStore>,
    pub models: Models,
    runner: Runner,
}

impl Stage {
    pub async fn new() -> Self {
        let (pool, store) = (database::fresh().await, MemoryStore::new());
        let runner = start(&pool, &store, projections());
        let models = Models::new(&pool);
        Self { pool, store, models, runner }
    }

    pub async fn caught_up(&self) {
        let all: Vec<ModelId> = projections().iter().map(|projection| projection.id()).collect();
        let head = self.store.head().await.expect("it is there");
        reached(&self.runner, &all, head).await;
    }

    /// Ends, and proves on the way that rebuilt models equal the live ones.
    pub async fn end(self) {
        self.caught_up().await;
        for projection in projections() {
            let id = projection.id();
            let live = contents(&self.pool, id).await;
            let rebuild = Rebuild {
                pool: self.pool.clone(),
                store: self.store.clone(),
                projection,
                on_poison: OnPoison::Stop,
                cancel: CancellationToken::new(),
            };
            rebuild.run(Box::new(|_| {})).await.expect("it is rebuilt");
            assert_eq!(contents(&self.pool, id).await, live, "{id}");
            assert_eq!(parked_events(&self.pool, id).await.expect("they are read"), []);
        }
        assert!(self.runner.drain(LIMIT).await);
    }
}

/// Every row of every table of a model, as text.
async fn contents(pool: &PgPool, id: ModelId) -> BTreeMap<String, Vec<String>> {
    let schema = id.schema(Target::Live);
    let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1";
    let tables: Vec<String> =
        sqlx::query_scalar(sql).bind(&schema).fetch_all(pool).await.expect("they are listed");
    assert!(!tables.is_empty());
    let mut contents = BTreeMap::new();
    for table in tables {
        let sql = format!("SELECT t::text FROM {schema}.{table} t ORDER BY 1");
        let rows = sqlx::query_scalar(&sql).fetch_all(pool).await.expect("they are read");
        contents.insert(table, rows);
    }
    contents
}

pub fn user() -> UserId {
    UserId(Uuid::new_v4())
}

pub fn size(rows: u32) -> PageSize {
    PageSize::clamped(rows)
}

fn track(store: &MemoryStore, artist_id: UserId, title: &str) -> TrackId {
    let track_id = TrackId(Uuid::new_v4());
    let master = Master {
        object_key: format!("masters/{title}"),
        sha256: "00".to_owned(),
        size_bytes: 1,
        media_type: "audio/wav".to_owned(),
    };
    let (title, tags) = (title.to_owned(), vec!["ambient".to_owned()]);
    store.put::<TrackEvent>(track_id, TrackCreated { track_id, artist_id, title, tags, master });
    track_id
}

#[tokio::test]
async fn a_track_goes_from_draft_to_published_to_taken_down() {
    let stage = Stage::new().await;
    let artist = user();
    let track_id = track(&stage.store, artist, "one");
    let draft = track(&stage.store, artist, "two");
    let properties = AudioProperties {
        duration_ms: 30_000,
        codec: "pcm".to_owned(),
        sample_rate_hz: 44_100,
        channels: 2,
    };
    let playlist_key = "hls/one/master.m3u8".to_owned();
    let transcoded = TrackTranscoded { track_id, properties, playlist_key: playlist_key.clone() };
    stage.store.put::<TrackEvent>(track_id, transcoded);
    stage.store.put::<TrackEvent>(track_id, TrackPublished { track_id });
    stage.caught_up().await;
    let tracks = &stage.models.tracks;
    let found = tracks.by_id(track_id).await.expect("it is read").expect("it is there");
    assert_eq!((found.status, found.duration_ms), (TrackStatus::Ready, Some(30_000)));
    assert_eq!(found.playlist_key, Some(playlist_key));
    assert!(found.published && found.published_at.is_some() && found.master_available);

    let public = tracks.published_by(&[artist], None, size(10)).await.expect("they are read");
    assert_eq!(public[&artist.0].clone().into_rows(), std::slice::from_ref(&found));
    let first = tracks.by_artist(artist, None, size(1)).await.expect("they are read");
    assert_eq!(first.rows[0].1.track_id, draft);
    let next = first.next().expect("there is more");
    let second = tracks.by_artist(artist, Some(next), size(1)).await.expect("they are read");
    assert_eq!((second.next(), second.into_rows()), (None, vec![found]));

    let (by, reason) = (artist, "a sample was not cleared".to_owned());
    stage.store.put::<TrackEvent>(track_id, TrackMasterTakenDown { track_id, by, reason });
    stage.caught_up().await;
    let found = tracks.by_id(track_id).await.expect("it is read").expect("it is there");
    assert_eq!((found.master_available, found.status), (false, TrackStatus::TakenDown));
    assert_eq!(tracks.published(None, size(10)).await.expect("they are read").rows.len(), 0);
    let public = tracks.published_by(&[artist], None, size(10)).await.expect("they are read");
    assert!(public.is_empty(), "{public:?}");
    let theirs = tracks.by_artist(artist, None, size(10)).await.expect("they are read");
    assert_eq!(theirs.rows.len(), 2, "its artist is told of it still");
    stage.end().await;
}

#[tokio::test]
async fn a_track_that_is_taken_down_while_it_is_made_is_that_whatever_comes_of_it() {
    let stage = Stage::new().await;
    let by = user();
    let track_id = track(&stage.store, by, "one");
    let status = async || {
        stage.caught_up().await;
        let found = stage.models.tracks.by_id(track_id).await.expect("it is read");
        found.expect("it is there").status
    };
    assert_eq!(status().await, TrackStatus::Processing);
    let reason = "a sample was not cleared".to_owned();
    stage.store.put::<TrackEvent>(track_id, TrackMasterTakenDown { track_id, by, reason });
    assert_eq!(status().await, TrackStatus::TakenDown);
    let reason = "there is no sound in it".to_owned();
    stage.store.put::<TrackEvent>(track_id, TrackTranscodeFailed { track_id, reason });
    assert_eq!(status().await, TrackStatus::TakenDown);
    stage.end().await;
}

#[tokio::test]
async fn what_is_published_is_in_the_order_in_which_it_was() {
    let stage = Stage::new().await;
    let artist = user();
    let made = ["a", "b", "c"].map(|title| track(&stage.store, artist, title));
    let [a, b, c] = made;
    let now = Utc::now();
    for (earlier, track_id) in (0..).zip([b, c, a]) {
        // Whoever asked first was recorded last.
        let asked = now - TimeDelta::seconds(earlier);
        stage.store.put_at::<TrackEvent>(track_id, TrackPublished { track_id }, asked);
    }
    stage.caught_up().await;
    let newest = stage.models.tracks.published(None, size(10)).await.expect("they are read");
    let shown: Vec<_> =
        newest.into_rows().into_iter().map(|track| track.published_at.expect("a time")).collect();
    assert!(shown.is_sorted_by(|one, next| one >= next), "{shown:?}");
    let ids = |page: Page<postgres::Track>| {
        page.into_rows().into_iter().map(|track| track.track_id).collect::<Vec<_>>()
    };
    let tracks = &stage.models.tracks;
    let (mut everybodys, mut theirs, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = tracks.published(after, size(1)).await.expect("they are read");
        let mut of_artist =
            tracks.published_by(&[artist], after, size(1)).await.expect("they are read");
        theirs.extend(of_artist.remove(&artist.0).map(&ids).unwrap_or_default());
        after = page.next();
        everybodys.extend(ids(page));
        if after.is_none() {
            break;
        }
    }
    assert_eq!((everybodys, theirs), (vec![a, c, b], vec![a, c, b]));
    let all = tracks.by_artist(artist, None, size(10)).await.expect("they are read");
    assert_eq!(ids(all), [c, b, a]);
    stage.end().await;
}

#[tokio::test]
async fn plays_are_counted_by_track_listener_and_day() {
    let stage = Stage::new().await;
    let (track_id, artist_id, listeners) = (TrackId(Uuid::new_v4()), user(), [user(), user()]);
    for number in 0..5 {
        let play_id = PlayId(Uuid::new_v4());
        let listener_id = listeners[number % 2];
        let listened_ms = 1_000;
        let played = TrackPlayed {
            play_id,
            track_id,
            artist_id,
            listener_id,
            listened_ms,
            heard_until: None,
        };
        stage.store.put::<PlayEvent>(play_id, played);
    }
    stage.caught_up().await;
    let plays = &stage.models.plays;
    let expected = TrackPlays { plays: 5, listeners: 2, listened_ms: 5_000 };
    assert_eq!(plays.of_track(track_id).await.expect("they are read"), expected);
    let days = plays.days(track_id, 30).await.expect("they are read");
    assert_eq!(days.iter().map(|day| day.plays).sum::<u64>(), 5);
    let never = TrackId(Uuid::new_v4());
    assert_eq!(plays.of_track(never).await.expect("they are read"), TrackPlays::default());
    stage.end().await;
}

#[tokio::test]
async fn a_channel_has_members_and_pages_of_messages() {
    let stage = Stage::new().await;
    let (channel_id, owner_id, guest) = (ChannelId(Uuid::new_v4()), user(), user());
    let name = "studio".to_owned();
    let put = |event: ChannelEvent| stage.store.put::<ChannelEvent>(channel_id, event);
    put(ChannelCreated { channel_id, name, owner_id }.into());
    put(ChannelMemberJoined { channel_id, user_id: guest }.into());
    for number in 0..5 {
        let message_id = MessageId(Uuid::new_v4());
        let (author_id, text) = (guest, format!("message {number}"));
        let posted = MessagePosted { message_id, channel_id, author_id, text };
        // Whoever asked first was recorded last.
        let asked = Utc::now() - TimeDelta::hours(number);
        stage.store.put_at::<MessageEvent>(message_id, posted, asked);
    }
    stage.caught_up().await;
    let channels = &stage.models.channels;
    let (mut texts, mut times) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let mut pages =
            channels.messages_of(&[channel_id], after, size(2)).await.expect("they are read");
        let page = pages.remove(&channel_id.0).expect("something was said");
        after = page.next();
        for message in page.into_rows() {
            texts.push(message.text);
            times.push(message.posted_at);
        }
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..5).rev().map(|number| format!("message {number}")).collect();
    assert_eq!(texts, expected);
    assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    let members = channels.members_of(&[channel_id], None, size(10)).await.expect("they are read");
    assert_eq!(members[&channel_id.0].clone().into_rows(), [guest, owner_id]);
    put(ChannelMemberLeft { channel_id, user_id: guest }.into());
    stage.caught_up().await;
    assert!(!channels.is_member(channel_id, guest).await.expect("it is read"));
    assert!(channels.is_member(channel_id, owner_id).await.expect("it is read"));
    let mine = channels.of_member(owner_id, None, size(10)).await.expect("they are read");
    assert_eq!(mine.into_rows()[0].name, "studio");
    stage.end().await;
}

#[tokio::test]
async fn a_saga_tells_what_it_waits_for() {
    let stage = Stage::new().await;
    let subject = Uuid::new_v4().to_string();
    let put = |event: SagaEvent| stage.store.put::<SagaEvent>(format!("buy-{subject}"), event);
    let (kind, input) = ("buy".to_owned(), serde_json::Value::Null);
    put(SagaStarted { kind, version: 1, subject: subject.clone(), input }.into());
    let (step, reason) = ("capture".to_owned(), "the gateway is away".to_owned());
    let retry_at = chrono::Utc::now();
    let waiting_since = None;
    let reason_of = reason.clone();
    put(SagaStepFailed { step, attempt: 2, reason: reason_of, retry_at, waiting_since }.into());
    stage.caught_up().await;
    let sagas = &stage.models.sagas;
    let found = sagas.latest_of(std::slice::from_ref(&subject)).await.expect("they are read");
    let found = &found[&subject];
    assert_eq!(found.waiting_for.as_deref(), Some("retry 2 of capture"));
    assert_eq!((found.status, found.last_error.clone()), (SagaStatus::Running, Some(reason)));
    put(SagaCompleted {}.into());
    stage.caught_up().await;
    let done = sagas.select(Some(SagaStatus::Completed), None, None, size(5)).await;
    let done = done.expect("they are read").into_rows();
    assert_eq!((done[0].stream.as_str(), &done[0].waiting_for), (found.stream.as_str(), &None));
    let (running, about) = (Some(SagaStatus::Running), Some(subject.as_str()));
    for (status, subject, count) in [
        (None, None, 1),
        (None, about, 1),
        (None, Some("another"), 0),
        (running, None, 0),
        (running, about, 0),
        (Some(SagaStatus::Completed), about, 1),
    ] {
        let page = sagas.select(status, subject, None, size(5)).await.expect("they are read");
        assert_eq!(page.rows.len(), count, "{status:?} {subject:?}");
    }
    stage.end().await;
}
