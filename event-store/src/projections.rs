//! Projections: what is made of events, and kept up with them; by scripts of users, and by the
//! system's own.
//!
//! It stands on the port alone. A projection reads its events in the order of the log, has a script
//! handle them, and writes what that emits together with its states and how far it is, all or none:
//! whatever is killed, nothing is emitted twice. A script that can't be run, fails, or takes too
//! much time or memory faults its own projection, and no other.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`service`] | [`Projections`]: create, update, delete, enable, disable, reset, look at |
//! | `managed` | one projection: what it is, and whether it is at work |
//! | [`statistics`] | what is told of a projection |
//! | [`error`] | what can go wrong |
//! | `definition`, `registry` | what a projection is, and which there are, kept in streams |
//! | `system` | the five projections that every store has |
//! | `script`, `prelude.js` | a script in its engine, and what it is given there |
//! | `shape` | what a script says of its projection |
//! | `worker` | the threads that scripts run on |
//! | `source`, `place` | the events of a projection, and where among them it stands |
//! | `event` | what goes into a script and comes out of it |
//! | `runner` | the task of a projection at work |
//! | `commit`, `kept` | what a projection writes at once, and reads when it is started |
//! | `partitions`, `live` | its states in memory, and what others see of it |
//! | `names` | the streams of a projection |
//!
//! # What is kept, and where
//!
//! These are facts of the protocol of EventStoreDB (server 26, whose names clients and tools know):
//!
//! - `$projections-$all`: which projections there are, `$ProjectionCreated` and
//!   `$ProjectionDeleted` with the name as data.
//! - `$projections-<name>`, type `$ProjectionUpdated`: its definition; the revision is its version.
//! - `$projections-<name>-checkpoint`, type `$ProjectionCheckpoint`: the state of the whole, and in
//!   the metadata the place up to which everything is done.
//! - `$projections-<name>-<partition>-checkpoint`, type `$Checkpoint`: the state of a partition.
//! - `$projections-<name>-partitions`: the names of all partitions.
//! - `$projections-<name>-result`, `$projections-<name>-<partition>-result`: `Result` with each
//!   change of a state, where the script says so; the first has links to the results of partitions.
//! - `$projections-<name>-emittedstreams`, `$StreamTracked`: the streams that were emitted to.
//!
//! What differs from that server, on purpose: a checkpoint is written with every event that is
//! emitted, not now and then, for it is what makes sure that none is emitted twice; events of
//! several streams always come in the order of the log, so `reorderEvents` changes nothing; a
//! projection of the whole log is not given what projections keep, or it would never come to rest;
//! a transient projection writes nothing; an aborted projection can be deleted; and `copyTo`, which
//! does nothing there, is refused.

mod commit;
mod definition;
pub mod error;
mod event;
mod kept;
mod live;
mod managed;
mod names;
mod partitions;
mod place;
mod registry;
mod runner;
mod script;
pub mod service;
mod shape;
mod source;
pub mod statistics;
mod system;
mod worker;

pub use definition::ProjectionMode;
pub use error::ProjectionError;
pub use service::{CreateProjection, DeleteStreams, Projections};
pub use statistics::{ProjectionStatistics, Which};
