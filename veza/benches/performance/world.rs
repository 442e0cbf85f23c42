//! A platform that has lived: people, tracks, plays, channels and orders, from one seed.
//!
//! They are appended as the aggregates would have decided them, only faster.

use aggregates::CommandContext;
use aggregates::encoding::encode;
use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::analytics::{PlayEvent, TrackPlayed};
use event_schemas::audio::{
    AudioProperties, Master, TrackCreated, TrackEvent, TrackPublished, TrackTranscoded,
};
use event_schemas::commerce::{
    DeliveryMode, EscrowEvent, EscrowHeld, EscrowReleased, LicenceKind, LicenceListed,
    ListingEvent, OrderAccepted, OrderCompleted, OrderDelivered, OrderEvent, OrderPlaced,
    PaymentAuthorised, PaymentCaptured, PaymentEvent,
};
use event_schemas::social::{
    ChannelCreated, ChannelEvent, ChannelMemberJoined, MessageEvent, MessagePosted,
};
use event_schemas::user::{UserEmailConfirmed, UserEvent, UserRegistered, UserRoleGranted};
use event_schemas::{
    Actor, ChannelId, Currency, EventFamily, ListingId, MessageId, Money, OrderId, PlayId, TrackId,
    UserId,
};
use event_store::{EmbeddedStore, EventStore as _, ExpectedRevision, NewEvent, StreamName};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sagas::orchestrator::checkpoint::Checkpoint;
use uuid::Uuid;

/// How many appends are under way at once.
const APPENDS_AT_ONCE: usize = 512;

/// How long every track plays, in milliseconds: so short that nobody who plays one after another
/// has less time than that takes.
pub const TRACK_MS: u64 = 100;

/// The checkpoint of the platform's sagas.
const SAGA_CHECKPOINT: &str = "sagacheckpoint-platform";

