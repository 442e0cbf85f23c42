//! Logs and metrics of a process.

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts writing logs to standard error, and counting; the handle shows what was counted.
pub fn start(config: &Config) -> anyhow::Result<PrometheusHandle> {
    let filter = EnvFilter::try_new(&config.log).context("the setting log")?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Human => logs.init(),
    }
    PrometheusBuilder::new().install_recorder().context("metrics can't be counted")
}
