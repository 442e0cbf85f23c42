//! People as the log knows them, through the model of profiles or by itself, and whether they have
//! accounts.
//!
//! Accounts are kept in PostgreSQL alone. When that was lost, or is an older copy, the log goes on
//! to know people who have none: nobody else may take their handles, and it is told until the
//! database is put back or each of them is given an account anew (`veza user adopt`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aggregates::encoding::decode;
use async_trait::async_trait;
use command_api::identity::{Accounts, Handle, KnownPeople, NotKnown};
use event_schemas::user::UserEvent;
use event_schemas::{EventFamily as _, UserId};
use event_store::{EventStore, Filter, Position, ReadAll, ReadError};
use futures::TryStreamExt as _;
use projections::postgres::{Profiles, profiles};
use projections::{QueryError, Watermarks};
use sqlx::PgPool;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a sign-up waits for the model to have come to where the log ended.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// How many people are looked at together, and the pause behind them: there may be a million.
const LOOKED_AT: u32 = 1_000;
const PAGE_PAUSE: Duration = Duration::from_millis(20);

/// The first pause between two looks at the accounts, and the longest, to which it doubles.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(300);

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
        let end = self.end.get_or_try_init(|| self.store.head()).await.map_err(|_| NotKnown)?;
        let comes = self.watermarks.wait_for(&[profiles::MODEL], *end, CATCH_UP_TIME_MAX);
        self.is_there.get_or_try_init(|| comes).await.map_err(|_| NotKnown).copied()
    }
}

#[async_trait]
impl KnownPeople for ModelOfPeople {
    async fn holder(&self, handle: &Handle) -> Result<Option<UserId>, NotKnown> {
        self.arrival.wait().await?;
        let profile = match self.profiles.by_handle(handle.as_str()).await {
            Ok(profile) => profile,
            // There was nothing in the log to make it of.
            Err(QueryError::NotBuilt) => None,
            Err(error) => {
                tracing::warn!(%error, "who has a handle can't be looked up");
                return Err(NotKnown);
            }
        };
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

    /// Whose handle this is: of the first who registered with it and proved an address, or else of
    /// the last who registered with it.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn whose(&self, handle: &Handle) -> Result<Option<(UserId, bool)>, ReadError> {
        let filter = Filter::stream_prefixes([format!("{}-", UserEvent::CATEGORY)]);
        let read = ReadAll { filter: Some(filter), ..ReadAll::forward() };
        let (mut registered, mut confirmed) = (Vec::new(), HashSet::new());
        let mut events = self.0.read_all(read).await?;
        while let Some(event) = events.try_next().await? {
            // What can't be read is told by who makes models of it.
            match decode::<UserEvent>(&event).map(|decoded| decoded.event) {
                Ok(UserEvent::UserRegistered(event)) if event.handle == handle.as_str() => {
                    registered.push(event.user_id);
                }
                Ok(UserEvent::UserEmailConfirmed(event)) if registered.contains(&event.user_id) => {
                    confirmed.insert(event.user_id);
                }
                _ => {}
            }
        }
        let holder = registered.iter().find(|user_id| confirmed.contains(user_id));
        let holder = holder.map(|&user_id| (user_id, true));
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

/// Whether all who proved an address have their accounts. Cheap to clone; it is looked at until the
/// last clone is dropped.
#[derive(Clone, Debug)]
pub struct AccountWatch {
    missing: watch::Receiver<usize>,
    _looking: Arc<DropGuard>,
}

impl AccountWatch {
    /// Looks at these accounts from now on.
    #[must_use]
    pub fn begin(pool: &PgPool, accounts: Accounts) -> Self {
        let stop = CancellationToken::new();
        let (told, missing) = watch::channel(0);
        let look = Look { profiles: Profiles::new(pool.clone()), accounts, told };
        tokio::spawn(stop.clone().run_until_cancelled_owned(look.go_on()));
        Self { missing, _looking: Arc::new(stop.drop_guard()) }
    }

    /// What is missing, in words; `None` when nothing is known to be.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let missing = *self.missing.borrow();
        (missing > 0).then(|| in_words(missing))
    }
}

fn in_words(missing: usize) -> String {
    let who = if missing == 1 { "person has" } else { "people have" };
    format!(
        "{missing} {who} proved an address and no account: the database was lost, or is older than \
         the log; put the right one back, or give them accounts by `veza user adopt`"
    )
}

struct Look {
    profiles: Profiles,
    accounts: Accounts,
    told: watch::Sender<usize>,
}

impl Look {
    async fn go_on(self) {
        let mut pause = LOOK_PAUSE;
        loop {
            // What can't be looked at now is told by others, and is looked at later.
            if let Some(missing) = self.missing().await {
                let before = self.told.send_replace(missing);
                if before == 0 && missing > 0 {
                    tracing::error!("{}", in_words(missing));
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }

    async fn missing(&self) -> Option<usize> {
        let (mut missing, mut after) = (0, None);
        loop {
            let some = self.profiles.confirmed(after, LOOKED_AT).await.ok()?;
            missing += self.accounts.lacking(&some).await.ok()?.len();
            after = some.last().copied();
            if some.len() < LOOKED_AT as usize {
                return Some(missing);
            }
            sleep(PAGE_PAUSE).await;
        }
    }
}
