//! `veza postgres`: the private PostgreSQL alone, for roles that are processes of their own.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{Config, Flags};
use crate::console::say;
use crate::data_folder;
use crate::postgres::PrivatePostgres;
use crate::stopping::Stopping;

/// Where it runs.
#[derive(Debug, Clone, clap::Args)]
pub struct PostgresArgs {
    /// The data folder
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// A TOML file with settings (VEZA_CONFIG; `veza config` lists them)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl PostgresArgs {
    /// The same as a process's flags; it has no role, so none of them is missing a setting.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let (data, config) = (self.data.clone(), self.config.clone());
        Flags { data, config, roles: vec!["all".to_owned()] }
    }
}

/// Runs it until told to stop.
///
/// # Errors
/// When it can't be started, or does not end.
pub async fn serve(config: Config, stopping: Stopping) -> anyhow::Result<()> {
    data_folder::open(&config.data)?;
    let folder = config.data.join("postgres");
    let starting = PrivatePostgres::start(&folder);
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
