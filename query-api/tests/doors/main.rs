//! The query side's doors over real parts: PostgreSQL, the embedded store, the projections, files.

mod abuse;
mod conformance;
mod database;
mod freshness;
mod graphql;
mod index;
mod live;
mod moments;
mod pages;
mod schema;
mod sight;
mod slow;
mod socket;
mod sockets;
mod stage;
mod streaming;
