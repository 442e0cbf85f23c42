//! What operators ask of a server: scavenging, figures, shutdown; through the official client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::maintenance::Scavenges;
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadStream, RecordedEvent,
    ScavengeOptions, StreamMetadata,
};
use eventstore::Error;
use eventstore::operations::{Client, ScavengeStatus, StatsOptions};
use futures::TryStreamExt;
use tempfile::TempDir;
use tonic::Code;

use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::{Server, event, stream};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

const OPERATIONS: &str = "/event_store.client.operations.Operations";

/// Segments so small that there is something to look at.
async fn opened(folder: &Path) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions::folder(folder.join("events")).segment_bytes(64 * 1024);
    Arc::new(EmbeddedStore::open(options).await.expect("store"))
}

/// A server that is operated as one is that is alone in its process.
async fn operated() -> (Server, Arc<EmbeddedStore>) {
    let folder = TempDir::new().expect("folder");
    let store = opened(folder.path()).await;
    let scavenges = Scavenges::new(Arc::clone(&store), "node:1".to_owned());
    let options = ServeOptions {
        scavenges: Some(scavenges),
        stops_when_asked: true,
        ..ServeOptions::default()
    };
    let mut server = Server::serving(Arc::clone(&store) as _, "127.0.0.1:0", options).await;
    server.folder = Some(folder);
    (server, store)
}

fn operator(server: &Server) -> Client {
    server.client().into()
}

