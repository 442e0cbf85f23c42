//! Which runs are at work, and when those that wait are looked at again.
//!
//! A run that waits is an entry here and nothing else: no task, and no look at its stream until
//! its time has come or something has come in for it.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use event_store::StreamName;

/// When a run is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It is over.
    Over,
    /// When something comes in.
    Asleep,
    /// Then, or when something comes in.
    Until(DateTime<Utc>),
    /// Then, as somebody outside can't be reached before.
    Outside(DateTime<Utc>),
    /// When an operator lets it go on.
    Paused,
}

/// How many runs go on only by what others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those that wait for an operator.
    pub paused: usize,
    /// Those that wait for somebody outside who can't be reached.
    pub outside: usize,
}

/// What is at work, and what waits until when.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Those at work, and whether something has come in since they began.
    working: HashMap<StreamName, bool>,
    waiting: HashMap<StreamName, DateTime<Utc>>,
    by_time: BTreeSet<(DateTime<Utc>, StreamName)>,
    /// As each had come to a stop the last time.
    paused: HashSet<StreamName>,
    outside: HashSet<StreamName>,
}

impl Agenda {
    /// A run has to be looked at: whether it is to begin. If not, it is at work, and is looked at
    /// once more when it comes to a stop.
    pub(crate) fn begin(&mut self, run: &StreamName) -> bool {
        if let Some(again) = self.working.get_mut(run) {
            *again = true;
            return false;
        }
        if let Some(at) = self.waiting.remove(run) {
            self.by_time.remove(&(at, run.clone()));
        }
        self.working.insert(run.clone(), false);
        true
    }

    /// A run has come to a stop: whether it is to begin again at once.
    pub(crate) fn stopped(&mut self, run: &StreamName, pace: Pace) -> bool {
        if self.working.remove(run) == Some(true) {
            return self.begin(run);
        }
        self.paused.remove(run);
        self.outside.remove(run);
        match pace {
            Pace::Paused => self.paused.insert(run.clone()),
            Pace::Outside(_) => self.outside.insert(run.clone()),
            _ => false,
        };
        if let Pace::Until(at) | Pace::Outside(at) = pace {
            self.waiting.insert(run.clone(), at);
            self.by_time.insert((at, run.clone()));
        }
        false
    }

    /// How many wait for others.
    pub(crate) fn held(&self) -> Held {
        Held { paused: self.paused.len(), outside: self.outside.len() }
    }

    /// When the first of those that wait is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// One that is due by now.
    pub(crate) fn due(&self, now: DateTime<Utc>) -> Option<StreamName> {
        self.by_time.first().filter(|(at, _)| *at <= now).map(|(_, run)| run.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_that_wait_for_others_are_counted_until_they_come_to_another_stop() {
        let mut agenda = Agenda::default();
        let [ada, bob] = ["saga-ada", "saga-bob"].map(|name| StreamName::new(name).unwrap());
        assert!(agenda.begin(&ada) && agenda.begin(&bob));
        agenda.stopped(&ada, Pace::Paused);
        agenda.stopped(&bob, Pace::Outside(DateTime::UNIX_EPOCH));
        assert_eq!(agenda.held(), Held { paused: 1, outside: 1 });
        assert_eq!(agenda.due(DateTime::UNIX_EPOCH), Some(bob.clone()));
        assert!(agenda.begin(&ada) && agenda.begin(&bob));
        assert_eq!(agenda.held(), Held { paused: 1, outside: 1 }, "it may well stop there again");
        agenda.stopped(&ada, Pace::Over);
        agenda.stopped(&bob, Pace::Asleep);
        assert_eq!(agenda.held(), Held::default());
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_and_nothing_begins_twice(
            steps in proptest::collection::vec((0_u8..3, 0_u8..4, 0_i64..50), 0..80)
        ) {
            let mut agenda = Agenda::default();
            // By run: whether it is at work, whether something came in, until when it waits.
            let mut expected: HashMap<u8, (bool, bool, Option<i64>)> = HashMap::new();
            for (what, number, second) in steps {
                let run = StreamName::new(format!("saga-{number}")).unwrap();
                let at = |second| DateTime::from_timestamp(second, 0).unwrap();
                let (working, news, until) = expected.entry(number).or_default();
                match what {
                    0 => {
                        prop_assert_eq!(agenda.begin(&run), !*working);
                        (*news, *working, *until) = (*working, true, None);
                    }
                    1 if *working => {
                        prop_assert_eq!(agenda.stopped(&run, Pace::Until(at(second))), *news);
                        *until = (!*news).then_some(second);
                        (*working, *news) = (*news, false);
                    }
                    _ => while let Some(due) = agenda.due(at(second)) {
                        prop_assert!(agenda.begin(&due));
                        let number: u8 = due.as_str()["saga-".len()..].parse().unwrap();
                        let (working, _, until) = expected.get_mut(&number).unwrap();
                        prop_assert!(until.take().is_some_and(|until| until <= second));
                        *working = true;
                    }
                }
                let first = expected.values().filter_map(|(_, _, until)| *until).min();
                prop_assert_eq!(agenda.next(), first.map(at));
            }
        }
    }
}
