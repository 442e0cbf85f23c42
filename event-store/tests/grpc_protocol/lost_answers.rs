//! Appends whose answer is lost: sent again they are answered as the first time, and are there
//! once, also when the store was opened again in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event_store::{
    AppendError, Appended, ClientStore, EmbeddedOptions, EmbeddedStore, EventStore,
    ExpectedRevision, OpenError, Position, ReadAll, Revision, StoreError,
};
use futures::TryStreamExt;
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::server::{Server, event, stream};

const PATIENCE: Duration = Duration::from_secs(30);

async fn serve(folder: &Path, address: &str) -> Server {
    let opened = async {
        loop {
            match EmbeddedStore::open(EmbeddedOptions::folder(folder)).await {
                // What served before may not have let go of it yet.
                Err(OpenError::Locked { .. }) => {}
                opened => return opened.expect("store"),
            }
        }
    };
    let store = tokio::time::timeout(PATIENCE, opened).await.expect("a store in time");
    Server::over(Arc::new(store), address).await
}

/// Appends the events 1 to 3 until that is answered.
async fn append_until_answered(client: &ClientStore, expected: ExpectedRevision) -> Appended {
    let answered = async {
        loop {
            let events = (1..4).map(event).collect();
            match client.append(&stream("tale-1"), expected, events).await {
                Ok(appended) => return appended,
                Err(AppendError::Store(StoreError::Unavailable { .. })) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("it is answered")
}

async fn is_answered_alike(expected: ExpectedRevision, restart: bool) {
    let folder = TempDir::new().expect("folder");
    let mut server = serve(folder.path(), "127.0.0.1:0").await;
    let address = server.address();
    let proxy = Proxy::start(server.serving.local_addr()).await;
    let client =
        ClientStore::new(&format!("esdb://{}?tls=false", proxy.address())).expect("client");
    let first = client.append(&stream("tale-1"), ExpectedRevision::NoStream, vec![event(0)]).await;
    first.expect("append");
    proxy.lose_answers(true);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { append_until_answered(&client, expected).await }
    });
    let done = async { while server.store.head().await.expect("head") < Position::new(4) {} };
    tokio::time::timeout(PATIENCE, done).await.expect("the append goes through");
    assert!(!asking.is_finished(), "its answer does not");
    if restart {
        server.shutdown.cancel();
        proxy.cut();
        let Server { serving, store, .. } = server;
        serving.finished().await;
        drop(store);
        server = serve(folder.path(), &address).await;
    }
    proxy.lose_answers(false);
    proxy.cut();
    let appended = asking.await.expect("answered");
    let (last_revision, position) = (Some(Revision::new(3)), Some(Position::new(4)));
    assert_eq!(appended, Appended { last_revision, position }, "{expected:?}, {restart}");
    let all = server.store.read_all(ReadAll::forward()).await.expect("read");
    let ids: Vec<_> = all.map_ok(|event| event.id).try_collect().await.expect("read");
    assert_eq!(ids, (0..4).map(|number| event(number).id).collect::<Vec<_>>());
    // Other events in their place are no retry.
    if expected != ExpectedRevision::Any {
        let other = client.append(&stream("tale-1"), expected, vec![event(9)]).await;
        assert!(matches!(other, Err(AppendError::WrongExpectedRevision { .. })), "{other:?}");
    }
    server.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_was_lost_is_answered_alike_when_sent_again() {
    for expected in [ExpectedRevision::Exactly(Revision::new(0)), ExpectedRevision::Any] {
        is_answered_alike(expected, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_was_lost_is_known_after_a_restart() {
    for expected in [ExpectedRevision::Exactly(Revision::new(0)), ExpectedRevision::Any] {
        is_answered_alike(expected, true).await;
    }
}
