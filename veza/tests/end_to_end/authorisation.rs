//! Who may do what: every route of the live routers, and every field that a query or subscription
//! may begin with. A door that is missing from the tables fails the test.

mod files;
mod live_routes;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::tone;
use crate::platform::Platform;
use crate::scene::{Person, Scene};
use crate::socket::Socket;

/// A command, whom it refuses, and who may give it.
struct Command<'a> {
    /// As the OpenAPI document has it.
    route: &'static str,
    /// The path with its ids filled in.
    path: String,
    body: Body,
    /// With the status they get.
    refused: Vec<(&'a Person, u16)>,
    /// `None` for what needs no token.
    allowed: Option<&'a Person>,
}

enum Body {
    None,
    Json(Value),
    Audio,
}

fn command<'a>(
    route: &'static str,
    path: impl Into<String>,
    body: Body,
    refused: &[(&'a Person, u16)],
    allowed: &'a Person,
) -> Command<'a> {
    Command { route, path: path.into(), body, refused: refused.to_vec(), allowed: Some(allowed) }
}

/// Every command that needs a token. `scene` has a published track of the artist's with a listing,
/// of which the buyer has ordered a licence, a draft, and a channel that only the artist is in.
fn commands(scene: &Scene) -> Vec<Command<'_>> {
    [music(scene), talk(scene), commerce(scene)].into_iter().flatten().collect()
}

fn music(scene: &Scene) -> Vec<Command<'_>> {
    let Scene { artist, rival, buyer, stranger, unconfirmed, administrator, .. } = scene;
    let Scene { track, draft, upload, .. } = scene;
    vec![
        command(
            "PUT /api/v1/users/me/profile",
            "/api/v1/users/me/profile",
            Body::Json(json!({ "display_name": "Anybody" })),
            &[],
            stranger,
        ),
        command(
            "POST /api/v1/users/{user_id}/roles",
            format!("/api/v1/users/{}/roles", stranger.id),
            Body::Json(json!({ "role": "moderator", "reason": "trusted" })),
            &[(stranger, 403), (artist, 403), (buyer, 403)],
            administrator,
        ),
        command(
            "POST /api/v1/uploads",
            "/api/v1/uploads",
            Body::Audio,
            &[(stranger, 403), (administrator, 403)],
            rival,
        ),
        command(
            "POST /api/v1/tracks",
            "/api/v1/tracks",
            Body::Json(json!({ "upload_id": upload, "title": "Another" })),
            &[(stranger, 403), (rival, 404), (administrator, 403)],
            artist,
        ),
        command(
            "POST /api/v1/tracks/{track_id}/publication",
            format!("/api/v1/tracks/{draft}/publication"),
            Body::None,
            &[(stranger, 403), (rival, 404), (unconfirmed, 403), (administrator, 403)],
            artist,
        ),
        command(
            "POST /api/v1/tracks/{track_id}/plays",
            format!("/api/v1/tracks/{track}/plays"),
            Body::Json(json!({ "listened_ms": 2_000 })),
            &[],
            stranger,
        ),
    ]
}

fn talk(scene: &Scene) -> Vec<Command<'_>> {
    let Scene { artist, buyer, stranger, administrator, channel, .. } = scene;
    vec![
        command(
            "POST /api/v1/channels",
            "/api/v1/channels",
            Body::Json(json!({ "name": "lobby" })),
            &[],
            stranger,
        ),
        command(
            "POST /api/v1/channels/{channel_id}/messages",
            format!("/api/v1/channels/{channel}/messages"),
            Body::Json(json!({ "text": "hello" })),
            &[(stranger, 403), (administrator, 403)],
            artist,
        ),
        command(
            "PUT /api/v1/channels/{channel_id}/members/me",
            format!("/api/v1/channels/{channel}/members/me"),
            Body::None,
            &[],
            buyer,
        ),
        command(
            "DELETE /api/v1/channels/{channel_id}/members/me",
            format!("/api/v1/channels/{channel}/members/me"),
            Body::None,
            &[],
            buyer,
        ),
    ]
}

