//! What people see of what was done, through the query side's doors of a real platform.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

use crate::acts::{list, order, publish, sign_up, tone};
use crate::platform::{Platform, eventually};
use crate::socket::Socket;

/// Asks in GraphQL, seeing everything up to a position where one is given.
async fn ask(
    platform: &Platform,
    token: Option<&str>,
    position: Option<&Value>,
    query: &str,
    variables: Value,
) -> Value {
    let mut request = platform.request(Method::POST, "/graphql", token);
    if let Some(position) = position {
        request = request.header("veza-min-position", position.as_str().unwrap());
    }
    let body = json!({ "query": query, "variables": variables });
    let (status, mut answer) = platform.send(request.json(&body)).await;
    assert_eq!((status, &answer["errors"]), (200, &Value::Null), "{query}: {answer}");
    answer["data"].take()
}

/// A command that is carried out.
async fn command(platform: &Platform, token: &str, path: &str, body: Value) -> Value {
    let (status, done) = platform.post(path, Some(token), body).await;
    assert!(matches!(status, 200 | 201), "{path}: {status} {done}");
    done
}

/// An M4A of 152 bytes that says it has 2³² chunks, and has its reader ask for 32 GiB.
fn boasting_master() -> Vec<u8> {
    let atom = |name: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes()[..], name, content].concat()
    };
    let brand = atom(b"ftyp", b"M4A \0\0\0\0M4A mp42isom\0\0\0\0");
    let chunks = [&[0; 4][..], &u32::MAX.to_be_bytes(), &[0; 64]].concat();
    let nested = [b"co64", b"stbl", b"minf", b"mdia", b"trak", b"moov"];
    let movie = nested.iter().fold(chunks, |inner, name| atom(name, &inner));
    [brand, movie].concat()
}

#[tokio::test]
async fn a_master_that_breaks_its_reader_breaks_nothing_else() {
    let mut platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let (status, upload) = platform.upload(&nina, boasting_master()).await;
    assert_eq!((status, &upload["media_type"]), (201, &json!("audio/mp4")));
    let new = json!({ "upload_id": upload["id"], "title": "Boast" });
    let track = command(&platform, &nina, "/api/v1/tracks", new).await;
    let asked = json!({ "id": track["id"] });
    let query = "query($id: UUID!) { track(id: $id) { status failure } }";
    let failed =
        json!({ "status": "FAILED", "failure": "the file is damaged: its reader gave up" });
    eventually("the track has failed", async || {
        ask(&platform, Some(&nina), None, query, asked.clone()).await["track"] == failed
    })
    .await;
    platform.kill_and_restart().await;
    let seen = ask(&platform, Some(&nina), None, query, asked).await;
    assert_eq!(seen["track"], failed, "and it is not tried again");
    publish(&platform, &nina).await;
    platform.stop().await;
}

