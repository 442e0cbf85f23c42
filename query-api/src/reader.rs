//! One request's view of the models: who asks, how fresh it must be, and what they may see.

use std::sync::Arc;
use std::time::Duration;

use access::{Permission, Principal};
use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache};
use event_schemas::{ListingId, TrackId, UserId};
use futures::future::BoxFuture;
use projections::ModelId;
use projections::postgres::{
    Channels, Holdings, Models, Order, Profile, Track, balances, channels, profiles,
};
use tokio::sync::OnceCell;

use crate::api::QueryApiParts;
use crate::failure::Failure;
use crate::freshness::Freshness;
use crate::limits::FRESHNESS_TIME_MAX;
use crate::live::Hub;
use crate::rows::Rows;
use crate::schema::commerce;

/// What every field reads through.
pub struct Reader {
    /// The parts.
    pub parts: Arc<QueryApiParts>,
    /// What happens now.
    pub hub: Arc<Hub>,
    /// Who asks; nobody without a token.
    pub viewer: Option<Principal>,
    /// How fresh the answer must be.
    pub freshness: Arc<Freshness>,
    /// Rows in batches.
    pub rows: DataLoader<Rows, HashMapCache>,
    /// The money of whoever asks, once for the whole answer.
    holdings: OnceCell<Holdings>,
}

/// Of how long a life a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// One answer: what was read once is read.
    Answer,
    /// A subscription: each answer reads anew.
    Subscription,
}

/// The name of who is not known.
const UNKNOWN: &str = "(unknown)";

impl Reader {
    /// A reader for one request.
    pub fn new(
        parts: Arc<QueryApiParts>,
        hub: Arc<Hub>,
        viewer: Option<Principal>,
        freshness: Freshness,
        life: Life,
    ) -> Self {
        let freshness = Arc::new(freshness);
        let rows = Rows {
            models: parts.models.clone(),
            statistics: Arc::clone(&parts.statistics),
            freshness: Arc::clone(&freshness),
        };
        // A loader's own delay is kept by another thread, and may end while fields still ask. The
        // runtime's next tick is late enough for what is asked for together.
        let in_batches = |load: BoxFuture<'static, ()>| {
            tokio::spawn(async {
                tokio::time::sleep(Duration::ZERO).await;
                load.await;
            })
        };
        let rows = DataLoader::with_cache(rows, in_batches, HashMapCache::default());
        let rows = rows.delay(Duration::ZERO);
        rows.enable_all_cache(life == Life::Answer);
        Self { parts, hub, viewer, freshness, rows, holdings: OnceCell::new() }
    }

    /// The reader of the request that a field belongs to.
    pub fn of<'a>(context: &Context<'a>) -> &'a Self {
        context.data_unchecked::<Arc<Self>>()
    }

    /// The models, once this one is fresh enough.
    pub async fn fresh(&self, model: ModelId) -> Result<&Models, Failure> {
        self.freshness.reach(model).await?;
        Ok(&self.parts.models)
    }

    /// The channels, once they are fresh enough.
    pub async fn channels(&self) -> Result<&Channels, Failure> {
        Ok(&self.fresh(channels::MODEL).await?.channels)
    }

    /// Who asks.
    ///
    /// # Errors
    /// When that is nobody.
    pub fn viewer(&self) -> Result<&Principal, Failure> {
        self.viewer.as_ref().ok_or(Failure::Unauthenticated)
    }

    /// The money of whoever asks. It is read once, so that balances and statements of one answer
    /// are of one moment.
    ///
    /// # Errors
    /// When nobody asks, or the model can't be read.
    pub async fn holdings(&self) -> Result<&Holdings, Failure> {
        let user = UserId(self.viewer()?.user_id);
        let read = async {
            let models = self.fresh(balances::MODEL).await?;
            Ok(models.balances.of_user(user).await?)
        };
        self.holdings.get_or_try_init(|| read).await
    }

    /// Who asks, if they may do this.
    ///
    /// # Errors
    /// When that is nobody, or they may not.
    pub fn require(&self, permission: Permission) -> Result<&Principal, Failure> {
        let viewer = self.viewer()?;
        if viewer.may(permission) { Ok(viewer) } else { Err(Failure::Forbidden) }
    }

    /// Whether whoever asks is this account.
    pub fn is_viewer(&self, user: UserId) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.user_id == user.0)
    }

    /// Whether whoever asks may do this.
    pub fn may(&self, permission: Permission) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.may(permission))
    }

    /// Whether a track is there for whoever asks: unpublished for its artist and who may take down
    /// any.
    pub fn sees_track(&self, track: &Track) -> bool {
        track.published || self.is_viewer(track.artist_id) || self.may(Permission::TakeDownAnyTrack)
    }

    /// Whether an order is there for whoever asks: its parties, and who helps with orders.
    pub fn sees_order(&self, order: &Order) -> bool {
        let is_party = self.is_viewer(order.buyer_id) || self.is_viewer(order.seller_id);
        (is_party && self.may(Permission::ReadOwnOrder)) || self.may(Permission::ReadAnyOrder)
    }

    /// A person that something else names. They are there: where the model of people is behind
    /// whatever names them, it is waited for.
    ///
    /// # Errors
    /// When that takes too long, or the model can't be read.
    pub async fn person(&self, user: UserId) -> Result<Profile, Failure> {
        match self.rows.load_one(user).await? {
            Some(profile) => Ok(profile),
            None => Ok(self.late_person(user).await?.unwrap_or_else(|| unknown(user))),
        }
    }

    /// A person whom the model does not know yet, if the log does.
    pub async fn late_person(&self, user: UserId) -> Result<Option<Profile>, Failure> {
        let parts = &self.parts;
        let head = parts.store.head().await.map_err(|error| Failure::internal(&error))?;
        parts.watermarks.wait_for(&[profiles::MODEL], head, FRESHNESS_TIME_MAX).await?;
        Ok(parts.models.profiles.by_id(user).await?)
    }

    /// A track, if it is there for whoever asks.
    pub async fn track(&self, track: TrackId) -> Result<Option<Track>, Failure> {
        let track = self.rows.load_one(track).await?;
        Ok(track.filter(|track| self.sees_track(track)))
    }

    /// An offer of licences.
    pub async fn listing(&self, listing: ListingId) -> Result<Option<commerce::Listing>, Failure> {
        Ok(self.rows.load_one(listing).await?.map(commerce::Listing))
    }
}

/// Somebody whom the log does not know, but who is named in it, as it can be where a part of it was
/// put back: one name must not keep a whole page from being answered.
fn unknown(user_id: UserId) -> Profile {
    Profile {
        user_id,
        handle: user_id.to_string(),
        display_name: UNKNOWN.to_owned(),
        bio: String::new(),
        email_confirmed: false,
        roles: Vec::new(),
    }
}
