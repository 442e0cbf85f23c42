//! The sagas of a process: one process of a platform at a time runs them, by a lease in
//! PostgreSQL, and the others stand by.
//!
//! Runs bear being run twice, as after a crash, so for a moment two may be at it: until who has
//! lost the lease sees that. Without PostgreSQL nobody has it, and no saga goes on; they do as soon
//! as it is back.

use std::mem::Discriminant;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aggregates::CommandHandler;
use anyhow::Context as _;
use event_store::{EventStore, EventType, Index, IndexError, ReadIndex};
use futures::TryStreamExt as _;
use media::{Ffmpeg, ObjectStorage, Prober, Scratch, TranscodeLimits, Transcoder};
use metrics::gauge;
use projections::{Lease, with_causes};
use sagas::activities::sandbox::OpenError;
use sagas::orchestrator::Held;
use sagas::orchestrator::checkpoint::CheckpointError;
use sagas::{CheckoutSettings, MediaEncoder, SagaRuntime, SagaSettings, SandboxGateway};
use sagas::{checkout, transcode};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::console::say;
use crate::log_guard::{LogGuard, WhoseLog};
use crate::taking_over::when_free;

/// The name of the lease.
const LEASE: &str = "veza sagas run";

/// How long sagas pause that could not begin, or could not go on.
const PAUSE: Duration = Duration::from_secs(1);

/// The program that runs now, also when another was put in the place of its file meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The command of the binary that probes one master.
pub const PROBE_COMMAND: &str = "probe";

/// What it means that nothing is booked, for whoever might have the books elsewhere.
const LOST_BOOKS: &str = "the sandbox's ledger is empty, and payments were authorised: what is \
                          booked elsewhere is neither captured nor given back from here; put the \
                          ledger back before anything is booked in this one";

/// How the sagas of this process fare.
#[derive(Clone, Debug)]
pub enum Faring {
    /// They are about to begin, or can't: the log says why.
    Waiting,
    /// Another process runs them; this one does when that one ends.
    StandingBy,
    /// They run here; how many runs wait for others.
    Running(watch::Receiver<Held>),
}

/// What tells of the sagas of this process.
#[derive(Clone, Debug)]
pub struct SagaWatch {
    task: AbortHandle,
    faring: watch::Receiver<Faring>,
}

/// The sagas of this process, and what they act through.
pub struct Sagas {
    /// Where runs are kept.
    pub store: Arc<dyn EventStore>,
    /// What carries out their commands.
    pub handler: Arc<CommandHandler>,
    /// Where the lease is.
    pub pool: PgPool,
    /// Whether the log is theirs.
    pub log: LogGuard,
    encoder: Arc<MediaEncoder>,
    ledger: PathBuf,
    faring: watch::Sender<Faring>,
    /// What was told last of why they do not run.
    told: Mutex<Option<Discriminant<Interrupted>>>,
}

