//! The names that settings have with EventStoreDB's own server, and what of them holds here: a
//! machine or a compose file may be set up for that server, and then have this one.

use std::ffi::OsString;

/// The names beside ours, behind `EVENTSTORE_` or `KURRENTDB_`: each means the same.
const ALIASES: [(&str, &str); 8] = [
    ("EVENTSTORE_DATA", "DB"),
    ("EVENTSTORE_ADVERTISE_HOST", "NODE_HOST_ADVERTISE_AS"),
    ("EVENTSTORE_ADVERTISE_HOST", "ADVERTISE_HOST_TO_CLIENT_AS"),
    ("EVENTSTORE_ADVERTISE_HOST", "EXT_HOST_ADVERTISE_AS"),
    ("EVENTSTORE_ADVERTISE_PORT", "NODE_PORT_ADVERTISE_AS"),
    ("EVENTSTORE_ADVERTISE_PORT", "ADVERTISE_NODE_PORT_TO_CLIENT_AS"),
    ("EVENTSTORE_ADVERTISE_PORT", "HTTP_PORT_ADVERTISE_AS"),
    ("EVENTSTORE_ADVERTISE_PORT", "ADVERTISE_HTTP_PORT_TO_CLIENT_AS"),
];

/// The parts of the address to listen on, the newer name first.
pub(super) const NODE_IP: [&str; 2] = ["NODE_IP", "EXT_IP"];
pub(super) const NODE_PORT: [&str; 2] = ["NODE_PORT", "HTTP_PORT"];

/// What is known, and has no counterpart: why it need not have, or what to do instead.
const WITHOUT: [(&str, &str); 33] = [
    ("MEM_DB", "the log is kept on the disk always"),
    ("SKIP_DB_VERIFY", "nothing is verified at the start but the end of the log"),
    ("SKIP_INDEX_VERIFY", "indexes are verified as they are read"),
    ("CLUSTER_SIZE", "the server is one node"),
    ("DISCOVER_VIA_DNS", "the server is one node"),
    ("GOSSIP_SEED", "the server is one node"),
    ("CLUSTER_DNS", "the server is one node"),
    ("NODE_PRIORITY", "the server is one node"),
    ("GOSSIP_ON_SINGLE_NODE", "whoever asks who is there is told always"),
    ("RUN_PROJECTIONS", "they run always; see START_STANDARD_PROJECTIONS for the system's own"),
    ("READ_ONLY_REPLICA", "the server is one node"),
    ("REPLICATION_IP", "the server is one node"),
    ("REPLICATION_PORT", "the server is one node"),
    ("INT_IP", "the server is one node"),
    ("ENABLE_ATOM_PUB_OVER_HTTP", "streams are served over HTTP always"),
    ("ENABLE_EXTERNAL_TCP", "clients connect by gRPC"),
    ("EXT_TCP_PORT", "clients connect by gRPC"),
    ("NODE_TCP_PORT", "clients connect by gRPC"),
    ("DISABLE_ADMIN_UI", "there is no admin UI"),
    ("TELEMETRY_OPTOUT", "nothing is sent to anybody"),
    ("INDEX", "indexes are beside the log"),
    ("LOG", "what is to be told is told on standard error"),
    ("CHUNKS_CACHE_SIZE", "the cache is the system's"),
    ("CACHED_CHUNKS", "the cache is the system's"),
    ("WORKER_THREADS", "there are as many as processors"),
    ("READER_THREADS_COUNT", "there are as many as processors"),
    ("STATS_PERIOD_SEC", "figures are told to who asks: Monitoring, and /stats"),
    ("WRITE_STATS_TO_DB", "figures are told to who asks: Monitoring, and /stats"),
    ("SCAVENGE_HISTORY_MAX_AGE", "it is thirty days; set the metadata of $scavenges"),
    ("UNSAFE_DISABLE_FLUSH_TO_DISK", "what is acknowledged is on the disk"),
    ("MAX_APPEND_SIZE", "an append takes 64 MiB"),
    ("MAX_APPEND_EVENT_SIZE", "an event takes 16 MiB"),
    ("ALLOW_UNKNOWN_OPTIONS", "they are allowed, and told"),
];

/// The other names of one of our variables, behind `EVENTSTORE_` or `KURRENTDB_`.
pub(super) fn aliases(ours: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(name, _)| *name == ours).map(|(_, alias)| *alias)
}

/// Whether a setting of this name is read.
pub(super) fn is_read(setting: &str) -> bool {
    is_of_the_address(setting) || ALIASES.iter().any(|(_, alias)| *alias == setting)
}

/// Whether it is a part of the address to listen on.
pub(super) fn is_of_the_address(setting: &str) -> bool {
    NODE_IP.iter().chain(&NODE_PORT).any(|name| *name == setting)
}

/// Why one that is known needs no counterpart.
pub(super) fn needless(setting: &str) -> Option<&'static str> {
    WITHOUT.iter().find(|(name, _)| *name == setting).map(|(_, why)| *why)
}

/// A command line without the flags that are known and have no counterpart, and what is told of
/// each. A value stands behind `=`, or is the next word that is no flag.
pub(super) fn without_needless(words: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut kept, mut told, mut words) = (Vec::new(), Vec::new(), words.into_iter().peekable());
    while let Some(word) = words.next() {
        let flag = word.to_str().and_then(|word| word.strip_prefix("--"));
        let (name, value) = match flag.map(|flag| flag.split_once('=')) {
            Some(Some((name, value))) => (name, Some(value)),
            _ => (flag.unwrap_or_default(), None),
        };
        let Some(why) = needless(&name.to_ascii_uppercase().replace('-', "_")) else {
            kept.push(word);
            continue;
        };
        told.push(format!("--{name} is ignored: it has no counterpart: {why}"));
        if value.is_none() {
            words.next_if(|next| !next.to_string_lossy().starts_with('-'));
        }
    }
    (kept, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_without_a_counterpart_go_with_their_values() {
        let line = "veza event-store --mem-db --cluster-size 1 --insecure --run-projections=All";
        let words = line.split(' ').map(OsString::from).collect();
        let (kept, told) = without_needless(words);
        assert_eq!(kept, ["veza", "event-store", "--insecure"]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].starts_with("--cluster-size is ignored: "), "{told:?}");
    }

    #[test]
    fn no_name_is_both_read_and_without_a_counterpart() {
        assert!(WITHOUT.iter().all(|(name, _)| !is_read(name)));
        assert_eq!(aliases("EVENTSTORE_DATA").collect::<Vec<_>>(), ["DB"]);
        assert!(is_read("NODE_PORT") && !is_read("MEM_DB"));
    }
}