#[tokio::test]
async fn what_is_published_is_seen_at_once_found_played_and_heard() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let (_, upload) = platform.upload(&nina, tone()).await;
    let new =
        json!({ "upload_id": upload["id"], "title": "Moonlight over Żnin", "tags": ["night"] });
    let draft = command(&platform, &nina, "/api/v1/tracks", new).await;
    let (id, at) = (draft["id"].as_str().unwrap(), &draft["position"]);
    let track = "query($id: UUID!) { track(id: $id) { title published playlistUrl plays
        artist { handle } statistics { plays listeners listenedMs days { plays } } } }";
    let asked = json!({ "id": id });
    let seen = ask(&platform, Some(&nina), Some(at), track, asked.clone()).await;
    assert_eq!(seen["track"]["published"], false);
    assert_eq!(ask(&platform, None, Some(at), track, asked.clone()).await["track"], Value::Null);

    let publication = format!("/api/v1/tracks/{id}/publication");
    eventually("the track can be published", async || {
        platform.post(&publication, Some(&nina), Value::Null).await.0 == 200
    })
    .await;
    let published = command(&platform, &nina, &publication, Value::Null).await;
    let at = &published["position"];
    let seen = ask(&platform, None, Some(at), track, asked.clone()).await["track"].take();
    assert_eq!(
        (&seen["title"], &seen["statistics"]),
        (&json!("Moonlight over Żnin"), &Value::Null)
    );
    assert_eq!(seen["artist"]["handle"], "nina");
    let search = "{ search(text: \"moonlihgt znin\", kind: TRACK) {
        nodes { ... on Track { title } } } }";
    let found = ask(&platform, None, Some(at), search, Value::Null).await;
    assert_eq!(found["search"]["nodes"], json!([{ "title": "Moonlight over Żnin" }]));

    let plays = format!("/api/v1/tracks/{id}/plays");
    let played = command(&platform, &otis, &plays, json!({ "listened_ms": 2_000 })).await;
    let at = &played["position"];
    let counted = ask(&platform, Some(&nina), Some(at), track, asked.clone()).await["track"].take();
    let statistics =
        json!({ "plays": 1, "listeners": 1, "listenedMs": 2000, "days": [{ "plays": 1 }] });
    assert_eq!((&counted["plays"], &counted["statistics"]), (&json!(1), &statistics));

    is_heard(&platform, seen["playlistUrl"].as_str().unwrap()).await;
    let take_down = format!("/api/v1/tracks/{id}/take-down");
    let down = command(&platform, &nina, &take_down, json!({ "reason": "not cleared" })).await;
    let at = Some(&down["position"]);
    let gone = ask(&platform, None, at, track, asked).await["track"].take();
    assert_eq!((&gone["published"], &gone["playlistUrl"]), (&json!(true), &Value::Null));
    assert_eq!(ask(&platform, None, at, search, Value::Null).await["search"]["nodes"], json!([]));
    let list = "{ tracks { nodes { id } } }";
    assert_eq!(ask(&platform, None, at, list, Value::Null).await["tracks"]["nodes"], json!([]));
    let (status, problem) = platform.get(seen["playlistUrl"].as_str().unwrap()).await;
    assert_eq!((status, &problem["type"]), (404, &json!("urn:veza:problem:not-found")));
    platform.stop().await;
}

/// A player streams it to its end, and a part of it can be had alone.
async fn is_heard(platform: &Platform, playlist: &str) {
    let url = format!("{}{playlist}", platform.url());
    let decoding = Command::new("ffmpeg")
        .args(["-v", "error", "-i", &url, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"])
        .output();
    let decoded = decoding.await.unwrap();
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    let seconds = decoded.stdout.len() as f64 / 2.0 / 8000.0;
    assert!((1.9..2.2).contains(&seconds), "it plays {seconds} s");
    let samples = decoded.stdout.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]]));
    let loudest = samples.map(i16::unsigned_abs).max().unwrap();
    assert!((10_000..16_000).contains(&loudest), "a tone of 12,000 is {loudest} at most");

    let client = reqwest::Client::new();
    let master = client.get(&url).send().await.unwrap();
    assert_eq!(master.headers()["content-type"], "application/vnd.apple.mpegurl");
    let text = master.text().await.unwrap();
    let rendition = text.lines().find(|line| line.ends_with("playlist.m3u8")).unwrap();
    let base = url.strip_suffix("master.m3u8").unwrap();
    let init = format!("{base}{}", rendition.replace("playlist.m3u8", "init.mp4"));
    let part = client.get(&init).header("range", "bytes=4-7").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap().as_ref(), b"ftyp");
}