/// Why the sagas can't begin, or go on.
#[derive(Debug, Error)]
enum Interrupted {
    #[error("PostgreSQL, which tells that no other process runs them, does not do its work")]
    Lease(#[from] sqlx::Error),
    #[error("the sandbox gateway's ledger can't be used")]
    Ledger(#[from] OpenError),
    #[error("the log is not the one that the read models were made from")]
    AnotherLog,
    #[error("the event store is out of reach, or was not looked at yet")]
    UnknownLog,
    #[error("their checkpoint can't be used")]
    Checkpoint(#[from] CheckpointError),
}

impl SagaWatch {
    /// How they fare; none where they have ended for good.
    #[must_use]
    pub fn faring(&self) -> Option<Faring> {
        (!self.task.is_finished()).then(|| self.faring.borrow().clone())
    }

    /// The same in a few words.
    pub(crate) fn told(&self) -> &'static str {
        match self.faring() {
            None => "ended",
            Some(Faring::Waiting) => "waiting",
            Some(Faring::StandingBy) => "standing by: another process runs them",
            Some(Faring::Running(_)) => "running",
        }
    }
}

impl Sagas {
    /// Finds what they act through, and sees whether it can be used.
    ///
    /// # Errors
    /// When ffmpeg is missing, or the sandbox gateway's ledger can't be opened.
    pub async fn prepare(
        config: &Config,
        (store, handler, pool, log): (Arc<dyn EventStore>, Arc<CommandHandler>, PgPool, LogGuard),
        objects: Arc<dyn ObjectStorage>,
        scratch: Scratch,
    ) -> anyhow::Result<Self> {
        let ffmpeg = Ffmpeg::locate().await?;
        say(format_args!("transcoding  ffmpeg {}", ffmpeg.version()));
        let limits = TranscodeLimits::default();
        let transcoder = Transcoder::new(ffmpeg, Arc::clone(&objects), scratch, limits);
        let prober = Prober::new(THIS_PROGRAM, [PROBE_COMMAND]);
        let encoder = Arc::new(MediaEncoder::new(objects, prober, transcoder));
        let ledger = config.data.join("sandbox-gateway").join("ledger.jsonl");
        // Who runs the sagas has it open; one that can't be used is told at the start all the same.
        match SandboxGateway::open(&ledger) {
            Ok(gateway) if gateway.is_empty() && has_payments(&*store).await? => {
                tracing::warn!(ledger = %ledger.display(), "{LOST_BOOKS}");
            }
            Ok(_) | Err(OpenError::InUse(_)) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't use {}", ledger.display()));
            }
        }
        say(format_args!("payments     sandbox gateway, its ledger in {}", ledger.display()));
        let (faring, told) = (watch::Sender::new(Faring::Waiting), Mutex::default());
        Ok(Self { store, handler, pool, log, encoder, ledger, faring, told })
    }

    /// Runs them until `stop`, whenever it is this process' turn.
    pub fn start(self, stop: CancellationToken) -> (JoinHandle<anyhow::Result<()>>, SagaWatch) {
        let faring = self.faring.subscribe();
        let task = tokio::spawn(self.drive(stop));
        let watch = SagaWatch { task: task.abort_handle(), faring };
        (task, watch)
    }

    /// On another log than theirs they do not run: an operator has to look. Whatever else keeps
    /// them from it passes.
    async fn drive(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            gauge!("veza_sagas_running").set(0.0);
            let ended = self.take_turn(stop.clone()).await;
            gauge!("veza_sagas_running").set(0.0);
            let Err(error) = ended else {
                return Ok(());
            };
            self.faring.send_replace(Faring::Waiting);
            let kind = std::mem::discriminant(&error);
            let is_for_good =
                matches!(error, Interrupted::Checkpoint(CheckpointError::AnotherLog { .. }));
            let reason = with_causes(&error);
            if stop.is_cancelled() {
                return Err(error.into());
            }
            if is_for_good {
                tracing::error!(error = reason, "the sagas do not run");
                return Err(error.into());
            }
            // A server that goes away says so in several ways.
            if self.told().replace(kind) != Some(kind) {
                tracing::warn!(reason, "the sagas do not run until that is over");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Ok(());
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<Discriminant<Interrupted>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the lease, and runs them while it has it; ends well by `stop` alone.
    async fn take_turn(&self, stop: CancellationToken) -> Result<(), Interrupted> {
        let stand_by = || {
            say("sagas        another process runs them; this one stands by");
            self.faring.send_replace(Faring::StandingBy);
        };
        let lease = Lease::take(&self.pool, LEASE, stand_by);
        let Some(lease) = stop.run_until_cancelled(lease).await else {
            return Ok(());
        };
        let mut lease = lease?;
        match self.log.whose() {
            WhoseLog::Theirs => {}
            WhoseLog::Another(_) | WhoseLog::Exchanged => return Err(Interrupted::AnotherLog),
            WhoseLog::Unknown => return Err(Interrupted::UnknownLog),
        }
        if matches!(*self.faring.borrow(), Faring::StandingBy) {
            say("sagas        the other process is gone; they run here now");
        }
        let ended = lease.kept(self.run_on_this_log(&stop)).await?;
        // Whoever stands by is then not kept waiting; if it was lost, it is theirs already.
        let _ = lease.end().await;
        ended
    }

    /// Runs them until `stop`, or until another log is in the place of theirs.
    async fn run_on_this_log(&self, stop: &CancellationToken) -> Result<(), Interrupted> {
        let running = stop.child_token();
        tokio::select! {
            ended = self.run(running.clone()) => ended,
            () = self.log.until_another() => {
                running.cancel();
                Err(Interrupted::AnotherLog)
            }
        }
    }

    async fn run(&self, stop: CancellationToken) -> Result<(), Interrupted> {
        // Its lock is held by who had the lease, until what they have begun to book is booked.
        let open = async || SandboxGateway::open(&self.ledger);
        let gateway = when_free(open, |error| matches!(error, OpenError::InUse(_))).await?;
        let (handler, settings) = (Arc::clone(&self.handler), CheckoutSettings::default());
        let definitions = vec![
            checkout(Arc::clone(&handler), Arc::new(gateway), settings),
            transcode(handler, Arc::clone(&self.encoder) as _),
        ];
        let store = Arc::clone(&self.store);
        let runtime = SagaRuntime::new(store, definitions, SagaSettings::default());
        self.faring.send_replace(Faring::Running(runtime.held()));
        gauge!("veza_sagas_running").set(1.0);
        if self.told().take().is_some() {
            tracing::info!("the sagas run again");
        }
        Ok(runtime.run(stop).await?)
    }
}

/// Whether any payment was ever authorised; unknown, no, where the store has no index to tell.
async fn has_payments(store: &dyn EventStore) -> anyhow::Result<bool> {
    let authorised = Index::EventType(EventType::new("PaymentAuthorised")?);
    match store.read_index(ReadIndex::forward(authorised).limit(1)).await {
        Ok(mut events) => Ok(events.try_next().await?.is_some()),
        Err(IndexError::Unsupported) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
