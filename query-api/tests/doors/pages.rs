//! Pages of which something is not shown: one gets on behind them all the same.

use std::future::ready;

use access::Role;
use event_schemas::social::{ChannelEvent, ChannelMemberJoined};
use event_schemas::{TrackId, UserId};
use projections::search::Subject;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::index;
use crate::stage::{Stage, every_projection};

/// What is shown of all pages, and how many there are.
async fn all(
    stage: &Stage,
    token: Option<&str>,
    query: &str,
    mut variables: Value,
    at: &str,
) -> (Vec<Value>, usize) {
    let (mut nodes, mut pages) = (Vec::new(), 0);
    loop {
        let data = stage.data(token, query, variables.clone()).await;
        let page = data.pointer(at).unwrap();
        nodes.extend(page["nodes"].as_array().unwrap().clone());
        pages += 1;
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            return (nodes, pages);
        }
        assert!(page["pageInfo"]["endCursor"].is_string(), "nowhere to go on: {page}");
        variables["after"] = page["pageInfo"]["endCursor"].clone();
    }
}

#[tokio::test]
async fn members_whom_nobody_knows_yet_are_paged_over() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel_id = stage.channel(nina).await;
    for _ in 0..5 {
        let user_id = UserId(Uuid::new_v4());
        let joined = ChannelMemberJoined { channel_id, user_id };
        stage.put::<ChannelEvent>(channel_id, joined.into()).await;
    }
    stage.caught_up().await;
    let query = "query($id: UUID!, $after: String) { channel(id: $id) {
        members(first: 2, after: $after) {
            nodes { handle } pageInfo { hasNextPage endCursor } } } }";
    let token = stage.token(nina, Role::Artist);
    let id = json!({ "id": channel_id });
    let (members, pages) = all(&stage, Some(&token), query, id, "/channel/members").await;
    assert_eq!((members, pages), (vec![json!({ "handle": "nina" })], 3));
    stage.end().await;
}

#[tokio::test]
async fn a_page_whose_size_is_left_out_or_null_has_twenty_rows() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    for number in 0..21 {
        stage.track(nina, &format!("No. {number}")).await;
    }
    stage.caught_up().await;
    let rows = |first: &str, after: &str| {
        format!("tracks(first: {first}, after: {after}) {{ nodes {{ id }} }}")
    };
    let by_variables = rows("$first", "$after");
    let named = |first: &str| format!("query P($first: {first}, $after: String)");
    let cases = [
        ("{ tracks { nodes { id } } }".to_owned(), Value::Null, 20),
        (format!("{{ {} }}", rows("null", "null")), Value::Null, 20),
        (format!("{} {{ {by_variables} }}", named("Int")), json!({}), 20),
        (format!("{} {{ {by_variables} }}", named("Int")), json!({ "first": null }), 20),
        (format!("{} {{ {by_variables} }}", named("Int")), json!({ "first": 3 }), 3),
        (format!("{} {{ {by_variables} }}", named("Int = 4")), json!({}), 4),
        (format!("{} {{ {by_variables} }}", named("Int!")), json!({ "first": 5 }), 5),
    ];
    for (query, variables, expected) in cases {
        let page = stage.data(None, &query, variables.clone()).await["tracks"].take();
        let rows = page["nodes"].as_array().map(Vec::len);
        assert_eq!(rows, Some(expected), "{query} {variables}");
    }
    // It costs as much as it may give.
    let deep = "query($n: Int) { tracks(first: 100) { nodes { listings(first: $n) {
        nodes { id kind } } } } }";
    assert_eq!(stage.code(None, deep, json!({})).await, "VALIDATION");
    let token = stage.token(nina, Role::Artist);
    let days = "query($n: Int) { me { tracks(first: $n) { nodes { statistics {
        days(last: $n) { day } } } } } }";
    let page = stage.data(Some(&token), days, json!({})).await["me"]["tracks"]["nodes"].take();
    assert_eq!(page.as_array().map(Vec::len), Some(20));
    stage.end().await;
}

#[tokio::test]
async fn hits_that_are_none_are_paged_over() {
    let nina = UserId(Uuid::new_v4());
    let unknown = (0..6).map(|_| Subject::Track(TrackId(Uuid::new_v4())));
    // The index knows much that no model does.
    let known: Vec<_> = unknown.chain([Subject::Person(nina)]).collect();
    let index = index::answering(move |query| {
        let found = known.iter().skip(query.offset as usize).take(query.limit as usize);
        ready(Ok(found.copied().collect()))
    });
    let stage = Stage::with(every_projection, |parts| parts.search = index).await;
    stage.register(nina, "nina").await;
    stage.caught_up().await;
    let query = "query($after: String) { search(text: \"nina\", first: 2, after: $after) {
        nodes { ... on User { handle } } pageInfo { hasNextPage endCursor } } }";
    let (hits, pages) = all(&stage, None, query, json!({}), "/search").await;
    assert_eq!((hits, pages), (vec![json!({ "handle": "nina" })], 4));
    stage.end().await;
}
