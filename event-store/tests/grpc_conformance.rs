//! The port over the network does what the port promises: official client, our server, the
//! embedded store.

#[path = "grpc_protocol/server.rs"]
mod server;
#[path = "conformance/suite.rs"]
mod suite;

use std::sync::Arc;

use event_store::ClientStore;
use server::Server;

async fn over_the_network() -> (suite::Store, Server) {
    let server = Server::start().await;
    let store = ClientStore::new(&server.connection_string()).expect("connection string");
    (Arc::new(store), server)
}

conformance_suite!(over_the_network());
