//! Subscriptions over sockets, and how sockets end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::Role;
use access::token::{ACCESS_TOKEN_LIFE, CLOCK_LEEWAY};
use chrono::{TimeDelta, Utc};
use event_schemas::commerce::{EscrowEvent, EscrowHeld, OrderCancelled, OrderEvent};
use event_schemas::social::{ChannelEvent, ChannelMemberJoined, ChannelMemberLeft};
use event_schemas::{Currency, Money, TrackId, UserId};
use projections::analytics::{DayPlays, PlayStatistics, TrackPlays};
use projections::postgres::plays;
use projections::{ModelId, QueryError};
use query_api::limits::ACCOUNT_SOCKETS_MAX;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::socket::Socket;
use crate::stage::{PATIENCE, Stage, every_projection};

const MESSAGES: &str = "subscription($id: UUID!, $after: String) {
    messagePosted(channelId: $id, after: $after) { text position author { handle } } }";
const ORDER: &str = "subscription($id: UUID!) {
    orderChanged(orderId: $id) { status escrow reason history { what } } }";

#[tokio::test]
async fn members_hear_what_is_said_until_they_leave() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let otis = stage.user("otis", Role::Listener).await;
    let channel = stage.channel(nina).await;
    let joined = ChannelMemberJoined { channel_id: channel, user_id: otis };
    stage.put::<ChannelEvent>(channel, joined.into()).await;
    let first = stage.say(channel, nina, "first").await;
    stage.say(channel, nina, "second").await;
    let mut socket = Socket::of(&stage, &stage.token(otis, Role::Listener)).await;
    let asked = json!({ "id": channel, "after": first.to_string() });
    socket.subscribe("a", MESSAGES, asked).await;
    let next = socket.next().await;
    assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!("a")));
    let message = &next["payload"]["data"]["messagePosted"];
    assert_eq!(
        (&message["text"], &message["author"]["handle"]),
        (&json!("second"), &json!("nina"))
    );
    let third = stage.say(channel, otis, "third").await;
    let message = socket.next().await["payload"]["data"]["messagePosted"].take();
    let expected = json!({
        "text": "third", "position": third.to_string(), "author": { "handle": "otis" },
    });
    assert_eq!(message, expected);
    // A cursor of a page is a place, too.
    stage.caught_up().await;
    let token = stage.token(otis, Role::Listener);
    let page = "query($id: UUID!) { channel(id: $id) { messages(first: 2) { edges { cursor } } } }";
    let page = stage.data(Some(&token), page, json!({ "id": channel })).await;
    let cursor = page["channel"]["messages"]["edges"][1]["cursor"].clone();
    socket.subscribe("b", MESSAGES, json!({ "id": channel, "after": cursor })).await;
    assert_eq!(socket.next().await["payload"]["data"]["messagePosted"]["text"], "third");
    socket.say(json!({ "type": "complete", "id": "b" })).await;
    socket.say(json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await, json!({ "type": "pong" }), "the other one is over");

    let left = ChannelMemberLeft { channel_id: channel, user_id: otis };
    stage.put::<ChannelEvent>(channel, left.into()).await;
    stage.say(channel, nina, "between us").await;
    let end = socket.next().await;
    assert_eq!(end["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN", "{end}");
    assert_eq!(socket.next().await, json!({ "type": "complete", "id": "a" }));
    for channel in [json!(channel), json!(Uuid::nil())] {
        socket.subscribe("c", MESSAGES, json!({ "id": channel })).await;
        let refused = socket.next().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("c")));
        assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN");
    }
    for none in ["soon", "+5", "p+5"] {
        socket.subscribe("d", MESSAGES, json!({ "id": channel, "after": none })).await;
        let refused = socket.next().await;
        assert_eq!(refused["payload"][0]["extensions"]["code"], "VALIDATION", "{none}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_place_that_the_log_has_not_come_to_is_waited_for_and_then_refused() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let mut socket = Socket::of(&stage, &stage.token(nina, Role::Artist)).await;
    let far = stage.store.head().await.unwrap().get() + 1_000_000;
    let began = Instant::now();
    socket.subscribe("a", MESSAGES, json!({ "id": channel, "after": far.to_string() })).await;
    let refused = socket.next().await;
    assert_eq!(refused["payload"][0]["extensions"]["code"], "NOT_YET_VISIBLE", "{refused}");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(4_900) && took < Duration::from_secs(8), "{took:?}");

    // What was said just now has come to nobody yet, and what is said next is heard.
    for number in 0..20 {
        let (id, said) = (format!("s{number}"), stage.say(channel, nina, "before").await);
        let asked = json!({ "id": channel, "after": said.to_string() });
        socket.subscribe(&id, MESSAGES, asked).await;
        stage.say(channel, nina, &id).await;
        let heard = socket.next().await["payload"]["data"]["messagePosted"]["text"].take();
        assert_eq!(heard, id.as_str());
        socket.say(json!({ "type": "complete", "id": id })).await;
        socket.say(json!({ "type": "ping" })).await;
        assert_eq!(socket.next().await, json!({ "type": "pong" }));
    }
    stage.end().await;
}

