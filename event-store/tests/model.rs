//! The store against a model of it in a few maps: any sequence of operations, crashes and
//! reopenings included, leaves both with the same answers and the same events.

#[path = "given/events.rs"]
mod given;
#[path = "model/model.rs"]
mod model;
#[path = "given/simulated.rs"]
mod simulated;

use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, EmbeddedStore, EventStore, ExpectedRevision, ReadError, ReadStream, Revision,
    StreamMetadata,
};
use futures::TryStreamExt;
use given::{event, everything, stream};
use model::{Model, Outcome, Refusal};
use proptest::prelude::*;
use simulated::{all_of, open};

const STREAMS: [&str; 3] = ["track-1", "track-2", "user-1"];

#[derive(Clone, Debug)]
enum Operation {
    Append { stream: usize, expected: Expected, count: u64, again: u64 },
    Delete { stream: usize, expected: Expected },
    Tombstone { stream: usize },
    Metadata { stream: usize, max_count: Option<u64>, truncate_before: Option<u64> },
    Reopen,
    Crash { seed: u64, in_flight: bool },
}

/// What a writer expects, near to what is there.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    NoStream,
    StreamExists,
    /// So many before the last revision, or behind it.
    Near(i64),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let stream = || 0..STREAMS.len();
    let expected = || {
        prop_oneof![
            3 => Just(Expected::Any),
            1 => Just(Expected::NoStream),
            1 => Just(Expected::StreamExists),
            4 => (-3..2_i64).prop_map(Expected::Near),
        ]
    };
    let some = || proptest::option::of(0..6_u64);
    let append =
        (stream(), expected(), 0..4_u64, 0..4_u64).prop_map(|(stream, expected, count, again)| {
            Operation::Append { stream, expected, count, again }
        });
    let delete = (stream(), expected())
        .prop_map(|(stream, expected)| Operation::Delete { stream, expected });
    let tombstone = stream().prop_map(|stream| Operation::Tombstone { stream });
    let metadata = (stream(), some(), some()).prop_map(|(stream, max_count, truncate_before)| {
        Operation::Metadata { stream, max_count, truncate_before }
    });
    let crash = (any::<u64>(), any::<bool>())
        .prop_map(|(seed, in_flight)| Operation::Crash { seed, in_flight });
    let one = prop_oneof![
        20 => append,
        3 => delete,
        1 => tombstone,
        3 => metadata,
        2 => Just(Operation::Reopen),
        3 => crash,
    ];
    proptest::collection::vec(one, 1..50)
}

/// The store under test beside its model.
struct Pair {
    disk: SimDisk,
    store: EmbeddedStore,
    model: Model,
    next_id: u64,
}

impl Pair {
    async fn new() -> Self {
        let disk = SimDisk::new();
        let store = open(&disk).await.unwrap();
        Self { disk, store, model: Model::default(), next_id: 0 }
    }

    fn expected(&self, name: &str, expected: Expected) -> ExpectedRevision {
        let behind = self.model.behind(name);
        match expected {
            Expected::Any => ExpectedRevision::Any,
            Expected::NoStream => ExpectedRevision::NoStream,
            Expected::StreamExists => ExpectedRevision::StreamExists,
            Expected::Near(off) => {
                behind.checked_add_signed(off - 1).map_or(ExpectedRevision::NoStream, |revision| {
                    ExpectedRevision::Exactly(Revision::new(revision))
                })
            }
        }
    }