fn commerce(scene: &Scene) -> Vec<Command<'_>> {
    let Scene { artist, rival, buyer, stranger, unconfirmed, administrator, .. } = scene;
    let Scene { track, listing, unsold, order, .. } = scene;
    let price = json!({ "amount_minor": 100, "currency": "EUR" });
    let reason = || Body::Json(json!({ "reason": "because" }));
    vec![
        command(
            "POST /api/v1/listings",
            "/api/v1/listings",
            Body::Json(json!({ "track_id": track, "kind": "non_exclusive", "price": price })),
            &[(stranger, 403), (rival, 404), (unconfirmed, 403), (administrator, 403)],
            artist,
        ),
        command(
            "DELETE /api/v1/listings/{listing_id}",
            format!("/api/v1/listings/{unsold}"),
            Body::None,
            &[(stranger, 403), (rival, 403)],
            artist,
        ),
        command(
            "POST /api/v1/orders",
            "/api/v1/orders",
            Body::Json(json!({ "listing_id": listing, "payment_method": "sandbox:ok" })),
            &[(unconfirmed, 403)],
            stranger,
        ),
        command(
            "POST /api/v1/orders/{order_id}/approval",
            format!("/api/v1/orders/{order}/approval"),
            Body::None,
            &[(buyer, 403), (stranger, 403), (rival, 404), (administrator, 403)],
            artist,
        ),
        command(
            "POST /api/v1/orders/{order_id}/acceptance",
            format!("/api/v1/orders/{order}/acceptance"),
            Body::None,
            &[(artist, 403), (stranger, 404), (rival, 404), (administrator, 404)],
            buyer,
        ),
        command(
            "POST /api/v1/tracks/{track_id}/take-down",
            format!("/api/v1/tracks/{track}/take-down"),
            reason(),
            &[(stranger, 403), (rival, 403)],
            administrator,
        ),
    ]
}

/// Who may see what there, the tables of fields say.
const GRAPHQL: &[&str] = &["GET /graphql", "POST /graphql"];

/// What people who are not known yet do.
const PUBLIC: &[&str] = &[
    "POST /api/v1/users",
    "POST /api/v1/email-confirmations",
    "POST /api/v1/email-confirmations/requests",
    "POST /api/v1/sessions",
];

async fn give(platform: &Platform, command: &Command<'_>, token: Option<&str>) -> (u16, Value) {
    let (method, _) = command.route.split_once(' ').unwrap();
    let request = platform.request(method.parse::<Method>().unwrap(), &command.path, token);
    let request = match &command.body {
        Body::None => request,
        Body::Json(body) => request.json(body),
        Body::Audio => request.body(tone()),
    };
    platform.send(request).await
}

