//! Answers are of the shape that the schema publishes, whatever fails below them.

use std::sync::Arc;

use access::Role;
use event_schemas::ListingId;
use projections::Projection;
use projections::postgres::profiles::{self, ProfilesProjection};
use projections::postgres::tracks::{self, TracksProjection};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{PATIENCE, Stage};

/// The models of plays and listings are not there: who reads them fails.
fn some(_: &sqlx::PgPool) -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(TracksProjection), Arc::new(ProfilesProjection)]
}

#[tokio::test]
async fn an_object_of_which_nothing_is_asked_is_an_object() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    stage.track(nina, "nina").await;
    stage.caught_up().await;
    let query = "{ search(text: \"nina\") { nodes { ... on Track { title } } } }";
    let mut nodes = stage.data(None, query, Value::Null).await["search"]["nodes"].take();
    let nodes = nodes.as_array_mut().unwrap();
    nodes.sort_by_key(|node| node.to_string());
    assert_eq!(*nodes, [json!({ "title": "nina" }), json!({})]);
    stage.end().await;
}

#[tokio::test]
async fn what_may_not_be_null_takes_what_is_above_it_along() {
    let stage = Stage::with(some, |_| {}).await;
    let nina = stage.user("nina", Role::Artist).await;
    let track = stage.track(nina, "Song").await;
    let variables = json!({ "track": track, "listing": ListingId(Uuid::nil()) });
    let cases = [
        ("{ a: me { user { id } } b: user(handle: \"nina\") { handle } }", Value::Null, "a"),
        (
            "query($track: UUID!) { a: track(id: $track) { title plays }
                b: user(handle: \"nina\") { handle } }",
            json!({ "a": null, "b": { "handle": "nina" } }),
            "a plays",
        ),
        (
            "query($listing: UUID!) { a: user(handle: \"nina\") { handle }
                b: listing(id: $listing) { id } }",
            json!({ "a": { "handle": "nina" }, "b": null }),
            "b",
        ),
        // The engine names the item of a list, and not the field of it.
        ("{ tracks { nodes { title plays } } }", Value::Null, "tracks nodes 0"),
    ];
    let head = stage.store.head().await.unwrap();
    stage.watermarks.wait_for(&[tracks::MODEL, profiles::MODEL], head, PATIENCE).await.unwrap();
    for (query, data, place) in cases {
        let answer = stage.ask(None, query, variables.clone()).await;
        assert_eq!(answer["data"], data, "{query}: {answer}");
        let errors = answer["errors"].as_array().unwrap();
        let path = errors[0]["path"].as_array().unwrap().iter();
        let path: Vec<_> = path.map(|step| step.to_string().replace('"', "")).collect();
        assert_eq!((errors.len(), path.join(" ").as_str()), (1, place), "{query}: {answer}");
    }
    stage.end().await;
}

#[tokio::test]
async fn fields_are_answered_in_the_order_in_which_they_are_asked() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    stage.track(nina, "Song").await;
    stage.caught_up().await;
    let query = "{ z: tracks { nodes { title artist { handle } plays id } } y: __typename
        x: user(handle: \"nina\") { id tracks { nodes { plays title } } handle } w: __typename }";
    for _ in 0..20 {
        let request = stage.post(None).json(&json!({ "query": query }));
        let answer = request.send().await.unwrap().text().await.unwrap();
        let keys = ["z", "title", "artist", "handle", "plays", "id", "y", "x", "id", "tracks"];
        let keys = keys.into_iter().chain(["plays", "title", "handle", "w"]);
        let mut rest = answer.as_str();
        for key in keys {
            let found = rest.split_once(&format!("\"{key}\":"));
            (_, rest) = found.unwrap_or_else(|| panic!("{key} is out of order: {answer}"));
        }
    }
    stage.end().await;
}
