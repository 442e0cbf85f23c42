//! `rebuild`: read models made anew from the log, while the live ones are read and go on.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::EventStore;
use projections::{OnPoison, Projection, Rebuild, RebuildError, RebuildProgress};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::command::ReplayError;
use crate::models::Models;
use crate::output::Output;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Which models are rebuilt.
#[derive(Clone, Debug, clap::Args)]
pub struct RebuildArgs {
    /// Which models, such as `orders` (`veza-replay projections` lists them)
    #[arg(required_unless_present = "all", value_name = "MODEL")]
    pub models: Vec<String>,
    /// Every model, one after the other
    #[arg(long, conflicts_with = "models")]
    pub all: bool,
    /// Park an event that can't be applied, with its key; without this the rebuild stops there
    #[arg(long)]
    pub park: bool,
}

/// Rebuilds the models one after the other, and prints what came of each; the first that fails
/// ends it. How it goes on is told on the error output.
pub async fn rebuild(
    store: Arc<dyn EventStore>,
    read_models: &Models,
    args: &RebuildArgs,
    output: &mut Output<'_>,
    cancel: CancellationToken,
) -> Result<(), ReplayError> {
    // All names are looked up before anything is done.
    let chosen: Vec<&Arc<dyn Projection>> = if args.all {
        read_models.projections.iter().collect()
    } else {
        args.models.iter().map(|name| read_models.find(name)).collect::<Result<_, _>>()?
    };
    for projection in chosen {
        if cancel.is_cancelled() {
            return Err(RebuildError::Cancelled.into());
        }
        let rebuild = Rebuild {
            pool: read_models.pool.clone(),
            store: Arc::clone(&store),
            projection: Arc::clone(projection),
            on_poison: if args.park { OnPoison::Park } else { OnPoison::Stop },
            cancel: cancel.clone(),
        };
        let began = Instant::now();
        let done = rebuild.run(teller()).await?;
        let (seconds, id) = (began.elapsed().as_secs_f64(), done.model);
        let (events, rate) = (done.events, done.events_per_second());
        let document = json!({
            "name": id.name,
            "version": id.version,
            "events": events,
            "position": done.position.to_string(),
            "seconds": seconds,
            "events_per_second": rate,
        });
        let line = format!(
            "{id}: {events} events in {seconds:.1} s ({rate:.0}/s); live, up to position {}",
            done.position
        );
        output.result(&document, &line)?;
        output.flush()?;
    }
    Ok(())
}

/// Tells the progress on the error output, now and then.
fn teller() -> Box<dyn FnMut(RebuildProgress) + Send> {
    let mut told = Instant::now();
    Box::new(move |progress| {
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            // Whoever closed the error output does not want to know.
            let _ = writeln!(io::stderr(), "{}", line(&progress));
        }
    })
}

/// How much of the log is behind it, and what that says of the time left.
fn line(progress: &RebuildProgress) -> String {
    let (model, events, rate) = (progress.model, progress.events, progress.events_per_second());
    let share = progress.share();
    let left = progress.elapsed.as_secs_f64() * (1.0 - share) / share.max(f64::EPSILON);
    let percent = share * 100.0;
    format!("{model}: {events} events, {rate:.0}/s, {percent:.0} %, about {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use event_store::Position;
    use projections::ModelId;

    use super::*;

    #[test]
    fn the_time_left_follows_from_the_way_left() {
        let mut progress = RebuildProgress {
            model: ModelId { name: "orders", version: 1 },
            events: 500,
            position: Position::new(250),
            head: Position::new(1000),
            elapsed: Duration::from_secs(10),
        };
        let told = line(&progress);
        assert_eq!(told, "orders_v1: 500 events, 50/s, 25 %, about 30 s left");
        // The log has grown since the rebuild began.
        progress.position = Position::new(1001);
        assert!(line(&progress).ends_with("100 %, about 0 s left"));
    }
}
