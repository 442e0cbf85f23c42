//! `veza event-store`: the event store alone, as a server for EventStoreDB's clients.

mod official;
mod security;

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use event_store::UsersError;
use event_store::grpc::{self, ServeOptions};
use event_store::maintenance::Scavenges;
use event_store::users::DefaultPasswords;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, Flags, Origin, Role, values};
use crate::console::say;
use crate::data_folder;
use crate::listening::Listening;
use crate::open_files;
use crate::parts::open_when_free;
use crate::personal;
use crate::run_file::RunFile;
use crate::scavenging::{SCAVENGE_EVERY, scavenges_every};
use crate::scrubbing::{SCRUB_EVERY, scrub_every};
use crate::taking_over::listen_as_localhost;

use self::security::Asked;
pub use self::security::Security;

/// The data folder and the address when nobody names others.
const DATA: &str = "./veza-data";
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2113);

/// As many connections at once as can be asked for.
const CONNECTIONS_MAX: usize = 65_536;

/// The variables that it goes by; each may begin with `KURRENTDB_` too, as EventStoreDB is called
/// by now, and as its own server has it.
const VARIABLES: [&str; 15] = [
    "EVENTSTORE_DATA",
    "EVENTSTORE_LISTEN",
    ADVERTISE_HOST,
    ADVERTISE_PORT,
    "EVENTSTORE_SCAVENGE_EVERY",
    "EVENTSTORE_SCRUB_EVERY",
    "EVENTSTORE_CONNECTIONS_MAX",
    "EVENTSTORE_START_STANDARD_PROJECTIONS",
    "EVENTSTORE_INSECURE",
    "EVENTSTORE_DEV",
    "EVENTSTORE_CERTIFICATE_FILE",
    "EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE",
    "EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH",
    ADMIN_PASSWORD,
    OPS_PASSWORD,
];

/// Where clients that discover are sent.
const ADVERTISE_HOST: &str = "EVENTSTORE_ADVERTISE_HOST";
const ADVERTISE_PORT: &str = "EVENTSTORE_ADVERTISE_PORT";

/// Those that have no flag: other processes see what a command line says.
const ADMIN_PASSWORD: &str = "EVENTSTORE_DEFAULT_ADMIN_PASSWORD";
const OPS_PASSWORD: &str = "EVENTSTORE_DEFAULT_OPS_PASSWORD";

/// How their names begin, the older ones first.
const PREFIXES: [&str; 2] = ["EVENTSTORE_", "KURRENTDB_"];

