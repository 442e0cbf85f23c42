//! People as the log knows them, through the model of profiles, and whether they have accounts.
//!
//! Accounts are kept in PostgreSQL alone. When that was lost, or is an older copy, the log goes on
//! to know people who have none: nobody else may take their handles, and it is told until the
//! database is put back or each of them is given an account anew (`veza user adopt`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use command_api::identity::{Accounts, Handle, KnownPeople, NotKnown};
use event_schemas::UserId;
use event_store::{EventStore, Position};
use projections::postgres::{Profiles, profiles};
use projections::{QueryError, Watermarks};
use sqlx::PgPool;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a sign-up waits for the model to have come to where the log ended.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// How many of those who came last are looked at: of a database that is older than the log, or was
/// lost, these are the ones who are missing.
const LOOKED_AT: u32 = 100;

/// The first pause between two looks at the accounts, and the longest, to which it doubles.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(300);

/// The model of profiles.
pub struct ModelOfPeople {
    profiles: Profiles,
    arrival: Option<Arrival>,
}

/// The model having come to where the log ended when it was first asked: that is behind all that
/// any database can have lost before this process.
struct Arrival {
    watermarks: Watermarks,
    store: Arc<dyn EventStore>,
    end: OnceCell<Position>,
    is_there: OnceCell<()>,
}

impl ModelOfPeople {
    /// People by the model in this database, as it is: at rest nobody carries it on.
    #[must_use]
    pub fn at_rest(pool: &PgPool) -> Self {
        Self { profiles: Profiles::new(pool.clone()), arrival: None }
    }

    /// The same once it has arrived, and not before.
    #[must_use]
    pub fn arrived(pool: &PgPool, watermarks: Watermarks, store: Arc<dyn EventStore>) -> Self {
        let (end, is_there) = (OnceCell::new(), OnceCell::new());
        let arrival = Some(Arrival { watermarks, store, end, is_there });
        Self { arrival, ..Self::at_rest(pool) }
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
        if let Some(arrival) = &self.arrival {
            arrival.wait().await?;
        }
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

/// Whether those who came last have their accounts. Cheap to clone; it is looked at until the last
/// clone is dropped.
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
    format!(
        "{missing} of the {LOOKED_AT} people who came last and proved an address have no account: \
         the database was lost, or is older than the log; put the right one back, or give them \
         accounts by `veza user adopt`"
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
        let newest = self.profiles.newest_confirmed(LOOKED_AT).await.ok()?;
        Some(self.accounts.lacking(&newest).await.ok()?.len())
    }
}
