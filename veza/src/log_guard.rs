//! Guards the log that is there: as long as models remember another one, nothing is written by
//! commands or sagas. Whoever put an older copy of the log in place by mistake puts the right one
//! back, and has lost nothing; whoever meant it says so by rebuilding the models. Where models were
//! rebuilt from another log by mistake, that is told too.
//!
//! Where another process keeps the log, it may be exchanged under this one, though not while that
//! one serves it: a subscription that breaks off tells of its end at once. Until the log was looked
//! at anew no command is taken, and what was folded of it is forgotten. What is under way in that
//! very moment may still reach it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use aggregates::CommandHandler;
use event_store::{Delivery, EventStore, StreamName, SubscribeFrom, Subscription};
use futures::StreamExt;
use projections::{LogMemory, ModelId, models_of_another_log};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often it is looked where the log ends, by which it is known again.
const INTERVAL: Duration = Duration::from_millis(100);

/// Every so many times the models are asked too, of which log they are: soon where they are not of
/// this one, and may be made anew; seldom where only another database would change that.
const FOREIGN_MODELS_EVERY: u32 = 5;
const MODELS_EVERY: u32 = 50;

/// A stream that nobody writes: its subscribers are told when the server goes, and of nothing else.
const SILENT_STREAM: &str = "log_guard";

/// How long a look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a command of an operator does not write to a log.
#[derive(Debug, Error)]
pub enum LogRefusal {
    /// It is another one than that of the models.
    #[error(
        "the log is not the one that the read models were made from: put that one back, or have \
         them made anew by `veza-replay rebuild --all`"
    )]
    AnotherLog,
    /// The store can't tell.
    #[error("the event store does not answer")]
    NoAnswer,
    /// PostgreSQL can't tell.
    #[error("the database can't be asked whether the log is that of its models")]
    Database(#[from] sqlx::Error),
}

/// What the log is to the models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhoseLog {
    /// The one that they were made from.
    Theirs,
    /// Not the one that these were made from.
    Another(Vec<ModelId>),
    /// Not the one that this process has seen before, as far as the models had not come: they were
    /// behind.
    Exchanged,
    /// It can't be told just now.
    Unknown,
}

/// Whether the log is the one that the models were made from. Cheap to clone; it is looked at until
/// the last clone is dropped.
#[derive(Clone, Debug)]
pub struct LogGuard {
    seen: watch::Receiver<WhoseLog>,
    _looking: Arc<DropGuard>,
}

impl LogGuard {
    /// Looks at these models now, and goes on looking; seldom where this process keeps the log
    /// itself and it is theirs.
    pub async fn watch(
        pool: PgPool,
        handler: Arc<CommandHandler>,
        models: Vec<ModelId>,
        is_kept_here: bool,
    ) -> Self {
        let stop = CancellationToken::new();
        let (told, seen) = watch::channel(WhoseLog::Unknown);
        let mut look = Look { pool, handler, models, told, server: None };
        look.follow().await;
        if let Some(whose) = look.asked().await {
            look.tell(whose);
        }
        tokio::spawn(stop.clone().run_until_cancelled_owned(look.go_on(is_kept_here)));
        Self { seen, _looking: Arc::new(stop.drop_guard()) }
    }

    /// What was seen last.
    #[must_use]
    pub fn whose(&self) -> WhoseLog {
        self.seen.borrow().clone()
    }

    /// Returns once it is another log than that of the models, or than was there.
    pub async fn until_another(&self) {
        let mut seen = self.seen.clone();
        if seen
            .wait_for(|seen| matches!(seen, WhoseLog::Another(_) | WhoseLog::Exchanged))
            .await
            .is_ok()
        {
            return;
        }
        // Nobody looks any more: it stays as it is.
        std::future::pending().await
    }
}

/// That the log is that of the models, for a command of an operator that writes to it.
///
/// # Errors
/// When it is not, or that can't be told.
pub async fn check(
    pool: &PgPool,
    store: &dyn EventStore,
    models: &[ModelId],
) -> Result<(), LogRefusal> {
    match models_of_another_log(pool, store, models).await? {
        None => Err(LogRefusal::NoAnswer),
        Some(foreign) if foreign.is_empty() => Ok(()),
        Some(_) => Err(LogRefusal::AnotherLog),
    }
}

