//! The query side's doors: GraphQL over HTTP and WebSocket, and the streaming of sound.
//!
//! It asks the models and shows what its caller may see; it is not a place for rules of the domain,
//! for SQL, or for anything that changes something.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`api`] | the parts the doors work with, and the router |
//! | [`routes`] | every door, in one list |
//! | [`schema`] | what can be asked, one file a domain |
//! | [`engine`], [`document`], [`nul`] | a request carried out, and what is refused before |
//! | [`reader`], [`rows`], [`freshness`] | one request's view of the models |
//! | [`live`], [`delivery`] | what happens now: one subscription of the store for all subscribers |
//! | [`graphql`], [`socket`], [`streaming`] | the doors: POST, WebSocket, sound |
//! | [`failure`], [`limits`] | what may go wrong, and every bound |
//!
//! Invariants: a field waits for the model it reads and for no other; what a caller may not see is
//! `null`, as if it were not there; nothing that is inside is told in an error; a message reaches a
//! subscriber once, in order, however slow they are.

pub mod api;
pub mod delivery;
pub mod document;
pub mod engine;
pub mod failure;
pub mod freshness;
pub mod graphql;
pub mod limits;
pub mod live;
pub mod nul;
pub mod reader;
pub mod routes;
pub mod rows;
pub mod schema;
pub mod socket;
pub mod streaming;

pub use api::{QueryApi, QueryApiParts};
