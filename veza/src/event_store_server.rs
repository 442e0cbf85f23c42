//! `veza event-store`: the event store alone, as a server for EventStoreDB's clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use event_store::EmbeddedStore;
use event_store::grpc::{self, ServeOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Flags, Role};
use crate::console::say;
use crate::data_folder;
use crate::run_file::RunFile;

/// How the event store is served.
#[derive(Debug, Clone, clap::Args)]
pub struct EventStoreArgs {
    /// The data folder; the log is in `events` in it
    #[arg(long, value_name = "DIR", env = "EVENTSTORE_DATA", default_value = "./veza-data")]
    pub data: PathBuf,
    /// Where to listen; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EVENTSTORE_LISTEN",
        default_value = "127.0.0.1:2113"
    )]
    pub listen: SocketAddr,
    /// The host that discovering clients are told to dial
    #[arg(long, value_name = "HOST", env = "EVENTSTORE_ADVERTISE_HOST")]
    pub advertise_host: Option<String>,
    /// Let everybody who reaches the port do everything, from other machines too
    #[arg(long, env = "EVENTSTORE_INSECURE")]
    pub insecure: bool,
}

impl EventStoreArgs {
    /// The same as a process's flags; it has no role, so none of them is missing a setting.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let data = Some(self.data.to_string_lossy().into_owned());
        Flags { data, config: None, roles: vec!["all".to_owned()] }
    }
}

/// Serves until `stop`, then drains. Of the settings it goes by those of encryption.
///
/// # Errors
/// When it would be open to other machines without being told so, or can't start.
pub async fn serve(
    args: EventStoreArgs,
    config: Config,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if !args.insecure && !args.listen.ip().is_loopback() {
        bail!("{} can be reached from other machines: say --insecure to mean it", args.listen);
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("can't listen on {}", args.listen))?;
    data_folder::open(&args.data)?;
    let folder = args.data.join("events");
    let store = Arc::new(EmbeddedStore::open(config.encryption.options(&folder)?).await?);
    config.encryption.rotate_by_signal(&store)?;
    let options = ServeOptions { advertise_host: args.advertise_host, ..ServeOptions::default() };
    let serving = grpc::serve(listener, Arc::clone(&store) as _, options, stop)?;
    let address = serving.local_addr();
    say(format_args!("event store  {}, gRPC on {address}", folder.display()));
    let run_file = RunFile::write(&args.data, &[Role::EventStore], None, Some(address))?;
    say(format_args!("ready. Clients connect to esdb://{address}?tls=false"));
    serving.finished().await;
    drop(run_file);
    store.close().await?;
    Ok(())
}
