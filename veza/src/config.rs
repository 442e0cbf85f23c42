//! The settings: what may be set, where each came from, and their meaning as types.
//!
//! A flag wins over a `VEZA_…` variable, that over the TOML file, that over the default. Whatever
//! is wrong with one of them is found before anything starts, and said in one line that names it.
//!
//! - `table`: every setting, with its words for the operator
//! - `layers`: which source wins
//! - `values`: the types that are read from text
//! - `listing`: what `veza config` prints
//! - `error`: what may be wrong

mod error;
mod layers;
mod listing;
mod table;
pub(crate) mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::TrustedProxies;

use crate::encryption::{Encryption, KeySource};

pub use error::ConfigError;
pub use layers::{Flags, Layers, Origin, PLATFORM, PlaceFlags};
pub use listing::listing;
pub use table::{SETTINGS, Setting};
pub use values::{ByteCount, EventStore, LogFormat, Role};

/// Every setting, read and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What this process does.
    pub roles: Vec<Role>,
    /// The data folder.
    pub data: PathBuf,
    /// Where HTTP listens; port 0 takes any free one.
    pub http: SocketAddr,
    /// The address that users see, without a slash at its end; none: the one that HTTP got.
    pub public_url: Option<String>,
    /// Where events are kept.
    pub event_store: EventStore,
    /// Where the embedded event store listens for gRPC; port 0 takes any free one.
    pub event_store_listen: SocketAddr,
    /// Whether it may listen where other machines reach it, who may then do everything.
    pub event_store_insecure: bool,
    /// Whether the embedded event store is encrypted.
    pub encryption: Encryption,
    /// On whose behalf tools ask it where it asks who calls, `<user>:<password>`.
    pub event_store_credentials: Option<String>,
    /// How often it is scavenged; none: never.
    pub event_store_scavenge_every: Option<Duration>,
    /// How often it is read whole to find what has rotted; none: never.
    pub event_store_scrub_every: Option<Duration>,
    /// PostgreSQL by URL; none: the private one.
    pub database_url: Option<String>,
    /// Meilisearch by URL; none: search is PostgreSQL's.
    pub meilisearch_url: Option<String>,
    /// Meilisearch's API key.
    pub meilisearch_key: Option<String>,
    /// ClickHouse by URL, user and password in it; none: analytics are PostgreSQL's.
    pub clickhouse_url: Option<String>,
    /// Kafka brokers, `host:port` each; empty: no event is published.
    pub kafka_brokers: Vec<String>,
    /// The folder of the objects.
    pub objects: PathBuf,
    /// The folder of the keys that sign tokens and make digests, and of those of people.
    pub keys: PathBuf,
    /// The reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The origins whose pages may call, `*` for all.
    pub cors_origins: Vec<String>,
    /// Whether callers are slowed down.
    pub rate_limits: bool,
    /// Whether the GraphQL schema may be asked for.
    pub introspection: bool,
    /// Free disk below which commands are refused.
    pub disk_reserve: ByteCount,
    /// The bearer token that reads `/metrics` from elsewhere than this machine.
    pub metrics_token: Option<String>,
    /// Which log lines are written, in the syntax of `tracing`'s filters.
    pub log: String,
    /// How they are written.
    pub log_format: LogFormat,
}

impl Config {
    /// Reads every setting from `layers` and checks them against each other.
    ///
    /// # Errors
    /// The first setting that is bad, or missing for the roles.
    pub fn read(layers: &Layers) -> Result<Config, ConfigError> {
        let data: PathBuf = layers.needed("data", values::path)?;
        let config = Config {
            roles: layers.needed("roles", values::roles)?,
            http: layers.needed("http", values::address)?,
            public_url: layers.wanted("public_url", values::origin)?,
            event_store: layers.needed("event_store", values::event_store)?,
            event_store_listen: layers.needed("event_store_listen", values::address)?,
            event_store_insecure: layers.needed("event_store_insecure", values::switch)?,
            encryption: encryption(layers)?,
            event_store_credentials: layers
                .wanted("event_store_credentials", values::credentials)?,
            event_store_scavenge_every: layers
                .needed("event_store_scavenge_every", values::period)?,
            event_store_scrub_every: layers.needed("event_store_scrub_every", values::period)?,
            database_url: layers.wanted("database_url", values::postgres_url)?,
            meilisearch_url: layers.wanted("meilisearch_url", values::http_url)?,
            meilisearch_key: layers.wanted("meilisearch_key", values::header_text)?,
            clickhouse_url: layers.wanted("clickhouse_url", values::clickhouse_url)?,
            kafka_brokers: layers.wanted("kafka_brokers", values::brokers)?.unwrap_or_default(),
            objects: folder(layers, "objects", values::file_url, &data)?,
            keys: folder(layers, "keys", values::path, &data)?,
            trusted_proxies: layers.wanted("trusted_proxies", values::proxies)?.unwrap_or_default(),
            cors_origins: layers.wanted("cors_origins", values::origins)?.unwrap_or_default(),
            rate_limits: layers.needed("rate_limits", values::switch)?,
            introspection: layers.needed("introspection", values::switch)?,
            disk_reserve: layers.needed("disk_reserve", values::byte_count)?,
            metrics_token: layers.wanted("metrics_token", values::header_text)?,
            log: layers.needed("log", values::log_filter)?,
            log_format: layers.needed("log_format", values::log_format)?,
            data,
        };
        config.suits_its_roles(layers)?;
        config.keeps_its_events_closed(layers)?;
        config.uses_its_keys(layers)?;
        Ok(config)
    }

