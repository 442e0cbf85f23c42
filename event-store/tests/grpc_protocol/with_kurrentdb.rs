//! The stories of official Rust clients, with the crate `kurrentdb`: it goes on where `eventstore`
//! ends.

use kurrentdb::StreamState as ExpectedRevision;
use kurrentdb::*;
use serde_json::json;
use uuid::Uuid;

use crate::server::Server;

/// The client, connected.
fn client(server: &Server) -> Client {
    let settings = server.connection_string().parse().expect("settings");
    Client::new(settings).expect("client")
}

/// An append that expects this.
fn expecting(expected: ExpectedRevision) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(expected)
}

fn exactly(revision: u64) -> ExpectedRevision {
    ExpectedRevision::StreamRevision(revision)
}

fn has_caught_up(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::CaughtUp(_))
}

/// Some events, numbered from zero.
fn offered(kind: &str, count: u64) -> Vec<EventData> {
    let event = |number| EventData::json(kind, &json!({ "number": number })).expect("json");
    (0..count).map(|number| event(number).id(Uuid::new_v4())).collect()
}

#[expect(clippy::duplicate_mod, reason = "the same is told with each client")]
#[path = "official_client.rs"]
mod official_client;
