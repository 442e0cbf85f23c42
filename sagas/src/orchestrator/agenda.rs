//! Which runs are at work, and when those that wait are looked at again.
//!
//! A run that waits is an entry here and nothing else: no task, and no look at its stream until
//! its time has come or something has come in for it.

use std::collections::{BTreeSet, HashMap};

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
}

/// What is at work, and what waits until when.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Those at work, and whether something has come in since they began.
    working: HashMap<StreamName, bool>,
    waiting: HashMap<StreamName, DateTime<Utc>>,
    by_time: BTreeSet<(DateTime<Utc>, StreamName)>,
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
        if let Pace::Until(at) = pace {
            self.waiting.insert(run.clone(), at);
            self.by_time.insert((at, run.clone()));
        }
        false
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
