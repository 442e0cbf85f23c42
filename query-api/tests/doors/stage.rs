//! The doors on a port, over a log that the test writes and models that the projections fill.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::token::{Clock, TokenGrant};
use access::{KeyRing, RateGate, Role, SessionId, TokenIssuer, TokenScope, TokenVerifier};
use chrono::{DateTime, Utc};
use event_schemas::audio::{
    AudioProperties, Master, TrackCreated, TrackEvent, TrackPublished, TrackTranscoded,
};
use event_schemas::commerce::{
    DeliveryMode, LicenceKind, LicenceListed, ListingEvent, OrderEvent, OrderPlaced,
};
use event_schemas::social::{ChannelCreated, ChannelEvent, MessageEvent, MessagePosted};
use event_schemas::user::{UserEvent, UserRegistered, UserRoleGranted};
use event_schemas::*;
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, Position, StreamName,
};
use media::{FileStorage, ObjectStorage};
use projections::postgres::{Models, projections, query_pool};
use projections::search::SearchFeed;
use projections::search::postgres::{MODEL as SEARCH, PostgresSearch};
use projections::{Projection, Runner};
use query_api::{QueryApi, QueryApiParts};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The doors, and everything behind them.
pub struct Stage {
    pub address: SocketAddr,
    pub client: Client,
    pub store: Arc<dyn EventStore>,
    /// What projections and log-ins have.
    pub pool: sqlx::PgPool,
    pub models: Models,
    pub objects: Arc<dyn ObjectStorage>,
    pub api: QueryApi,
    pub stop: CancellationToken,
    pub watermarks: projections::Watermarks,
    issuer: TokenIssuer,
    runner: Runner,
    serving: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(every_projection, |_| {}).await
    }

    /// With these projections at work, and with parts changed before the doors are made.
    pub async fn with(
        at_work: impl FnOnce(&sqlx::PgPool) -> Vec<Arc<dyn Projection>>,
        change: impl FnOnce(&mut QueryApiParts),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = database::fresh().await;
        let options = EmbeddedOptions::folder(folder.path().join("events"));
        let store: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(options).await.unwrap());
        let (at_work, stop) = (at_work(&pool), CancellationToken::new());
        let working = CancellationToken::new();
        let runner = Runner::start(pool.clone(), Arc::clone(&store), at_work, working);
        let storage = FileStorage::open(folder.path().join("objects")).unwrap();
        let objects: Arc<dyn ObjectStorage> = Arc::new(storage);
        let clock: Clock = Arc::new(Utc::now);
        let ring = KeyRing::load_or_create(&folder.path().join("keys"), Utc::now()).unwrap();
        let ring = Arc::new(ring);
        let scope = TokenScope { issuer: "veza".to_owned(), audience: "veza".to_owned() };
        let verifier = Arc::new(TokenVerifier::new(Arc::clone(&ring), &scope, Arc::clone(&clock)));
        let queries = query_pool(&pool);
        let (gated, models) = (Arc::clone(&verifier), Models::new(&queries));
        let mut parts = QueryApiParts {
            models: models.clone(),
            search: Arc::new(PostgresSearch::new(queries)),
            search_model: SEARCH,
            statistics: Arc::new(models.plays.clone()),
            watermarks: runner.watermarks(),
            store: Arc::clone(&store),
            objects: Arc::clone(&objects),
            verifier,
            rates: RateGate::new(None, gated, Default::default(), Arc::new(Instant::now)),
            clock,
            introspection: true,
            origins: Vec::new(),
            stop: stop.clone(),
        };
        change(&mut parts);
        let api = QueryApi::new(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = api.router().into_make_service_with_connect_info::<SocketAddr>();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
        });
        let (client, issuer) = (Client::new(), TokenIssuer::new(ring, scope));
        let watermarks = runner.watermarks();
        Self {
            address,
            client,
            store,
            pool,
            models,
            objects,
            api,
            stop,
            watermarks,
            issuer,
            runner,
            serving,
            _folder: folder,
        }
    }

    /// Ends in order, within a time.
    pub async fn end(self) {
        self.stop.cancel();
        assert!(self.api.drain(PATIENCE).await, "every socket closes");
        drop(self.client);
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the doors close").unwrap();
        assert!(self.runner.drain(PATIENCE).await);
    }

    /// Appends an event to a stream of its family, as the write side would.
    pub async fn put<E: EventFamily>(&self, id: impl std::fmt::Display, event: E) -> Position {
        let encoded = event.encode();
        let metadata = Metadata {
            schema_version: encoded.version,
            correlation_id: Uuid::new_v4(),
            causation_id: Uuid::new_v4(),
            actor: Actor::System,
            occurred_at: Utc::now(),
            traceparent: None,
            command: None,
        };
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: EventType::new(encoded.event_type).unwrap(),
            content_type: ContentType::Json,
            data: serde_json::to_vec(&encoded.data).unwrap().into(),
            metadata: serde_json::to_vec(&metadata).unwrap().into(),
        };
        let stream = StreamName::new(format!("{}-{id}", E::CATEGORY)).unwrap();
        let appended = self.store.append(&stream, ExpectedRevision::Any, vec![event]).await;
        appended.unwrap().position.unwrap()
    }

    pub async fn user(&self, handle: &str, role: Role) -> UserId {
        let user_id = UserId(Uuid::new_v4());
        self.register(user_id, handle).await;
        let (role, granted_by) = (role.name().to_owned(), user_id);
        let granted = json!({
            "user_id": user_id, "role": role, "by": granted_by, "reason": "sign-up",
        });
        if let Ok(granted) = serde_json::from_value::<UserRoleGranted>(granted) {
            self.put::<UserEvent>(user_id, granted.into()).await;
        }
        user_id
    }

    /// Somebody who signs up.
    pub async fn register(&self, user_id: UserId, handle: &str) {
        let (handle, display_name) = (handle.to_owned(), handle.to_owned());
        let registered = UserRegistered { user_id, handle, display_name };
        self.put::<UserEvent>(user_id, registered.into()).await;
    }

    /// A track that was made and transcoded.
    pub async fn draft(&self, artist_id: UserId, title: &str) -> TrackId {
        let track_id = TrackId(Uuid::new_v4());
        let master = Master {
            object_key: format!("masters/{artist_id}/{track_id}"),
            sha256: "00".repeat(32),
            size_bytes: 1,
            media_type: "audio/wav".to_owned(),
        };
        let title = title.to_owned();
        let created = TrackCreated { track_id, artist_id, title, tags: Vec::new(), master };
        self.put::<TrackEvent>(track_id, created.into()).await;
        let properties = AudioProperties {
            duration_ms: 60_000,
            codec: "pcm".to_owned(),
            sample_rate_hz: 44_100,
            channels: 2,
        };
        let playlist_key = format!("hls/{track_id}/master.m3u8");
        let transcoded = TrackTranscoded { track_id, properties, playlist_key };
        self.put::<TrackEvent>(track_id, transcoded.into()).await;
        track_id
    }

    pub async fn track(&self, artist_id: UserId, title: &str) -> TrackId {
        let track_id = self.draft(artist_id, title).await;
        self.put::<TrackEvent>(track_id, TrackPublished { track_id }.into()).await;
        track_id
    }

    pub async fn listing(&self, seller_id: UserId, track_id: TrackId) -> ListingId {
        let listing_id = ListingId(Uuid::new_v4());
        let (kind, delivery) = (LicenceKind::NonExclusive, DeliveryMode::Instant);
        let price = Money::new(3_000_000_000, Currency::EUR);
        let listed = LicenceListed { listing_id, track_id, seller_id, kind, price, delivery };
        self.put::<ListingEvent>(listing_id, listed.into()).await;
        listing_id
    }

    pub async fn order(&self, buyer_id: UserId, seller_id: UserId) -> OrderId {
        let order_id = OrderId(Uuid::new_v4());
        let placed = OrderPlaced {
            order_id,
            listing_id: ListingId(Uuid::new_v4()),
            track_id: TrackId(Uuid::new_v4()),
            buyer_id,
            seller_id,
            price: Money::new(2_500, Currency::EUR),
            payment_method: "sandbox:ok".to_owned(),
            delivery: DeliveryMode::Instant,
        };
        self.put::<OrderEvent>(order_id, placed.into()).await;
        order_id
    }

    pub async fn channel(&self, owner_id: UserId) -> ChannelId {
        let channel_id = ChannelId(Uuid::new_v4());
        let created = ChannelCreated { channel_id, name: "studio".to_owned(), owner_id };
        self.put::<ChannelEvent>(channel_id, created.into()).await;
        channel_id
    }

    pub async fn say(&self, channel_id: ChannelId, author_id: UserId, text: &str) -> Position {
        let message_id = MessageId(Uuid::new_v4());
        let posted = MessagePosted { message_id, channel_id, author_id, text: text.to_owned() };
        self.put::<MessageEvent>(message_id, posted.into()).await
    }

    /// Waits until every model that is at work has everything.
    pub async fn caught_up(&self) {
        let mut all: Vec<_> = projections().iter().map(|projection| projection.id()).collect();
        all.push(SEARCH);
        let head = self.store.head().await.unwrap();
        self.watermarks.wait_for(&all, head, PATIENCE).await.unwrap();
    }

    /// A token for somebody of this role.
    pub fn token(&self, user: UserId, role: Role) -> String {
        self.token_of(user, role, Utc::now())
    }

    /// The same, issued at a time.
    pub fn token_of(&self, user: UserId, role: Role, now: DateTime<Utc>) -> String {
        let grant = TokenGrant {
            user_id: user.0,
            session: SessionId(Uuid::new_v4()),
            roles: role.into(),
            email_verified: true,
        };
        self.issuer.issue(&grant, Uuid::new_v4(), now).as_str().to_owned()
    }

    pub fn get(&self, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.client.get(format!("http://{}{path}", self.address));
        bearing(request, token)
    }

    pub fn post(&self, token: Option<&str>) -> RequestBuilder {
        bearing(self.client.post(format!("http://{}/graphql", self.address)), token)
    }

    /// The answer to a query.
    pub async fn ask(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let response = self.post(token).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        response.json().await.unwrap()
    }

    /// The data of a query that is answered.
    pub async fn data(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(token, query, variables).await;
        assert_eq!(answer["errors"], Value::Null, "{query}");
        answer["data"].take()
    }

    /// The code of the first error of a query.
    pub async fn code(&self, token: Option<&str>, query: &str, variables: Value) -> String {
        let answer = self.ask(token, query, variables).await;
        let code = answer["errors"][0]["extensions"]["code"].as_str();
        code.unwrap_or_else(|| panic!("{query} has no error: {answer}")).to_owned()
    }
}

fn bearing(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Everything that fills a model.
pub fn every_projection(pool: &sqlx::PgPool) -> Vec<Arc<dyn Projection>> {
    let mut all = projections();
    let search = Arc::new(PostgresSearch::new(pool.clone()));
    all.push(Arc::new(SearchFeed::new(SEARCH, search)));
    all
}
