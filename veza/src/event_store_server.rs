//! `veza event-store`: the event store alone, as a server for EventStoreDB's clients.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use event_store::grpc::{self, ServeOptions};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, Flags, Origin, Role, values};
use crate::console::say;
use crate::data_folder;
use crate::open_files;
use crate::parts::open_when_free;
use crate::personal;
use crate::run_file::RunFile;
use crate::scavenging::{SCAVENGE_EVERY, scavenge_every};
use crate::scrubbing::{SCRUB_EVERY, scrub_every};
use crate::taking_over::listen;

/// The data folder and the address when nobody names others.
const DATA: &str = "./veza-data";
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2113);

/// The variables that it goes by; each may begin with `KURRENTDB_` too, as EventStoreDB is called
/// by now, and as its own server has it.
const VARIABLES: [&str; 7] = [
    "EVENTSTORE_DATA",
    "EVENTSTORE_LISTEN",
    "EVENTSTORE_ADVERTISE_HOST",
    "EVENTSTORE_SCAVENGE_EVERY",
    "EVENTSTORE_SCRUB_EVERY",
    "EVENTSTORE_START_STANDARD_PROJECTIONS",
    "EVENTSTORE_INSECURE",
];

/// How their names begin, the older ones first.
const PREFIXES: [&str; 2] = ["EVENTSTORE_", "KURRENTDB_"];

/// What the command line says of how the event store is served.
#[derive(Debug, Clone, clap::Args)]
pub struct EventStoreArgs {
    /// The data folder; the log is in `events` in it (EVENTSTORE_DATA; by default ./veza-data)
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where to listen; port 0 takes any free one (EVENTSTORE_LISTEN; by default 127.0.0.1:2113)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The host that discovering clients are told to dial (EVENTSTORE_ADVERTISE_HOST; by default
    /// the address it listens on)
    #[arg(long, value_name = "HOST")]
    advertise_host: Option<String>,
    /// How often what no reader can see any more is given back to the disk, as 30m, 24h, 7d, or off
    /// (EVENTSTORE_SCAVENGE_EVERY; by default 24h)
    #[arg(long, value_name = "TIME")]
    scavenge_every: Option<String>,
    /// How often the log is read whole, slowly, to find what has rotted on the disk, as 24h, 7d, or
    /// off (EVENTSTORE_SCRUB_EVERY; by default 7d)
    #[arg(long, value_name = "TIME")]
    scrub_every: Option<String>,
    /// Enable the five projections of the system when it starts: `$by_category`, `$by_event_type`,
    /// `$by_correlation_id`, `$stream_by_category`, `$streams`
    /// (EVENTSTORE_START_STANDARD_PROJECTIONS=on)
    #[arg(long)]
    start_standard_projections: bool,
    /// Let everybody who reaches the port do everything, from other machines too
    /// (EVENTSTORE_INSECURE=on)
    #[arg(long)]
    insecure: bool,
}

/// How the event store is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The host that discovering clients are told to dial.
    pub advertise_host: Option<String>,
    /// How often it is scavenged; none: never.
    pub scavenge_every: Option<Duration>,
    /// How often it is scrubbed; none: never.
    pub scrub_every: Option<Duration>,
    /// Whether the projections of the system are enabled when it starts.
    pub start_standard_projections: bool,
    /// Whether other machines may reach it, and then do everything.
    pub insecure: bool,
}