#[tokio::test]
async fn every_command_is_refused_to_whoever_may_not_give_it() {
    let platform = Platform::start().await;
    let scene = Scene::set(&platform).await;
    let commands = commands(&scene);

    let document = platform.get("/openapi.json").await.1;
    let mut routes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            let secured = operation.get("security").is_some();
            assert_eq!(secured, !PUBLIC.contains(&route.as_str()), "{route}");
            routes.insert(route);
        }
    }
    let listed = commands.iter().map(|command| command.route).chain(PUBLIC.iter().copied());
    let mut listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    assert_eq!(routes, listed, "each command of the document has its row");
    listed.extend([GRAPHQL, files::ROUTES].concat().into_iter().map(str::to_owned));
    assert_eq!(live_routes::all(), listed, "each route has its row");

    let told = |command: &Command<'_>, status: u16| {
        let (method, path) = command.route.split_once(' ').unwrap();
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        let is_told = responses.get(status.to_string()).is_some();
        assert!(is_told, "the document does not tell that {} answers {status}", command.route);
    };
    let mut wrong = Vec::new();
    for command in &commands {
        for forged in [None, Some("no.token.atall"), Some(scene.stale_signature.as_str())] {
            let (status, problem) = give(&platform, command, forged).await;
            let kind = &problem["type"];
            assert_eq!(status, 401, "{} without a token: {problem}", command.route);
            assert_eq!(kind, "urn:veza:problem:unauthenticated", "{}", command.route);
        }
        for (who, expected) in &command.refused {
            let (status, problem) = give(&platform, command, Some(&who.token)).await;
            told(command, status);
            if problem["type"] == "urn:veza:problem:email-not-confirmed" {
                let (method, path) = command.route.split_once(' ').unwrap();
                let responses = &document["paths"][path][method.to_lowercase()]["responses"];
                let described = responses["403"]["description"].as_str().unwrap();
                assert!(described.contains("email-not-confirmed"), "{}", command.route);
            }
            if status != *expected {
                let route = command.route;
                wrong.push(format!("{route} by {}: not {expected} but {problem}", who.handle));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The same commands, given by who may: what was refused was refused for who gave it.
    for command in &commands {
        let who = command.allowed.unwrap();
        scene.until_possible(&platform, command.route).await;
        let (status, answer) = give(&platform, command, Some(&who.token)).await;
        told(command, status);
        let accepted = (200..300).contains(&status);
        assert!(accepted, "{} by {}: {status} {answer}", command.route, who.handle);
    }
    platform.stop().await;
}

/// What somebody sees when a query begins with a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sees {
    Something,
    Nothing,
    Refusal(&'static str),
}

struct Field<'a> {
    /// Where it is in the answer, from the field that the query begins with.
    name: &'static str,
    query: String,
    seen: Vec<(Option<&'a Person>, Sees)>,
}

fn fields(scene: &Scene) -> Vec<Field<'_>> {
    use Sees::{Nothing, Refusal, Something};
    let Scene { artist, rival, buyer, stranger, administrator, .. } = scene;
    let Scene { track, draft, listing, order, channel, .. } = scene;
    let unknown = Refusal("UNAUTHENTICATED");
    let everybody = || vec![(None, Something), (Some(stranger), Something)];
    let field = |name, query: String, seen| Field { name, query, seen };
    vec![
        field(
            "me",
            "{ me { user { id } } }".to_owned(),
            vec![(None, unknown), (Some(stranger), Something)],
        ),
        field("user", format!("{{ user(id: \"{}\") {{ id }} }}", artist.id), everybody()),
        field("track", format!("{{ track(id: \"{track}\") {{ id }} }}"), everybody()),
        field(
            "track",
            format!("{{ track(id: \"{draft}\") {{ id }} }}"),
            vec![
                (None, Nothing),
                (Some(stranger), Nothing),
                (Some(rival), Nothing),
                (Some(artist), Something),
            ],
        ),
        field(
            "track.statistics",
            format!("{{ track(id: \"{track}\") {{ statistics {{ plays }} }} }}"),
            vec![
                (None, Nothing),
                (Some(stranger), Nothing),
                (Some(rival), Nothing),
                (Some(buyer), Nothing),
                (Some(administrator), Nothing),
                (Some(artist), Something),
            ],
        ),
        field("tracks", "{ tracks { nodes { id } } }".to_owned(), everybody()),
        field(
            "search",
            "{ search(text: \"tone\") { nodes { __typename } } }".to_owned(),
            everybody(),
        ),
        field("listing", format!("{{ listing(id: \"{listing}\") {{ id }} }}"), everybody()),
        field(
            "channel",
            format!("{{ channel(id: \"{channel}\") {{ id }} }}"),
            vec![(Some(stranger), Nothing), (Some(artist), Something)],
        ),
        field(
            "order",
            format!("{{ order(id: \"{order}\") {{ id }} }}"),
            vec![
                (Some(stranger), Nothing),
                (Some(rival), Nothing),
                (Some(buyer), Something),
                (Some(artist), Something),
                (Some(administrator), Something),
            ],
        ),
        field("sagas", "{ sagas { nodes { status } } }".to_owned(), operators(scene)),
        field("models", "{ models { name } }".to_owned(), operators(scene)),
    ]
}

/// What operators alone see.
fn operators(scene: &Scene) -> Vec<(Option<&Person>, Sees)> {
    let refused = Sees::Refusal("FORBIDDEN");
    vec![
        (None, Sees::Refusal("UNAUTHENTICATED")),
        (Some(&scene.stranger), refused),
        (Some(&scene.artist), refused),
        (Some(&scene.administrator), Sees::Something),
    ]
}

/// What subscriptions begin with; each is for members or parties only.
fn subscriptions(scene: &Scene) -> Vec<Field<'_>> {
    use Sees::{Refusal, Something};
    let Scene { artist, buyer, stranger, order, channel, .. } = scene;
    let subscription = |name, query: String, allowed, refused| Field {
        name,
        query,
        seen: vec![(Some(allowed), Something), (Some(stranger), Refusal(refused))],
    };
    vec![
        subscription(
            "messagePosted",
            format!(
                "subscription {{ messagePosted(channelId: \"{channel}\", after: \"0\") {{ id }} }}"
            ),
            artist,
            "FORBIDDEN",
        ),
        subscription(
            "orderChanged",
            format!("subscription {{ orderChanged(orderId: \"{order}\") {{ id }} }}"),
            buyer,
            "FORBIDDEN",
        ),
    ]
}