    /// Numbers of new events, after some that the stream has already: retries, whole and half.
    fn numbers(&mut self, name: &str, expected: Expected, count: u64, again: u64) -> Vec<u64> {
        let known = self.model.numbers(name);
        let from = match expected {
            Expected::Near(off) => known.len().saturating_add_signed(off as isize),
            Expected::NoStream => 0,
            _ => known.len().saturating_sub(again as usize),
        };
        let retried = known.get(from..).unwrap_or_default();
        let mut numbers: Vec<u64> = retried.iter().copied().take(again as usize).collect();
        for _ in 0..count {
            numbers.push(self.next_id);
            self.next_id += 1;
        }
        numbers
    }

    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Append { stream: at, expected, count, again } => {
                let numbers = self.numbers(STREAMS[at], expected, count, again);
                let expected = self.expected(STREAMS[at], expected);
                let events = numbers.iter().map(|&number| event(number)).collect();
                let got = self.store.append(&stream(STREAMS[at]), expected, events).await;
                let told = self.model.append(STREAMS[at], expected, &numbers);
                assert_eq!(outcome(got), told, "append of {numbers:?}, {expected}");
            }
            Operation::Delete { stream: at, expected } => {
                let expected = self.expected(STREAMS[at], expected);
                let got = self.store.delete_stream(&stream(STREAMS[at]), expected).await;
                assert_eq!(outcome(got), self.model.delete(STREAMS[at], expected));
            }
            Operation::Tombstone { stream: at } => {
                let any = ExpectedRevision::Any;
                let got = self.store.tombstone_stream(&stream(STREAMS[at]), any).await;
                assert_eq!(outcome(got), self.model.tombstone(STREAMS[at]));
            }
            Operation::Metadata { stream: at, max_count, truncate_before } => {
                let metadata =
                    StreamMetadata { max_count, truncate_before, ..StreamMetadata::default() };
                let (name, any) = (stream(STREAMS[at]), ExpectedRevision::Any);
                let got = self.store.set_stream_metadata(&name, any, metadata).await;
                let told = self.model.set_metadata(STREAMS[at], max_count, truncate_before);
                assert_eq!(outcome(got), told);
            }
            Operation::Reopen => {
                self.store.close().await.unwrap();
                self.store = open(&self.disk).await.unwrap();
            }
            Operation::Crash { seed, in_flight } => self.crash(seed, in_flight).await,
        }
    }

    /// Cuts the power; an append in flight is there whole afterwards, or not at all.
    async fn crash(&mut self, seed: u64, in_flight: bool) {
        let mut state = seed | 1;
        let throw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        };
        let mut with_it = self.model.clone();
        if in_flight {
            let any = ExpectedRevision::Any;
            let numbers = [self.next_id, self.next_id + 1];
            self.next_id += 2;
            with_it.append(STREAMS[0], any, &numbers).ok();
            let events = numbers.iter().map(|&number| event(number)).collect();
            self.disk.fail(Fault::SegmentSync(1));
            self.store.append(&stream(STREAMS[0]), any, events).await.expect_err("the sync fails");
        }
        self.disk = self.disk.cut_power(throw);
        self.store = open(&self.disk).await.unwrap();
        if everything(&self.store).await.unwrap().len() > self.model.log().len() {
            self.model = with_it;
        }
    }

    /// Both hold the same.
    async fn compare(&self) {
        let held = everything(&self.store).await.unwrap();
        let log: Vec<(String, u64)> = held
            .iter()
            .map(|event| (event.stream.as_str().to_owned(), event.revision.get()))
            .collect();
        assert_eq!(log, self.model.log());
        let positions: Vec<u64> = held.iter().map(|event| event.position.get()).collect();
        assert_eq!(positions, (1..=held.len() as u64).collect::<Vec<_>>());
        for name in STREAMS {
            let told = self.model.visible(name);
            let got = all_of(&self.store, name).await;
            let ids = |number: &u64| event(*number).id;
            match (got, told) {
                (Ok(events), Ok(numbers)) => {
                    let got: Vec<_> = events.iter().map(|event| event.id).collect();
                    assert_eq!(got, numbers.iter().map(ids).collect::<Vec<_>>(), "{name}");
                    let mut backward: Vec<_> = self.backward(name).await;
                    backward.reverse();
                    assert_eq!(backward, got, "{name} backward");
                }
                (Err(ReadError::StreamNotFound(_)), Err(Refusal::Missing))
                | (Err(ReadError::StreamDeleted(_)), Err(Refusal::Deleted)) => {}
                (got, told) => panic!("{name}: got {got:?}, not {told:?}"),
            }
        }
    }

    async fn backward(&self, name: &str) -> Vec<event_store::EventId> {
        let read = self.store.read_stream(ReadStream::backward(stream(name))).await.unwrap();
        read.map_ok(|event| event.id).try_collect().await.unwrap()
    }
}

fn outcome(got: Result<event_store::Appended, AppendError>) -> Outcome {
    match got {
        Ok(appended) => Ok((
            appended.last_revision.map(Revision::get),
            appended.position.map(event_store::Position::get),
        )),
        Err(AppendError::WrongExpectedRevision { actual, .. }) => {
            Err(Refusal::Wrong(actual.map(Revision::get)))
        }
        Err(AppendError::StreamDeleted(_)) => Err(Refusal::Deleted),
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_store_does_what_the_model_does(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for operation in operations {
                pair.apply(operation).await;
                pair.compare().await;
            }
        });
    }
}