#[tokio::test]
async fn an_order_is_told_as_it_is_and_after_each_change() {
    let stage = Stage::new().await;
    let (nina, otis) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let order_id = stage.order(otis, nina).await;
    let mut socket = Socket::of(&stage, &stage.token(otis, Role::Listener)).await;
    socket.subscribe("a", ORDER, json!({ "id": order_id })).await;
    let told =
        async |socket: &mut Socket| socket.next().await["payload"]["data"]["orderChanged"].take();
    assert_eq!(told(&mut socket).await["status"], "PLACED");
    let (buyer_id, seller_id) = (otis, nina);
    let amount = Money::new(1, Currency::EUR);
    let held = EscrowHeld { order_id, buyer_id, seller_id, amount };
    stage.put::<EscrowEvent>(order_id, held.into()).await;
    let reason = "no more".to_owned();
    let cancelled = OrderCancelled { order_id, reason };
    stage.put::<OrderEvent>(order_id, cancelled.into()).await;
    let after = told(&mut socket).await;
    assert_eq!((&after["status"], &after["escrow"]), (&json!("PLACED"), &json!("HELD")));
    let after = told(&mut socket).await;
    assert_eq!((&after["status"], &after["reason"]), (&json!("CANCELLED"), &json!("no more")));
    assert_eq!(after["history"].as_array().unwrap().len(), 3);
    let stranger = stage.token(UserId(Uuid::new_v4()), Role::Listener);
    let mut socket = Socket::of(&stage, &stranger).await;
    socket.subscribe("a", ORDER, json!({ "id": order_id })).await;
    assert_eq!(socket.next().await["payload"][0]["extensions"]["code"], "FORBIDDEN");
    stage.end().await;
}

#[tokio::test]
async fn queries_and_what_is_wrong_with_them_are_answered_on_a_socket() {
    let stage = Stage::new().await;
    let token = stage.token(UserId(Uuid::new_v4()), Role::Listener);
    let mut socket = Socket::of(&stage, &token).await;
    socket.say(json!({ "type": "ping", "payload": { "n": 1 } })).await;
    assert_eq!(socket.next().await, json!({ "type": "pong", "payload": { "n": 1 } }));
    socket.subscribe("q", "{ __typename }", Value::Null).await;
    assert_eq!(socket.next().await["payload"]["data"]["__typename"], "Query");
    assert_eq!(socket.next().await, json!({ "type": "complete", "id": "q" }));
    let two = "subscription($id: UUID!) { ...both }
        fragment both on Subscription {
            a: orderChanged(orderId: $id) { id } b: orderChanged(orderId: $id) { id } }";
    for (query, code) in [("{", "BAD_REQUEST"), ("{ nothing }", "VALIDATION"), (two, "VALIDATION")]
    {
        socket.subscribe("q", query, json!({ "id": Uuid::nil() })).await;
        let refused = socket.next().await;
        assert_eq!(refused["type"], "error");
        assert_eq!(refused["payload"][0]["extensions"]["code"], code);
    }
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let mut socket = Socket::of(&stage, &stage.token(nina, Role::Artist)).await;
    for number in 0..51 {
        socket.subscribe(&format!("s{number}"), MESSAGES, json!({ "id": channel })).await;
    }
    let refused = socket.next().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("s50")));
    stage.end().await;
}

