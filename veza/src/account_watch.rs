//! Whether accounts and the log say the same of who is confirmed.
//!
//! Accounts are kept in PostgreSQL alone. When that was lost, or is an older copy, the log goes on
//! to know people who have none; when the log was put back as of before somebody signed up, their
//! account is of nobody. Both are told until they are mended (`veza user adopt`, `veza user
//! release`). What was only half noted when a process was killed is mended here, and where the
//! database was exchanged for a new one under the process, the schema of accounts is made in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregates::CommandHandler;
use aggregates::user::{User, UserCommand};
use chrono::Utc;
use command_api::identity::{AccountError, Accounts, Handle};
use event_schemas::UserId;
use metrics::gauge;
use projections::postgres::Profiles;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::log_guard::{LogGuard, WhoseLog};
use crate::own_command;

/// How many people are looked at together, and the pause behind them: there may be a million.
const LOOKED_AT: u32 = 1_000;
const PAGE_PAUSE: Duration = Duration::from_millis(20);

/// The first pause between two looks at the accounts, and the longest, to which it doubles; and the
/// longest as long as something is to be mended.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(300);
const MENDING_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether all who proved an address have their accounts, and the log knows who has one. Cheap to
/// clone; it is looked at until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct AccountWatch {
    seen: watch::Receiver<Differences>,
    _looking: Arc<DropGuard>,
}

/// In what the two differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Differences {
    /// How many people whom the log has proved have no account.
    without_account: usize,
    /// How many confirmed accounts are of nobody in the log, or have a handle that is another's.
    not_in_log: usize,
    /// Whether there is a schema of accounts, and no accounts in it.
    is_incomplete: bool,
}

impl AccountWatch {
    /// Looks at these accounts from now on, while the log is that of the models.
    #[must_use]
    pub fn begin(
        pool: &PgPool,
        accounts: Accounts,
        handler: Arc<CommandHandler>,
        log: LogGuard,
    ) -> Self {
        let stop = CancellationToken::new();
        let (told, seen) = watch::channel(Differences::default());
        let look = Look { profiles: Profiles::new(pool.clone()), accounts, handler, log, told };
        tokio::spawn(stop.clone().run_until_cancelled_owned(look.go_on()));
        Self { seen, _looking: Arc::new(stop.drop_guard()) }
    }

    /// What differs, in words; `None` when nothing is known to.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let seen = *self.seen.borrow();
        let told: Vec<_> = seen.in_words().into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Differences {
    fn in_words(self) -> [Option<String>; 3] {
        let Self { without_account, not_in_log, is_incomplete } = self;
        let people = if without_account == 1 { "person has" } else { "people have" };
        let accounts = if not_in_log == 1 { "account is" } else { "accounts are" };
        [
            (without_account > 0).then(|| {
                format!(
                    "{without_account} {people} proved an address and no account: the database was \
                     lost, or is older than the log; put the right one back, or give them accounts \
                     by `veza user adopt`, which lists them"
                )
            }),
            (not_in_log > 0).then(|| {
                format!(
                    "{not_in_log} confirmed {accounts} of nobody in the log: it is older than the \
                     database; put the right one back, or have them sign up anew by `veza user \
                     release`, which lists them"
                )
            }),
            is_incomplete.then(|| AccountError::Incomplete.to_string()),
        ]
    }
}

struct Look {
    profiles: Profiles,
    accounts: Accounts,
    handler: Arc<CommandHandler>,
    log: LogGuard,
    told: watch::Sender<Differences>,
}

impl Look {
    async fn go_on(self) {
        let mut pause = LOOK_PAUSE;
        loop {
            // What can't be looked at now is told by others, and is looked at later.
            if self.log.whose() == WhoseLog::Theirs
                && let Some(seen) = self.differences().await
            {
                self.tell(seen);
            }
            let is_well = *self.told.borrow() == Differences::default();
            let is_new = self.rest(pause).await;
            let longest = if is_well { LOOK_PAUSE_MAX } else { MENDING_PAUSE_MAX };
            pause = if is_new { LOOK_PAUSE } else { (pause * 2).min(longest) };
        }
    }

    /// Waits so long, or until there are no accounts to look at and their schema was made anew;
    /// whether it was.
    async fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            sleep(LOOK_PAUSE).await;
            match self.accounts.made_anew().await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::error!("the database has no accounts any more: it is another one");
                    return true;
                }
                Err(AccountError::Incomplete) => {
                    let seen = *self.told.borrow();
                    self.tell(Differences { is_incomplete: true, ..seen });
                }
                // That it can't be asked is told by others.
                Err(_) => {}
            }
        }
        false
    }

    fn tell(&self, seen: Differences) {
        gauge!("veza_people_without_account").set(seen.without_account as f64);
        gauge!("veza_accounts_not_in_log").set(seen.not_in_log as f64);
        let before = self.told.send_replace(seen);
        let over = [
            "all who have proved an address have an account again",
            "the log knows all who have a confirmed account again",
            "the accounts are complete again",
        ];
        for ((before, now), over) in before.in_words().into_iter().zip(seen.in_words()).zip(over) {
            match (before, now) {
                (None, Some(now)) => tracing::error!("{now}"),
                (Some(_), None) => tracing::info!("{over}"),
                _ => {}
            }
        }
    }

    async fn differences(&self) -> Option<Differences> {
        let without_account = self.without_account().await?;
        let not_in_log = self.not_in_log().await?;
        Some(Differences { without_account, not_in_log, is_incomplete: false })
    }

    async fn without_account(&self) -> Option<usize> {
        let (mut missing, mut after) = (0, None);
        loop {
            let some = self.profiles.confirmed(after, LOOKED_AT).await.ok()?;
            missing += self.accounts.lacking(&some, Utc::now()).await.ok()?.len();
            after = some.last().copied();
            if some.len() < LOOKED_AT as usize {
                return Some(missing);
            }
            sleep(PAGE_PAUSE).await;
        }
    }

    async fn not_in_log(&self) -> Option<usize> {
        let (mut strangers, mut after) = (0, None);
        loop {
            let some = self.accounts.confirmed(after, LOOKED_AT).await.ok()?;
            let ids: Vec<UserId> = some.iter().map(|(user_id, _)| *user_id).collect();
            let known = self.profiles.confirmed_among(&ids).await.ok()?;
            for (user_id, handle) in some.iter().filter(|(user_id, _)| !known.contains(user_id)) {
                strangers += usize::from(!self.is_in_log(*user_id, handle).await?);
            }
            after = ids.last().copied();
            if some.len() < LOOKED_AT as usize {
                return Some(strangers);
            }
            sleep(PAGE_PAUSE).await;
        }
    }

    /// Whether the log knows whom the model does not, or not as confirmed: the model may be behind,
    /// and what was cut short is noted now.
    async fn is_in_log(&self, user_id: UserId, handle: &Handle) -> Option<bool> {
        let look = |user: &User| user.user_id.map(|_| user.email_confirmed);
        match self.handler.inspect(user_id, look).await.ok()? {
            None => Some(false),
            Some(true) => Some(true),
            Some(false) => {
                let holder = self.profiles.by_handle(handle.as_str()).await.ok()?;
                if holder.is_some_and(|it| it.user_id != user_id && it.email_confirmed) {
                    return Some(false);
                }
                let confirm = UserCommand::ConfirmEmail;
                own_command::execute(&self.handler, user_id, confirm).await.ok()?;
                Some(true)
            }
        }
    }
}
