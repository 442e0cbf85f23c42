//! The EventStoreDB protocol over any engine: gRPC for clients, and the HTTP/1.1 endpoints that
//! clients, probes and `curl` ask for, on one port, with TLS or without.
//!
//! It is a translation: what the store promises is promised here, what it refuses is told with the
//! codes, trailers and words that the official clients look for. It keeps no state beyond a call.
//!
//! | module | what is there |
//! | --- | --- |
//! | `server` | [`serve`]: accepting, keeping alive and draining connections |
//! | `socket`, `frames` | the socket that acknowledges at once, and puts small frames together |
//! | `route` | gRPC or HTTP, and which service |
//! | `caller` | who calls, and what they may do: `Caller::of(&request)?.may(Operation::…)?` |
//! | `http` | what is asked without gRPC: `/health/live`, `/gossip`, `/stats`, `/streams`, … |
//! | `node` | what the server tells about itself: Gossip and ServerFeatures |
//! | `streams` | the Streams service: which question is asked |
//! | `read`, `subscribe`, `append`, `batch` | its answers |
//! | `several` | the second version's Streams service: appends to several streams at once |
//! | `users` | the Users service, over [`crate::users`] |
//! | `persistent` | the PersistentSubscriptions service, over [`crate::persistent`] |
//! | `operations` | the Operations service: scavenging, shutdown |
//! | `monitoring`, `statistics`, `machine` | the Monitoring service, and the figures it tells |
//! | `projections` | the Projections service, over [`crate::projections`] |
//! | `requests`, `parts` | the messages of calls that send many, and how many parts one has |
//! | `arriving`, `unfinished` | appends and messages on their way, within bounds |
//! | `sending`, `source`, `carried` | the same of replies, for clients that stall |
//! | `codec`, `encoded` | messages as bytes, in small pieces; events, once for all who follow |
//! | `wire` | the protocol's types and the port's, one into the other |
//! | `problem` | what goes wrong, as trailers or inside a reply |

mod append;
mod arriving;
mod batch;
mod bounds;
mod caller;
mod carried;
mod codec;
mod encoded;
mod frames;
mod http;
mod listeners;
mod machine;
mod monitoring;
mod node;
mod operations;
mod parts;
mod persistent;
mod problem;
mod projections;
mod proto;
mod read;
mod requests;
mod route;
mod sending;
mod server;
mod several;
mod socket;
mod source;
mod statistics;
mod streams;
mod subscribe;
mod unfinished;
mod users;
mod wire;

pub use listeners::Listeners;
pub use server::{ServeOptions, Serving, serve};