impl EventStoreArgs {
    /// What the flags and the variables (the environment's) say; a flag wins, and then what begins
    /// with `KURRENTDB_`.
    ///
    /// # Errors
    /// The first that can't be used, by its name.
    pub fn read(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Settings, ConfigError> {
        let given = |flag: Option<(String, &'static str)>, name: &str| match flag {
            Some((value, flag)) => Ok(Some((value, Origin::Flag(flag)))),
            None => set(&variable, name),
        };
        let data = given(self.data.map(|value| (value, "--data")), "EVENTSTORE_DATA")?;
        let listen = given(self.listen.map(|value| (value, "--listen")), "EVENTSTORE_LISTEN")?;
        let host = self.advertise_host.map(|value| (value, "--advertise-host"));
        let host = given(host, "EVENTSTORE_ADVERTISE_HOST")?;
        let every = |flag, name: &str, default: &str| {
            let given = given(flag, name)?.unwrap_or_else(|| (default.to_owned(), Origin::Default));
            read(given, values::period)
        };
        let scavenge = self.scavenge_every.map(|value| (value, "--scavenge-every"));
        let scrub = self.scrub_every.map(|value| (value, "--scrub-every"));
        let switch = |name: &str| {
            let given = set(&variable, name)?;
            given.map(|given| read(given, values::switch)).transpose()
        };
        let insecure = switch("EVENTSTORE_INSECURE")?;
        let standard = switch("EVENTSTORE_START_STANDARD_PROJECTIONS")?;
        Ok(Settings {
            data: data.map_or_else(|| DATA.into(), |(value, _)| value.into()),
            listen: listen.map_or(Ok(LISTEN), |given| read(given, values::address))?,
            advertise_host: host.map(|(value, _)| value),
            scavenge_every: every(scavenge, "EVENTSTORE_SCAVENGE_EVERY", SCAVENGE_EVERY)?,
            scrub_every: every(scrub, "EVENTSTORE_SCRUB_EVERY", SCRUB_EVERY)?,
            start_standard_projections: self.start_standard_projections
                || standard.unwrap_or(false),
            insecure: self.insecure || insecure.unwrap_or(false),
        })
    }
}

/// A line for each of these variables that looks like one of this command and is none: most likely
/// by a slip of the pen, or as the platform's own processes have it; and for one that is set by its
/// newer name too. That is no error: EventStoreDB's own server and tools have many variables that
/// begin so, and a machine may have both.
#[must_use]
pub fn ignored(variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let names: Vec<_> = variables.filter_map(|name| name.into_string().ok()).collect();
    let line =
        |name: &String| why_ignored(name, &names).map(|why| format!("{name} is ignored: {why}"));
    names.iter().filter_map(line).collect()
}

fn why_ignored(name: &str, set: &[String]) -> Option<String> {
    if let Some(ours) = counterpart(name) {
        return Some(format!("this command goes by {ours}"));
    }
    let setting = PREFIXES.into_iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let is_ours = |ours: &str| ours.strip_prefix(PREFIXES[0]) == Some(setting);
    if !VARIABLES.into_iter().any(is_ours) {
        return Some("it is no setting (`veza event-store --help` lists all)".to_owned());
    }
    let newer = newer(name);
    (newer != name && set.contains(&newer)).then(|| format!("{newer} is set too"))
}

/// The name of one of these variables as it is by now.
fn newer(name: &str) -> String {
    name.replacen(PREFIXES[0], PREFIXES[1], 1)
}

/// Whether a variable is a setting of the platform that this command goes by another name of. It is
/// not read, so it may be anything.
#[must_use]
pub fn is_of_the_platform(name: &OsStr) -> bool {
    name.to_str().and_then(counterpart).is_some()
}

/// What this command has in the place of a setting of the platform.
fn counterpart(name: &str) -> Option<&'static str> {
    let setting = match name {
        "VEZA_DATA" => "DATA",
        _ => name.strip_prefix("VEZA_EVENT_STORE_")?,
    };
    VARIABLES.into_iter().find(|ours| ours.strip_prefix(PREFIXES[0]) == Some(setting))
}

/// A variable by the newer or the older of its names, and where it is from; what is set to nothing
/// is not set.
fn set(
    variable: impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<(String, Origin)>, ConfigError> {
    for name in [newer(name), name.to_owned()] {
        let value = variable(&name).map(OsString::into_string);
        let origin = Origin::Variable(name);
        match value {
            Some(Ok(value)) if !value.is_empty() => return Ok(Some((value, origin))),
            Some(Err(_)) => {
                return Err(ConfigError::Bad { origin, why: "must be UTF-8".to_owned() });
            }
            _ => {}
        }
    }
    Ok(None)
}

fn read<T>(
    (value, origin): (String, Origin),
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    read(&value).map_err(|why| ConfigError::Bad { origin, why })
}

impl Settings {
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
pub async fn serve(args: Settings, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    if !args.insecure && !args.listen.ip().is_loopback() {
        bail!("{} can be reached from other machines: say --insecure to mean it", args.listen);
    }
    let listener = listen(args.listen).await;
    let listener = listener.with_context(|| format!("can't listen on {}", args.listen))?;
    data_folder::open(&args.data)?;
    let folder = args.data.join("events");
    let store = Arc::new(open_when_free(&config.encryption.options(&folder)?).await?);
    config.encryption.rotate_by_signal(&store, personal::folder(&config))?;
    scavenge_every(&store, args.scavenge_every, &stop);
    scrub_every(&store, args.scrub_every, &stop);
    open_files::raise();
    let options = ServeOptions {
        advertise_host: args.advertise_host,
        connections_max: open_files::event_store_connections(),
        start_standard_projections: args.start_standard_projections,
        ..ServeOptions::default()
    };
    let serving = grpc::serve(listener, Arc::clone(&store) as _, options, stop)?;
    let address = serving.local_addr();
    say(format_args!("event store  {}, gRPC on {address}", folder.display()));
    let run_file = RunFile::write_or_warn(&args.data, &[Role::EventStore], None, Some(address));
    say(format_args!("ready. Clients connect to esdb://{address}?tls=false"));
    serving.finished().await;
    drop(run_file);
    store.close().await?;
    Ok(())
}
