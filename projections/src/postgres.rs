//! The models in PostgreSQL: one file a model, the projector first and its queries behind it.

pub mod balances;
pub mod channels;
mod columns;
pub mod listings;
pub mod orders;
pub mod plays;
pub mod profiles;
mod query_pool;
pub mod sagas;
pub mod tracks;

use std::sync::Arc;

use sqlx::PgPool;

use crate::projection::Projection;

pub use balances::{Balance, BalanceChange, Balances, Holdings};
pub use channels::{Channel, Channels, Message};
pub use listings::{Listing, Listings};
pub use orders::{Order, OrderHistoryEntry, Orders};
pub use plays::Plays;
pub use profiles::{Profile, Profiles};
pub use query_pool::query_pool;
pub use sagas::{SagaInstance, Sagas};
pub use tracks::{Track, Tracks};

/// The queries over every model in PostgreSQL. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Models {
    /// People.
    pub profiles: Profiles,
    /// Tracks.
    pub tracks: Tracks,
    /// Listenings.
    pub plays: Plays,
    /// Channels, their members and messages.
    pub channels: Channels,
    /// Offers of licences.
    pub listings: Listings,
    /// Orders.
    pub orders: Orders,
    /// Money of buyers and sellers.
    pub balances: Balances,
    /// Runs of sagas.
    pub sagas: Sagas,
}

impl Models {
    /// Queries through this pool, one that [`query_pool`] made where many may ask.
    pub fn new(pool: &PgPool) -> Self {
        Self {
            profiles: Profiles::new(pool.clone()),
            tracks: Tracks::new(pool.clone()),
            plays: Plays::new(pool.clone()),
            channels: Channels::new(pool.clone()),
            listings: Listings::new(pool.clone()),
            orders: Orders::new(pool.clone()),
            balances: Balances::new(pool.clone()),
            sagas: Sagas::new(pool.clone()),
        }
    }
}

/// The projections that fill these models.
pub fn projections() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(profiles::ProfilesProjection),
        Arc::new(tracks::TracksProjection),
        Arc::new(plays::PlaysProjection),
        Arc::new(channels::ChannelsProjection),
        Arc::new(listings::ListingsProjection),
        Arc::new(orders::OrdersProjection),
        Arc::new(balances::BalancesProjection),
        Arc::new(sagas::SagasProjection),
    ]
}

/// Makes the struct that asks a model: a pool, and nothing else.
macro_rules! queries {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pool: sqlx::PgPool,
        }

        impl $name {
            /// Queries through this pool.
            pub fn new(pool: sqlx::PgPool) -> Self {
                Self { pool }
            }
        }
    };
}
use queries;

/// Makes a projection of a list of categories and tables, whose events go to `one` in order, and
/// whose key is the stream or what a function makes of it.
macro_rules! projection {
    ($projection:ident, $model:expr, $categories:tt, $tables:expr) => {
        projection!($projection, $model, $categories, $tables, ToString::to_string);
    };
    ($projection:ident, $model:expr, [$($category:literal),+], $tables:expr, $key:expr) => {
        #[async_trait::async_trait]
        impl $crate::projection::Projection for $projection {
            fn id(&self) -> $crate::projection::ModelId {
                $model
            }

            fn categories(&self) -> &'static [&'static str] {
                &[$($category),+]
            }

            fn tables(&self) -> &'static [&'static str] {
                $tables
            }

            fn key(&self, event: &event_store::RecordedEvent) -> String {
                $key(event.stream.as_str())
            }

            async fn apply(
                &self,
                _target: $crate::projection::Target,
                connection: &mut sqlx::PgConnection,
                events: &[$crate::envelope::Envelope],
            ) -> Result<(), $crate::projection::ApplyError> {
                for envelope in events {
                    self.one(connection, envelope).await?;
                }
                Ok(())
            }
        }
    };
}
use projection;

/// The key of models that several streams of one id fill: an order, its escrow and its payment.
fn id_of_stream(stream: &str) -> String {
    stream.split_once('-').map_or(stream, |(_, id)| id).to_owned()
}

/// A number of an event as a `bigint`; one that is too large makes the event poison.
fn bigint(number: u64) -> Result<i64, crate::projection::ApplyError> {
    i64::try_from(number).map_err(|_| {
        crate::projection::ApplyError::poison(format!("{number} is too large for the model"))
    })
}
