//! The store against a model of it in a few maps: any sequence of operations, crashes, reopenings
//! and scavenging included, leaves both with the same answers and the same events.

#[path = "given/dice.rs"]
mod dice;
#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "model/model.rs"]
mod model;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/simulated.rs"]
mod simulated;

use std::pin::Pin;
use std::sync::Arc;

use dice::Dice;
use encrypted::new_disk;
use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, EmbeddedStore, EventStore, EventType, ExpectedRevision, ExpectedState, Index,
    MultiAppend, MultiAppendError, MultiAppended, Ordinal, ReadError, ReadIndex, ReadStream,
    RecordedEvent, Revision, StreamMetadata, StreamState,
};
use futures::TryStreamExt;
use given::{event, everything, stream};
use model::{Model, MultiOutcome, MultiRefusal, Outcome, Refusal};
use proptest::prelude::*;
use simulated::{all_of, open};

const STREAMS: [&str; 3] = ["track-1", "track-2", "user-1"];

#[derive(Clone, Debug)]
enum Operation {
    /// Appends that wait for the writer together, in this order.
    Appends(Vec<Append>),
    Delete {
        stream: usize,
        expected: Expected,
    },
    Tombstone {
        stream: usize,
    },
    Metadata {
        stream: usize,
        max_count: Option<u64>,
        truncate_before: Option<u64>,
    },
    /// Reclaims what is hidden, in segments where it is so many percent.
    Scavenge {
        least_percent: u8,
    },
    Reopen,
    Crash {
        seed: u64,
        in_flight: bool,
    },
}

#[derive(Clone, Debug)]
enum Append {
    OfStream {
        stream: usize,
        expected: Expected,
        count: u64,
        again: u64,
    },
    /// The streams of the events, and what is expected of each stream.
    OfStreams {
        streams: Vec<usize>,
        checks: [Option<Check>; STREAMS.len()],
    },
    /// One to several streams that was sent before, as it was or with an event more.
    Again {
        which: prop::sample::Index,
        more: Option<usize>,
        checked: bool,
    },
}

/// What a check expects.
#[derive(Clone, Copy, Debug)]
enum Check {
    /// What is so.
    Right,
    SoftDeleted,
    Tombstoned,
    Like(Expected),
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
    let check = prop_oneof![
        5 => Just(Check::Right),
        1 => Just(Check::SoftDeleted),
        1 => Just(Check::Tombstoned),
        2 => expected().prop_map(Check::Like),
    ];
    let checks = prop::array::uniform3(prop::option::weighted(0.4, check));
    let of_stream =
        (stream(), expected(), 0..4_u64, 0..4_u64).prop_map(|(stream, expected, count, again)| {
            Append::OfStream { stream, expected, count, again }
        });
    let of_streams = (prop::collection::vec(stream(), 1..7), checks)
        .prop_map(|(streams, checks)| Append::OfStreams { streams, checks });
    let again =
        (any::<prop::sample::Index>(), prop::option::weighted(0.3, stream()), any::<bool>())
            .prop_map(|(which, more, checked)| Append::Again { which, more, checked });
    let append = prop_oneof![4 => of_stream, 3 => of_streams, 1 => again];
    let appends = prop_oneof![
        3 => append.clone().prop_map(|append| vec![append]),
        1 => prop::collection::vec(append, 1..6),
    ]
    .prop_map(Operation::Appends);
    let delete = (stream(), expected())
        .prop_map(|(stream, expected)| Operation::Delete { stream, expected });
    let tombstone = stream().prop_map(|stream| Operation::Tombstone { stream });
    let truncated = prop_oneof![5 => some(), 1 => Just(Some(i64::MAX as u64))];
    let metadata =
        (stream(), some(), truncated).prop_map(|(stream, max_count, truncate_before)| {
            Operation::Metadata { stream, max_count, truncate_before }
        });
    let scavenge = prop_oneof![2 => Just(0), 1 => 5..40_u8]
        .prop_map(|least_percent| Operation::Scavenge { least_percent });
    let crash = (any::<u64>(), any::<bool>())
        .prop_map(|(seed, in_flight)| Operation::Crash { seed, in_flight });
    let one = prop_oneof![
        20 => appends,
        3 => delete,
        1 => tombstone,
        3 => metadata,
        2 => Just(Operation::Reopen),
        3 => scavenge,
        3 => crash,
    ];
    proptest::collection::vec(one, 1..50)
}

/// The store under test beside its model.
struct Pair {
    disk: SimDisk,
    store: Arc<EmbeddedStore>,
    model: Model,
    next_id: u64,
    /// The appends to several streams that were asked for.
    sent: Vec<Several>,
}

/// Streams and numbers of events, and checks.
#[derive(Clone, Debug)]
struct Several {
    events: Vec<(String, u64)>,
    checks: Vec<(String, ExpectedState)>,
}

