//! Stories of a group: given what happened, when something more does, then this is to be done.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::*;
use crate::event::{ContentType, EventType, RecordedEvent};
use crate::persistent::settings::Strategy;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

const FIRST: ConsumerId = ConsumerId(1);
const SECOND: ConsumerId = ConsumerId(2);
const NO_CHECKPOINT: [u64; 0] = [];

pub(super) fn id(number: u64) -> EventId {
    EventId(Uuid::from_u128(u128::from(number)))
}

pub(super) fn message(stream: &str, number: u64, metadata: &'static str) -> Message {
    Message::event(RecordedEvent {
        id: id(number),
        stream: StreamName::new(stream).unwrap(),
        revision: Revision::new(number),
        position: Position::new(number + 1),
        event_type: EventType::new("Numbered").unwrap(),
        content_type: ContentType::Json,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::from_static(metadata.as_bytes()),
        recorded_at: DateTime::<Utc>::UNIX_EPOCH,
    })
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings { min_checkpoint_count: 1, ..Settings::default() };
    change(&mut settings);
    settings
}

/// A group with a clock that is set by hand.
struct Story {
    machine: Machine,
    now: Instant,
}

impl Story {
    /// A group that knows where it stands: at the beginning, with nothing parked.
    fn of(settings: Settings) -> Self {
        let now = Instant::now();
        let mut machine = Machine::new(settings, now);
        machine.step(now, Input::Loaded { checkpoint: None, parked: None });
        Self { machine, now }
    }

    fn when(&mut self, input: Input) -> Vec<Output> {
        self.machine.step(self.now, input)
    }

    fn after(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.when(Input::Tick)
    }

    fn join(&mut self, consumer: ConsumerId, buffer: u32) -> Vec<Output> {
        self.when(Input::Joined { consumer, name: String::new(), buffer })
    }

    /// Reads these events of one stream; their places are their numbers.
    fn read(&mut self, numbers: impl IntoIterator<Item = u64>) -> Vec<Output> {
        self.read_of("s", numbers)
    }

