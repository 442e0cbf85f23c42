//! Projections through the official Rust client, and streams of links to categories and types.

use std::time::Duration;

use event_store::limits::{EVENT_TYPE_BYTES_MAX, STREAM_NAME_BYTES_MAX};
use event_store::{EventType, ExpectedRevision, NewEvent, ReadStream, StreamMetadata};
use eventstore::{
    CreateProjectionOptions, Error, ProjectionClient, ReadStreamOptions, StreamPosition,
    SubscribeToStreamOptions,
};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::server::{Server, event, offered, stream};

/// No answer takes longer than this, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);

const COUNT: &str = "fromStream('s').when({$init: () => ({foo: {baz: {count: 0}}}), \
    $any(s, e) { s.foo.baz.count += 1; emit('out', 'Counted', {}); }})";

fn projections(server: &Server) -> ProjectionClient {
    ProjectionClient::new(server.connection_string().parse().expect("settings"))
}

async fn until(client: &ProjectionClient, name: &str, so: impl Fn(&str, i64) -> bool) {
    let polled = async {
        loop {
            let told = client.get_status(name, &Default::default()).await.expect("status");
            let told = told.expect("statistics");
            if so(&told.status, told.events_processed_after_restart) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polled).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_manages_projections() {
    let server = Server::start().await;
    let client = projections(&server);
    let all = Default::default();
    server.client().append_to_stream("s", &all, offered("Told", 10)).await.expect("append");
    let options = CreateProjectionOptions::default().emit(true);
    client.create("count", COUNT.to_owned(), &options).await.expect("create");
    until(&client, "count", |status, handled| status == "Running" && handled == 10).await;
    let told = client.get_status("count", &Default::default()).await.expect("status");
    // Made, and then allowed to emit.
    assert_eq!(told.map(|told| told.version), Some(1));
    let state = client.get_state::<_, Value>("count", &Default::default()).await.expect("state");
    let expected = json!({"foo": {"baz": {"count": 10.0}}});
    assert_eq!(state.expect("json"), expected);
    let result = client.get_result::<_, Value>("count", &Default::default()).await.expect("result");
    assert_eq!(result.expect("json"), expected);
    let out = server.store.read_stream(ReadStream::forward(stream("out"))).await.expect("out");
    assert_eq!(out.try_collect::<Vec<_>>().await.expect("events").len(), 10);
    client.update("count", COUNT.to_owned(), &Default::default()).await.expect("update");
    client.enable("count", &Default::default()).await.expect("enable");
    client.reset("count", &Default::default()).await.expect("reset");
    client.disable("count", &Default::default()).await.expect("disable");
    until(&client, "count", |status, _| status == "Stopped").await;
    client.enable("count", &Default::default()).await.expect("enable");
    client.abort("count", &Default::default()).await.expect("abort");
    until(&client, "count", |status, _| status.contains("Aborted")).await;
    client.delete("count", &Default::default()).await.expect("delete");
    let gone = client.get_status("count", &Default::default()).await;
    assert!(matches!(gone, Err(Error::ResourceNotFound)), "{gone:?}");
    client.restart_subsystem(&Default::default()).await.expect("restart");
    let listed = client.list(&Default::default()).await.expect("list");
    let listed: Vec<_> = listed.try_collect().await.expect("statistics");
    assert_eq!(listed.len(), 5, "{listed:?}");
}

/// Given a server that is stopped with projections at work, when another one begins on its store,
/// then they go on, though nobody asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projections_go_on_with_the_next_server() {
    let mut server = Server::start().await;
    let options = CreateProjectionOptions::default().emit(true);
    projections(&server).create("count", COUNT.to_owned(), &options).await.expect("create");
    server.shutdown.cancel();
    server.serving.finished().await;
    let next = Server::over(server.store.clone(), "127.0.0.1:0").await;
    server.store.append(&stream("s"), ExpectedRevision::Any, vec![event(1)]).await.expect("append");
    let written = async {
        while server.store.last_event(&stream("out")).await.expect("read").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("it is emitted");
    next.shutdown.cancel();
    drop(server.folder.take());
}

async fn links(server: &Server, name: &str, options: ReadStreamOptions) -> Vec<(u64, String)> {
    let mut read = server.client().read_stream(name, &options).await.expect("read");
    let mut links = Vec::new();
    while let Some(told) = read.next().await.expect("event") {
        let link = told.get_original_event();
        links.push((link.revision, String::from_utf8(link.data.to_vec()).expect("text")));
    }
    links
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn categories_are_streams_of_links_from_when_they_are_enabled_on() {
    let server = Server::start().await;
    let (client, projections) = (server.client(), projections(&server));
    let append = |name: &'static str, number: u64| {
        let store = server.store.clone();
        async move {
            let (name, any) = (stream(name), ExpectedRevision::Any);
            store.append(&name, any, vec![event(number)]).await.expect("append");
        }
    };
    append("tale-1", 0).await;
    append("tale-2", 1).await;
    let missing = client.read_stream("$ce-tale", &Default::default()).await;
    let missing = match missing {
        Ok(mut read) => read.next().await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(missing, Some(Error::ResourceNotFound)), "{missing:?}");
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let options = options.resolve_link_tos();
    let mut followed = client.subscribe_to_stream("$ce-tale", &options).await;
    projections.enable("$by_category", &Default::default()).await.expect("enable");
    for (number, name) in [(0, "tale-1"), (1, "tale-2")] {
        let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event");
        let told = next.expect("event");
        let (event, link) = (told.event.expect("event"), told.link.expect("link"));
        assert_eq!((&*event.stream_id, event.revision), (name, 0));
        assert_eq!((&*link.stream_id, link.revision), ("$ce-tale", number));
    }
    append("tale-1", 2).await;
    let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event");
    assert_eq!(next.expect("event").get_original_event().revision, 2);
    let link = |number: u64, target: &str| (number, target.to_owned());
    let all = [link(0, "0@tale-1"), link(1, "0@tale-2"), link(2, "1@tale-1")];
    let forward = ReadStreamOptions::default;
    let backward = || ReadStreamOptions::default().backwards().position(StreamPosition::End);
    for (options, expected) in [
        (forward(), &all[..]),
        (forward().position(StreamPosition::Position(1)).max_count(1), &all[1..2]),
        (forward().position(StreamPosition::Position(9)), &[]),
        (backward().max_count(1), &all[2..]),
    ] {
        assert_eq!(links(&server, "$ce-tale", options).await, expected);
    }
    // Stopped, it is as it was; enabled again, it has all.
    projections.disable("$by_category", &Default::default()).await.expect("disable");
    append("tale-3", 3).await;
    assert_eq!(links(&server, "$ce-tale", forward()).await, all);
    projections.enable("$by_category", &Default::default()).await.expect("enable");
    let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event");
    assert_eq!(next.expect("event").get_original_event().revision, 3);
    assert_eq!(links(&server, "$ce-tale", forward()).await.len(), 4);
}

/// Given followers of a stream and of links to its events, side by side, when events are appended,
/// then each is told of what it follows: these are at the same positions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_links_and_who_follows_events_get_theirs() {
    let server = Server::start().await;
    let (client, projections) = (server.client(), projections(&server));
    projections.enable("$by_category", &Default::default()).await.expect("enable");
    projections.enable("$by_event_type", &Default::default()).await.expect("enable");
    let name = stream("tale-1");
    for number in 0..20 {
        let (any, one) = (ExpectedRevision::Any, vec![event(number)]);
        server.store.append(&name, any, one).await.expect("append");
    }
    let from_start = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let event_type = event(0).event_type;
    let by_type = format!("$et-{event_type}");
    let names = ["$ce-tale", "tale-1", &by_type, "tale-1", "$ce-tale"];
    let mut followers = Vec::new();
    for name in names {
        followers.push((name, client.subscribe_to_stream(name, &from_start).await));
    }
    for number in 0..40 {
        if number >= 20 {
            let (any, one) = (ExpectedRevision::Any, vec![event(number)]);
            server.store.append(&name, any, one).await.expect("append");
        }
        for (name, followed) in &mut followers {
            let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event");
            let told = next.expect("event");
            let told = told.get_original_event();
            let is_link = told.event_type == "$>";
            assert_eq!((&*told.stream_id, told.revision), (*name, number));
            assert_eq!(is_link, name.starts_with('$'), "{name}");
        }
    }
}

/// Given the longest type and the longest category that there can be, then their links are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_types_and_categories_have_links() {
    let server = Server::start().await;
    let event_type = "T".repeat(EVENT_TYPE_BYTES_MAX);
    let category = "c".repeat(STREAM_NAME_BYTES_MAX - 1);
    for projection in ["$by_category", "$by_event_type"] {
        projections(&server).enable(projection, &Default::default()).await.expect("enable");
    }
    let name = format!("{category}-");
    let long = NewEvent { event_type: EventType::new(&event_type).expect("type"), ..event(0) };
    server.store.append(&stream(&name), ExpectedRevision::Any, vec![long]).await.expect("append");
    for of in [format!("$et-{event_type}"), format!("$ce-{category}")] {
        let expected = [(0, format!("0@{name}"))];
        assert_eq!(links(&server, &of, Default::default()).await, expected);
    }
}