#[tokio::test]
async fn what_is_followed_may_stand_in_fragments() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let before = stage.say(channel, nina, "before").await;
    stage.say(channel, nina, "hello").await;
    let mut socket = Socket::of(&stage, &stage.token(nina, Role::Artist)).await;
    let field = "messagePosted(channelId: $id, after: $after) { ...said }";
    let said = "fragment said on Message { text }";
    let of = |root: &str, fragments: &str| {
        let named = "subscription($id: UUID!, $after: String)";
        format!("{named} {{ {root} }} {said} {fragments}").replace("FIELD", field)
    };
    let followed = [
        of("FIELD", ""),
        of("...a", "fragment a on Subscription { FIELD }"),
        of("... on Subscription { FIELD }", ""),
        of("... { ... { FIELD } }", ""),
        of(
            "... { ...a }",
            "fragment a on Subscription { ...b } fragment b on Subscription { FIELD }",
        ),
    ];
    let variables = |channel: Value| json!({ "id": channel, "after": before.to_string() });
    for (number, query) in followed.iter().enumerate() {
        let id = format!("s{number}");
        socket.subscribe(&id, query, variables(json!(channel))).await;
        let next = socket.next().await;
        assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!(id)), "{query}");
        assert_eq!(next["payload"]["data"], json!({ "messagePosted": { "text": "hello" } }));
        socket.say(json!({ "type": "complete", "id": id })).await;
        socket.subscribe("none", query, variables(json!(Uuid::nil()))).await;
        let refused = socket.next().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("none")));
        assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN", "{query}");
    }
    // What can't stand there is told, and never just over.
    for query in [
        of("...a", ""),
        of("...a", "fragment a on Query { __typename }"),
        of("...a", "fragment a on Subscription { nothing }"),
        of("...a @nothing", "fragment a on Subscription { FIELD }"),
        of("...a", "fragment a on Subscription @nothing { FIELD }"),
        of("... on Message { text }", ""),
        of("FIELD", "fragment a on Subscription { FIELD }"),
        of("... @skip(if: true) { FIELD }", ""),
        of("...a @include(if: false)", "fragment a on Subscription { FIELD }"),
        of("messagePosted(channelId: $id, after: $after) @skip(if: true) { ...said }", ""),
        of("...a ...a", "fragment a on Subscription { FIELD }"),
        of("__typename", ""),
    ] {
        socket.subscribe("r", &query, variables(json!(channel))).await;
        let refused = socket.next().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("r")), "{query}");
        assert_eq!(refused["payload"][0]["extensions"]["code"], "VALIDATION", "{query}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_opening_may_bring_the_token_and_the_first_message_has_the_last_word() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    stage.caught_up().await;
    let (token, other) = (
        format!("Bearer {}", stage.token(nina, Role::Artist)),
        format!("Bearer {}", stage.token(UserId(Uuid::new_v4()), Role::Listener)),
    );
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let init = |payload: Value| json!({ "type": "connection_init", "payload": payload });
    for (header, hello) in [
        (&token, json!({ "type": "connection_init" })),
        (&token, init(json!({}))),
        (&other, init(json!({ "Authorization": token }))),
        (&"Basic bmluYQ==".to_owned(), init(json!({ "authorization": token }))),
    ] {
        let headers = [protocol, ("authorization", header.as_str())];
        let mut socket = Socket::open(&stage, &headers).await.unwrap();
        socket.say(hello).await;
        assert_eq!(socket.next().await["type"], "connection_ack");
        socket.subscribe("q", "{ me { user { handle } } }", Value::Null).await;
        let me = socket.next().await["payload"]["data"]["me"].take();
        assert_eq!(me["user"]["handle"], "nina");
    }
    let refused = [
        (vec![protocol, ("authorization", "Basic bmluYQ==")], "is not valid"),
        (vec![protocol, ("authorization", "Bearer no")], "is not valid"),
    ];
    for (headers, why) in refused {
        let mut socket = Socket::open(&stage, &headers).await.unwrap();
        socket.say(json!({ "type": "connection_init" })).await;
        let (code, reason) = socket.closed_because().await;
        assert!(code == 4401 && reason.contains(why), "{code} {reason}");
    }
    stage.end().await;
}