/// The events of a stream, once there are so many.
async fn events(store: &EmbeddedStore, name: &str, count: usize) -> Vec<RecordedEvent> {
    let polling = async {
        loop {
            if let Ok(reader) = store.read_stream(ReadStream::forward(stream(name))).await {
                let events: Vec<_> = reader.try_collect().await.expect("events");
                if events.len() >= count {
                    return events;
                }
            }
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.expect("they come")
}

fn json(event: &RecordedEvent) -> serde_json::Value {
    serde_json::from_slice(&event.data).expect("json")
}

#[tokio::test]
async fn a_pass_is_begun_by_a_client_and_kept_in_streams() {
    let (server, store) = operated().await;
    for number in 0..800 {
        store.append(&stream("s"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    let hidden = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream("s"), ExpectedRevision::Any, hidden).await.unwrap();
    let client = operator(&server);
    let begun = client.start_scavenge(1, 0, &Default::default()).await.expect("begun");
    assert!(matches!(begun.status(), ScavengeStatus::Started));
    let kept = events(&store, &format!("$scavenges-{}", begun.id()), 2).await;
    let types: Vec<_> = kept.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["$scavengeStarted", "$scavengeCompleted"]);
    let (started, completed) = (json(&kept[0]), json(&kept[1]));
    assert_eq!(
        (&started["scavengeId"], &started["nodeEndpoint"]),
        (&begun.id().into(), &"node:1".into())
    );
    assert_eq!(completed["result"], "Success");
    assert!(completed["spaceSaved"].as_u64().expect("a number") > 0, "{completed}");
    let links = events(&store, "$scavenges", 2).await;
    assert_eq!(links[1].data, format!("1@$scavenges-{}", begun.id()));
    let late = client.stop_scavenge(begun.id(), &Default::default()).await;
    assert!(matches!(late.expect("it is over").status(), ScavengeStatus::Stopped));
    let never = client.stop_scavenge("nonsense", &Default::default()).await;
    assert!(matches!(never, Err(Error::ResourceNotFound)), "{:?}", never.err());
}

#[tokio::test]
async fn a_pass_is_stopped_by_its_id() {
    let (server, store) = operated().await;
    for number in 0..800 {
        store.append(&stream("s"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    // One that others began so slowly that it does not end by itself.
    let slow = ScavengeOptions::default().bytes_per_second(1);
    let passing = Arc::clone(&store);
    let pass = tokio::spawn(async move { passing.scavenge(slow).await });
    let client = operator(&server);
    let polling = async {
        loop {
            let begun = client.start_scavenge(1, 0, &Default::default()).await.expect("asked");
            if matches!(begun.status(), ScavengeStatus::InProgress) && begun.id() == "current" {
                return;
            }
            let _ = client.stop_scavenge(begun.id(), &Default::default()).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.expect("the other runs");
    let other = client.stop_scavenge("nonsense", &Default::default()).await;
    assert!(matches!(other, Err(Error::ResourceNotFound)), "{:?}", other.err());
    let stopped = client.stop_scavenge("current", &Default::default()).await.expect("stopped");
    assert!(matches!(stopped.status(), ScavengeStatus::Stopped));
    let ended = tokio::time::timeout(PATIENCE, pass).await.expect("in time").expect("no panic");
    assert!(!ended.expect("no failure").completed);
}

#[tokio::test]
async fn passes_are_one_at_a_time_and_stop_under_their_id() {
    let folder = TempDir::new().expect("folder");
    let store = opened(folder.path()).await;
    for number in 0..800 {
        store.append(&stream("s"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    use event_store::maintenance::Begun;
    let scavenges = Scavenges::new(Arc::clone(&store), "node:1".to_owned());
    let slow = ScavengeOptions::default().bytes_per_second(1);
    let Begun::Started(id) = scavenges.start(slow).expect("begun") else { panic!("it is first") };
    assert_eq!(scavenges.start(slow).expect("asked"), Begun::InProgress(id.clone()));
    assert_eq!(scavenges.stop("another").await, None);
    let stopped = tokio::time::timeout(PATIENCE, scavenges.stop(&id)).await;
    assert_eq!(stopped.expect("in time"), Some(id.clone()));
    let kept = events(&store, &format!("$scavenges-{id}"), 2).await;
    assert_eq!(json(&kept[1])["result"], "Stopped");
    assert_eq!(scavenges.stop(&id).await, Some(id), "it has ended");
}

#[tokio::test]
async fn figures_are_told_again_and_again() {
    let (server, _) = operated().await;
    let client = operator(&server);
    let options = StatsOptions::default().refresh_time(Duration::ZERO);
    let mut told = client.stats(&options).await.expect("figures");
    for _ in 0..3 {
        let figures = tokio::time::timeout(PATIENCE, told.next()).await.expect("in time");
        let figures = figures.expect("figures").0;
        let number = |name: &str| figures[name].parse::<f64>().expect(name);
        assert_eq!(number("proc-id"), f64::from(std::process::id()));
        assert!(number("proc-tcp-connections") >= 1.0);
        if cfg!(target_os = "linux") {
            assert!(number("proc-mem") > 1_000_000.0);
            assert!((0.0..=100.0).contains(&number("sys-cpu")));
            assert!(number("sys-totalMem") > number("sys-freeMem"));
            assert!(figures["proc-startTime"].ends_with('Z'), "{figures:?}");
        }
        assert!(figures.keys().any(|name| name.starts_with("sys-drive-")), "{figures:?}");
    }
}

#[tokio::test]
async fn what_is_for_a_cluster_is_answered_as_by_one_node() {
    let (server, _) = operated().await;
    let client = operator(&server);
    client.merge_indexes(&Default::default()).await.expect("nothing to do");
    client.resign_node(&Default::default()).await.expect("it stays");
    client.restart_persistent_subscriptions(&Default::default()).await.expect("anew");
    client.set_node_priority(7, &Default::default()).await.expect("kept");
    let gossip = client.read_gossip().await.expect("gossip");
    assert_eq!(gossip[0].node_priority, 7);
}

#[tokio::test]
async fn a_client_stops_the_server_where_it_may() {
    let (server, _) = operated().await;
    operator(&server).shutdown(&Default::default()).await.expect("told");
    tokio::time::timeout(PATIENCE, server.serving.finished()).await.expect("stopped");

    let server = Server::start().await;
    let asked = async |call_name: &str| {
        let channel = connect(&server).await;
        let path = format!("{OPERATIONS}/{call_name}");
        let (sender, answer) = call(&channel, &path, message(PLAIN, b""));
        drop(sender);
        ended(answer).await
    };
    assert_eq!(asked("Shutdown").await.code(), Code::FailedPrecondition);
    assert!(!server.shutdown.is_cancelled());
    assert_eq!(asked("StartScavenge").await.code(), Code::Unimplemented);
    assert_eq!(asked("StopScavenge").await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_pass_can_not_begin_just_anywhere() {
    let (server, _) = operated().await;
    let client = operator(&server);
    let begun = client.start_scavenge(1, 5, &Default::default()).await;
    let Err(Error::Grpc { code, .. }) = begun else { panic!("it has begun") };
    assert_eq!(code as i32, Code::InvalidArgument as i32);
}
