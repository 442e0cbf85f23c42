//! Whatever consumers do, and whenever the group is killed: every message is finished at last, no
//! checkpoint passes an unfinished one, and nobody gets more than its buffer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::Utc;
use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::tests::{id, message};
use super::*;
use crate::persistent::settings::Strategy;

/// Something that happens to a group.
#[derive(Clone, Debug)]
enum Happening {
    Read(u8),
    Join(u32),
    Leave(usize),
    Ack(usize),
    Nack(usize, NackAction),
    Wait(u64),
    Replay(Option<u64>),
    Discard(Option<u64>),
    /// The writes that were asked for are done.
    Write,
    /// The group is gone, and with it what was not written; it comes back.
    Kill,
}

fn happening() -> impl Generator<Value = Happening> {
    prop_oneof![
        4 => (1_u8..30).prop_map(Happening::Read),
        2 => (1_u32..6).prop_map(Happening::Join),
        1 => any::<usize>().prop_map(Happening::Leave),
        8 => any::<usize>().prop_map(Happening::Ack),
        4 => (any::<usize>(), nack_action()).prop_map(|(n, action)| Happening::Nack(n, action)),
        2 => (0_u64..40).prop_map(Happening::Wait),
        1 => proptest::option::of(0_u64..40).prop_map(Happening::Replay),
        1 => proptest::option::of(0_u64..40).prop_map(Happening::Discard),
        4 => Just(Happening::Write),
        1 => Just(Happening::Kill),
    ]
}

fn nack_action() -> impl Generator<Value = NackAction> {
    prop_oneof![
        Just(NackAction::Unknown),
        Just(NackAction::Park),
        Just(NackAction::Retry),
        Just(NackAction::Skip),
        Just(NackAction::Stop),
    ]
}

fn settings() -> impl Generator<Value = Settings> {
    let strategy = prop_oneof![
        Just(Strategy::DispatchToSingle),
        Just(Strategy::RoundRobin),
        Just(Strategy::Pinned),
    ];
    let sizes = (1_u32..5, 5_u32..9, 1_u32..9);
    (strategy, sizes, 0_u32..4, 1_u32..5, 1_u32..9).prop_map(
        |(strategy, (batch, history, live), retries, min, max)| Settings {
            strategy,
            read_batch_size: batch,
            history_buffer_size: history,
            live_buffer_size: live,
            max_retry_count: retries,
            min_checkpoint_count: min,
            max_checkpoint_count: max,
            message_timeout: Duration::from_secs(30),
            ..Settings::default()
        },
    )
}