#[tokio::test]
async fn sockets_are_closed_for_a_reason() {
    let stage = Stage::new().await;
    let token = stage.token(UserId(Uuid::new_v4()), Role::Listener);
    let long_ago = Utc::now() - TimeDelta::hours(1);
    let old = stage.token_of(UserId(Uuid::new_v4()), Role::Listener, long_ago);
    let init = |payload: Value| json!({ "type": "connection_init", "payload": payload });
    let subscribe = json!({ "type": "subscribe", "id": "a", "payload": { "query": "{ a }" } });
    let first_words = [
        (json!({ "type": "connection_init" }).to_string(), 4401, "no access token: "),
        (init(json!({})).to_string(), 4401, "no access token: "),
        (init(json!({ "authorization": "Bearer no" })).to_string(), 4401, "is not valid"),
        (init(json!({ "authorization": token })).to_string(), 4401, "is not valid"),
        (init(json!({ "Authorization": format!("Bearer {old}") })).to_string(), 4401, "expired"),
        (init(json!({ "authorization": 7 })).to_string(), 4400, "Invalid message"),
        (subscribe.to_string(), 4401, "connection_init first"),
        (json!({ "type": "start" }).to_string(), 4400, "Invalid message"),
        ("hello".to_owned(), 4400, "Invalid message"),
        (format!("\"{}\"", "a".repeat(200_000)), 1009, "too big"),
    ];
    for (words, code, why) in first_words {
        let mut socket = Socket::silent(&stage).await;
        socket.send(Message::text(words.clone())).await;
        let (closed, reason) = socket.closed_because().await;
        assert_eq!(closed, code, "{}", &words[..words.len().min(80)]);
        assert!(reason.contains(why), "{reason}");
    }
    for bytes in [500 << 10, 600 << 10, 20 << 20] {
        let socket = Socket::of(&stage, &token).await;
        assert_eq!(socket.closed_while_sending(bytes).await, 1009, "{bytes} bytes");
    }
    let mut socket = Socket::of(&stage, &token).await;
    socket.init(&token).await;
    assert_eq!(socket.closed().await, 4429);
    let mut socket = Socket::of(&stage, &token).await;
    socket.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.closed().await, 4400);
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    for id in ["a", &"a".repeat(128), &"é".repeat(64)] {
        let mut socket = Socket::of(&stage, &stage.token(nina, Role::Artist)).await;
        socket.subscribe(id, MESSAGES, json!({ "id": channel })).await;
        socket.subscribe(id, MESSAGES, json!({ "id": channel })).await;
        assert_eq!(socket.closed().await, 4409);
    }

    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let elsewhere = ("origin", "https://evil.example");
    assert_eq!(Socket::open(&stage, &[protocol, elsewhere]).await.err(), Some(403));
    assert_eq!(Socket::open(&stage, &[]).await.err(), Some(400));
    let old_protocol = ("sec-websocket-protocol", "graphql-ws");
    assert_eq!(Socket::open(&stage, &[old_protocol]).await.err(), Some(400));

    // The process stops: what is open is closed, and the end is not waited for.
    let mut socket = Socket::of(&stage, &token).await;
    let mut silent = Socket::silent(&stage).await;
    let began = Instant::now();
    let (of_known, of_silent, ()) = tokio::join!(socket.closed(), silent.closed(), stage.end());
    assert_eq!((of_known, of_silent), (1001, 1001));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_account_has_so_many_sockets_and_takes_those_of_nobody_else() {
    let stage = Stage::new().await;
    let token = stage.token(UserId(Uuid::new_v4()), Role::Listener);
    let mut sockets = Vec::new();
    for _ in 0..ACCOUNT_SOCKETS_MAX {
        sockets.push(Socket::of(&stage, &token).await);
    }
    let refused = async || {
        let mut socket = Socket::silent(&stage).await;
        socket.init(&token).await;
        socket.closed().await
    };
    assert_eq!(refused().await, 4430);
    Socket::of(&stage, &stage.token(UserId(Uuid::new_v4()), Role::Listener)).await;
    // One that is closed makes room for another.
    sockets.pop().unwrap().send(Message::Close(None)).await;
    let there_is_room = async {
        loop {
            let mut socket = Socket::silent(&stage).await;
            socket.init(&token).await;
            if socket.is_welcome().await {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, there_is_room).await.expect("there is room in time");
    stage.end().await;
}

#[tokio::test]
async fn a_subscription_costs_less_than_a_query_may_and_ends_when_it_hangs() {
    let stage = Stage::with(every_projection, |parts| parts.statistics = Arc::new(Hanging)).await;
    let nina = stage.user("nina", Role::Artist).await;
    stage.track(nina, "Song").await;
    let channel = stage.channel(nina).await;
    let costly = |first: u32| {
        format!(
            "subscription($id: UUID!, $after: String) {{
             messagePosted(channelId: $id, after: $after) {{ text author {{
             tracks(first: {first}) {{ nodes {{ id title status createdAt plays artist {{ id }}
             }} }} }} }} }}"
        )
    };
    let mut socket = Socket::of(&stage, &stage.token(nina, Role::Artist)).await;
    socket.subscribe("a", &costly(100), json!({ "id": channel })).await;
    let refused = socket.next().await;
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "VALIDATION", "{refused}");

    // From places in the log: how soon a subscription is under way, nobody is told.
    let before = stage.store.head().await.unwrap().to_string();
    socket.subscribe("b", MESSAGES, json!({ "id": channel, "after": before })).await;
    let first = stage.say(channel, nina, "first").await.to_string();
    socket.next().await;
    socket.subscribe("c", &costly(1), json!({ "id": channel, "after": first })).await;
    socket.subscribe("d", "{ __typename }", Value::Null).await;
    assert_eq!(socket.next().await["id"], "d", "it does not wait for what was asked before");
    socket.next().await;
    stage.say(channel, nina, "second").await;
    assert_eq!(socket.next().await["id"], "b", "another does not wait for what hangs");
    let late = socket.next().await;
    assert_eq!((&late["type"], &late["id"]), (&json!("error"), &json!("c")), "{late}");
    assert_eq!(late["payload"][0]["extensions"]["code"], "TIMEOUT");
    stage.end().await;
}

