//! Reading one's own writes: what a query waits for, how long, and what it says when in vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::Role;
use event_schemas::UserId;
use event_store::{
    ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, StreamName,
};
use projections::postgres::profiles::{self, ProfilesProjection};
use projections::postgres::tracks::TracksProjection;
use projections::{Projection, Watermarks};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::index::{self, Found};
use crate::stage::{PATIENCE, Stage};

fn some(_: &sqlx::PgPool) -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(TracksProjection), Arc::new(ProfilesProjection)]
}

async fn asked(
    stage: &Stage,
    query: &str,
    position: &str,
    stale: bool,
) -> (u16, Option<String>, Value, Duration) {
    let request = stage.post(None).header("veza-min-position", position);
    let request = if stale { request.header("veza-stale", "allow") } else { request };
    let began = Instant::now();
    let response = request.json(&json!({ "query": query })).send().await.unwrap();
    let status = response.status().as_u16();
    let at = response.headers().get("veza-model-position");
    let at = at.map(|value| value.to_str().unwrap().to_owned());
    let answer = response.json().await.unwrap();
    (status, at, answer, began.elapsed())
}

#[tokio::test]
async fn a_query_sees_what_its_caller_has_seen_and_waits_for_what_it_reads_alone() {
    // The models of listings and orders are not there: whoever waits for them waits in vain.
    let stage = Stage::with(some, |_| {}).await;
    let nina = stage.user("nina", Role::Artist).await;
    for number in 0..20 {
        let title = format!("No. {number}");
        stage.track(nina, &title).await;
        let head = stage.store.head().await.unwrap().to_string();
        let query = "{ tracks(first: 1) { nodes { title artist { handle } } } }";
        let (status, at, answer, _) = asked(&stage, query, &head, false).await;
        assert_eq!((status, at), (200, None));
        let seen = &answer["data"]["tracks"]["nodes"][0];
        assert_eq!(*seen, json!({ "title": title, "artist": { "handle": "nina" } }));
    }
    let head = stage.store.head().await.unwrap();
    let listed = "{ tracks(first: 1) { nodes { title listings { nodes { id } } } } }";
    let typename = "{ __typename }";
    let future = Position::new(head.get() + 1_000_000).to_string();
    let tracks = "{ tracks(first: 1) { nodes { title } } }";
    let head = head.to_string();
    let (late, early, beyond, stale) = tokio::join!(
        asked(&stage, listed, &head, false),
        asked(&stage, typename, &future, false),
        asked(&stage, tracks, &future, false),
        asked(&stage, tracks, &future, true),
    );
    for (status, at, answer, took) in [late, beyond] {
        assert_eq!((status, at), (504, None));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_YET_VISIBLE");
        assert!(took > Duration::from_millis(4_900) && took < Duration::from_secs(8), "{took:?}");
    }
    assert_eq!((early.0, &early.2["data"]["__typename"]), (200, &json!("Query")));
    assert!(early.3 < Duration::from_secs(4), "it reads no model, and waits for none");
    assert_eq!(stale.0, 200);
    assert_eq!(stale.2["data"]["tracks"]["nodes"][0]["title"], "No. 19");
    assert!(stale.1.unwrap().parse::<u64>().unwrap() <= head.parse().unwrap());
    stage.end().await;
}

/// Something happens, and the model of people comes to it.
async fn meanwhile(store: Arc<dyn EventStore>, watermarks: Watermarks) -> Found {
    let stream = StreamName::new(format!("else-{}", Uuid::new_v4())).unwrap();
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Anything").unwrap(),
        content_type: ContentType::Json,
        data: "{}".into(),
        metadata: "{}".into(),
    };
    let appended = store.append(&stream, ExpectedRevision::Any, vec![event]).await;
    let position = appended.unwrap().position.unwrap();
    watermarks.wait_for(&[profiles::MODEL], position, PATIENCE).await.unwrap();
    Ok(Vec::new())
}

#[tokio::test]
async fn an_older_answer_tells_how_far_its_models_had_come_before_they_were_read() {
    let stage = Stage::with(some, |parts| {
        let (store, watermarks) = (Arc::clone(&parts.store), parts.watermarks.clone());
        parts.search = index::answering(move |_| meanwhile(Arc::clone(&store), watermarks.clone()));
        parts.search_model = profiles::MODEL;
    })
    .await;
    stage.user("nina", Role::Artist).await;
    let before = stage.store.head().await.unwrap();
    stage.watermarks.wait_for(&[profiles::MODEL], before, PATIENCE).await.unwrap();
    let query = "{ search(text: \"a\") { nodes { __typename } } }";
    let (status, at, answer, _) = asked(&stage, query, &before.to_string(), true).await;
    assert_eq!((status, &answer["errors"]), (200, &Value::Null));
    assert_eq!(at, Some(before.to_string()), "it has nothing of what came while it was made");
    stage.end().await;
}

#[tokio::test]
async fn a_position_that_is_none_is_refused() {
    let stage = Stage::new().await;
    let query = "{ tracks { nodes { id } } }";
    let long = "9".repeat(129);
    for none in ["yesterday", "", "-1", "+5", &long] {
        let (status, _, problem, _) = asked(&stage, query, none, false).await;
        let kind = &problem["type"];
        assert_eq!((status, kind), (400, &json!("urn:veza:problem:malformed")), "{none}");
    }
    let request = stage.post(None).header("veza-stale", "perhaps");
    let response = request.json(&json!({ "query": query })).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], "urn:veza:problem:malformed");
    let path = "/media/tracks/00000000-0000-0000-0000-000000000001/master.m3u8";
    let request = stage.get(path, None).header("veza-min-position", "99999999");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 504);
    stage.end().await;
}

/// Given a track of somebody who is nowhere in the log, as when a part of it was put back, then the
/// page that it is on is answered, with a name that says so.
#[tokio::test]
async fn who_is_not_in_the_log_keeps_no_page_from_being_answered() {
    let stage = Stage::new().await;
    let nobody = UserId(Uuid::new_v4());
    stage.track(nobody, "Known by its title").await;
    stage.caught_up().await;
    let page = "{ tracks { nodes { title artist { handle displayName } } } }";
    let data = stage.data(None, page, Value::Null).await;
    let artist = json!({ "handle": nobody.to_string(), "displayName": "(unknown)" });
    let track = json!({ "title": "Known by its title", "artist": artist });
    assert_eq!(data["tracks"]["nodes"], json!([track]));
    stage.end().await;
}
