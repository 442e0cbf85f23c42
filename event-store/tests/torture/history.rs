//! What clients of a store did and saw, and whether one store that does one thing after the other
//! could have answered so: linearizability.
//!
//! Positions order all appends, so it need not be searched for: each operation tells between which
//! two positions the log must have ended when it took place. An append took place before its first
//! event and left its last; a read of so many events of a stream was behind the last of them and
//! before the next. So a history is legal if and only if no operation that was over before another
//! began saw a later log than that other may have, which a sweep over both ends of all operations
//! finds out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells only what was before what.
#[derive(Debug, Default)]
pub struct Order(AtomicU64);

impl Order {
    /// Now; later than all that it said before.
    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// The time of what was never answered.
pub const NEVER: u64 = u64::MAX;

/// What one client asked, and what was answered.
#[derive(Clone, Debug)]
pub struct Operation {
    pub begun: u64,
    pub ended: u64,
    pub seen: Seen,
}

/// What an operation saw of the log; events are told by their numbers.
#[derive(Clone, Debug)]
pub enum Seen {
    /// An append and the revision and position it was told; `None` when it was not answered.
    Append { stream: usize, numbers: Vec<u64>, after: After, told: Option<(u64, u64)> },
    /// An append that was refused, for the stream had so many events.
    Refused { stream: usize, after: After, events: u64 },
    /// A stream from its beginning: so many events, with this digest.
    Stream { stream: usize, events: u64, digest: u64 },
    /// The log from its beginning.
    Log { events: u64, digest: u64 },
    /// The position of the last event.
    Head(u64),
    /// An event that was delivered to a subscriber.
    Delivered { position: u64, number: u64 },
}

/// How many events a writer expected in the stream; `None` is any.
pub type After = Option<u64>;

/// A digest of numbers in their order.
pub fn digest(before: u64, number: u64) -> u64 {
    (before ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// The log in the end: of each event its stream and its number.
pub struct Log {
    numbers: Vec<u64>,
    /// By number: its position.
    positions: HashMap<u64, u64>,
    digests: Vec<u64>,
    streams: Vec<StreamLog>,
}

/// The positions of a stream's events, and the digests of its beginnings.
#[derive(Clone)]
struct StreamLog {
    positions: Vec<u64>,
    digests: Vec<u64>,
}

/// Between which ends of the log an operation took place, both included.
struct Bounds {
    low: u64,
    high: u64,
}

impl Log {
    pub fn new(events: &[(usize, u64)], streams: usize) -> Self {
        let one = StreamLog { positions: Vec::new(), digests: vec![0] };
        let mut log = Self {
            numbers: Vec::new(),
            positions: HashMap::new(),
            digests: vec![0],
            streams: vec![one; streams],
        };
        for (position, &(stream, number)) in (1..).zip(events) {
            log.numbers.push(number);
            log.positions.insert(number, position);
            log.digests.push(digest(log.digests[log.digests.len() - 1], number));
            let of_stream = &mut log.streams[stream];
            of_stream.positions.push(position);
            let before = of_stream.digests[of_stream.digests.len() - 1];
            of_stream.digests.push(digest(before, number));
        }
        log
    }

    /// The bounds while a stream had so many events.
    fn while_stream_had(&self, stream: usize, events: u64) -> Result<Bounds, String> {
        let positions = &self.streams[stream].positions;
        let events = events as usize;
        if events > positions.len() {
            return Err(format!("stream {stream} never had {events} events"));
        }
        let low = events.checked_sub(1).map_or(0, |last| positions[last]);
        let high = positions.get(events).map_or(u64::MAX, |next| next - 1);
        Ok(Bounds { low, high })
    }

    fn bounds(&self, seen: &Seen) -> Result<Option<Bounds>, String> {
        match seen {
            Seen::Append { stream, numbers, after, told } => {
                self.bounds_of_append(*stream, numbers, *after, *told)
            }
            Seen::Refused { after, events, .. } if *after == Some(*events) => {
                Err("refused, though the stream was as expected".to_owned())
            }
            Seen::Refused { stream, events, .. } => {
                self.while_stream_had(*stream, *events).map(Some)
            }
            Seen::Stream { stream, events, digest } => {
                let bounds = self.while_stream_had(*stream, *events)?;
                let is_so = self.streams[*stream].digests[*events as usize] == *digest;
                is_so.then_some(Some(bounds)).ok_or("other events of a stream".to_owned())
            }
            Seen::Log { events, digest } => {
                let is_so = self.digests.get(*events as usize) == Some(digest);
                let bounds = Bounds { low: *events, high: *events };
                is_so.then_some(Some(bounds)).ok_or("another log".to_owned())
            }
            Seen::Head(position) => Ok(Some(Bounds { low: *position, high: *position })),
            Seen::Delivered { position, number } => {
                let is_so = self.positions.get(number) == Some(position);
                let bounds = Bounds { low: *position, high: u64::MAX };
                is_so.then_some(Some(bounds)).ok_or(format!("delivered {number} elsewhere"))
            }
        }
    }

    /// Nothing bounds what was not answered and is not there.
    fn bounds_of_append(
        &self,
        stream: usize,
        numbers: &[u64],
        after: After,
        told: Option<(u64, u64)>,
    ) -> Result<Option<Bounds>, String> {
        let there = numbers.iter().filter(|number| self.positions.contains_key(number)).count();
        if there == 0 && told.is_none() {
            return Ok(None);
        }
        if there < numbers.len() {
            return Err(format!("{there} of {} events are there", numbers.len()));
        }
        let first = self.positions[&numbers[0]];
        let last = first + numbers.len() as u64 - 1;
        let of_stream = &self.streams[stream].positions;
        let Ok(revision) = of_stream.binary_search(&first) else {
            return Err(format!("position {first} is not in stream {stream}"));
        };
        if self.numbers[first as usize - 1..last as usize] != *numbers {
            return Err(format!("at {first} are other events than those that were appended"));
        }
        let last_revision = revision as u64 + numbers.len() as u64 - 1;
        if told.is_some_and(|told| told != (last_revision, last)) {
            return Err(format!("told {told:?}, it is ({last_revision}, {last})"));
        }
        if after.is_some_and(|after| after != revision as u64) {
            return Err(format!("expected after {after:?} events, it is after {revision}"));
        }
        Ok(Some(Bounds { low: last, high: first - 1 }))
    }

    /// Whether all of this could have been answered by a store that does one thing at a time.
    pub fn check(&self, operations: &[Operation]) -> Result<(), String> {
        let appended = operations.iter().filter_map(|operation| match &operation.seen {
            Seen::Append { numbers, .. } => Some(numbers),
            _ => None,
        });
        let mut unknown = self.positions.clone();
        for number in appended.flatten() {
            unknown.remove(number);
        }
        if !unknown.is_empty() {
            return Err(format!("nobody appended {unknown:?}"));
        }
        let mut bounded = Vec::with_capacity(operations.len());
        for operation in operations {
            let bounds = self.bounds(&operation.seen);
            let bounds = bounds.map_err(|wrong| format!("{wrong}: {operation:?}"))?;
            bounded.extend(bounds.map(|bounds| (operation, bounds)));
        }
        let mut by_end: Vec<usize> = (0..bounded.len()).collect();
        by_end.sort_unstable_by_key(|&at| bounded[at].0.ended);
        let mut by_begin = by_end.clone();
        by_begin.sort_unstable_by_key(|&at| bounded[at].0.begun);
        let mut over = by_end.into_iter().peekable();
        // Of all that was over by then: the one that saw the latest log.
        let mut latest: Option<usize> = None;
        for at in by_begin {
            let (operation, bounds) = &bounded[at];
            while let Some(ended) = over.next_if(|&ended| bounded[ended].0.ended < operation.begun)
            {
                if latest.is_none_or(|latest| bounded[ended].1.low > bounded[latest].1.low) {
                    latest = Some(ended);
                }
            }
            if let Some(latest) = latest.filter(|&latest| bounded[latest].1.low > bounds.high) {
                return Err(format!("{:?} was over before {operation:?}", bounded[latest].0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(begun: u64, ended: u64, number: u64, told: Option<(u64, u64)>) -> Operation {
        let seen = Seen::Append { stream: 0, numbers: vec![number], after: None, told };
        Operation { begun, ended, seen }
    }

    fn read(begun: u64, ended: u64, numbers: &[u64]) -> Operation {
        let digest = numbers.iter().fold(0, |before, &number| digest(before, number));
        let seen = Seen::Stream { stream: 0, events: numbers.len() as u64, digest };
        Operation { begun, ended, seen }
    }

    fn is_legal(log: &[u64], operations: &[Operation]) -> bool {
        let events: Vec<_> = log.iter().map(|&number| (0, number)).collect();
        Log::new(&events, 1).check(operations).is_ok()
    }

    #[test]
    fn what_one_store_could_have_answered_is_legal() {
        let both = [append(0, 5, 7, Some((0, 1))), append(1, 4, 8, Some((1, 2)))];
        assert!(is_legal(&[7, 8], &both), "side by side in any order");
        let reads = [read(2, 3, &[]), read(2, 3, &[7]), read(2, 3, &[7, 8]), read(6, 7, &[7, 8])];
        assert!(is_legal(&[7, 8], &[&both[..], &reads].concat()));
        let unanswered = [append(0, NEVER, 7, None), read(8, 9, &[])];
        assert!(is_legal(&[], &unanswered) && is_legal(&[7], &unanswered), "then or later");
    }

    #[test]
    fn what_no_store_could_have_answered_is_found() {
        let one = append(0, 1, 7, Some((0, 1)));
        let other = append(2, 3, 8, Some((1, 2)));
        let refused = |after, events| {
            let seen = Seen::Refused { stream: 0, after, events };
            Operation { begun: 4, ended: 5, seen }
        };
        let at = |begun, seen| Operation { begun, ended: begun, seen };
        for (what, log, more) in [
            ("an append is lost", &[7][..], read(4, 5, &[7])),
            ("an append is made of nothing", &[7, 8, 9], read(4, 5, &[7, 8])),
            ("later goes first", &[8, 7], read(4, 5, &[8, 7])),
            ("a read is stale", &[7, 8], read(4, 5, &[7])),
            ("a read sees other events", &[7, 8], read(4, 5, &[8, 7])),
            ("a read sees what is not there", &[7, 8], read(4, 5, &[7, 8, 9])),
            ("a refusal is of another time", &[7, 8], refused(Some(0), 1)),
            ("a refusal has no cause", &[7, 8], refused(Some(2), 2)),
            ("a head is stale", &[7, 8], at(4, Seen::Head(1))),
            ("a delivery comes early", &[7, 8], at(1, Seen::Delivered { position: 2, number: 8 })),
            ("a delivery is moved", &[7, 8], at(4, Seen::Delivered { position: 1, number: 8 })),
        ] {
            assert!(!is_legal(log, &[one.clone(), other.clone(), more]), "{what}");
        }
        let seen = [read(4, 5, &[7, 8]), read(6, 7, &[7])];
        let side_by_side = [one, append(2, 9, 8, Some((1, 2)))];
        assert!(!is_legal(&[7, 8], &[&side_by_side[..], &seen].concat()), "what was seen is gone");
        let half = Seen::Append { stream: 0, numbers: vec![7, 8], after: None, told: None };
        assert!(!is_legal(&[7], &[Operation { begun: 0, ended: NEVER, seen: half }]), "a half");
    }
}