/// Makes what is in the world.
pub struct World {
    random: StdRng,
    now: DateTime<Utc>,
    waiting: Vec<(StreamName, Vec<NewEvent>)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let now = DateTime::from_timestamp(1_767_225_600, 0).expect("New Year's Day of 2026");
        Self { random: StdRng::seed_from_u64(seed), now, waiting: Vec::new() }
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u128(self.random.random())
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.random_range(0..all.len())]
    }

    /// One command's events.
    fn put<E: EventFamily>(&mut self, id: Uuid, events: &[E]) {
        let name = format!("{}-{id}", E::CATEGORY);
        let stream = StreamName::new(name).expect("categories are short");
        let context = CommandContext::first(self.id(), "", Actor::System, self.now);
        self.now += TimeDelta::milliseconds(10);
        let events = encode(&stream, events, &context);
        self.waiting.push((stream, events));
    }

    /// Appends what was made so far; what is made later comes behind it.
    pub async fn append_to(&mut self, store: &EmbeddedStore) -> anyhow::Result<()> {
        let appends = self.waiting.drain(..).map(|(stream, events)| async move {
            store.append(&stream, ExpectedRevision::Any, events).await
        });
        stream::iter(appends).buffered(APPENDS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    /// Notes that the sagas have done all that the log asks of them, and closes the store.
    pub async fn rest(mut self, store: EmbeddedStore) -> anyhow::Result<()> {
        self.append_to(&store).await?;
        let position = store.head().await?;
        let checkpoint = Checkpoint { position, ..Checkpoint::START };
        checkpoint.save(&store, &StreamName::new(SAGA_CHECKPOINT)?).await?;
        Ok(store.close().await?)
    }

    /// People who listen and make music, their addresses confirmed.
    pub fn people(&mut self, count: usize) -> Vec<UserId> {
        let mut people = Vec::with_capacity(count);
        for number in 0..count {
            let user_id = UserId(self.id());
            let (handle, display_name) = (format!("person{number}"), format!("Person {number}"));
            let granted = |role: &str| {
                let (role, reason) = (role.to_owned(), "chosen at sign-up".to_owned());
                UserEvent::from(UserRoleGranted { user_id, role, reason })
            };
            let events = [
                UserRegistered { user_id, handle, display_name }.into(),
                granted("artist"),
                granted("listener"),
                UserEmailConfirmed { user_id }.into(),
            ];
            self.put(user_id.0, &events);
            people.push(user_id);
        }
        people
    }

    /// Published tracks, each with its artist.
    pub fn tracks(&mut self, count: usize, artists: &[UserId]) -> Vec<(TrackId, UserId)> {
        let mut tracks = Vec::with_capacity(count);
        for number in 0..count {
            let (track_id, artist_id) = (TrackId(self.id()), self.one_of(artists));
            let master = Master {
                object_key: format!("uploads/{artist_id}/{track_id}"),
                sha256: "0".repeat(64),
                size_bytes: 31_752_044,
                media_type: "audio/wav".to_owned(),
            };
            let title = format!("Nocturne No. {number}");
            let tags = vec!["piano".to_owned(), format!("opus {}", number % 40)];
            let properties = AudioProperties {
                duration_ms: TRACK_MS,
                codec: "pcm_s16le".to_owned(),
                sample_rate_hz: 44_100,
                channels: 2,
            };
            let playlist_key = format!("hls/{track_id}/master.m3u8");
            let events: [TrackEvent; 3] = [
                TrackCreated { track_id, artist_id, title, tags, master }.into(),
                TrackTranscoded { track_id, properties, playlist_key }.into(),
                TrackPublished { track_id }.into(),
            ];
            self.put(track_id.0, &events);
            tracks.push((track_id, artist_id));
        }
        tracks
    }

    pub fn plays(&mut self, count: usize, tracks: &[(TrackId, UserId)], listeners: &[UserId]) {
        for _ in 0..count {
            let ((track_id, artist_id), play_id) = (self.one_of(tracks), PlayId(self.id()));
            let (listener_id, listened_ms) = (self.one_of(listeners), TRACK_MS);
            let played = TrackPlayed {
                play_id,
                track_id,
                artist_id,
                listener_id,
                listened_ms,
                heard_until: None,
            };
            self.put(play_id.0, &[PlayEvent::from(played)]);
        }
    }

    /// Channels that all of these people are in.
    pub fn channels(&mut self, count: usize, people: &[UserId]) -> Vec<ChannelId> {
        let mut channels = Vec::with_capacity(count);
        for number in 0..count {
            let (channel_id, owner_id) = (ChannelId(self.id()), people[0]);
            let name = format!("room {number}");
            let created = ChannelCreated { channel_id, name, owner_id }.into();
            let joined = |user_id: &UserId| {
                ChannelEvent::from(ChannelMemberJoined { channel_id, user_id: *user_id })
            };
            let events: Vec<ChannelEvent> =
                [created].into_iter().chain(people[1..].iter().map(joined)).collect();
            self.put(channel_id.0, &events);
            channels.push(channel_id);
        }
        channels
    }

    pub fn messages(&mut self, count: usize, channels: &[ChannelId], people: &[UserId]) {
        for number in 0..count {
            let message_id = MessageId(self.id());
            let (channel_id, author_id) = (self.one_of(channels), self.one_of(people));
            let text = format!("What do you think of the bridge at bar {number}?");
            let posted = MessagePosted { message_id, channel_id, author_id, text };
            self.put(message_id.0, &[MessageEvent::from(posted)]);
        }
    }

    /// Orders that went through, eight events each, appended as they happened.
    pub async fn orders(
        &mut self,
        count: usize,
        tracks: &[(TrackId, UserId)],
        buyers: &[UserId],
        store: &EmbeddedStore,
    ) -> anyhow::Result<()> {
        let price = Money::new(2_500, Currency::EUR);
        let mut orders = Vec::with_capacity(count);
        for _ in 0..count {
            let ((track_id, seller_id), listing_id) = (self.one_of(tracks), ListingId(self.id()));
            let (order_id, buyer_id) = (OrderId(self.id()), self.one_of(buyers));
            let (kind, delivery) = (LicenceKind::NonExclusive, DeliveryMode::Instant);
            let listed = LicenceListed { listing_id, track_id, seller_id, kind, price, delivery };
            self.put(listing_id.0, &[ListingEvent::from(listed)]);
            let payment_method = "sandbox:ok".to_owned();
            let placed = OrderPlaced {
                order_id,
                listing_id,
                track_id,
                buyer_id,
                seller_id,
                price,
                payment_method,
                delivery,
            };
            self.put(order_id.0, &[OrderEvent::from(placed)]);
            orders.push((order_id, buyer_id, seller_id));
        }
        self.append_to(store).await?;
        for &(order_id, buyer_id, seller_id) in &orders {
            let (amount, gateway_reference) = (price, format!("sandbox-{order_id}"));
            let ready = PaymentAuthorised { order_id, buyer_id, amount, gateway_reference };
            self.put(order_id.0, &[PaymentEvent::from(ready)]);
            let held = EscrowHeld { order_id, buyer_id, seller_id, amount };
            self.put(order_id.0, &[EscrowEvent::from(held)]);
        }
        self.append_to(store).await?;
        for &(order_id, ..) in &orders {
            let object_key = format!("uploads/{order_id}");
            let delivered: OrderEvent = OrderDelivered { order_id, object_key }.into();
            self.put(order_id.0, &[delivered, OrderAccepted { order_id }.into()]);
            self.put(order_id.0, &[PaymentEvent::from(PaymentCaptured { order_id })]);
        }
        self.append_to(store).await?;
        for &(order_id, ..) in &orders {
            self.put(order_id.0, &[EscrowEvent::from(EscrowReleased { order_id })]);
            self.put(order_id.0, &[OrderEvent::from(OrderCompleted { order_id })]);
        }
        self.append_to(store).await
    }
}
