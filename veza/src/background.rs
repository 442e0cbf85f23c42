//! What works without being asked: the projectors that fill the models, and the sagas.

use std::sync::Arc;
use std::time::Duration;

use aggregates::CommandHandler;
use anyhow::Context as _;
use event_store::EventStore;
use media::{Ffmpeg, ObjectStorage, Prober, Scratch, TranscodeLimits, Transcoder};
use projections::{Runner, Watermarks};
use sagas::activities::sandbox::OpenError;
use sagas::orchestrator::Held;
use sagas::orchestrator::checkpoint::CheckpointError;
use sagas::{CheckoutSettings, MediaEncoder, SagaRuntime, SagaSettings, SandboxGateway};
use sagas::{checkout, transcode};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::console::say;
use crate::read_side::ReadSide;
use crate::taking_over::when_free;

/// How long projectors and sagas may take to end what they are at.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How long sagas pause that could not read where they were.
const SAGAS_RETRY: Duration = Duration::from_secs(1);

/// The program that runs now, also when another was put in the place of its file meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The command of the binary that probes one master.
pub const PROBE_COMMAND: &str = "probe";

/// Projectors and sagas at work, as far as they are among the process's roles.
pub struct Background {
    projectors: Option<Runner>,
    sagas: Option<JoinHandle<Result<(), CheckpointError>>>,
    held: Option<watch::Receiver<Held>>,
    scratch: Option<Scratch>,
    stop: CancellationToken,
}

/// The event store, as it is read here and as it is kept.
pub struct Stores {
    /// With its personal fields open.
    pub open: Arc<dyn EventStore>,
    /// With its personal fields sealed: what is passed on to others.
    pub sealed: Arc<dyn EventStore>,
}

impl Background {
    /// Starts those that are among the process's roles.
    ///
    /// # Errors
    /// When ffmpeg is missing, or the sandbox gateway's ledger can't be opened.
    pub async fn start(
        config: &Config,
        stores: Stores,
        handler: Arc<CommandHandler>,
        objects: Arc<dyn ObjectStorage>,
        pool: PgPool,
        read_side: ReadSide,
    ) -> anyhow::Result<Self> {
        let Stores { open: store, sealed } = stores;
        let stop = CancellationToken::new();
        let mut started =
            Self { projectors: None, sagas: None, held: None, scratch: None, stop: stop.clone() };
        if config.does(Role::Saga) {
            let scratch = Scratch::open(config.data.join("scratch"))
                .with_context(|| format!("can't use the folder {}", config.data.display()))?;
            started.scratch = Some(scratch.clone());
            let runtime = sagas(config, Arc::clone(&store), handler, objects, scratch).await?;
            started.held = Some(runtime.held());
            started.sagas = Some(tokio::spawn(drive(runtime, stop.clone())));
        }
        if config.does(Role::Projector) {
            let ReadSide { projections, bus, .. } = read_side;
            let mut projectors = Runner::start(pool, store, projections, stop);
            if let Some(bus) = bus {
                projectors.publish_to(bus, sealed);
            }
            started.projectors = Some(projectors);
        }
        Ok(started)
    }

    /// How far the models have come that this process fills; none where it fills none.
    #[must_use]
    pub fn watermarks(&self) -> Option<Watermarks> {
        self.projectors.as_ref().map(Runner::watermarks)
    }

    /// The task of the sagas, to see whether it runs; none where the process has none.
    #[must_use]
    pub fn sagas(&self) -> Option<AbortHandle> {
        self.sagas.as_ref().map(JoinHandle::abort_handle)
    }

    /// How many runs of sagas wait for others; none where the process runs none.
    #[must_use]
    pub fn held(&self) -> Option<watch::Receiver<Held>> {
        self.held.clone()
    }

    /// The files of transcodes; none where the process does none.
    #[must_use]
    pub fn scratch(&self) -> Option<Scratch> {
        self.scratch.clone()
    }

    /// Lets them end what they are at; says in the log what did not end in time.
    pub async fn drain(self) {
        self.stop.cancel();
        if let Some(projectors) = self.projectors
            && !projectors.drain(DRAIN_TIME).await
        {
            tracing::warn!("the projectors did not end in time");
        }
        let Some(sagas) = self.sagas else {
            return;
        };
        match tokio::time::timeout(DRAIN_TIME, sagas).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the sagas ended with an error"),
            Ok(Err(error)) => tracing::error!(%error, "the sagas ended with a panic"),
            Err(_) => tracing::warn!("the sagas did not end in time"),
        }
    }
}

/// The sagas and what they act through.
async fn sagas(
    config: &Config,
    store: Arc<dyn EventStore>,
    handler: Arc<CommandHandler>,
    objects: Arc<dyn ObjectStorage>,
    scratch: Scratch,
) -> anyhow::Result<SagaRuntime> {
    let ffmpeg = Ffmpeg::locate().await?;
    say(format_args!("transcoding  ffmpeg {}", ffmpeg.version()));
    let limits = TranscodeLimits::default();
    let transcoder = Transcoder::new(ffmpeg, Arc::clone(&objects), scratch, limits);
    let prober = Prober::new(THIS_PROGRAM, [PROBE_COMMAND]);
    let encoder = Arc::new(MediaEncoder::new(objects, prober, transcoder));
    let ledger = config.data.join("sandbox-gateway").join("ledger.jsonl");
    let open = async || SandboxGateway::open(&ledger);
    let gateway = when_free(open, |error| matches!(error, OpenError::InUse(_))).await;
    let gateway = gateway.with_context(|| format!("can't use {}", ledger.display()))?;
    say(format_args!("payments     sandbox gateway, its ledger in {}", ledger.display()));
    let definitions = vec![
        checkout(Arc::clone(&handler), Arc::new(gateway), CheckoutSettings::default()),
        transcode(handler, encoder),
    ];
    Ok(SagaRuntime::new(store, definitions, SagaSettings::default()))
}

/// Runs the sagas until `stop`; a store that is away as they begin is waited for. On another log
/// than theirs they do not run: an operator has to look.
async fn drive(runtime: SagaRuntime, stop: CancellationToken) -> Result<(), CheckpointError> {
    loop {
        let ended = runtime.run(stop.clone()).await;
        let Err(error) = &ended else {
            return ended;
        };
        if stop.is_cancelled() {
            return ended;
        }
        if matches!(error, CheckpointError::AnotherLog { .. }) {
            tracing::error!(%error, "the sagas do not run");
            return ended;
        }
        tracing::warn!(?error, "the sagas can't begin yet");
        let pause = tokio::time::sleep(SAGAS_RETRY);
        if stop.run_until_cancelled(pause).await.is_none() {
            return ended;
        }
    }
}
