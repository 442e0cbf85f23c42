//! Whether an append is small enough, which is the same for all stores and all kinds of appends.

use crate::error::TooLarge;
use crate::event::NewEvent;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX, EVENT_BYTES_MAX};

/// Refuses more than so many of something.
pub(crate) fn at_most(size: usize, max: usize, unit: &'static str) -> Result<(), TooLarge> {
    if size > max {
        return Err(TooLarge::Append { size, max, unit });
    }
    Ok(())
}

/// Refuses what no append may have; returns the size of all events, in bytes.
pub(crate) fn checked_size<'a>(
    events: impl ExactSizeIterator<Item = &'a NewEvent>,
) -> Result<usize, TooLarge> {
    at_most(events.len(), APPEND_EVENTS_MAX, "events")?;
    let mut bytes = 0;
    for event in events {
        let (id, size, max) = (event.id, event.size(), EVENT_BYTES_MAX);
        if size > max {
            return Err(TooLarge::Event { id, size, max });
        }
        bytes += size;
    }
    at_most(bytes, APPEND_BYTES_MAX, "bytes")?;
    Ok(bytes)
}
