//! The protocol's messages and services, generated from `proto/`; the module tree mirrors the
//! packages, because the generated code refers to its neighbours by path.

#![expect(
    clippy::allow_attributes,
    clippy::enum_variant_names,
    clippy::large_enum_variant,
    reason = "generated; the names and the shapes are the protocol's"
)]

pub mod event_store {
    pub mod client {
        tonic::include_proto!("event_store.client");

        pub mod streams {
            tonic::include_proto!("event_store.client.streams");
        }
        pub mod persistent_subscriptions {
            tonic::include_proto!("event_store.client.persistent_subscriptions");
        }
        pub mod projections {
            tonic::include_proto!("event_store.client.projections");
        }
        pub mod gossip {
            tonic::include_proto!("event_store.client.gossip");
        }
        pub mod operations {
            tonic::include_proto!("event_store.client.operations");
        }
        pub mod monitoring {
            tonic::include_proto!("event_store.client.monitoring");
        }
        pub mod server_features {
            tonic::include_proto!("event_store.client.server_features");
        }
        pub mod users {
            tonic::include_proto!("event_store.client.users");
        }
    }
}

pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

pub mod kurrent {
    pub mod rpc {
        tonic::include_proto!("kurrent.rpc");
    }
}

pub mod kurrentdb {
    pub mod protocol {
        pub mod v2 {
            pub mod streams {
                tonic::include_proto!("kurrentdb.protocol.v2.streams");

                pub mod errors {
                    tonic::include_proto!("kurrentdb.protocol.v2.streams.errors");
                }
            }
        }
    }
}