/// Given metadata of a stream of links, then they hide of it what they hide of any stream; and what
/// comes to who follows it is not hidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_hide_links() {
    let server = Server::start().await;
    projections(&server).enable("$by_category", &Default::default()).await.expect("enable");
    let append = async |number: u64| {
        let (name, any) = (stream(&format!("tale-{number}")), ExpectedRevision::Any);
        server.store.append(&name, any, vec![event(number)]).await.expect("append");
    };
    for number in 0..5 {
        append(number).await;
    }
    let hide = async |metadata: StreamMetadata| {
        let (name, any) = (stream("$ce-tale"), ExpectedRevision::Any);
        server.store.set_stream_metadata(&name, any, metadata).await.expect("metadata");
    };
    let all: Vec<_> = (0..5).map(|number| (number, format!("0@tale-{number}"))).collect();
    let none = StreamMetadata::default;
    for (metadata, first) in [
        (none(), 0),
        (StreamMetadata { max_count: Some(2), ..none() }, 3),
        (StreamMetadata { max_count: Some(9), ..none() }, 0),
        (StreamMetadata { max_count: Some(9), truncate_before: Some(1), ..none() }, 1),
        (StreamMetadata { truncate_before: Some(7), ..none() }, 5),
        (StreamMetadata { max_age_seconds: Some(3600), ..none() }, 0),
        (StreamMetadata { max_age_seconds: Some(0), ..none() }, 5),
    ] {
        hide(metadata.clone()).await;
        are_seen(&server, "$ce-tale", &all[first..], &metadata).await;
    }
    hide(StreamMetadata { max_count: Some(2), ..none() }).await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut followed = server.client().subscribe_to_stream("$ce-tale", &options).await;
    for number in 3..8 {
        if number == 5 {
            for number in 5..8 {
                append(number).await;
            }
        }
        let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event");
        assert_eq!(next.expect("event").get_original_event().revision, number);
    }
    assert_eq!(links(&server, "$ce-tale", Default::default()).await.len(), 2);
}