/// What was answered, or is to be.
#[derive(Debug, PartialEq)]
enum Answer {
    One(Outcome),
    Several(MultiOutcome),
}

type Answering = Pin<Box<dyn Future<Output = Answer>>>;

impl Pair {
    async fn new(encrypted: bool) -> Self {
        let disk = new_disk(encrypted).await;
        disk.cool();
        let store = Arc::new(open(&disk).await.unwrap());
        Self { disk, store, model: Model::default(), next_id: 0, sent: Vec::new() }
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
            Operation::Appends(appends) => {
                let (mut answers, mut told) = (Vec::new(), Vec::new());
                for append in appends.clone() {
                    let (answer, known) = self.append(append);
                    answers.push(answer);
                    told.push(known);
                }
                // The first poll of each, in order, puts it into the writer's queue.
                assert_eq!(futures::future::join_all(answers).await, told, "{appends:?}");
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
            Operation::Scavenge { least_percent } => {
                let options = scavenging::thorough().least_percent(least_percent);
                assert!(self.store.scavenge(options).await.unwrap().completed);
                let left = everything(&self.store).await.unwrap();
                let left = left.iter().map(|event| event.position.get()).collect();
                self.model.reclaim_all_but(&left);
            }
            Operation::Reopen => {
                self.store.close().await.unwrap();
                self.store = Arc::new(open(&self.disk).await.unwrap());
            }
            Operation::Crash { seed, in_flight } => self.crash(seed, in_flight).await,
        }
    }

    /// What the store will answer to an append, and what the model answers.
    fn append(&mut self, append: Append) -> (Answering, Answer) {
        let several = match append {
            Append::OfStream { stream: at, expected, count, again } => {
                let numbers = self.numbers(STREAMS[at], expected, count, again);
                let expected = self.expected(STREAMS[at], expected);
                return self.append_to_one(STREAMS[at], expected, numbers);
            }
            Append::OfStreams { streams, checks } => {
                let events: Vec<(String, u64)> =
                    streams.iter().map(|&at| (STREAMS[at].to_owned(), self.next())).collect();
                let checks = STREAMS.iter().zip(checks).filter_map(|(name, check)| {
                    let expected = self.check(name, check?)?;
                    let written = events.iter().any(|event| event.0 == *name);
                    let sense = !written || expected != ExpectedState::Tombstoned;
                    sense.then(|| ((*name).to_owned(), expected))
                });
                let checks = checks.collect();
                Several { events, checks }
            }
            Append::Again { which, more, checked } => {
                if self.sent.is_empty() {
                    return self.append_to_one(STREAMS[0], ExpectedRevision::Any, Vec::new());
                }
                let mut again = which.get(&self.sent).clone();
                again.checks.retain(|_| checked);
                if let Some(more) = more {
                    again.checks.retain(|check| check.0 != STREAMS[more]);
                    again.events.push((STREAMS[more].to_owned(), self.next()));
                }
                again
            }
        };
        self.sent.push(several.clone());
        let told = self.model.append_to_streams(&several.events, &several.checks);
        let (store, asked) = (Arc::clone(&self.store), several.asked());
        let answer =
            async move { Answer::Several(several_outcome(store.append_to_streams(asked).await)) };
        (Box::pin(answer), Answer::Several(told))
    }

    fn append_to_one(
        &mut self,
        name: &'static str,
        expected: ExpectedRevision,
        numbers: Vec<u64>,
    ) -> (Answering, Answer) {
        let told = self.model.append(name, expected, &numbers);
        let store = Arc::clone(&self.store);
        let answer = async move {
            let events = numbers.into_iter().map(event).collect();
            Answer::One(outcome(store.append(&stream(name), expected, events).await))
        };
        (Box::pin(answer), Answer::One(told))
    }

    fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn check(&self, name: &str, check: Check) -> Option<ExpectedState> {
        Some(match check {
            Check::SoftDeleted => ExpectedState::SoftDeleted,
            Check::Tombstoned => ExpectedState::Tombstoned,
            Check::Right => match self.model.state(name) {
                StreamState::NoEvents => ExpectedState::NoStream,
                StreamState::At(revision) => ExpectedState::Exactly(revision),
                StreamState::SoftDeleted { .. } => ExpectedState::SoftDeleted,
                StreamState::Tombstoned => ExpectedState::Tombstoned,
            },
            Check::Like(expected) => match self.expected(name, expected) {
                ExpectedRevision::Any => return None,
                ExpectedRevision::NoStream => ExpectedState::NoStream,
                ExpectedRevision::StreamExists => ExpectedState::StreamExists,
                ExpectedRevision::Exactly(revision) => ExpectedState::Exactly(revision),
            },
        })
    }

