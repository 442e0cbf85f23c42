//! The types of the settings, read from text. What is wrong is told without the text itself, which
//! may hold a password.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use access::TrustedProxies;
use axum::http::Uri;
use projections::clickhouse::ClickHouse;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::encryption::KeyText;

/// What a process can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes commands over HTTP.
    CommandApi,
    /// Answers queries over HTTP, and streams.
    QueryApi,
    /// Fills the read models.
    Projector,
    /// Drives the sagas.
    Saga,
    /// Keeps the embedded event store.
    EventStore,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] =
        [Role::CommandApi, Role::QueryApi, Role::Projector, Role::Saga, Role::EventStore];

    /// Its name in settings and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::CommandApi => "command-api",
            Role::QueryApi => "query-api",
            Role::Projector => "projector",
            Role::Saga => "saga",
            Role::EventStore => "event-store",
        }
    }
}

/// Where events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventStore {
    /// In this process, in the data folder.
    Embedded,
    /// In an EventStoreDB or KurrentDB cluster, by its connection string.
    Cluster(String),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object a line.
    Json,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

pub fn path(value: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

pub fn wrapping_keys(value: &str) -> Result<KeyText, String> {
    KeyText::read(value)
}

pub fn address(value: &str) -> Result<SocketAddr, String> {
    // As it is in `/etc/hosts` everywhere; other names may stand for several addresses.
    let localhost = value.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    localhost
        .as_deref()
        .unwrap_or(value)
        .parse()
        .map_err(|_| "must be an address and a port, as 127.0.0.1:8080".to_owned())
}

pub fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => Ok(true),
        "off" | "no" | "false" | "0" => Ok(false),
        _ => Err("must be on or off (or yes or no, true or false, 1 or 0)".to_owned()),
    }
}

pub fn byte_count(value: &str) -> Result<ByteCount, String> {
    let wrong = || "must be a number of bytes, as 536870912 or 512M".to_owned();
    let unit = in_units(value, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)]);
    let (number, size) = unit.unwrap_or((value, 1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(size).map(ByteCount).ok_or_else(wrong)
}

/// A time that is not zero; `off` is none.
pub fn period(value: &str) -> Result<Option<Duration>, String> {
    let wrong = || "must be off, or a time with its unit, as 30m, 24h or 7d".to_owned();
    if value == "off" {
        return Ok(None);
    }
    let unit = in_units(value, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]);
    let (number, seconds) = unit.ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let period = Duration::from_secs(u64::from(number) * seconds);
    if period.is_zero() { Err(wrong()) } else { Ok(Some(period)) }
}

pub fn log_format(value: &str) -> Result<LogFormat, String> {
    match value {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be human or json".to_owned()),
    }
}

pub fn log_filter(value: &str) -> Result<String, String> {
    // A bare word that is no level would be taken for the name of a part, and silence the rest.
    let is_slip = |part: &str| !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err();
    if parts(value).any(is_slip) || EnvFilter::builder().parse(value).is_err() {
        return Err("must be a filter, as info,veza=debug".to_owned());
    }
    Ok(value.to_owned())
}

pub fn roles(value: &str) -> Result<Vec<Role>, String> {
    let mut roles = Vec::new();
    for name in parts(value) {
        let found: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|role| (name == "all" || name == role.name()) && !roles.contains(role))
            .collect();
        let is_known = name == "all" || Role::ALL.iter().any(|role| role.name() == name);
        if !is_known {
            return Err(no_roles());
        }
        roles.extend(found);
    }
    if roles.is_empty() { Err(no_roles()) } else { Ok(roles) }
}

fn no_roles() -> String {
    format!("must be all, or some of {}", Role::ALL.map(Role::name).join(", "))
}

pub fn event_store(value: &str) -> Result<EventStore, String> {
    let schemes = ["esdb", "esdb+discover", "kurrentdb", "kurrentdb+discover"];
    match value.split_once("://") {
        None if value == "embedded" => Ok(EventStore::Embedded),
        Some((scheme, rest)) if schemes.contains(&scheme) && !rest.is_empty() => {
            Ok(EventStore::Cluster(value.to_owned()))
        }
        _ => Err("must be embedded, or a connection string that begins with esdb://".to_owned()),
    }
}

/// A user and a password that the official client takes as they are in a connection string.
pub fn credentials(value: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,".contains(c);
    match value.split_once(':') {
        Some((user, password))
            if !user.is_empty() && (user.chars().chain(password.chars())).all(is_plain) =>
        {
            Ok(value.to_owned())
        }
        _ => {
            Err("must be <user>:<password>, of ASCII letters, digits and -._~!$&'()*+,".to_owned())
        }
    }
}