#[tokio::test]
async fn a_message_arrives_at_the_other_and_the_end_is_not_waited_for() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let channel = command(&platform, &nina, "/api/v1/channels", json!({ "name": "lobby" })).await;
    let id = channel["id"].as_str().unwrap();
    let members = format!("/api/v1/channels/{id}/members/me");
    let join = platform.request(Method::PUT, &members, Some(&otis));
    let (status, joined) = platform.send(join).await;
    assert_eq!(status, 200, "{joined}");
    let lobby = "query($id: UUID!) { channel(id: $id) { name members { nodes { handle } } } }";
    let asked = json!({ "id": id });
    let seen = ask(&platform, Some(&otis), Some(&joined["position"]), lobby, asked.clone()).await;
    let members = json!([{ "handle": "otis" }, { "handle": "nina" }]);
    assert_eq!(seen["channel"], json!({ "name": "lobby", "members": { "nodes": members } }));
    assert_eq!(ask(&platform, Some(&etta), None, lobby, asked).await["channel"], Value::Null);

    let subscription = "subscription($id: UUID!, $after: String) {
        messagePosted(channelId: $id, after: $after) { text author { handle } } }";
    let mut socket = Socket::of(&platform, &otis).await;
    socket.subscribe(subscription, &channel["id"], &joined["position"]).await;
    let messages = format!("/api/v1/channels/{id}/messages");
    for text in ["Did you hear it?", "The chords are mine."] {
        command(&platform, &nina, &messages, json!({ "text": text })).await;
        let arrived = socket.next().await["payload"]["data"]["messagePosted"].take();
        assert_eq!(arrived, json!({ "text": text, "author": { "handle": "nina" } }));
    }
    let mut stranger = Socket::of(&platform, &etta).await;
    stranger.subscribe(subscription, &channel["id"], &Value::Null).await;
    let refused = stranger.next().await;
    assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");

    let began = Instant::now();
    let (closed, ()) = tokio::join!(socket.frame(), platform.stop());
    let Message::Close(Some(frame)) = closed else { panic!("not closed, but {closed:?}") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_order_is_its_parties_affair() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let track = publish(&platform, &nina).await;
    let listing = list(&platform, &nina, &track, "instant").await;
    let (status, placed) = order(&platform, &otis, &listing).await;
    assert_eq!(status, 201);
    let id = placed["id"].as_str().unwrap();
    let mut socket = Socket::of(&platform, &otis).await;
    let changes = "subscription($id: UUID!) { orderChanged(orderId: $id) { status } }";
    socket.subscribe(changes, &placed["id"], &Value::Null).await;
    let told = async |socket: &mut Socket, wanted: &str| {
        while socket.next().await["payload"]["data"]["orderChanged"]["status"] != wanted {}
    };
    told(&mut socket, "DELIVERED").await;
    let acceptance = format!("/api/v1/orders/{id}/acceptance");
    eventually("the order can be accepted", async || {
        platform.post(&acceptance, Some(&otis), Value::Null).await.0 == 200
    })
    .await;
    told(&mut socket, "COMPLETED").await;

    let query = "query($id: UUID!) { order(id: $id) { status escrow payment masterUrl
        track { title } listing { status sold } saga { kind status } history { what } } }";
    let asked = json!({ "id": id });
    eventually("the saga is completed, and the listing sold", async || {
        let seen = ask(&platform, Some(&otis), None, query, asked.clone()).await;
        let order = &seen["order"];
        order["saga"]["status"] == "COMPLETED" && order["listing"]["status"] == "SOLD"
    })
    .await;
    let seen = ask(&platform, Some(&otis), None, query, asked.clone()).await["order"].take();
    assert_eq!((&seen["escrow"], &seen["payment"]), (&json!("RELEASED"), &json!("CAPTURED")));
    let history = seen["history"].as_array().unwrap().iter().map(|entry| &entry["what"]);
    let history: Vec<_> = history.collect();
    assert_eq!(
        (history[0], history.last().unwrap()),
        (&json!("OrderPlaced"), &&json!("OrderCompleted"))
    );
    let money = "{ me { balances { chargedMinor availableMinor heldMinor authorisedMinor } } }";
    for (who, charged, available) in [(&otis, 2500, 0), (&nina, 0, 2500)] {
        let seen = ask(&platform, Some(who), None, money, Value::Null).await;
        let expected = json!([{ "chargedMinor": charged, "availableMinor": available,
            "heldMinor": 0, "authorisedMinor": 0 }]);
        assert_eq!(seen["me"]["balances"], expected);
    }

    let master = seen["masterUrl"].as_str().unwrap();
    let fetch = |who: &String| platform.request(Method::GET, master, Some(who)).send();
    assert_eq!(fetch(&otis).await.unwrap().bytes().await.unwrap(), tone());
    for who in [&nina, &etta] {
        assert_eq!(fetch(who).await.unwrap().status(), 404);
    }
    assert_eq!(ask(&platform, Some(&etta), None, query, asked).await["order"], Value::Null);
    platform.stop().await;
}