    fn read_of(&mut self, stream: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Output> {
        let read = |place| Input::Read { place, message: message(stream, place, "") };
        numbers.into_iter().flat_map(|place| self.when(read(place))).collect()
    }

    fn ack(&mut self, consumer: ConsumerId, number: u64) -> Vec<Output> {
        self.when(Input::Acked { consumer, ids: vec![id(number)] })
    }

    fn nack(&mut self, consumer: ConsumerId, number: u64, action: NackAction) -> Vec<Output> {
        let reason = "no".to_owned();
        self.when(Input::Nacked { consumer, ids: vec![id(number)], action, reason })
    }
}

/// Who was given what, and after how many retries.
fn delivered(outputs: &[Output]) -> Vec<(ConsumerId, u64, u32)> {
    let of = |output: &Output| match output {
        Output::Deliver { consumer, message, retries } => {
            Some((*consumer, message.original().revision.get(), *retries))
        }
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

fn checkpoints(outputs: &[Output]) -> Vec<u64> {
    let of = |output: &Output| match output {
        Output::Checkpoint(place) => Some(*place),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

fn parked_key(outputs: &[Output]) -> Key {
    let of = |output: &Output| match output {
        Output::Park { key, .. } => Some(*key),
        _ => None,
    };
    outputs.iter().find_map(of).expect("a message is parked")
}

#[test]
fn a_consumer_gets_no_more_than_its_buffer() {
    let mut story = Story::of(settings(|_| {}));
    story.read(0..5);
    let given = story.join(FIRST, 2);
    assert_eq!(delivered(&given), [(FIRST, 0, 0), (FIRST, 1, 0)]);
    assert_eq!(delivered(&story.ack(FIRST, 1)), [(FIRST, 2, 0)]);
    assert_eq!(delivered(&story.ack(FIRST, 4)), [], "it does not have that one");
}

#[test]
fn a_group_reads_only_what_its_buffer_takes() {
    let mut story = Story::of(settings(|it| (it.read_batch_size, it.history_buffer_size) = (2, 5)));
    let mut read = 0;
    story.when(Input::Tick);
    while story.machine.wants_more() {
        story.read([read]);
        read += 1;
    }
    assert_eq!(read, 4, "a third batch does not fit");
    story.join(FIRST, 1);
    assert!(story.machine.wants_more(), "one is in flight, so a batch fits");
}

#[test]
fn live_another_buffer_counts() {
    let mut story = Story::of(settings(|it| it.live_buffer_size = 3));
    story.when(Input::CaughtUp);
    let mut read = 0;
    while story.machine.wants_more() {
        story.read([read]);
        read += 1;
    }
    // The batch that was asked for in the past is still taken.
    assert_eq!(read, u64::from(Settings::default().read_batch_size));
    story.join(FIRST, 18);
    assert!(story.machine.wants_more());
    story.read([read]);
    assert!(!story.machine.wants_more());
}

#[test]
fn a_group_that_holds_too_many_bytes_reads_no_more() {
    let mut story = Story::of(settings(|_| {}));
    story.when(Input::Tick);
    assert!(story.machine.wants_more());
    let mut event = message("s", 0, "").original().clone();
    event.data = Bytes::from(vec![0; GROUP_BYTES_HELD_IDLE]);
    story.when(Input::Read { place: 0, message: Message::event(event) });
    assert!(!story.machine.wants_more(), "nobody is there");
    story.join(FIRST, 1);
    assert!(story.machine.wants_more());
}

#[test]
fn a_checkpoint_never_passes_an_unfinished_message() {
    let mut story = Story::of(settings(|it| it.max_checkpoint_count = 1));
    story.join(FIRST, 10);
    story.read(0..4);
    assert_eq!(checkpoints(&story.ack(FIRST, 1)), NO_CHECKPOINT);
    assert_eq!(checkpoints(&story.ack(FIRST, 2)), NO_CHECKPOINT);
    assert_eq!(checkpoints(&story.ack(FIRST, 0)), [2]);
    assert_eq!(checkpoints(&story.ack(FIRST, 3)), NO_CHECKPOINT, "one is being written");
    assert_eq!(checkpoints(&story.when(Input::Checkpointed)), [3]);
}

#[test]
fn checkpoints_come_by_count_or_by_time() {
    let mut story = Story::of(settings(|it| {
        (it.min_checkpoint_count, it.max_checkpoint_count) = (2, 4);
    }));
    let wait = Settings::default().checkpoint_after;
    story.join(FIRST, 10);
    story.read(0..10);
    story.ack(FIRST, 0);
    assert_eq!(checkpoints(&story.after(wait)), NO_CHECKPOINT, "one is too few");
    assert_eq!(checkpoints(&story.ack(FIRST, 1)), [1], "the time is over");
    story.when(Input::Checkpointed);
    let acks: Vec<Output> = (2..6).flat_map(|number| story.ack(FIRST, number)).collect();
    assert_eq!(checkpoints(&acks), [5], "four are enough at any time");
    story.when(Input::Checkpointed);
    (6..8).for_each(|number| assert_eq!(checkpoints(&story.ack(FIRST, number)), NO_CHECKPOINT));
    assert_eq!(story.machine.wakes_at(), Some(story.now + wait));
    assert_eq!(checkpoints(&story.after(wait)), [7]);
    story.when(Input::Checkpointed);
    story.ack(FIRST, 8);
    assert_eq!(checkpoints(&story.machine.end(story.now)), [8], "in peace, however few");
}

#[test]
fn what_was_passed_over_counts_for_the_checkpoint() {
    let mut story = Story::of(settings(|it| it.max_checkpoint_count = 2));
    assert_eq!(checkpoints(&story.when(Input::Passed(500))), NO_CHECKPOINT);
    assert_eq!(checkpoints(&story.when(Input::Passed(900))), [900]);
}

#[test]
fn what_is_not_acknowledged_in_time_goes_to_another() {
    let mut story = Story::of(settings(|_| {}));
    story.join(FIRST, 1);
    story.read([0]);
    story.join(SECOND, 1);
    let outputs = story.after(Settings::default().message_timeout);
    assert_eq!(outputs[0], Output::Withdraw { consumer: FIRST, id: id(0) });
    assert_eq!(delivered(&outputs), [(SECOND, 0, 1)]);
    assert_eq!(story.ack(FIRST, 0), [], "it is too late");
    story.ack(SECOND, 0);
    assert_eq!(story.machine.backlog.unfinished(), 0);
}

#[test]
fn without_a_timeout_a_message_stays_where_it_is() {
    let mut story = Story::of(settings(|it| it.message_timeout = Duration::ZERO));
    story.join(FIRST, 1);
    story.read([0]);
    assert_eq!(story.after(Duration::from_secs(1_000_000)), []);
}

#[test]
fn each_refusal_has_its_end() {
    for (action, ends_as) in [
        (NackAction::Retry, "retried"),
        (NackAction::Unknown, "retried"),
        (NackAction::Park, "parked"),
        (NackAction::Skip, "finished"),
        (NackAction::Stop, "in flight"),
    ] {
        let mut story = Story::of(settings(|_| {}));
        story.join(FIRST, 1);
        story.read([0]);
        let outputs = story.nack(FIRST, 0, action);
        let seen = match outputs.as_slice() {
            [Output::Deliver { retries: 1, .. }] => "retried",
            [Output::Park { reason, .. }] if reason == "no" => "parked",
            [] if story.machine.backlog.unfinished() == 0 => "finished",
            [] if story.machine.backlog.in_flight() == 1 => "in flight",
            other => panic!("{action:?}: {other:?}"),
        };
        assert_eq!(seen, ends_as, "{action:?}");
    }
}

#[test]
fn what_is_retried_too_often_is_parked() {
    let mut story = Story::of(settings(|it| it.max_retry_count = 2));
    story.join(FIRST, 1);
    story.read([0]);
    assert_eq!(delivered(&story.nack(FIRST, 0, NackAction::Retry)), [(FIRST, 0, 1)]);
    assert_eq!(delivered(&story.nack(FIRST, 0, NackAction::Retry)), [(FIRST, 0, 2)]);
    let outputs = story.nack(FIRST, 0, NackAction::Retry);
    assert_eq!(parked_key(&outputs), Key::Read(1));
}

#[test]
fn a_checkpoint_waits_until_a_message_is_parked() {
    let mut story = Story::of(settings(|it| it.max_checkpoint_count = 1));
    story.join(FIRST, 1);
    story.read([0]);
    let outputs = story.nack(FIRST, 0, NackAction::Park);
    assert_eq!(checkpoints(&outputs), NO_CHECKPOINT);
    let (key, at) = (parked_key(&outputs), Utc::now());
    assert_eq!(checkpoints(&story.when(Input::Parked { key, revision: 0, at })), [0]);
    let told = story.machine.snapshot(story.now);
    assert_eq!((told.parked, told.oldest_parked), (1, Some(at)));
}

#[test]
fn a_consumer_that_goes_gives_back_what_it_had() {
    let mut story = Story::of(settings(|_| {}));
    story.join(FIRST, 3);
    story.read(0..4);
    story.ack(FIRST, 1);
    story.join(SECOND, 3);
    let outputs = story.when(Input::Left(FIRST));
    assert_eq!(delivered(&outputs), [(SECOND, 0, 1), (SECOND, 2, 1), (SECOND, 3, 1)]);
    assert_eq!(story.ack(FIRST, 0), []);
}

#[test]
fn consumers_take_turns() {
    let mut story = Story::of(settings(|it| it.strategy = Strategy::RoundRobin));
    story.join(FIRST, 2);
    story.join(SECOND, 10);
    let given: Vec<_> = delivered(&story.read(0..6)).iter().map(|it| it.0).collect();
    assert_eq!(given, [FIRST, SECOND, FIRST, SECOND, SECOND, SECOND]);
}

#[test]
fn one_consumer_gets_all_until_it_is_full() {
    let mut story = Story::of(settings(|it| it.strategy = Strategy::DispatchToSingle));
    story.join(FIRST, 2);
    story.join(SECOND, 10);
    let given: Vec<_> = delivered(&story.read(0..4)).iter().map(|it| it.0).collect();
    assert_eq!(given, [FIRST, FIRST, SECOND, SECOND]);
    assert_eq!(delivered(&story.ack(FIRST, 0)), []);
    assert_eq!(delivered(&story.read([4])), [(FIRST, 4, 0)]);
}

#[test]
fn a_stream_is_pinned_to_who_has_some_of_it() {
    let mut story = Story::of(settings(|it| it.strategy = Strategy::Pinned));
    story.join(FIRST, 2);
    story.read_of("a", [0]);
    for number in 2..20 {
        story.join(ConsumerId(number), 100);
    }
    assert_eq!(delivered(&story.read_of("a", [1])), [(FIRST, 1, 0)]);
    assert_eq!(delivered(&story.read_of("a", [2, 3])), [], "they wait for who is full");
    let others: Vec<Output> =
        (4..40).flat_map(|number| story.read_of(&format!("b{number}"), [number])).collect();
    let others = delivered(&others);
    assert!(others.len() > 30, "other streams go on: {others:?}");
    assert_eq!(delivered(&story.ack(FIRST, 0)), [(FIRST, 2, 0)]);
    let moved = delivered(&story.when(Input::Left(FIRST)));
    let of_a: Vec<_> = moved.iter().filter(|it| it.1 < 4).collect();
    assert_eq!(of_a.iter().map(|it| it.1).collect::<Vec<_>>(), [1, 2, 3], "in order");
    assert!(of_a.iter().all(|it| it.0 == of_a[0].0), "to one consumer: {of_a:?}");
}

#[test]
fn a_correlation_is_pinned_over_streams() {
    let mut story = Story::of(settings(|it| it.strategy = Strategy::PinnedByCorrelation));
    (1..9).for_each(|number| drop(story.join(ConsumerId(number), 100)));
    let mut to = |place, stream, metadata| {
        let message = message(stream, place, metadata);
        delivered(&story.when(Input::Read { place, message }))[0].0
    };
    let one = to(0, "a", r#"{"$correlationId":"one"}"#);
    assert_eq!(to(1, "b", r#"{"$correlationId":"one","x":1}"#), one);
    let plain = to(2, "c", "");
    assert_eq!(to(3, "c", "not JSON"), plain);
    let spread: std::collections::BTreeSet<_> = (4..40)
        .map(|place| to(place, Box::leak(format!("d{place}").into_boxed_str()), ""))
        .collect();
    assert!(spread.len() > 4, "{spread:?}");
}

#[test]
fn two_messages_with_one_id_are_not_in_flight_at_once() {
    let mut story = Story::of(settings(|_| {}));
    story.join(FIRST, 10);
    let twice = |place| Input::Read { place, message: message("s", 7, "") };
    assert_eq!(delivered(&story.when(twice(0))).len(), 1);
    assert_eq!(delivered(&story.when(twice(1))).len(), 0);
    assert_eq!(delivered(&story.ack(FIRST, 7)).len(), 1);
    story.ack(FIRST, 7);
    assert_eq!(story.machine.backlog.unfinished(), 0);
}

#[test]
fn parked_messages_come_first_and_leave_when_they_are_finished() {
    let now = Instant::now();
    let mut machine = Machine::new(settings(|it| it.read_batch_size = 2), now);
    let parked = ParkedRange { first: 5, next: 8, oldest: Utc::now() };
    machine.step(now, Input::Loaded { checkpoint: Some(41), parked: Some(parked) });
    let mut story = Story { machine, now };
    story.read([42]);
    let asked = story.when(Input::Replay { before: None });
    assert_eq!(asked, [Output::ReadParked { from: 5, count: 2 }]);
    assert_eq!(story.machine.snapshot(now).status, Status::ReplayingParkedMessages);
    let read = |from: u64, until| Input::ParkedRead {
        messages: (from..until).map(|number| (number, message("p", number, ""))).collect(),
        next: until,
    };
    assert_eq!(story.when(read(5, 7)), [Output::ReadParked { from: 7, count: 1 }]);
    assert_eq!(story.when(read(7, 8)), []);
    let given: Vec<_> = delivered(&story.join(FIRST, 10)).iter().map(|it| it.1).collect();
    assert_eq!(given, [5, 6, 7, 42]);
    assert_eq!(story.ack(FIRST, 6), []);
    assert_eq!(story.ack(FIRST, 5), [], "the rest will be soon, or the time over");
    let outputs = story.after(Settings::default().checkpoint_after);
    assert_eq!(outputs, [Output::Truncate(7)]);
    story.when(Input::Truncated { before: 7, oldest: Some(parked.oldest) });
    assert_eq!(story.machine.snapshot(story.now).parked, 1);
    assert_eq!(story.ack(FIRST, 7), [Output::Truncate(8)]);
    story.when(Input::Truncated { before: 8, oldest: None });
    assert_eq!(story.machine.snapshot(story.now).parked, 0);
}

#[test]
fn a_replay_of_some_ends_before_a_revision() {
    let now = Instant::now();
    let mut machine = Machine::new(settings(|_| {}), now);
    let parked = ParkedRange { first: 5, next: 500, oldest: Utc::now() };
    machine.step(now, Input::Loaded { checkpoint: None, parked: Some(parked) });
    assert_eq!(machine.step(now, Input::Replay { before: Some(5) }), [], "none is before it");
    let asked = machine.step(now, Input::Replay { before: Some(8) });
    assert_eq!(asked, [Output::ReadParked { from: 5, count: 3 }]);
}

/// A group with these parked, which a consumer replays the first of.
fn replaying(first: u64, next: u64) -> Story {
    let now = Instant::now();
    let mut machine = Machine::new(settings(|it| it.read_batch_size = 2), now);
    let parked = ParkedRange { first, next, oldest: Utc::now() };
    machine.step(now, Input::Loaded { checkpoint: None, parked: Some(parked) });
    let mut story = Story { machine, now };
    story.join(FIRST, 1);
    story.when(Input::Replay { before: None });
    let messages = (first..first + 2).map(|number| (number, message("p", number, ""))).collect();
    story.when(Input::ParkedRead { messages, next: first + 2 });
    story
}

#[test]
fn what_is_discarded_is_gone_at_once_but_for_what_a_consumer_has() {
    let mut story = replaying(5, 12);
    // 5 is in flight, 6 is ready, 7 and 8 are being read, the others wait.
    let outputs = story.when(Input::Discard { before: Some(10) });
    assert_eq!(outputs, [Output::Truncate(10)]);
    assert_eq!(story.machine.snapshot(story.now).parked, 2, "10 and 11");
    story.when(Input::Truncated { before: 10, oldest: Some(Utc::now()) });
    let messages = vec![(7, message("p", 7, "")), (8, message("p", 8, ""))];
    let outputs = story.when(Input::ParkedRead { messages, next: 9 });
    assert_eq!(outputs, [Output::ReadParked { from: 10, count: 2 }], "the replay goes on behind");
    assert_eq!(delivered(&story.nack(FIRST, 5, NackAction::Retry)), [(FIRST, 5, 1)]);
    assert_eq!(story.ack(FIRST, 5), [], "and nobody gets 6");
    let outputs = story.when(Input::ParkedRead {
        messages: vec![(10, message("p", 10, "")), (11, message("p", 11, ""))],
        next: 12,
    });
    assert_eq!(delivered(&outputs), [(FIRST, 10, 0)]);
}

#[test]
fn what_is_discarded_while_others_go_goes_right_after() {
    let mut story = replaying(0, 4);
    assert_eq!(story.when(Input::Discard { before: Some(1) }), [Output::Truncate(1)]);
    assert_eq!(story.when(Input::Discard { before: None }), [], "one at a time");
    assert_eq!(story.machine.snapshot(story.now).parked, 0);
    assert_eq!(story.machine.snapshot(story.now).oldest_parked, None);
    let outputs = story.when(Input::Truncated { before: 1, oldest: None });
    assert_eq!(outputs, [Output::Truncate(4)]);
    story.when(Input::Truncated { before: 4, oldest: None });
    assert!(story.machine.wakes_at().is_none_or(|at| at > story.now), "nothing is due");
}

/// Given a group that does not know yet what is parked, when some is to be replayed and some to go,
/// then that is done once it knows.
#[test]
fn what_is_asked_before_a_group_is_ready_is_done_then() {
    let now = Instant::now();
    let mut machine = Machine::new(settings(|_| {}), now);
    assert_eq!(machine.step(now, Input::Discard { before: Some(7) }), []);
    assert_eq!(machine.step(now, Input::Replay { before: None }), []);
    assert_eq!(machine.wakes_at(), None);
    let parked = ParkedRange { first: 5, next: 9, oldest: Utc::now() };
    let outputs = machine.step(now, Input::Loaded { checkpoint: None, parked: Some(parked) });
    assert_eq!(outputs, [Output::ReadParked { from: 7, count: 2 }, Output::Truncate(7)]);
    let mut empty = Machine::new(settings(|_| {}), now);
    empty.step(now, Input::Discard { before: None });
    assert_eq!(empty.step(now, Input::Loaded { checkpoint: None, parked: None }), []);
    assert_eq!(empty.snapshot(now).parked, 0);
}

#[test]
fn a_parked_message_that_is_parked_again_goes_to_the_end() {
    let now = Instant::now();
    let mut machine = Machine::new(settings(|_| {}), now);
    let parked = ParkedRange { first: 0, next: 1, oldest: Utc::now() };
    machine.step(now, Input::Loaded { checkpoint: None, parked: Some(parked) });
    let mut story = Story { machine, now };
    story.join(FIRST, 1);
    story.when(Input::Replay { before: None });
    story.when(Input::ParkedRead { messages: vec![(0, message("p", 0, ""))], next: 1 });
    let key = parked_key(&story.nack(FIRST, 0, NackAction::Park));
    let outputs = story.when(Input::Parked { key, revision: 1, at: Utc::now() });
    assert_eq!(outputs, [Output::Truncate(1)], "and is not replayed by the same replay");
    story.when(Input::Truncated { before: 1, oldest: None });
    assert_eq!(story.machine.snapshot(now).parked, 1);
}

#[test]
fn statistics_count_what_was_processed() {
    let mut story = Story::of(settings(|it| it.extra_statistics = true));
    story.join(FIRST, 2);
    story.join(SECOND, 2);
    story.read(0..5);
    story.now += Duration::from_millis(500);
    story.ack(FIRST, 0);
    let told = story.machine.snapshot(story.now);
    assert_eq!((told.total, told.since_last, told.average_per_second), (1, 1, 2));
    assert_eq!((told.in_flight, told.fresh, told.last_known), (4, 0, Some(4)));
    let [first, second] = told.consumers.as_slice() else { panic!("two are told of") };
    assert_eq!((first.total, second.total), (1, 0));
    assert_eq!((first.in_flight, first.available), (2, 0));
    assert!(first.measurements.iter().all(|it| it.millis == 500));
    assert_eq!(first.measurements.len(), 14);
    assert_eq!(story.machine.snapshot(story.now).since_last, 0);
}