pub fn postgres_url(value: &str) -> Result<String, String> {
    let is_postgres = value.starts_with("postgres://") || value.starts_with("postgresql://");
    let parsed = value.parse::<sqlx::postgres::PgConnectOptions>();
    match (is_postgres, parsed) {
        (true, Ok(_)) => Ok(value.to_owned()),
        _ => Err("must be a URL, as postgres://user:password@host/database".to_owned()),
    }
}

pub fn http_url(value: &str) -> Result<String, String> {
    let wrong = || "must be a URL that begins with http:// or https://".to_owned();
    let uri: Uri = value.parse().map_err(|_| wrong())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if is_http && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(value.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

pub fn clickhouse_url(value: &str) -> Result<String, String> {
    let url = http_url(value)?;
    ClickHouse::open(&url).map(|_| url).map_err(|error| error.to_string())
}

/// Text that can stand in a header.
pub fn header_text(value: &str) -> Result<String, String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { Ok(value.to_owned()) } else { Err("must be plain ASCII, no spaces".to_owned()) }
}

/// Scheme, host and port, and nothing behind them.
pub fn origin(value: &str) -> Result<String, String> {
    let wrong = "must be an origin, as https://veza.example";
    let url = http_url(value).map_err(|_| wrong.to_owned())?;
    let (_, rest) = url.split_once("://").expect("a URL has a scheme");
    if rest.contains(['/', '?', '#', '@']) { Err(wrong.to_owned()) } else { Ok(url) }
}

pub fn origins(value: &str) -> Result<Vec<String>, String> {
    parts(value).map(|part| if part == "*" { Ok("*".to_owned()) } else { origin(part) }).collect()
}

pub fn brokers(value: &str) -> Result<Vec<String>, String> {
    let is_broker = |part: &str| {
        let port = part.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    };
    let are_brokers = parts(value).all(is_broker) && parts(value).next().is_some();
    let wrong = || "must be host:port, separated by commas".to_owned();
    are_brokers.then(|| parts(value).map(str::to_owned).collect()).ok_or_else(wrong)
}

pub fn proxies(value: &str) -> Result<TrustedProxies, String> {
    let wrong = |_| "must be addresses or blocks, as 10.0.0.0/8, separated by commas".to_owned();
    value.parse().map_err(wrong)
}

/// The folder that a `file:` URL names.
pub fn file_url(value: &str) -> Result<PathBuf, String> {
    let path = value.strip_prefix("file://").filter(|path| path.starts_with('/'));
    path.map(PathBuf::from).ok_or_else(|| "must be a folder, as file:///srv/objects".to_owned())
}

/// What stands before the unit at its end, and the size of that.
fn in_units<'a>(value: &'a str, units: &[(&str, u64)]) -> Option<(&'a str, u64)> {
    units.iter().find_map(|(unit, size)| Some((value.strip_suffix(unit)?, *size)))
}

fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_or_off_in_any_of_the_usual_words() {
        for (on, off) in [("on", "off"), ("yes", "no"), ("true", "false"), ("1", "0")] {
            assert_eq!((switch(on), switch(off)), (Ok(true), Ok(false)));
        }
        assert_eq!(switch("TRUE"), Ok(true));
        assert!(switch("banana").is_err() && switch("").is_err() && switch("2").is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(byte_count("512M").unwrap(), ByteCount(512 << 20));
        assert_eq!(byte_count("7").unwrap(), ByteCount(7));
        assert!(byte_count("99999999999G").is_err() && byte_count("M").is_err());
    }

    #[test]
    fn periods_have_units_and_are_never_nothing() {
        for (told, seconds) in [("1s", 1), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(period(told), Ok(Some(Duration::from_secs(seconds))));
        }
        assert_eq!(period("off"), Ok(None));
        for wrong in ["", "24", "h", "0h", "-1h", "1.5h", "99999999999d", "1w"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roles_are_told_once_each() {
        assert_eq!(roles("saga, saga").unwrap(), [Role::Saga]);
        assert_eq!(roles("saga,all").unwrap().len(), Role::ALL.len());
    }

    #[test]
    fn an_origin_has_no_path_and_no_slash() {
        assert_eq!(origin("https://a.example:8443/").unwrap(), "https://a.example:8443");
        assert!(origin("https://a.example/b").is_err() && origin("ftp://a").is_err());
        assert_eq!(origins("*").unwrap(), ["*"]);
    }
}