fn known(code: &str) -> &'static str {
    let codes = ["UNAUTHENTICATED", "FORBIDDEN", "NOT_FOUND"];
    codes.into_iter().find(|known| *known == code).unwrap_or_else(|| panic!("refused by {code}"))
}

async fn sees(platform: &Platform, field: &Field<'_>, who: Option<&Person>) -> Sees {
    let token = who.map(|person| person.token.as_str());
    let (status, answer) = platform.post("/graphql", token, json!({ "query": field.query })).await;
    if let Some(code) = answer["errors"][0]["extensions"]["code"].as_str() {
        return Sees::Refusal(known(code));
    }
    assert_eq!(status, 200, "{}: {answer}", field.query);
    let seen = field.name.split('.').fold(&answer["data"], |seen, name| &seen[name]);
    if seen.is_null() { Sees::Nothing } else { Sees::Something }
}

#[tokio::test]
async fn every_field_is_seen_by_whoever_may_see_it_only() {
    let platform = Platform::start().await;
    let scene = Scene::set(&platform).await;
    let (fields, subscriptions) = (fields(&scene), subscriptions(&scene));

    let query = "{ __schema { queryType { fields { name } } mutationType { name }
        subscriptionType { fields { name } } } }";
    let (_, schema) = platform.post("/graphql", None, json!({ "query": query })).await;
    let schema = &schema["data"]["__schema"];
    assert!(schema["mutationType"].is_null(), "what changes something is a command");
    for (kind, rows) in [("queryType", &fields), ("subscriptionType", &subscriptions)] {
        let known = schema[kind]["fields"].as_array().unwrap().iter();
        let known: BTreeSet<&str> = known.map(|field| field["name"].as_str().unwrap()).collect();
        let first = |row: &Field<'_>| row.name.split('.').next();
        let listed: BTreeSet<&str> = rows.iter().filter_map(first).collect();
        assert_eq!(known, listed, "each field of {kind} has its row");
    }
    for field in &fields {
        for (who, expected) in &field.seen {
            let found = sees(&platform, field, *who).await;
            let name = who.map_or("nobody", |person| person.handle.as_str());
            assert_eq!(found, *expected, "{} by {name}", field.query);
        }
    }
    // The channel has something to give to whoever asks from its beginning.
    let path = format!("/api/v1/channels/{}/messages", scene.channel);
    let said = json!({ "text": "hello" });
    assert_eq!(platform.post(&path, Some(&scene.artist.token), said).await.0, 201);
    for subscription in &subscriptions {
        for (who, expected) in &subscription.seen {
            let who = who.unwrap();
            let mut socket = Socket::of(&platform, &who.token).await;
            let payload = json!({ "query": subscription.query });
            socket.say(&json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
            let answer = socket.next().await;
            let found = match answer["payload"][0]["extensions"]["code"].as_str() {
                Some(code) => Sees::Refusal(known(code)),
                None if answer["payload"]["data"][subscription.name].is_object() => Sees::Something,
                None => panic!("{}: {answer}", subscription.query),
            };
            assert_eq!(found, *expected, "{} by {}: {answer}", subscription.query, who.handle);
        }
    }
    platform.stop().await;
}