    /// Cuts the power; an append in flight is there whole afterwards, or not at all.
    async fn crash(&mut self, seed: u64, in_flight: bool) {
        let mut dice = Dice::new(seed);
        let mut with_it = self.model.clone();
        if in_flight {
            let streams = [0, 1, 0, 2].map(|at| STREAMS[at].to_owned());
            let events = streams.map(|name| (name, self.next())).to_vec();
            with_it.append_to_streams(&events, &[]).ok();
            let asked = Several { events, checks: Vec::new() }.asked();
            self.disk.fail(Fault::SegmentSync(1));
            self.store.append_to_streams(asked).await.expect_err("the sync fails");
        }
        self.disk = self.disk.cut_power(|| dice.below(2) == 0);
        self.store = Arc::new(open(&self.disk).await.unwrap());
        if everything(&self.store).await.unwrap().len() > self.model.log().len() {
            self.model = with_it;
        }
    }

    /// Both hold the same.
    async fn compare(&self) {
        let held = everything(&self.store).await.unwrap();
        let told = |event: &RecordedEvent| {
            (event.position.get(), event.stream.as_str().to_owned(), event.revision.get())
        };
        assert_eq!(held.iter().map(told).collect::<Vec<_>>(), self.model.log());
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

    /// Each category and type is read alike, forward, backward and from its middle.
    async fn compare_indexes(&self) {
        let categories = ["track", "user", "order"]
            .map(|name| (Index::category(name), self.model.category(name)));
        let types = ["Numbered", "$metadata", "$streamDeleted", "Nothing"].map(|name| {
            (Index::EventType(EventType::new(name).unwrap()), self.model.of_type(name))
        });
        for (index, positions) in categories.into_iter().chain(types) {
            let middle = positions.len() as u64 / 2;
            // What was reclaimed is counted, and is not given.
            let left = (0..).zip(positions).filter(|(_, position)| self.model.has(*position));
            let told: Vec<(u64, u64)> = left.collect();
            let forward = ReadIndex::forward(index.clone());
            assert_eq!(self.indexed(forward.clone()).await, told, "{index}");
            let mut backward = self.indexed(ReadIndex::backward(index.clone())).await;
            backward.reverse();
            assert_eq!(backward, told, "{index} backward");
            let behind = told.iter().copied().filter(|(ordinal, _)| *ordinal >= middle);
            let behind: Vec<(u64, u64)> = behind.collect();
            let from = forward.from(Ordinal::new(middle));
            assert_eq!(self.indexed(from).await, behind, "{index} from {middle}");
        }
    }

    async fn indexed(&self, read: ReadIndex) -> Vec<(u64, u64)> {
        let read = self.store.read_index(read).await.unwrap();
        let places = read.map_ok(|it| (it.ordinal.get(), it.event.position.get()));
        places.try_collect().await.unwrap()
    }

    async fn backward(&self, name: &str) -> Vec<event_store::EventId> {
        let read = self.store.read_stream(ReadStream::backward(stream(name))).await.unwrap();
        read.map_ok(|event| event.id).try_collect().await.unwrap()
    }
}

impl Several {
    fn asked(&self) -> MultiAppend {
        let events = self.events.iter();
        let append = events.fold(MultiAppend::default(), |append, (name, number)| {
            append.events(&stream(name), [event(*number)])
        });
        let checks = self.checks.iter();
        checks.fold(append, |append, (name, expected)| append.check(&stream(name), *expected))
    }
}

fn several_outcome(got: Result<MultiAppended, MultiAppendError>) -> MultiOutcome {
    match got {
        Ok(appended) => {
            let revisions = appended.revisions.into_iter();
            let ends = revisions.map(|(name, end)| (name.as_str().to_owned(), end.get()));
            Ok((ends.collect(), appended.position.get()))
        }
        Err(MultiAppendError::Violated(violations)) => {
            let told = violations.into_iter();
            let told = told.map(|it| (it.stream.as_str().to_owned(), it.check, it.actual));
            Err(MultiRefusal::Violated(told.collect()))
        }
        Err(MultiAppendError::HalfKnown) => Err(MultiRefusal::HalfKnown),
        Err(other) => panic!("{other}"),
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
    // 256 cases, or as many as `PROPTEST_CASES` says.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_store_does_what_the_model_does(operations in operations()) {
        does_what_the_model_does(operations, false);
    }

    #[test]
    fn the_encrypted_store_does_what_the_model_does(operations in operations()) {
        does_what_the_model_does(operations, true);
    }
}

fn does_what_the_model_does(operations: Vec<Operation>, encrypted: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut pair = Pair::new(encrypted).await;
        for operation in operations {
            let opens = matches!(operation, Operation::Reopen | Operation::Crash { .. });
            pair.apply(operation).await;
            pair.compare().await;
            if opens {
                pair.compare_indexes().await;
            }
        }
        pair.compare_indexes().await;
    });
}
