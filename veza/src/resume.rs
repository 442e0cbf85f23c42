//! `veza-replay resume`: paused runs of sagas are let go on, one or all of them.

use std::io::{self, Write as _};
use std::sync::Arc;

use chrono::Utc;
use clap::ArgGroup;
use event_schemas::EventFamily as _;
use event_schemas::saga::SagaEvent;
use event_store::{EventStore, StreamName};
use projections::postgres::Sagas;
use projections::postgres::sagas::SagaStatus;
use projections::{Cursor, PageSize};
use replay_tool::{Models, Output, ReplayError, Verdict, shown};
use sagas::orchestrator::{ResumeError, resume};
use serde_json::json;
use thiserror::Error;

/// How many runs are looked up at once.
const PAGE_ROWS: u32 = 100;

/// Which runs go on.
#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("runs").args(["stream", "all"]).required(true)))]
pub struct ResumeArgs {
    /// Its stream, such as saga-checkout-<id> (`sagas --status paused` lists them)
    #[arg(value_parser = run_of_a_saga)]
    pub stream: Option<StreamName>,
    /// Every paused run, as the read model of sagas has them
    #[arg(long)]
    pub all: bool,
    /// With --all: only runs of this kind, such as checkout
    #[arg(long, requires = "all", value_name = "KIND")]
    pub saga: Option<String>,
}

/// The stream of a run on the command line.
fn run_of_a_saga(text: &str) -> Result<StreamName, String> {
    let stream = StreamName::new(text).map_err(|error| error.to_string())?;
    let is_one = stream.category() == SagaEvent::CATEGORY;
    is_one.then_some(stream).ok_or_else(|| "it is no run of a saga".to_owned())
}

/// Why runs were not let go on.
#[derive(Debug, Error)]
pub enum NotResumed {
    /// The run, or the store.
    #[error(transparent)]
    Run(#[from] ResumeError),
    /// The read model, or what is printed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Lets one run go on, and says so.
///
/// # Errors
/// When it is not paused, and as the store fails.
pub async fn resume_one(
    store: Arc<dyn EventStore>,
    stream: &StreamName,
    output: &mut Output<'_>,
) -> Result<(), NotResumed> {
    resume(store, stream, Utc::now()).await?;
    let document = json!({ "stream": stream.as_str(), "resumed": true });
    output.result(&document, &format!("{stream} goes on")).map_err(ReplayError::from)?;
    Ok(())
}

/// Lets every paused run go on, of one kind or of all, and says so of each, or that there was none.
/// One that is not paused any more is passed over: the read model may be behind. So is one whose
/// stream can't be read, which is told on the error output and is no good outcome.
///
/// # Errors
/// As the store and the read model fail; those that were named go on all the same.
pub async fn resume_all(
    store: Arc<dyn EventStore>,
    models: &Models,
    kind: Option<&str>,
    output: &mut Output<'_>,
) -> Result<Verdict, NotResumed> {
    let (mut resumed, mut verdict) = (0_u64, Verdict::Good);
    let runs = Sagas::new(models.pool.clone());
    let size = PageSize::clamped(PAGE_ROWS);
    let mut after: Option<Cursor> = None;
    loop {
        let page = runs.select(Some(SagaStatus::Paused), None, after, size).await;
        let page = page.map_err(ReplayError::from)?;
        after = page.next();
        for run in page.into_rows() {
            if kind.is_some_and(|kind| kind != run.kind) {
                continue;
            }
            let stream = StreamName::new(run.stream).expect("it was the name of a stream");
            match resume_one(Arc::clone(&store), &stream, output).await {
                Err(NotResumed::Run(ResumeError::NotPaused(_) | ResumeError::NotThere(_))) => {}
                Err(NotResumed::Run(ResumeError::Journal(error))) if error.is_of_the_stream() => {
                    let told = format!("{stream} does not go on: {error}");
                    // Whoever closed the error output does not want to know.
                    let _ = writeln!(io::stderr(), "veza-replay: {}", shown(&told));
                    verdict = Verdict::Bad;
                }
                Ok(()) => resumed += 1,
                Err(error) => return Err(error),
            }
        }
        if after.is_none() {
            if resumed == 0 {
                output.remark("no run that is paused was found").map_err(ReplayError::from)?;
            }
            return Ok(verdict);
        }
    }
}
