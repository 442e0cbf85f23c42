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
