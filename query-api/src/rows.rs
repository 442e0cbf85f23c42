//! Rows of the models, loaded in batches: what many fields of one answer ask for is one statement.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use event_schemas::{ChannelId, ListingId, OrderId, TrackId, UserId};
use event_store::Position;
use projections::analytics::{PlayStatistics, TrackPlays};
use projections::postgres::{
    Listing, Message, Models, OrderHistoryEntry, Profile, SagaInstance, Track, channels, listings,
    orders, profiles, sagas, tracks,
};
use projections::{Cursor, Page, PageSize};
use uuid::Uuid;

use crate::failure::Failure;
use crate::freshness::Freshness;

/// Loads rows by their ids, and pages by what they are of.
pub struct Rows {
    /// The models.
    pub models: Models,
    /// Counts of listenings.
    pub statistics: Arc<dyn PlayStatistics>,
    /// How fresh they must be.
    pub freshness: Arc<Freshness>,
}

/// How often a track was listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaysOf(pub TrackId);

/// What happened to an order up to a position, which the order itself was read as of: its history
/// is read later, and must not be ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryOf(pub OrderId, pub Position);

/// The latest run of a saga about something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SagaOf(pub String);

/// Where a page is.
pub type Place = (Option<Cursor>, PageSize);

/// A page of a track's offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListingsOf(pub TrackId, pub Place);

/// A page of an artist's published tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TracksOf(pub UserId, pub Place);

/// A page of a channel's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembersOf(pub ChannelId, pub Place);

/// A page of a channel's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessagesOf(pub ChannelId, pub Place);

type Loaded<K, V> = Result<HashMap<K, V>, Failure>;

impl Loader<UserId> for Rows {
    type Value = Profile;
    type Error = Failure;

    async fn load(&self, keys: &[UserId]) -> Loaded<UserId, Profile> {
        self.freshness.reach(profiles::MODEL).await?;
        let rows = self.models.profiles.by_ids(keys).await?;
        Ok(rows.into_iter().map(|row| (row.user_id, row)).collect())
    }
}

impl Loader<TrackId> for Rows {
    type Value = Track;
    type Error = Failure;

    async fn load(&self, keys: &[TrackId]) -> Loaded<TrackId, Track> {
        self.freshness.reach(tracks::MODEL).await?;
        let rows = self.models.tracks.by_ids(keys).await?;
        Ok(rows.into_iter().map(|row| (row.track_id, row)).collect())
    }
}

impl Loader<ListingId> for Rows {
    type Value = Listing;
    type Error = Failure;

    async fn load(&self, keys: &[ListingId]) -> Loaded<ListingId, Listing> {
        self.freshness.reach(listings::MODEL).await?;
        let rows = self.models.listings.by_ids(keys).await?;
        Ok(rows.into_iter().map(|row| (row.listing_id, row)).collect())
    }
}

impl Loader<PlaysOf> for Rows {
    type Value = TrackPlays;
    type Error = Failure;

    async fn load(&self, keys: &[PlaysOf]) -> Loaded<PlaysOf, TrackPlays> {
        self.freshness.reach(self.statistics.model()).await?;
        let tracks: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.statistics.of_tracks(&tracks).await?;
        Ok(rows.into_iter().map(|(track, plays)| (PlaysOf(track), plays)).collect())
    }
}

impl Loader<HistoryOf> for Rows {
    type Value = Vec<OrderHistoryEntry>;
    type Error = Failure;

    async fn load(&self, keys: &[HistoryOf]) -> Loaded<HistoryOf, Vec<OrderHistoryEntry>> {
        self.freshness.reach(orders::MODEL).await?;
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.models.orders.histories(&orders).await?;
        let up_to = |key: &HistoryOf| {
            let history = rows.get(&key.0)?.iter().filter(|entry| entry.position <= key.1);
            Some((*key, history.cloned().collect()))
        };
        Ok(keys.iter().filter_map(up_to).collect())
    }
}