    /// Whether this process does what `role` names.
    #[must_use]
    pub fn does(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Processes that share the work must be told where what they share is: each would otherwise
    /// keep its own, and none would find what another wrote.
    fn suits_its_roles(&self, layers: &Layers) -> Result<(), ConfigError> {
        if self.roles.len() == Role::ALL.len() {
            return Ok(());
        }
        let missing = |key: &'static str| !layers.is_set(key);
        let needs_the_rest = self.roles.iter().any(|role| *role != Role::EventStore);
        let shared = ["database_url", "objects", "keys"].into_iter().find(|key| missing(key));
        if let Some(key) = shared.filter(|_| needs_the_rest) {
            return Err(ConfigError::Missing { setting: table::setting(key) });
        }
        match (&self.event_store, self.does(Role::EventStore)) {
            (EventStore::Embedded, false) => {
                Err(ConfigError::Missing { setting: table::setting("event_store") })
            }
            (EventStore::Cluster(_), true) => {
                let origin =
                    layers.get("event_store").map_or(Origin::Default, |(_, origin)| origin);
                let why = "must be embedded, or not be set, for the role event-store".to_owned();
                Err(ConfigError::Bad { origin, why })
            }
            _ => Ok(()),
        }
    }

    /// The event store asks nobody who they are, so it is for this machine unless it is meant.
    fn keeps_its_events_closed(&self, layers: &Layers) -> Result<(), ConfigError> {
        let serves = self.event_store == EventStore::Embedded && self.does(Role::EventStore);
        let is_open = !self.event_store_listen.ip().to_canonical().is_loopback();
        if !serves || !is_open || self.event_store_insecure {
            return Ok(());
        }
        let (address, origin) = layers.get("event_store_listen").expect("it has a default");
        let setting = table::setting("event_store_insecure").variable();
        let why = format!(
            "{address} can be reached from other machines, and whoever reaches it may do \
             everything: set {setting}=on to mean it"
        );
        Err(ConfigError::Bad { origin, why })
    }

    /// A key without its server is a server that was forgotten.
    fn uses_its_keys(&self, layers: &Layers) -> Result<(), ConfigError> {
        match layers.get("meilisearch_key") {
            Some((_, origin)) if self.meilisearch_url.is_none() => {
                let url = table::setting("meilisearch_url").variable();
                let why = format!("must not be set without {url}");
                Err(ConfigError::Bad { origin, why })
            }
            _ => Ok(()),
        }
    }
}

/// The keys of the event store stand in one place.
fn encryption(layers: &Layers) -> Result<Encryption, ConfigError> {
    let file = layers.wanted("event_store_key_file", values::path)?;
    let file = file
        .zip(layers.get("event_store_key_file"))
        .map(|(path, (_, origin))| KeySource::File(path, origin));
    let text = layers.wanted("event_store_key", values::wrapping_keys)?.map(KeySource::Text);
    let encrypts = layers.needed("event_store_encryption", values::switch)?;
    match (file, text) {
        (Some(_), Some(_)) => {
            let (_, origin) = layers.get("event_store_key").expect("it was read");
            let file = table::setting("event_store_key_file").variable();
            let why = format!("must not be set together with {file}");
            Err(ConfigError::Bad { origin, why })
        }
        (file, text) => Ok(Encryption { keys: file.or(text), encrypts }),
    }
}

/// A folder that is named, or else has the setting's name in the data folder.
fn folder(
    layers: &Layers,
    key: &'static str,
    read: fn(&str) -> Result<PathBuf, String>,
    data: &Path,
) -> Result<PathBuf, ConfigError> {
    Ok(layers.wanted(key, read)?.unwrap_or_else(|| data.join(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Config::read(&Layers::gather(&Flags::default(), variables)?)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = read(&[]).unwrap();
        assert_eq!(config.http.to_string(), "127.0.0.1:8080");
        assert_eq!(config.objects, Path::new("./veza-data/objects"));
        assert!(Role::ALL.iter().all(|role| config.does(*role)));
    }

    #[test]
    fn a_bad_setting_is_named_in_one_line_and_a_secret_is_not_repeated() {
        let bad = [
            ("VEZA_HTTP", "8080"),
            ("VEZA_EVENT_STORE", "postgres://a"),
            ("VEZA_EVENT_STORE_SCAVENGE_EVERY", "daily"),
            ("VEZA_EVENT_STORE_SCRUB_EVERY", "weekly"),
            ("VEZA_DATABASE_URL", "mysql://u:hush@h"),
            ("VEZA_MEILISEARCH_URL", "hush"),
            ("VEZA_MEILISEARCH_KEY", "hush\nhush"),
            ("VEZA_EVENT_STORE_KEY", "a:hush"),
            ("VEZA_EVENT_STORE_ENCRYPTION", "hush"),
            ("VEZA_EVENT_STORE_CREDENTIALS", "hush"),
            ("VEZA_EVENT_STORE_CREDENTIALS", "ann:hush@"),
            ("VEZA_CLICKHOUSE_URL", "http://u:%zzhush@ch:8123"),
            ("VEZA_KAFKA_BROKERS", "a"),
            ("VEZA_KAFKA_BROKERS", ","),
            ("VEZA_OBJECTS", "s3://hush"),
            ("VEZA_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("VEZA_CORS_ORIGINS", "example.org"),
            ("VEZA_RATE_LIMITS", "maybe"),
            ("VEZA_DISK_RESERVE", "much"),
            ("VEZA_LOG", "veza=loud"),
            ("VEZA_LOG", "verbose"),
            ("VEZA_LOG", "info,blub"),
            ("VEZA_METRICS_TOKEN", "hush-tökén"),
            ("VEZA_LOG_FORMAT", "xml"),
            ("VEZA_ROLES", "king"),
            ("VEZA_ROLES", ","),
            ("VEZA_MEILISEARCH_KEY", "hush"),
            ("VEZA_PUBLIC_URL", "veza.example"),
        ];
        for (name, value) in bad {
            let said = read(&[(name, value)]).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name}: ")), "{said}");
            assert!(!said.contains("hush") && said.lines().count() == 1, "{said}");
        }
    }

    #[test]
    fn the_event_store_is_open_to_other_machines_only_when_that_is_meant() {
        let listen = |address, more: &[(&str, &str)]| {
            read(&[&[("VEZA_EVENT_STORE_LISTEN", address)], more].concat())
        };
        for closed in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            listen(closed, &[]).unwrap();
        }
        for open in ["0.0.0.0:0", "10.0.0.1:2113", "[::]:0", "[::ffff:10.0.0.1]:0"] {
            let said = listen(open, &[]).unwrap_err().to_string();
            let begin = format!("VEZA_EVENT_STORE_LISTEN: {open} can be reached");
            assert!(said.starts_with(&begin) && said.lines().count() == 1, "{said}");
            assert!(said.contains("VEZA_EVENT_STORE_INSECURE=on"), "{said}");
            listen(open, &[("VEZA_EVENT_STORE_INSECURE", "on")]).unwrap();
            // Where it does not listen, the setting says nothing.
            listen(open, &[("VEZA_EVENT_STORE", "esdb://store:2113")]).unwrap();
        }
    }

    #[test]
    fn the_keys_of_the_event_store_stand_in_one_place_and_are_not_shown() {
        let digits = "0e".repeat(32);
        let key = format!("a:{digits}");
        let file = ("VEZA_EVENT_STORE_KEY_FILE", "/run/keys");
        assert!(matches!(read(&[file]).unwrap().encryption.keys, Some(KeySource::File(..))));
        let config = read(&[("VEZA_EVENT_STORE_KEY", &key)]).unwrap();
        let Some(KeySource::Text(_)) = &config.encryption.keys else { panic!("{config:?}") };
        assert!(!format!("{config:?}").contains(&digits));
        let said = read(&[file, ("VEZA_EVENT_STORE_KEY", &key)]).unwrap_err().to_string();
        assert!(said.contains("VEZA_EVENT_STORE_KEY_FILE") && !said.contains(&digits), "{said}");
        let none = read(&[]).unwrap().encryption;
        assert!(none.keys.is_none() && none.encrypts);
    }

    #[test]
    fn split_roles_must_be_told_what_they_share() {
        let mut set = vec![("VEZA_ROLES", "projector")];
        for (name, value) in [
            ("VEZA_DATABASE_URL", "postgres://veza@db/veza"),
            ("VEZA_OBJECTS", "file:///srv/objects"),
            ("VEZA_KEYS", "/srv/keys"),
            ("VEZA_EVENT_STORE", "esdb://store:2113?tls=false"),
        ] {
            let said = read(&set).unwrap_err().to_string();
            assert!(said.contains(name), "{said}");
            set.push((name, value));
        }
        assert_eq!(read(&set).unwrap().roles, [Role::Projector]);
        let mut keeps_events = vec![("VEZA_ROLES", "event-store")];
        assert_eq!(read(&keeps_events).unwrap().roles, [Role::EventStore]);
        keeps_events.push(("VEZA_EVENT_STORE", "esdb://store:2113"));
        let said = read(&keeps_events).unwrap_err().to_string();
        assert!(said.starts_with("VEZA_EVENT_STORE: must be embedded"), "{said}");
    }
}
