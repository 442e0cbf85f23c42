//! The read side: the projection runner, the models it fills and the queries over them.
//!
//! Every model can be made again from the log; nothing here is a system of record. It decides
//! nothing and appends nothing: it only follows the event store through its port.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`projection`] | the port of a projection: the events it takes, how they change its model |
//! | [`envelope`] | recorded events, opened |
//! | [`runner`] | batches, checkpoints, parked events, leases, rebuilds, waiting for a position |
//! | `mark` | an event by which a log is known again |
//! | [`page`], [`query_error`] | pages of rows, and what can go wrong with a query |
//! | [`analytics`] | the port of counts of listenings |
//! | [`postgres`] | the models in PostgreSQL, each with its queries |
//! | [`clickhouse`] | the counts of listenings in ClickHouse, with their queries |
//! | [`kafka`] | the events on Kafka, for others |
//! | [`search`] | the port of search, the projection that feeds it, its engines |
//! | [`outages`] | engines that do not answer, told when that begins and when it is over |
//!
//! Invariants: a checkpoint moves in the transaction of what it stands for, and never past an event
//! that is neither applied nor parked; readers never see a half-built model; an event that can't be
//! applied holds up its own key only.

pub mod analytics;
pub mod clickhouse;
pub mod envelope;
pub mod kafka;
mod mark;
pub mod outages;
pub mod page;
pub mod postgres;
pub mod projection;
pub mod query_error;
pub mod runner;
pub mod search;

pub use envelope::{Envelope, Event};
pub use page::{Cursor, PAGE_ROWS_MAX, Page, PageSize};
pub use projection::{ApplyError, ModelId, Projection, Target, is_unreachable};
pub use query_error::{QueryError, is_undefined};
pub use runner::{
    Checkpoint, Lease, LogMemory, OnPoison, Rebuild, RebuildError, RebuildProgress, Runner,
    WaitError, Watermarks, checkpoints, models_of_another_log, parked_events, retry_parked,
    with_causes,
};
