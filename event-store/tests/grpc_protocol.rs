//! The EventStoreDB protocol, from both ends: the conformance suite over our client, our server and
//! the embedded store; official clients against our server; and connections that break.

#[path = "grpc_protocol/arriving.rs"]
mod arriving;
#[path = "grpc_protocol/asking.rs"]
mod asking;
#[path = "grpc_protocol/bounds.rs"]
mod bounds;
#[path = "grpc_protocol/damaged.rs"]
mod damaged;
#[path = "given/dice.rs"]
mod dice;
#[path = "grpc_protocol/fuzz.rs"]
mod fuzz;
#[path = "given/fuzzing.rs"]
mod fuzzing;
#[path = "grpc_protocol/interruptions.rs"]
mod interruptions;
#[path = "grpc_protocol/killed.rs"]
mod killed;
#[path = "conformance/linked.rs"]
mod linked;
#[path = "grpc_protocol/links.rs"]
mod links;
#[path = "grpc_protocol/lost_answers.rs"]
mod lost_answers;
#[path = "grpc_protocol/messages.rs"]
mod messages;
#[path = "grpc_protocol/node.rs"]
mod node;
#[path = "conformance/one_at_a_time.rs"]
mod one_at_a_time;
#[path = "grpc_protocol/operating.rs"]
mod operating;
#[path = "grpc_protocol/over_http.rs"]
mod over_http;
#[path = "grpc_protocol/persistent.rs"]
mod persistent;
#[path = "grpc_protocol/plain.rs"]
mod plain;
#[path = "grpc_protocol/projections.rs"]
mod projections;
#[path = "grpc_protocol/proxy.rs"]
mod proxy;
#[path = "grpc_protocol/python.rs"]
mod python;
#[path = "grpc_protocol/raw.rs"]
mod raw;
#[path = "grpc_protocol/security.rs"]
mod security;
#[path = "given/seeds.rs"]
mod seeds;
#[path = "grpc_protocol/server.rs"]
mod server;
#[path = "grpc_protocol/several.rs"]
mod several;
#[path = "grpc_protocol/stalled.rs"]
mod stalled;
#[path = "grpc_protocol/stories.rs"]
mod stories;
#[path = "conformance/suite.rs"]
mod suite;
#[path = "grpc_protocol/trailers.rs"]
mod trailers;
#[path = "grpc_protocol/turns.rs"]
mod turns;
#[path = "grpc_protocol/unfinished.rs"]
mod unfinished;
#[path = "grpc_protocol/unread.rs"]
mod unread;
#[path = "grpc_protocol/with_eventstore.rs"]
mod with_eventstore;
#[path = "grpc_protocol/with_kurrentdb.rs"]
mod with_kurrentdb;

mod conformance {
    //! The port over the network does what the port promises.
    use std::sync::Arc;

    use event_store::ClientStore;
    use eventstore::ProjectionClient;

    use crate::server::Server;
    use crate::suite;

    async fn over_the_network() -> (suite::Store, Server) {
        let server = Server::start().await;
        let store = ClientStore::new(&server.connection_string()).expect("connection string");
        (Arc::new(store), server)
    }

    async fn with_links() -> (suite::Store, Server) {
        let (store, server) = over_the_network().await;
        let projections = ProjectionClient::new(server.connection_string().parse().expect("it"));
        projections.enable("$by_category", &Default::default()).await.expect("enable");
        (store, server)
    }

    crate::conformance_suite!(over_the_network(), one_at_a_time);
    crate::conformance_suite!(with_links(), linked);
}

mod encrypted_conformance {
    //! It does so too by TLS, and for somebody who has logged in.
    use std::sync::Arc;

    use event_store::ClientStore;

    use crate::security::secured::Secured;
    use crate::suite;

    async fn over_tls() -> (suite::Store, Secured) {
        let secured = Secured::start().await;
        let store = ClientStore::new(&secured.uri("admin:changeit@")).expect("connection string");
        (Arc::new(store), secured)
    }

    crate::conformance_suite!(over_tls(), one_at_a_time);
}
