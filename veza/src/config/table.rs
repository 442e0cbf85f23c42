//! Every setting, in the order in which an operator would look for them.

use crate::scavenging::SCAVENGE_EVERY;
use crate::scrubbing::SCRUB_EVERY;

/// One setting: a TOML key, and a variable of the same name.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the TOML file.
    pub key: &'static str,
    /// What it has when nobody sets it; none: what `about` says.
    pub default: Option<&'static str>,
    /// Its words for the operator.
    pub about: &'static str,
    /// Whether its value must not be shown. (Passwords in URLs never are.)
    pub is_secret: bool,
}

impl Setting {
    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("VEZA_{}", self.key.to_uppercase())
    }
}

const fn with(key: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { key, default: Some(default), about, is_secret: false }
}

const fn unset(key: &'static str, about: &'static str) -> Setting {
    Setting { key, default: None, about, is_secret: false }
}

const fn secret(key: &'static str, about: &'static str) -> Setting {
    Setting { key, default: None, about, is_secret: true }
}

/// The table.
pub const SETTINGS: &[Setting] = &[
    with(
        "roles",
        "all",
        "What this process does: all, or some of command-api, query-api, projector, saga, \
         event-store.",
    ),
    with("data", "./veza-data", "The data folder."),
    with("http", "127.0.0.1:8080", "Where HTTP listens; port 0 takes any free one."),
    unset("public_url", "The address that users see; unset: the one that HTTP got."),
    with("event_store", "embedded", "Where events are kept: embedded, or a cluster's esdb://…"),
    with(
        "event_store_listen",
        "127.0.0.1:2113",
        "Where the embedded event store listens for gRPC; port 0 takes any free one.",
    ),
    with(
        "event_store_insecure",
        "off",
        "Whether it may listen where other machines reach it, who may then do everything: on, off.",
    ),
    unset(
        "event_store_key_file",
        "The file with the keys that encrypt the embedded event store and wrap the keys of people, \
         <name>:<32 bytes> a line; the first wraps, all unwrap; unset: neither is encrypted.",
    ),
    secret("event_store_key", "The same keys themselves, in place of a file."),
    with(
        "event_store_encryption",
        "on",
        "Whether new events are encrypted where there are keys, or what is encrypted is only read: \
         on, off.",
    ),
    secret(
        "event_store_credentials",
        "On whose behalf tools ask the data folder's event store where it takes TLS alone: \
         <user>:<password>, of an administrator.",
    ),
    with(
        "event_store_scavenge_every",
        SCAVENGE_EVERY,
        "How often it gives back to the disk what nobody can see any more: 30m, 24h, 7d, off.",
    ),
    with(
        "event_store_scrub_every",
        SCRUB_EVERY,
        "How often it is read whole, slowly, to find what has rotted on the disk: 24h, 7d, off.",
    ),
    unset("database_url", "PostgreSQL as postgres://…; unset: a private one in the data folder."),
    unset("meilisearch_url", "Meilisearch as http(s)://…; unset: PostgreSQL searches."),
    secret("meilisearch_key", "Meilisearch's API key."),
    unset("clickhouse_url", "ClickHouse as http(s)://…; unset: analytics are PostgreSQL's."),
    unset("kafka_brokers", "Kafka brokers to publish events to, host:port, separated by commas."),
    unset("objects", "Where objects are kept, file:///…; unset: objects/ in the data folder."),
    unset("keys", "The folder of the keys of tokens, digests, people; unset: keys/ in the data."),
    unset(
        "trusted_proxies",
        "Proxies whose X-Forwarded-For is believed: 10.0.0.0/8, separated by commas.",
    ),
    unset("cors_origins", "Origins whose pages may call, https://…, separated by commas, or *."),
    with("rate_limits", "on", "Whether callers are slowed down: on, off."),
    with("introspection", "on", "Whether the GraphQL schema may be asked for: on, off."),
    with(
        "disk_reserve",
        "512M",
        "Free disk below which commands are refused, in bytes, or with K, M, G (1024 each).",
    ),
    secret(
        "metrics_token",
        "The bearer token that reads /metrics from elsewhere than this machine.",
    ),
    with("log", "info", "Which log lines are written, as info,veza=debug."),
    with("log_format", "human", "How they are written: human, json."),
];

/// The setting with that key, which stands in the table.
pub fn setting(key: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.key == key);
    found.unwrap_or_else(|| panic!("the table has no setting `{key}`"))
}
