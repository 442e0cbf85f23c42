//! A server over a real store, on a free port of this machine.

use std::sync::Arc;

use event_store::grpc::{ServeOptions, Serving, serve};
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, NewEvent,
    StreamName,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A server, its store, and what stops it.
pub struct Server {
    pub store: Arc<dyn EventStore>,
    pub serving: Serving,
    pub shutdown: CancellationToken,
    pub folder: Option<TempDir>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(ServeOptions::default()).await
    }

    /// A server that takes so much and no more.
    pub async fn start_with(serving: ServeOptions) -> Self {
        let folder = TempDir::new().expect("folder");
        let options = EmbeddedOptions::folder(folder.path().join("events"));
        let store = EmbeddedStore::open(options).await.expect("store");
        let mut server = Self::serving(Arc::new(store), "127.0.0.1:0", serving).await;
        server.folder = Some(folder);
        server
    }

    /// Serves this store at this address.
    pub async fn over(store: Arc<dyn EventStore>, address: &str) -> Self {
        Self::serving(store, address, ServeOptions::default()).await
    }

    /// Serves this store at this address, in this manner.
    pub async fn serving(store: Arc<dyn EventStore>, address: &str, options: ServeOptions) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let shutdown = CancellationToken::new();
        let serving = serve(listener, Arc::clone(&store), options, shutdown.clone());
        Self { store, serving: serving.expect("serve"), shutdown, folder: None }
    }

    pub fn address(&self) -> String {
        self.serving.local_addr().to_string()
    }

    pub fn connection_string(&self) -> String {
        format!("esdb://{}?tls=false", self.address())
    }

    /// The official client.
    pub fn client(&self) -> eventstore::Client {
        let settings = self.connection_string().parse().expect("settings");
        eventstore::Client::new(settings).expect("client")
    }
}

/// A stream's name.
pub fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("name")
}

/// An event whose id follows from a number.
pub fn event(number: u64) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(u128::from(number) + 1)),
        event_type: EventType::new("Numbered").expect("type"),
        content_type: ContentType::Json,
        data: format!("{{\"number\": {number}}}").into(),
        metadata: "{\"by\": \"test\"}".into(),
    }
}

/// Some events of the official client's, numbered from zero.
pub fn offered(kind: &str, count: u64) -> Vec<eventstore::EventData> {
    (0..count)
        .map(|number| {
            eventstore::EventData::json(kind, &serde_json::json!({ "number": number }))
                .expect("json")
                .id(Uuid::new_v4())
        })
        .collect()
}
