//! Who sees what: each field and object with nobody, a stranger, its own people and staff.

use access::{RateGate, RateLimits, Role};
use event_schemas::UserId;
use event_schemas::social::{ChannelEvent, ChannelMemberJoined};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::socket::Socket;
use crate::stage::{Stage, every_projection};

/// Queries, in which names stand for ids, and what each of the callers sees: T is there, - is null,
/// U, F and V are the codes of refusals.
const SEEN: &[(&str, &str)] = &[
    ("{ seen: track(id: \"DRAFT\") { title } }", "-T--T-T"),
    ("{ seen: track(id: \"SONG\") { title } }", "TTTTTTT"),
    ("{ track(id: \"SONG\") { seen: plays } }", "TTTTTTT"),
    ("{ track(id: \"SONG\") { seen: statistics { plays listenedMs days { day } } } }", "-T-----"),
    ("{ seen: order(id: \"ORDER\") { status history { what } saga { lastError } } }", "-TT--TT"),
    ("{ seen: channel(id: \"CHANNEL\") { name members { nodes { handle } } } }", "-T-----"),
    ("{ seen: channel(id: \"CHANNEL\") { messages { nodes { text } } } }", "-T-----"),
    (
        "{ seen: user(handle: \"NINA\") { displayName roles tracks { nodes { title } } } }",
        "TTTTTTT",
    ),
    ("{ seen: user(handle: \"nobody\") { id } }", "-------"),
    ("{ seen: user { id } }", "VVVVVVV"),
    ("{ seen: listing(id: \"SONG\") { id } }", "-------"),
    ("{ seen: tracks { nodes { id } } }", "TTTTTTT"),
    ("{ seen: search(text: \"a\") { nodes { __typename } } }", "TTTTTTT"),
    ("{ seen: sagas { nodes { stream } } }", "UFFFFFT"),
    ("{ seen: models { name position status since lag parkedEvents } }", "UFFFFFT"),
    ("{ seen: __typename }", "TTTTTTT"),
];

/// What nobody has thought of can't be asked: a field at the root that is not in the table fails.
#[test]
fn every_field_at_the_root_is_tried() {
    let sdl = query_api::schema::sdl();
    let root = sdl.split("type Query {").nth(1).unwrap().split("\n}").next().unwrap();
    let lines = root.lines().map(str::trim).filter(|line| !line.ends_with(['.', '"']));
    let fields = lines.filter_map(|line| line.split_once(['(', ':']).map(|(field, _)| field));
    let fields: Vec<_> = fields.filter(|field| !field.contains(' ')).collect();
    assert_eq!(fields.len(), 10, "{fields:?}");
    // One's own account is there for oneself alone, which is tried apart.
    for field in fields.into_iter().filter(|field| *field != "me") {
        let is_tried = |(query, _): &(&str, &str)| query.contains(&format!(" {field}"));
        assert!(SEEN.iter().any(is_tried), "who may ask for {field}?");
    }
}

#[tokio::test]
async fn what_one_may_not_see_is_not_there_and_what_one_may_not_ask_is_refused() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let otis = stage.user("otis", Role::Listener).await;
    let draft = stage.draft(nina, "Draft").await;
    let song = stage.track(nina, "Song").await;
    let order = stage.order(otis, nina).await;
    let channel = stage.channel(nina).await;
    stage.say(channel, nina, "hello").await;
    stage.caught_up().await;
    let of = |user: UserId, role| Some(stage.token(user, role));
    let stranger = UserId(Uuid::new_v4());
    let callers = [
        ("nobody", None),
        ("artist", of(nina, Role::Artist)),
        ("buyer", of(otis, Role::Listener)),
        ("stranger", of(stranger, Role::Listener)),
        ("moderator", of(stranger, Role::Moderator)),
        ("support", of(stranger, Role::Support)),
        ("administrator", of(stranger, Role::Administrator)),
    ];
    for (query, expected) in SEEN {
        let query = query.replace("DRAFT", &draft.to_string()).replace("SONG", &song.to_string());
        let query = query.replace("ORDER", &order.to_string());
        let query = query.replace("CHANNEL", &channel.to_string());
        let mut seen = String::new();
        for (_, token) in &callers {
            let answer = stage.ask(token.as_deref(), &query, Value::Null).await;
            let data = &answer["data"];
            let there = data.get("seen").or_else(|| data["track"].get("seen"));
            seen.push(match answer["errors"][0]["extensions"]["code"].as_str() {
                Some("UNAUTHENTICATED") => 'U',
                Some("FORBIDDEN") => 'F',
                Some("VALIDATION") => 'V',
                Some(code) => panic!("{query}: {code}"),
                None if there.is_some_and(|there| !there.is_null()) => 'T',
                None => '-',
            });
        }
        assert_eq!(seen, *expected, "{query}");
    }
    assert_eq!(stage.code(None, "{ me { roles } }", Value::Null).await, "UNAUTHENTICATED");
    stage.end().await;
}