/// What the command line says of how the event store is served.
#[derive(Debug, Clone, clap::Args)]
pub struct EventStoreArgs {
    /// The data folder; the log is in `events` in it (EVENTSTORE_DATA or EVENTSTORE_DB; by default
    /// ./veza-data)
    #[arg(long, value_name = "DIR", visible_alias = "db")]
    data: Option<String>,
    /// Where to listen, and at [::1] too where localhost is listened on; port 0 takes any free one
    /// (EVENTSTORE_LISTEN; by default 127.0.0.1:2113)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The IP address to listen on, as EventStoreDB has it (EVENTSTORE_NODE_IP)
    #[arg(long, value_name = "IP", conflicts_with = "listen")]
    node_ip: Option<String>,
    /// The port to listen on, as EventStoreDB has it (EVENTSTORE_NODE_PORT)
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    node_port: Option<String>,
    /// The host that discovering clients are told to dial (EVENTSTORE_ADVERTISE_HOST or
    /// EVENTSTORE_NODE_HOST_ADVERTISE_AS; by default the address it listens on)
    #[arg(long, value_name = "HOST", visible_alias = "node-host-advertise-as")]
    advertise_host: Option<String>,
    /// The port that they are told to dial, where it is another one, as behind a proxy
    /// (EVENTSTORE_ADVERTISE_PORT or EVENTSTORE_NODE_PORT_ADVERTISE_AS; by default the one it
    /// listens on)
    #[arg(long, value_name = "PORT", visible_alias = "node-port-advertise-as")]
    advertise_port: Option<String>,
    /// How often what no reader can see any more is given back to the disk, as 30m, 24h, 7d, or off
    /// (EVENTSTORE_SCAVENGE_EVERY; by default 24h)
    #[arg(long, value_name = "TIME")]
    scavenge_every: Option<String>,
    /// How often the log is read whole, slowly, to find what has rotted on the disk, as 24h, 7d, or
    /// off (EVENTSTORE_SCRUB_EVERY; by default 7d)
    #[arg(long, value_name = "TIME")]
    scrub_every: Option<String>,
    /// How many connections there may be at once; further ones wait (EVENTSTORE_CONNECTIONS_MAX; by
    /// default 8192, or half of the open files that there may be)
    #[arg(long, value_name = "NUMBER")]
    connections_max: Option<String>,
    /// Enable the five projections of the system when it starts: `$by_category`, `$by_event_type`,
    /// `$by_correlation_id`, `$stream_by_category`, `$streams`
    /// (EVENTSTORE_START_STANDARD_PROJECTIONS=on)
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "on|off")]
    #[arg(default_value = "off", default_missing_value = "on", hide_default_value = true)]
    #[arg(value_parser = values::switch)]
    start_standard_projections: bool,
    /// Let everybody who reaches the port do everything, without TLS, from other machines too
    /// (EVENTSTORE_INSECURE=on). Without this, --dev or a certificate, that is so on loopback, and
    /// nothing else is listened on
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "on|off")]
    #[arg(default_value = "off", default_missing_value = "on", hide_default_value = true)]
    #[arg(value_parser = values::switch)]
    insecure: bool,
    /// For a test machine: TLS with certificates that are made and kept in `tls` of the data
    /// folder, and users (EVENTSTORE_DEV=on). What clients need is printed
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "on|off")]
    #[arg(default_value = "off", default_missing_value = "on", hide_default_value = true)]
    #[arg(value_parser = values::switch)]
    dev: bool,
    /// The certificate of the server, as PEM: it takes TLS alone, and asks callers who they are
    /// (EVENTSTORE_CERTIFICATE_FILE). When files are replaced, connections after that are shown
    /// what is there. Users `admin` and `ops` are made at the first such start, with the passwords
    /// in EVENTSTORE_DEFAULT_ADMIN_PASSWORD and EVENTSTORE_DEFAULT_OPS_PASSWORD, or `changeit`
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<String>,
    /// The private key of that certificate (EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE)
    #[arg(long, value_name = "FILE")]
    certificate_private_key_file: Option<String>,
    /// The roots of users' certificates, a file or a folder: who shows one, to be used by clients,
    /// is the user whom its common name says (EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH; by default
    /// none, and with --dev the root that is made)
    #[arg(long, value_name = "PATH")]
    trusted_root_certificates_path: Option<String>,
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
    /// The port that they are told to dial.
    pub advertise_port: Option<u16>,
    /// How often it is scavenged; none: never.
    pub scavenge_every: Option<Duration>,
    /// How often it is scrubbed; none: never.
    pub scrub_every: Option<Duration>,
    /// How many connections there may be at once; none: as files allow.
    pub connections_max: Option<usize>,
    /// Whether the projections of the system are enabled when it starts.
    pub start_standard_projections: bool,
    /// Who may use it, and how it is kept from others.
    pub security: Security,
    /// The passwords that `admin` and `ops` get when they are made.
    pub passwords: DefaultPasswords,
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
        let data = given(flag(self.data, "--data"), "EVENTSTORE_DATA")?;
        let listen = listen_address(
            flag(self.listen, "--listen"),
            flag(self.node_ip, "--node-ip"),
            flag(self.node_port, "--node-port"),
            &variable,
        )?;
        let connections = flag(self.connections_max, "--connections-max");
        let connections = given(connections, "EVENTSTORE_CONNECTIONS_MAX")?;
        let host = given(flag(self.advertise_host, "--advertise-host"), ADVERTISE_HOST)?;
        let port = given(flag(self.advertise_port, "--advertise-port"), ADVERTISE_PORT)?;
        let every = |flag, name: &str, default: &str| {
            let given = given(flag, name)?.unwrap_or_else(|| (default.to_owned(), Origin::Default));
            read(given, values::period)
        };
        let scavenge = flag(self.scavenge_every, "--scavenge-every");
        let scrub = flag(self.scrub_every, "--scrub-every");
        let switch = |flag: bool, name: &str| {
            let set = set(&variable, name)?.map(|given| read(given, values::switch)).transpose()?;
            Ok::<_, ConfigError>(flag || set.unwrap_or(false))
        };
        let file = |value: Option<String>, option: &'static str, name: &str| {
            let given = given(flag(value, option), name)?;
            Ok::<_, ConfigError>(given.map(|(value, _)| value.into()))
        };
        let asked = Asked {
            insecure: switch(self.insecure, "EVENTSTORE_INSECURE")?,
            dev: switch(self.dev, "EVENTSTORE_DEV")?,
            certificate: file(
                self.certificate_file,
                "--certificate-file",
                "EVENTSTORE_CERTIFICATE_FILE",
            )?,
            key: file(
                self.certificate_private_key_file,
                "--certificate-private-key-file",
                "EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE",
            )?,
            trusted: file(
                self.trusted_root_certificates_path,
                "--trusted-root-certificates-path",
                "EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH",
            )?,
        };
        Ok(Settings {
            data: data.map_or_else(|| DATA.into(), |(value, _)| value.into()),
            listen,
            advertise_host: host.map(|(value, _)| value),
            advertise_port: port.map(|given| read(given, advertised_port)).transpose()?,
            scavenge_every: every(scavenge, "EVENTSTORE_SCAVENGE_EVERY", SCAVENGE_EVERY)?,
            scrub_every: every(scrub, "EVENTSTORE_SCRUB_EVERY", SCRUB_EVERY)?,
            connections_max: connections.map(|given| read(given, connection_count)).transpose()?,
            start_standard_projections: switch(
                self.start_standard_projections,
                "EVENTSTORE_START_STANDARD_PROJECTIONS",
            )?,
            security: asked.security().map_err(senseless)?,
            passwords: passwords(&variable)?,
        })
    }
}