impl Loader<SagaOf> for Rows {
    type Value = SagaInstance;
    type Error = Failure;

    async fn load(&self, keys: &[SagaOf]) -> Loaded<SagaOf, SagaInstance> {
        self.freshness.reach(sagas::MODEL).await?;
        let subjects: Vec<_> = keys.iter().map(|key| key.0.clone()).collect();
        let rows = self.models.sagas.latest_of(&subjects).await?;
        Ok(rows.into_iter().map(|(subject, saga)| (SagaOf(subject), saga)).collect())
    }
}

impl Loader<ListingsOf> for Rows {
    type Value = Page<Listing>;
    type Error = Failure;

    async fn load(&self, keys: &[ListingsOf]) -> Loaded<ListingsOf, Page<Listing>> {
        self.freshness.reach(listings::MODEL).await?;
        let mut loaded = HashMap::new();
        for ((after, size), tracks) in by_place(keys, |key| (key.1, key.0)) {
            let pages = self.models.listings.of_tracks(&tracks, after, size).await?;
            let key = |track: &TrackId| ListingsOf(*track, (after, size));
            loaded.extend(tracks.iter().map(|track| (key(track), page_of(&pages, track.0))));
        }
        Ok(loaded)
    }
}

impl Loader<TracksOf> for Rows {
    type Value = Page<Track>;
    type Error = Failure;

    async fn load(&self, keys: &[TracksOf]) -> Loaded<TracksOf, Page<Track>> {
        self.freshness.reach(tracks::MODEL).await?;
        let mut loaded = HashMap::new();
        for ((after, size), artists) in by_place(keys, |key| (key.1, key.0)) {
            let pages = self.models.tracks.published_by(&artists, after, size).await?;
            let key = |artist: &UserId| TracksOf(*artist, (after, size));
            loaded.extend(artists.iter().map(|artist| (key(artist), page_of(&pages, artist.0))));
        }
        Ok(loaded)
    }
}

impl Loader<MembersOf> for Rows {
    type Value = Page<UserId>;
    type Error = Failure;

    async fn load(&self, keys: &[MembersOf]) -> Loaded<MembersOf, Page<UserId>> {
        self.freshness.reach(channels::MODEL).await?;
        let mut loaded = HashMap::new();
        for ((after, size), wanted) in by_place(keys, |key| (key.1, key.0)) {
            let pages = self.models.channels.members_of(&wanted, after, size).await?;
            let key = |channel: &ChannelId| MembersOf(*channel, (after, size));
            loaded.extend(wanted.iter().map(|channel| (key(channel), page_of(&pages, channel.0))));
        }
        Ok(loaded)
    }
}

impl Loader<MessagesOf> for Rows {
    type Value = Page<Message>;
    type Error = Failure;

    async fn load(&self, keys: &[MessagesOf]) -> Loaded<MessagesOf, Page<Message>> {
        self.freshness.reach(channels::MODEL).await?;
        let mut loaded = HashMap::new();
        for ((after, size), wanted) in by_place(keys, |key| (key.1, key.0)) {
            let pages = self.models.channels.messages_of(&wanted, after, size).await?;
            let key = |channel: &ChannelId| MessagesOf(*channel, (after, size));
            loaded.extend(wanted.iter().map(|channel| (key(channel), page_of(&pages, channel.0))));
        }
        Ok(loaded)
    }
}

/// Keys by the place of their page: what is at one place is one statement.
fn by_place<K, I>(keys: &[K], part: impl Fn(&K) -> (Place, I)) -> HashMap<Place, Vec<I>> {
    let mut places: HashMap<Place, Vec<I>> = HashMap::new();
    for (place, id) in keys.iter().map(part) {
        places.entry(place).or_default().push(id);
    }
    places
}

fn page_of<T: Clone>(pages: &HashMap<Uuid, Page<T>>, list: Uuid) -> Page<T> {
    pages.get(&list).cloned().unwrap_or_else(Page::empty)
}
