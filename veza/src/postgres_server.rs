//! `veza postgres`: the private PostgreSQL alone, for roles that are processes of their own.

use anyhow::Context as _;

use crate::config::Config;
use crate::console::say;
use crate::data_folder;
use crate::postgres::PrivatePostgres;
use crate::stopping::Stopping;

/// Runs it until told to stop.
///
/// # Errors
/// When it can't be started, or does not end.
pub async fn serve(config: Config, stopping: Stopping) -> anyhow::Result<()> {
    data_folder::open(&config.data, &[])?;
    let folder = config.data.join("postgres");
    let starting = PrivatePostgres::start_when_free(&folder);
    let Some(private) = stopping.gently.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let private = private.context("the private PostgreSQL")?;
    say(format_args!("PostgreSQL   private, in {}", folder.display()));
    say(format_args!("ready. VEZA_DATABASE_URL={}", private.url()));
    stopping.gently.cancelled().await;
    say("stopping");
    tokio::select! {
        stopped = private.stop() => Ok(stopped?),
        () = stopping.at_once.cancelled() => anyhow::bail!("stopped at once"),
    }
}
