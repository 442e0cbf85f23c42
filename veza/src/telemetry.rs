//! Logs and metrics of a process.

mod described;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// What others say too much of, unless the setting asks for it by name: PostgreSQL notes each thing
/// that is there already, its driver tells of each connection that is lost and each statement that
/// takes long, and the event store's client calls each try an error that ours repeats.
const QUIET: &str = "sqlx=error,sqlx_core=error,eventstore=off";
/// Upper bounds of what is timed, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0];
/// How often what was timed is put into its buckets, when nobody asks for it.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Starts writing logs to standard error, and counting; the handle shows what was counted.
///
/// # Errors
/// When the setting `log` is no filter.
pub fn start(config: &Config) -> anyhow::Result<PrometheusHandle> {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}", config.log)).context("the setting log")?;
    // Nobody has to read them, so a closed pipe is no error to tell (to the same pipe).
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match config.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    // A panic is a line of the log like others, not some lines between them.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload_as_str().unwrap_or("of another kind");
        tracing::error!(panic = words, place, "a task panicked");
    }));
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics can't be counted")?;
    described::describe();
    Ok(metrics)
}

/// Keeps the metrics' memory small for as long as it is polled.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