/// Counts that never come.
struct Hanging;

#[async_trait::async_trait]
impl PlayStatistics for Hanging {
    fn model(&self) -> ModelId {
        plays::MODEL
    }

    async fn of_tracks(&self, _: &[TrackId]) -> Result<Vec<(TrackId, TrackPlays)>, QueryError> {
        std::future::pending().await
    }

    async fn days(&self, _: TrackId, _: u32) -> Result<Vec<DayPlays>, QueryError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token_and_with_nobody_to_know() {
    let stage = Stage::with(every_projection, |parts| {
        parts.origins = vec!["https://app.example".to_owned()];
    })
    .await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let left = TimeDelta::milliseconds(2_500);
    let issued = Utc::now() - ACCESS_TOKEN_LIFE - CLOCK_LEEWAY + left;
    let mut socket = Socket::of(&stage, &stage.token_of(nina, Role::Artist, issued)).await;
    socket.subscribe("a", MESSAGES, json!({ "id": channel })).await;
    let began = Instant::now();
    let (code, reason) = socket.closed_because().await;
    assert!(code == 4401 && reason.contains("expired"), "{code} {reason}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let page = ("origin", "https://app.example");
    let mut socket = Socket::open(&stage, &[protocol, page]).await.unwrap();
    let began = Instant::now();
    assert_eq!(socket.closed().await, 4408);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(12), "{took:?}");
    stage.end().await;
}