#[tokio::test]
async fn one_sees_ones_own_drafts_and_others_do_not() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let otis = stage.user("otis", Role::Listener).await;
    stage.draft(nina, "Draft").await;
    stage.track(nina, "Song").await;
    let channel = stage.channel(nina).await;
    let joined = ChannelMemberJoined { channel_id: channel, user_id: otis };
    stage.put::<ChannelEvent>(channel, joined.into()).await;
    stage.caught_up().await;
    let token = stage.token(nina, Role::Artist);
    let query = "{ me { emailConfirmed roles user { tracks { nodes { title } } }
        tracks { nodes { title playlistUrl statistics { days { plays } } } }
        channels { nodes { owner { handle } members { nodes { handle } } } } } }";
    let me = stage.data(Some(&token), query, Value::Null).await["me"].take();
    assert_eq!((&me["roles"], &me["emailConfirmed"]), (&json!(["ARTIST"]), &json!(false)));
    assert_eq!(me["user"]["tracks"]["nodes"], json!([{ "title": "Song" }]));
    let own = me["tracks"]["nodes"].as_array().unwrap();
    assert_eq!(
        (own.len(), &own[1]["title"], &own[1]["playlistUrl"]),
        (2, &json!("Draft"), &Value::Null)
    );
    assert!(own[0]["playlistUrl"].as_str().unwrap().ends_with("/master.m3u8"));
    let channel = &me["channels"]["nodes"][0];
    assert_eq!(channel["owner"]["handle"], "nina");
    assert_eq!(channel["members"]["nodes"], json!([{ "handle": "otis" }, { "handle": "nina" }]));
    stage.end().await;
}

#[tokio::test]
async fn a_token_that_is_not_believed_is_refused_at_every_door() {
    let stage = Stage::new().await;
    let nina = UserId(Uuid::new_v4());
    let old = stage.token_of(nina, Role::Artist, chrono::Utc::now() - chrono::TimeDelta::hours(1));
    let order = format!("/media/orders/{}/master", Uuid::nil());
    let track = format!("/media/tracks/{}/master.m3u8", Uuid::nil());
    for token in ["nonsense", &old] {
        for request in [
            stage.post(Some(token)).json(&json!({ "query": "{ __typename }" })),
            stage.get(&order, Some(token)),
            stage.get(&track, Some(token)),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401);
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.contains("invalid_token"), "{challenge}");
        }
    }
    assert_eq!(stage.get(&order, None).send().await.unwrap().status(), 401);
    stage.end().await;
}

#[tokio::test]
async fn who_asks_too_often_waits() {
    let stage = Stage::with(every_projection, |parts| {
        let rate = access::rate::Rate::new(3, std::time::Duration::from_secs(60));
        let limits = RateLimits { read: rate, ..RateLimits::default() };
        let (verifier, now) = (parts.verifier.clone(), std::time::Instant::now());
        let ticks = std::sync::Arc::new(move || now);
        parts.rates = RateGate::new(Some(limits), verifier, Default::default(), ticks);
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let request = stage.post(None).json(&json!({ "query": "{ __typename }" }));
        statuses.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    // On a socket each query counts, and so does its opening.
    let token = stage.token(UserId(Uuid::new_v4()), Role::Listener);
    let authorization = format!("Bearer {token}");
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let headers = [protocol, ("authorization", authorization.as_str())];
    let mut socket = Socket::open(&stage, &headers).await.unwrap();
    socket.init(&token).await;
    assert_eq!(socket.next().await["type"], "connection_ack");
    for answered in [true, true, false] {
        socket.subscribe("q", "{ __typename }", Value::Null).await;
        let answer = socket.next().await;
        if answered {
            assert_eq!(answer["type"], "next", "{answer}");
            assert_eq!(socket.next().await["type"], "complete");
        } else {
            assert_eq!(answer["payload"][0]["extensions"]["code"], "RATE_LIMITED");
        }
    }
    stage.end().await;
}
