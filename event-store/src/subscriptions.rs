//! Following the log: from the past to live without gap or duplicate.
//!
//! A subscription pulls. Near the end of the log it takes events from a ring in memory, else from
//! the log itself; both are the same order of positions, so going over from one to the other can
//! neither lose nor repeat. Nobody waits for a subscriber: one that falls off the ring reads on
//! from the log.

mod all;
mod index;
mod live;
mod stream;

pub(crate) use all::{Checkpoints, subscribe_all};
pub(crate) use index::subscribe_index;
pub(crate) use live::Live;
pub(crate) use stream::subscribe_stream;
