//! `sagas`: runs of sagas, by how they fare.

use clap::ValueEnum;
use projections::postgres::{SagaInstance, Sagas, sagas::SagaStatus};
use projections::{Cursor, PageSize};
use serde_json::json;

use crate::command::ReplayError;
use crate::models::Models;
use crate::output::Output;

/// Which runs are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct SagasArgs {
    /// Only those that fare so
    #[arg(long)]
    pub status: Option<Faring>,
    /// At most this many; without it the first 1000, and with --json all
    #[arg(long)]
    pub limit: Option<u64>,
}

/// How a run fares, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Faring {
    /// It goes on by itself.
    Running,
    /// It undoes what was done.
    Compensating,
    /// It waits for an operator (`resume`).
    Paused,
    /// Every step was done.
    Completed,
    /// Everything that was done has been undone.
    Compensated,
}

impl From<Faring> for SagaStatus {
    fn from(faring: Faring) -> Self {
        match faring {
            Faring::Running => Self::Running,
            Faring::Compensating => Self::Compensating,
            Faring::Paused => Self::Paused,
            Faring::Completed => Self::Completed,
            Faring::Compensated => Self::Compensated,
        }
    }
}

/// Prints the runs, the newest first.
pub async fn sagas(
    read_models: &Models,
    args: &SagasArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let runs = Sagas::new(read_models.pool.clone());
    let (status, limit) = (args.status.map(SagaStatus::from), output.limit(args.limit));
    let mut left = limit;
    let mut after: Option<Cursor> = None;
    while left > 0 {
        let size = PageSize::clamped(u32::try_from(left).unwrap_or(u32::MAX));
        let page = runs.select(status, None, after, size).await?;
        for (_, run) in &page.rows {
            print(run, output)?;
        }
        left = left.saturating_sub(page.rows.len() as u64);
        after = page.next();
        if after.is_none() {
            if left == limit {
                output.remark("no run was found")?;
            }
            return Ok(());
        }
    }
    output.remark(&format!("(more than {}: --limit shows more)", limit))?;
    Ok(())
}

fn print(run: &SagaInstance, output: &mut Output<'_>) -> Result<(), ReplayError> {
    let document = json!({
        "stream": run.stream,
        "kind": run.kind,
        "version": run.definition_version,
        "subject": run.subject,
        "status": run.status.as_str(),
        "step": run.step,
        "waiting_for": run.waiting_for,
        "due_at": run.due_at,
        "last_error": run.last_error,
        "started_at": run.started_at,
        "updated_at": run.updated_at,
    });
    let step = run.step.as_deref().unwrap_or("-");
    let waits = run.waiting_for.as_ref().map(|it| format!("  waits for {it}"));
    let error = run.last_error.as_ref().map(|it| format!("  last error: {it}"));
    let line = format!(
        "{}  {:<12}  {step}{}{}",
        run.stream,
        run.status.as_str(),
        waits.unwrap_or_default(),
        error.unwrap_or_default(),
    );
    output.result(&document, &line)?;
    Ok(())
}