/// These links and no others are read of a stream, which way ever.
async fn are_seen(server: &Server, name: &str, seen: &[(u64, String)], why: &StreamMetadata) {
    const MIDST: u64 = 2;
    let forward = ReadStreamOptions::default;
    let backward = || forward().backwards().position(StreamPosition::End);
    let turned: Vec<_> = seen.iter().rev().cloned().collect();
    let two = |all: &[(u64, String)]| all.iter().take(2).cloned().collect::<Vec<_>>();
    let midst = StreamPosition::Position(MIDST);
    let later = seen.iter().filter(|(number, _)| *number >= MIDST).cloned().collect();
    let earlier = turned.iter().filter(|(number, _)| *number <= MIDST).cloned().collect();
    let cases = [
        (forward(), seen.to_vec()),
        (backward(), turned.clone()),
        (forward().max_count(2), two(seen)),
        (backward().max_count(2), two(&turned)),
        (forward().position(midst), later),
        (forward().backwards().position(midst), earlier),
    ];
    for (case, (options, expected)) in cases.into_iter().enumerate() {
        assert_eq!(links(server, name, options).await, expected, "{case} {why:?}");
    }
}

/// Given calls that their client breaks off at any moment, then what follows is done as if they had
/// not been: what is begun is done to its end, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_broken_off_leave_nothing_half_done() {
    let server = Server::start().await;
    let client = projections(&server);
    let options = CreateProjectionOptions::default();
    for number in 0..12 {
        let (cut, whole) = (format!("cut-{number}"), format!("whole-{number}"));
        let after = Duration::from_millis(number);
        let create = client.create(cut, COUNT.to_owned(), &options);
        let _ = tokio::time::timeout(after, create).await;
        client.create(whole.as_str(), COUNT.to_owned(), &options).await.expect("create");
        let all = Default::default();
        let _ = tokio::time::timeout(after, client.restart_subsystem(&all)).await;
        let told = client.get_status(whole.as_str(), &Default::default()).await.expect("status");
        assert!(told.is_some(), "{number}");
    }
}
