//! People as the log knows them, through the model of profiles or by itself. Nobody else may take
//! their handles, whether they have accounts or not.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregates::encoding::decode;
use async_trait::async_trait;
use command_api::identity::{Handle, KnownPeople, NotKnown};
use event_schemas::user::UserEvent;
use event_schemas::{EventFamily as _, UserId};
use event_store::{EventStore, Filter, Position, ReadAll, ReadError};
use futures::TryStreamExt as _;
use projections::postgres::Profiles;
use projections::postgres::profiles::{self, Profile};
use projections::{QueryError, Watermarks};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::sleep;

/// How long a sign-up waits for the model to have come to where the log ended.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether there is a model.
const POLL: Duration = Duration::from_millis(50);

/// The model of profiles, once it has come to where the log ended when it was first asked: that is
/// behind all that any database can have lost before this process.
pub struct ModelOfPeople {
    profiles: Profiles,
    arrival: Arrival,
}

struct Arrival {
    watermarks: Watermarks,
    store: Arc<dyn EventStore>,
    end: OnceCell<Position>,
    is_there: OnceCell<()>,
}

impl ModelOfPeople {
    /// People by the model in this database.
    #[must_use]
    pub fn new(pool: &PgPool, watermarks: Watermarks, store: Arc<dyn EventStore>) -> Self {
        let (end, is_there) = (OnceCell::new(), OnceCell::new());
        let arrival = Arrival { watermarks, store, end, is_there };
        Self { profiles: Profiles::new(pool.clone()), arrival }
    }
}

impl Arrival {
    async fn wait(&self) -> Result<(), NotKnown> {
        if self.is_there.initialized() {
            return Ok(());
        }
        let end = self.end.get_or_try_init(|| self.store.head()).await.map_err(|_| NotKnown)?;
        // Each waits by itself: in turn, many would wait for the model that does not come.
        let comes = self.watermarks.wait_for(&[profiles::MODEL], *end, CATCH_UP_TIME_MAX).await;
        comes.map_err(|_| NotKnown)?;
        self.is_there.set(()).or(Ok(()))
    }
}

impl ModelOfPeople {
    async fn profile(&self, handle: &Handle) -> Result<Option<Profile>, QueryError> {
        let until = Instant::now() + CATCH_UP_TIME_MAX;
        loop {
            match self.profiles.by_handle(handle.as_str()).await {
                // It is just made, as in a new database; until it is whole nobody can tell.
                Err(QueryError::NotBuilt) if Instant::now() < until => sleep(POLL).await,
                answer => return answer,
            }
        }
    }
}

#[async_trait]
impl KnownPeople for ModelOfPeople {
    async fn holder(&self, handle: &Handle) -> Result<Option<UserId>, NotKnown> {
        self.arrival.wait().await?;
        let profile = self.profile(handle).await.map_err(|error| {
            // That the database is away is told by others.
            if !matches!(error, QueryError::Database(_)) {
                tracing::warn!(error = &error as &dyn Error, "can't look up who has a handle");
            }
            NotKnown
        })?;
        Ok(profile.filter(|profile| profile.email_confirmed).map(|profile| profile.user_id))
    }
}

/// The log itself: for operators, whose commands come seldom, also where no model is at hand.
pub struct LogOfPeople(Arc<dyn EventStore>);

impl LogOfPeople {
    /// People by this log.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self(store)
    }

    /// Whose handle this is: of the first who proved an address of those who registered with it, or
    /// else of the last who registered.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn whose(&self, handle: &Handle) -> Result<Option<(UserId, bool)>, ReadError> {
        let filter = Filter::stream_prefixes([format!("{}-", UserEvent::CATEGORY)]);
        let read = ReadAll { filter: Some(filter), ..ReadAll::forward() };
        let (mut registered, mut confirmed) = (Vec::new(), None);
        let mut events = self.0.read_all(read).await?;
        while let Some(event) = events.try_next().await? {
            // What can't be read is told by who makes models of it.
            match decode::<UserEvent>(&event).map(|decoded| decoded.event) {
                Ok(UserEvent::UserRegistered(event)) if event.handle == handle.as_str() => {
                    registered.push(event.user_id);
                }
                Ok(UserEvent::UserEmailConfirmed(event)) if registered.contains(&event.user_id) => {
                    confirmed.get_or_insert(event.user_id);
                }
                _ => {}
            }
        }
        let holder = confirmed.map(|user_id| (user_id, true));
        Ok(holder.or_else(|| registered.last().map(|&user_id| (user_id, false))))
    }
}

#[async_trait]
impl KnownPeople for LogOfPeople {
    async fn holder(&self, handle: &Handle) -> Result<Option<UserId>, NotKnown> {
        let whose = self.whose(handle).await.map_err(|error| {
            tracing::warn!(%error, "who has a handle can't be looked up");
            NotKnown
        })?;
        Ok(whose.filter(|&(_, is_confirmed)| is_confirmed).map(|(user_id, _)| user_id))
    }
}