/// The words of a command line that this program goes by, and a line for each flag of
/// EventStoreDB's own server that it knows and does without.
#[must_use]
pub fn command_line(words: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let words: Vec<OsString> = words.collect();
    if words.get(1).is_none_or(|command| command != "event-store") {
        return (words, Vec::new());
    }
    official::without_needless(words)
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
    if let Some(why) = official::needless(setting) {
        return Some(format!("it has no counterpart: {why}"));
    }
    if !VARIABLES.into_iter().any(is_ours) && !official::is_read(setting) {
        return Some("it is no setting (`veza event-store --help` lists all)".to_owned());
    }
    if official::is_of_the_address(setting) {
        let mut whole = PREFIXES.into_iter().rev().map(|prefix| format!("{prefix}LISTEN"));
        if let Some(whole) = whole.find(|whole| set.contains(whole)) {
            return Some(format!("{whole} is set too"));
        }
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
    let aliases = official::aliases(name).map(|alias| format!("{}{alias}", PREFIXES[0]));
    first_set(variable, std::iter::once(name.to_owned()).chain(aliases))
}

/// The first of these variables, each by its newer name and then by its older one.
fn first_set(
    variable: impl Fn(&str) -> Option<OsString>,
    names: impl Iterator<Item = String>,
) -> Result<Option<(String, Origin)>, ConfigError> {
    for name in names.flat_map(|name| [newer(&name), name]) {
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

/// Where to listen: said as a whole, or in parts, which go before it as flags.
fn listen_address(
    whole: Option<(String, &'static str)>,
    ip: Option<(String, &'static str)>,
    port: Option<(String, &'static str)>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<SocketAddr, ConfigError> {
    let whole = match whole {
        _ if ip.is_some() || port.is_some() => None,
        Some((value, flag)) => Some((value, Origin::Flag(flag))),
        None => set(&variable, "EVENTSTORE_LISTEN")?,
    };
    if let Some(given) = whole {
        return read(given, values::address);
    }
    let ip = part(ip, &variable, official::NODE_IP, "an IP address")?;
    let port = part(port, &variable, official::NODE_PORT, "a port")?;
    Ok(SocketAddr::new(ip.unwrap_or(LISTEN.ip()), port.unwrap_or(LISTEN.port())))
}

/// A part of an address, by a flag or by the first of these settings.
fn part<T: FromStr>(
    flag: Option<(String, &'static str)>,
    variable: impl Fn(&str) -> Option<OsString>,
    settings: [&str; 2],
    what: &str,
) -> Result<Option<T>, ConfigError> {
    let given = match flag {
        Some((value, flag)) => Some((value, Origin::Flag(flag))),
        None => {
            let names = settings.into_iter().map(|setting| format!("{}{setting}", PREFIXES[0]));
            first_set(variable, names)?
        }
    };
    let parse = |value: &str| value.parse().map_err(|_| format!("must be {what}"));
    given.map(|given| read(given, parse)).transpose()
}

/// A flag that may be given, and what it is called.
fn flag(value: Option<String>, name: &'static str) -> Option<(String, &'static str)> {
    value.map(|value| (value, name))
}

/// A flag that makes no sense beside the others, and why.
fn senseless((flag, why): (&'static str, &'static str)) -> ConfigError {
    ConfigError::Bad { origin: Origin::Flag(flag), why: why.to_owned() }
}

fn advertised_port(value: &str) -> Result<u16, String> {
    let port = value.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| "must be a port, 1 to 65535".to_owned())
}

fn connection_count(value: &str) -> Result<usize, String> {
    let count = value.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count));
    count.ok_or_else(|| format!("must be a number, 1 to {CONNECTIONS_MAX}"))
}

/// The passwords that users get who are not there yet.
fn passwords(variable: impl Fn(&str) -> Option<OsString>) -> Result<DefaultPasswords, ConfigError> {
    let chosen = |name: &str| {
        let Some((value, origin)) = set(&variable, name)? else {
            return Ok(None);
        };
        // Each by itself, so that it is told which one can't be used.
        let bad = |error: UsersError| ConfigError::Bad { origin, why: error.to_string() };
        DefaultPasswords::new(Some(value.clone()), None).map_err(bad)?;
        Ok(Some(value))
    };
    let (admin, ops) = (chosen(ADMIN_PASSWORD)?, chosen(OPS_PASSWORD)?);
    DefaultPasswords::new(admin, ops)
        .map_err(|error| ConfigError::Bad { origin: Origin::Default, why: error.to_string() })
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
    args.security.check(args.listen)?;
    let listeners = listen_as_localhost(args.listen).await;
    let listeners = listeners.with_context(|| format!("can't listen on {}", args.listen))?;
    data_folder::open(&args.data, &[])?;
    let (tls, parameters) =
        args.security.tls(&args.data, args.listen, args.advertise_host.as_deref())?;
    let named = args.advertise_host.clone().filter(|_| tls.is_some());
    let folder = args.data.join("events");
    let store = Arc::new(open_when_free(&folder, &config.encryption.options(&folder)?).await?);
    config.encryption.rotate_by_signal(&store, personal::folder(&config))?;
    let scavenges = Scavenges::new(Arc::clone(&store), listeners.local_addr()?.to_string());
    scavenges_every(&scavenges, args.scavenge_every, &stop);
    scrub_every(&store, args.scrub_every, &stop);
    open_files::raise();
    let users = Arc::clone(&store) as _;
    let users = args.security.users(users, args.passwords, args.listen).await?;
    let credentials = security::credentials(users.as_ref()).await?;
    let options = ServeOptions {
        advertise_host: args.advertise_host,
        advertise_port: args.advertise_port,
        users,
        tls,
        connections_max: open_files::connections_alone(args.connections_max),
        scavenges: Some(scavenges),
        stops_when_asked: true,
        start_standard_projections: args.start_standard_projections,
        begin_projections: true,
        ..ServeOptions::default()
    };
    let serving = grpc::serve(listeners, Arc::clone(&store) as _, options, stop)?;
    let address = serving.local_addr();
    say(format_args!("event store  {}, gRPC on {address}", folder.display()));
    // A certificate is for the names of its server, of which everywhere is none.
    let port = args.advertise_port.unwrap_or(address.port());
    let reached = named.map_or(address.to_string(), |host| format!("{host}:{port}"));
    let guarded = args.security.guarded(address, &reached);
    let listening = Some(Listening { address, guarded });
    let run_file = RunFile::write(&args.data, &[Role::EventStore], None, listening);
    say(format_args!("ready. Clients connect to esdb://{credentials}{reached}?{parameters}"));
    serving.finished().await;
    drop(run_file);
    store.close().await?;
    Ok(())
}
