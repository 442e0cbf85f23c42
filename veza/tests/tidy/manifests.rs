//! The crates' manifests: who may import whom, and that versions are chosen in one place.

use toml::{Table, Value};

/// The house: each crate of ours with those of ours that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("access", &[]),
    ("aggregates", &["event-schemas", "event-store"]),
    ("command-api", &["event-schemas", "event-store", "aggregates", "access", "media"]),
    ("event-schemas", &[]),
    ("event-store", &[]),
    ("media", &[]),
    ("projections", &["event-schemas", "event-store"]),
    ("query-api", &["event-schemas", "event-store", "projections", "access", "media"]),
    ("replay-tool", &["event-schemas", "event-store", "aggregates", "projections"]),
    ("sagas", &["event-schemas", "event-store", "aggregates", "media"]),
];

/// What the domain must not see: HTTP, SQL, gRPC, a runtime and randomness.
const NOT_IN_THE_DOMAIN: &[&str] = &[
    "axum",
    "clickhouse",
    "eventstore",
    "http",
    "hyper",
    "meilisearch-sdk",
    "rand",
    "rdkafka",
    "reqwest",
    "sqlx",
    "tokio",
    "tonic",
    "tower",
    "tower-http",
];
const DOMAIN: &[&str] = &["aggregates", "event-schemas"];

/// What is wrong with one crate's manifest.
pub fn complaints(path: &str, text: &str) -> Vec<String> {
    let manifest: Table = text.parse().expect("a manifest is TOML");
    let name = manifest["package"]["name"].as_str().expect("a package has a name");
    let mut complaints = Vec::new();
    for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else {
            continue;
        };
        for (dependency, how) in dependencies {
            if how.get("workspace") != Some(&Value::Boolean(true)) {
                let why = "choose its version in the workspace's manifest (`workspace = true`)";
                complaints.push(format!("{path}: `{dependency}`: {why}"));
            }
            let is_for_tests = section == "dev-dependencies";
            if !is_for_tests && let Some(why) = forbidden(name, dependency) {
                complaints.push(format!("{path}: `{dependency}`: {why}"));
            }
        }
    }
    complaints
}

fn forbidden(name: &str, dependency: &str) -> Option<&'static str> {
    if DOMAIN.contains(&name) && NOT_IN_THE_DOMAIN.contains(&dependency) {
        return Some("the domain never sees HTTP, SQL, gRPC, a runtime or randomness");
    }
    let is_ours = dependency == "veza" || MAY_IMPORT.iter().any(|(ours, _)| *ours == dependency);
    if name == "veza" || !is_ours {
        return None;
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(ours, _)| *ours == name) else {
        return Some("this crate has no place in the house yet");
    };
    (!allowed.contains(&dependency)).then_some("the house does not allow this import")
}

#[test]
fn a_forbidden_import_and_a_version_are_caught() {
    let manifest = |name: &str, line: &str| {
        complaints("a/Cargo.toml", &format!("[package]\nname = \"{name}\"\n[dependencies]\n{line}"))
    };
    assert_eq!(manifest("query-api", "command-api.workspace = true").len(), 1);
    assert_eq!(manifest("aggregates", "sqlx.workspace = true").len(), 1);
    assert_eq!(manifest("aggregates", "tokio.workspace = true").len(), 1);
    assert_eq!(manifest("media", "serde = \"1\"").len(), 1);
    assert_eq!(manifest("command-api", "aggregates.workspace = true").len(), 0);
    assert_eq!(manifest("veza", "query-api.workspace = true").len(), 0);
}