/// A group, the store it keeps things in, and all that is known of its messages.
struct World {
    settings: Settings,
    now: Instant,
    machine: Machine,
    /// Who is there, with its buffer and what it has in flight.
    consumers: BTreeMap<ConsumerId, (u32, BTreeSet<u64>)>,
    next_consumer: u64,
    /// The next place of the source.
    next: u64,
    /// Acknowledged or skipped.
    finished: BTreeSet<u64>,
    checkpoint: Option<u64>,
    /// The parked messages that are there: revision to message.
    parked: BTreeMap<u64, u64>,
    next_parked: u64,
    waiting: Vec<Output>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut world = Self {
            machine: Machine::new(settings.clone(), now),
            settings,
            now,
            consumers: BTreeMap::new(),
            next_consumer: 0,
            next: 0,
            finished: BTreeSet::new(),
            checkpoint: None,
            parked: BTreeMap::new(),
            next_parked: 0,
            waiting: Vec::new(),
        };
        world.kill();
        world
    }

    fn kill(&mut self) {
        self.machine = Machine::new(self.settings.clone(), self.now);
        self.consumers.clear();
        self.waiting.clear();
        self.next = self.checkpoint.map_or(0, |place| place + 1);
        let first = self.parked.keys().next().copied();
        let parked =
            first.map(|first| ParkedRange { first, next: self.next_parked, oldest: Utc::now() });
        self.tell(Input::Loaded { checkpoint: self.checkpoint, parked });
        self.tell(Input::CaughtUp);
    }

    fn tell(&mut self, input: Input) {
        let outputs = self.machine.step(self.now, input);
        for output in outputs {
            match &output {
                Output::Deliver { consumer, message, .. } => {
                    let number = message.original().revision.get();
                    let (buffer, flying) = self.consumers.get_mut(consumer).expect("it is there");
                    assert!(flying.insert(number), "{number} is in flight twice");
                    assert!(flying.len() <= *buffer as usize, "more than its buffer");
                }
                Output::Withdraw { consumer, id: withdrawn } => {
                    let (_, flying) = self.consumers.get_mut(consumer).expect("it is there");
                    flying.retain(|number| id(*number) != *withdrawn);
                }
                _ => self.waiting.push(output),
            }
        }
        self.check_pins();
    }

    /// Messages of one stream are with one consumer.
    fn check_pins(&self) {
        if self.settings.strategy != Strategy::Pinned {
            return;
        }
        let mut holders = BTreeMap::new();
        for (consumer, (_, flying)) in &self.consumers {
            for number in flying {
                let holder = holders.entry(stream(*number)).or_insert(*consumer);
                assert_eq!(holder, consumer, "{number} is of a stream that another has");
            }
        }
    }

    fn write(&mut self) {
        for output in std::mem::take(&mut self.waiting) {
            match output {
                Output::Park { key, message, .. } => {
                    let revision = self.next_parked;
                    self.next_parked += 1;
                    self.parked.insert(revision, message.original().revision.get());
                    self.tell(Input::Parked { key, revision, at: Utc::now() });
                }
                Output::Checkpoint(place) => {
                    let safe = |number| self.finished.contains(&number) || self.is_parked(number);
                    assert!((0..=place).all(safe), "{place} passes an unfinished message");
                    assert!(self.checkpoint < Some(place), "checkpoints go on");
                    self.checkpoint = Some(place);
                    self.tell(Input::Checkpointed);
                }
                Output::ReadParked { from, count } => {
                    let next = from + count;
                    let of = |(revision, number): (&u64, &u64)| (*revision, numbered(*number));
                    let messages = self.parked.range(from..next).map(of).collect();
                    self.tell(Input::ParkedRead { messages, next });
                }
                Output::Truncate(before) => {
                    let rest = self.parked.split_off(&before);
                    for number in std::mem::replace(&mut self.parked, rest).values() {
                        let kept = self.finished.contains(number) || self.is_parked(*number);
                        assert!(kept, "{number} left the parked ones unfinished");
                    }
                    let oldest = (!self.parked.is_empty()).then(Utc::now);
                    self.tell(Input::Truncated { before, oldest });
                }
                Output::Deliver { .. } | Output::Withdraw { .. } => unreachable!("they are done"),
            }
        }
    }

    fn is_parked(&self, number: u64) -> bool {
        self.parked.values().any(|parked| *parked == number)
    }

    fn happen(&mut self, happening: Happening, last: u64) {
        match happening {
            Happening::Read(count) => {
                for _ in 0..count {
                    if self.next < last && self.machine.wants_more() {
                        let (place, message) = (self.next, numbered(self.next));
                        self.next += 1;
                        self.tell(Input::Read { place, message });
                    }
                }
            }
            Happening::Join(buffer) => {
                let consumer = ConsumerId(self.next_consumer);
                self.next_consumer += 1;
                self.consumers.insert(consumer, (buffer, BTreeSet::new()));
                self.tell(Input::Joined { consumer, name: String::new(), buffer });
            }
            Happening::Leave(which) => {
                if let Some(consumer) = nth(self.consumers.keys().copied(), which) {
                    self.consumers.remove(&consumer);
                    self.tell(Input::Left(consumer));
                }
            }
            Happening::Ack(which) => {
                if let Some((consumer, number)) = self.take(which) {
                    self.finished.insert(number);
                    self.tell(Input::Acked { consumer, ids: vec![id(number)] });
                }
            }
            Happening::Nack(_, NackAction::Stop) => {}
            Happening::Nack(which, action) => {
                if let Some((consumer, number)) = self.take(which) {
                    if action == NackAction::Skip {
                        self.finished.insert(number);
                    }
                    let (ids, reason) = (vec![id(number)], String::new());
                    self.tell(Input::Nacked { consumer, ids, action, reason });
                }
            }
            Happening::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.tell(Input::Tick);
            }
            Happening::Replay(before) => self.tell(Input::Replay { before }),
            Happening::Discard(before) => {
                let gone = self.parked.range(..before.unwrap_or(u64::MAX));
                self.finished.extend(gone.map(|(_, number)| *number));
                self.tell(Input::Discard { before });
            }
            Happening::Write => self.write(),
            Happening::Kill => self.kill(),
        }
    }

    /// Takes a message in flight from who has it.
    fn take(&mut self, which: usize) -> Option<(ConsumerId, u64)> {
        let flying = self
            .consumers
            .iter()
            .flat_map(|(consumer, (_, flying))| flying.iter().map(|number| (*consumer, *number)));
        let (consumer, number) = nth(flying.collect::<Vec<_>>().into_iter(), which)?;
        self.consumers.get_mut(&consumer)?.1.remove(&number);
        Some((consumer, number))
    }
}

fn stream(number: u64) -> u64 {
    number % 5
}

fn numbered(number: u64) -> Message {
    message(&format!("s{}", stream(number)), number, "")
}

fn nth<T>(of: impl Iterator<Item = T> + Clone, which: usize) -> Option<T> {
    let count = of.clone().count();
    of.clone().nth(which.checked_rem(count)?)
}

proptest! {
    #[test]
    fn every_message_is_finished_at_last(
        settings in settings(),
        happenings in proptest::collection::vec(happening(), 0..150),
    ) {
        const LAST: u64 = 60;
        let mut world = World::new(settings);
        for happening in happenings {
            world.happen(happening, LAST);
        }
        // From here on there are consumers that do their work.
        world.happen(Happening::Join(3), LAST);
        for round in 0.. {
            prop_assert!(round < 1000, "it comes to an end");
            world.happen(Happening::Read(30), LAST);
            while let Some((consumer, number)) = world.take(0) {
                world.finished.insert(number);
                world.tell(Input::Acked { consumer, ids: vec![id(number)] });
            }
            world.write();
            world.happen(Happening::Wait(3), LAST);
            let idle = world.waiting.is_empty() && world.machine.backlog.unfinished() == 0;
            if world.next == LAST && idle {
                break;
            }
        }
        for number in 0..LAST {
            let done = world.finished.contains(&number) || world.is_parked(number);
            prop_assert!(done, "{number} is lost");
        }
        let outputs = world.machine.end(world.now);
        let kept = outputs.iter().find_map(|output| match output {
            Output::Checkpoint(place) => Some(*place),
            _ => None,
        });
        prop_assert_eq!(kept.or(world.checkpoint), Some(LAST - 1));
    }
}