/// One who looks.
struct Look {
    pool: PgPool,
    handler: Arc<CommandHandler>,
    models: Vec<ModelId>,
    told: watch::Sender<WhoseLog>,
    /// Holds as long as the server that was looked at is there.
    server: Option<Subscription>,
}

impl Look {
    async fn go_on(mut self, is_kept_here: bool) {
        let mut memory = LogMemory::default();
        for turn in 0_u32.. {
            // The log can't be exchanged here, but others may make models anew of another.
            if is_kept_here && *self.told.borrow() == WhoseLog::Theirs {
                sleep(INTERVAL * MODELS_EVERY).await;
                if let Some(whose) = self.asked().await {
                    self.tell(whose);
                }
                continue;
            }
            if !self.holds_for(INTERVAL).await {
                self.tell(WhoseLog::Unknown);
                if !self.follow().await {
                    continue;
                }
            }
            let known = timeout(LOOK_TIME_MAX, memory.knows(&**self.handler.store())).await;
            let is_exchanged = match known {
                Ok(Ok(is_known)) => !is_known,
                Ok(Err(_)) | Err(_) => {
                    self.tell(WhoseLog::Unknown);
                    continue;
                }
            };
            let before = self.told.borrow().clone();
            let every = match before {
                WhoseLog::Theirs => MODELS_EVERY,
                WhoseLog::Another(_) => FOREIGN_MODELS_EVERY,
                WhoseLog::Exchanged | WhoseLog::Unknown => 1,
            };
            if !is_exchanged && !turn.is_multiple_of(every) {
                continue;
            }
            match (self.asked().await, is_exchanged) {
                // Models that were of another log were made anew since: it is the right one.
                (Some(WhoseLog::Theirs), true) if matches!(before, WhoseLog::Another(_)) => {
                    memory.forget();
                    self.tell(WhoseLog::Theirs);
                }
                (Some(WhoseLog::Theirs), true) => self.tell(WhoseLog::Exchanged),
                (Some(whose), _) => self.tell(whose),
                (None, true) => self.tell(WhoseLog::Unknown),
                (None, false) => {}
            }
        }
    }

    /// Waits for so long, or until the server has gone that was looked at.
    async fn holds_for(&mut self, time: Duration) -> bool {
        let Some(server) = &mut self.server else {
            sleep(time).await;
            return false;
        };
        let mut goes = server
            .filter(|told| ready(!matches!(told, Ok(Delivery::CaughtUp | Delivery::Event(_)))));
        timeout(time, goes.next()).await.is_err()
    }

    /// Whether a server is there; that one is then followed.
    async fn follow(&mut self) -> bool {
        let stream = StreamName::new(SILENT_STREAM).expect("it is a name");
        let followed = self.handler.store().subscribe_stream(&stream, SubscribeFrom::Start);
        self.server = timeout(LOOK_TIME_MAX, followed).await.ok().and_then(Result::ok);
        self.server.is_some()
    }

    /// What the log is to the models; `None` where that can't be told just now.
    async fn asked(&mut self) -> Option<WhoseLog> {
        let asked = models_of_another_log(&self.pool, &**self.handler.store(), &self.models);
        let foreign = timeout(LOOK_TIME_MAX, asked).await.ok()?.ok()??;
        let is_theirs = foreign.is_empty();
        Some(if is_theirs { WhoseLog::Theirs } else { WhoseLog::Another(foreign) })
    }

    fn tell(&self, whose: WhoseLog) {
        let before = self.told.send_replace(whose.clone());
        if before == whose {
            return;
        }
        // Commands are decided on what this log says.
        self.handler.forget_states();
        match (before, whose) {
            // Models that are made anew come back one by one.
            (WhoseLog::Another(_), WhoseLog::Another(_)) => {}
            (_, WhoseLog::Another(foreign)) => {
                let models = foreign.iter().map(ModelId::to_string).collect::<Vec<_>>().join(", ");
                tracing::error!(
                    models,
                    "models are of another log: nothing is written to this one"
                );
            }
            (_, WhoseLog::Exchanged) => {
                tracing::error!("the log lacks what was its last event: nothing is written to it");
            }
            (WhoseLog::Another(_) | WhoseLog::Exchanged, WhoseLog::Theirs) => {
                tracing::info!("the log is that of the models: it is written to again");
            }
            _ => {}
        }
    }
}
