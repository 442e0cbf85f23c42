//! Which events no reader can see any more: of each stream the first ones, up to some revision.

use chrono::{DateTime, Utc};

use crate::embedded::window::Window;
use crate::error::StoreError;
use crate::index::{Catalog, Sealed, TOMBSTONE_REVISION};
use crate::stream::StreamName;

/// How many places are looked up in one go.
const PLACES_AT_ONCE: usize = 65_536;

/// The hidden events of one segment, one bit for each of its events. Each stream was asked about
/// once, so that of each the first ones are meant, whatever becomes of it meanwhile.
pub(super) struct Hidden {
    bits: Vec<u64>,
    /// How many they are.
    pub(super) events: u64,
}

impl Hidden {
    /// None of so many events.
    pub(super) fn none_of(events: u64) -> Self {
        let words = usize::try_from(events.div_ceil(64)).unwrap_or(usize::MAX);
        Self { bits: vec![0; words], events: 0 }
    }

    fn add(&mut self, place: u64) {
        let (word, bit) = at(place);
        self.bits[word] |= bit;
        self.events += 1;
    }

    /// Adds those of these streams.
    pub(super) fn add_streams(
        &mut self,
        catalog: &Catalog,
        sealed: &Sealed,
        streams: (usize, usize),
        now: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let streams = sealed.streams(streams.0, streams.1)?;
        for (stream, run) in &streams {
            let kept = first_kept(catalog, stream, now)?;
            let hidden = kept.saturating_sub(run.first).min(u64::from(run.count));
            let hidden = u32::try_from(hidden).unwrap_or(u32::MAX);
            if run.count > 0 && hidden > 0 {
                let key = catalog.key(stream.as_str());
                for position in sealed.positions(key, run, 0, hidden)? {
                    self.add(position - sealed.segment.first);
                }
            }
        }
        Ok(streams.len())
    }

    /// Whether the event at this place in the segment is among them.
    pub(super) fn has(&self, place: u64) -> bool {
        let (word, bit) = at(place);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How much smaller the segment becomes without them, in bytes; it may become larger, for what
    /// is left of an event is more than a very small one.
    pub(super) fn bytes(&self, sealed: &Sealed) -> Result<i64, StoreError> {
        let first = sealed.segment.first;
        let left_bytes = i64::from(sealed.segment.layout.reclaimed_record_bytes());
        let mut bytes = 0;
        for from in (first..=sealed.last).step_by(PLACES_AT_ONCE) {
            let places = sealed.places(from, PLACES_AT_ONCE)?;
            let hidden = places.iter().filter(|place| self.has(place.position - first));
            bytes +=
                hidden.map(|place| i64::from(place.end - place.offset) - left_bytes).sum::<i64>();
        }
        Ok(bytes)
    }
}

fn at(place: u64) -> (usize, u64) {
    (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64))
}

/// The first revision of a stream that is kept; what is before it no reader can see.
fn first_kept(
    catalog: &Catalog,
    stream: &StreamName,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let tail = catalog.tail(stream.as_str())?;
    // The last metadata counts for good, whether its stream or what it is of was tombstoned.
    if tail.tombstoned && stream.metadata_subject().is_none() {
        return Ok(TOMBSTONE_REVISION);
    }
    let Some(last) = tail.last else {
        return Ok(0);
    };
    let window = Window::of(catalog, stream, Some(last), u64::MAX, now)?;
    let young = match window.recorded_after {
        Some(moment) => first_after(catalog, stream, last, moment.timestamp_micros())?,
        None => 0,
    };
    let beyond = u64::from(cfg!(veza_canary = "reclaim-one-more"));
    // The last event is kept, as EventStoreDB does: the next one gets its number from it.
    Ok((window.first.max(young) + beyond).min(last))
}

/// The first revision up to `last` that was recorded after this moment; `last` where none was.
fn first_after(
    catalog: &Catalog,
    stream: &StreamName,
    last: u64,
    at_micros: i64,
) -> Result<u64, StoreError> {
    let runs = catalog.runs(stream.as_str(), u64::MAX, 0)?;
    let (mut low, mut high) = (runs.first().unwrap_or(last).min(last), last);
    while low < high {
        let middle = low.midpoint(high);
        let found = catalog.positions(stream.as_str(), &runs, middle, 1)?;
        let position = found.positions.first().copied().unwrap_or_default();
        // Time never runs backwards in a log.
        if catalog.recorded_at_micros(position)?.is_some_and(|recorded| recorded > at_micros) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
