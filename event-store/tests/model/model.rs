//! The model: what an event store does, said as plainly as possible.

mod several;

use std::collections::{BTreeMap, BTreeSet};

use event_store::ExpectedRevision;

pub use several::{MultiOutcome, MultiRefusal};

/// The revision of a tombstone, and `$tb` of a deleted stream.
const LARGEST: u64 = i64::MAX as u64;

/// Last revision and position, or why not.
pub type Outcome = Result<(Option<u64>, Option<u64>), Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Wrong(Option<u64>),
    Deleted,
    Missing,
}

/// All streams, and the order of all events.
#[derive(Clone, Debug, Default)]
pub struct Model {
    log: Vec<(String, u64)>,
    /// The positions of events that were reclaimed.
    reclaimed: BTreeSet<u64>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    /// Number and position of each event; the revision is the place.
    events: Vec<(u64, u64)>,
    /// Before this revision there is nothing any more: an event was reclaimed, or hidden before one
    /// that was.
    first_left: usize,
    /// The revisions of events that were reclaimed.
    gone: BTreeSet<u64>,
    tombstoned: bool,
    metadata_events: u64,
    max_count: Option<u64>,
    truncate_before: Option<u64>,
}

impl Stream {
    /// Before this revision no reader sees anything, by what is said of the stream now.
    fn first_visible(&self) -> u64 {
        let behind = self.events.len() as u64;
        let counted = self.max_count.map_or(0, |count| behind.saturating_sub(count));
        counted.max(self.truncate_before.unwrap_or(0))
    }

    fn deleted(&self) -> bool {
        self.truncate_before == Some(LARGEST)
    }

    fn last(&self) -> Option<u64> {
        (self.events.len() as u64).checked_sub(1)
    }
}

impl Model {
    /// Position, stream and revision of every event that was not reclaimed.
    pub fn log(&self) -> Vec<(u64, String, u64)> {
        let events = (1..).zip(&self.log);
        let left = events.filter(|(position, _)| !self.reclaimed.contains(position));
        left.map(|(position, (name, revision))| (position, name.clone(), *revision)).collect()
    }

    /// Reclaims all events but those at these positions; they must be hidden.
    pub fn reclaim_all_but(&mut self, left: &BTreeSet<u64>) {
        for (position, name, revision) in self.log() {
            if left.contains(&position) {
                continue;
            }
            assert!(self.may_go(&name, revision), "{name} {revision} was not to go");
            self.reclaimed.insert(position);
            if let Some(stream) = self.streams.get_mut(&name) {
                stream.gone.insert(revision);
                stream.first_left = stream.first_left.max(revision as usize + 1);
            }
        }
    }

    /// Whether no reader can see this event any more, and nothing needs it.
    fn may_go(&self, name: &str, revision: u64) -> bool {
        let stream = &self.streams[name.strip_prefix("$$").unwrap_or(name)];
        if name.starts_with("$$") {
            return revision + 1 < stream.metadata_events;
        }
        if revision == LARGEST || stream.tombstoned {
            return revision != LARGEST;
        }
        stream.last().is_some_and(|last| revision < last) && revision < stream.first_visible()
    }

    /// Whether the event at this position was not reclaimed.
    pub fn has(&self, position: u64) -> bool {
        !self.reclaimed.contains(&position)
    }

    /// The positions of all events of a category.
    pub fn category(&self, name: &str) -> Vec<u64> {
        self.positions(|stream, _| {
            !stream.starts_with('$') && stream.split_once('-').is_some_and(|it| it.0 == name)
        })
    }

    /// The positions of all events of a type.
    pub fn of_type(&self, name: &str) -> Vec<u64> {
        self.positions(|stream, revision| {
            let own = match revision {
                LARGEST => "$streamDeleted",
                _ if stream.starts_with("$$") => "$metadata",
                _ => "Numbered",
            };
            own == name
        })
    }

    fn positions(&self, has: impl Fn(&str, u64) -> bool) -> Vec<u64> {
        let log = (1..).zip(&self.log);
        log.filter(|(_, (stream, revision))| has(stream, *revision)).map(|it| it.0).collect()
    }

    /// The revision that comes next.
    pub fn behind(&self, name: &str) -> u64 {
        self.streams.get(name).map_or(0, |stream| stream.events.len() as u64)
    }

    /// The numbers of all events of a stream.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        let stream = self.streams.get(name);
        stream.map_or_else(Vec::new, |stream| stream.events.iter().map(|event| event.0).collect())
    }

    /// The numbers of the events that a reader of the stream gets.
    pub fn visible(&self, name: &str) -> Result<Vec<u64>, Refusal> {
        let stream = self.streams.get(name).ok_or(Refusal::Missing)?;
        if stream.tombstoned {
            return Err(Refusal::Deleted);
        }
        if stream.events.is_empty() || stream.deleted() {
            return Err(Refusal::Missing);
        }
        let all = self.numbers(name);
        let first = (stream.first_visible() as usize).max(stream.first_left).min(all.len());
        Ok(all[first..].to_vec())
    }

    /// What an append of events with these numbers does.
    pub fn append(&mut self, name: &str, expected: ExpectedRevision, numbers: &[u64]) -> Outcome {
        let stream = self.streams.entry(name.to_owned()).or_default().clone();
        if let Some(done) = Self::decide(&stream, expected, numbers)? {
            return Ok(done);
        }
        if numbers.is_empty() {
            return Ok((stream.last(), None));
        }
        for &number in numbers {
            self.put_event(name, number);
        }
        let stream = self.stream(name);
        Ok((stream.last(), stream.events.last().map(|event| event.1)))
    }

    /// What a deletion does.
    pub fn delete(&mut self, name: &str, expected: ExpectedRevision) -> Outcome {
        let stream = self.streams.entry(name.to_owned()).or_default().clone();
        Self::decide(&stream, expected, &[u64::MAX])?;
        if stream.events.is_empty() && stream.metadata_events == 0 {
            return Err(Refusal::Wrong(None));
        }
        let (_, position) = self.put_metadata(name, None, Some(LARGEST));
        Ok((stream.last(), Some(position)))
    }

    /// What a deletion for good does.
    pub fn tombstone(&mut self, name: &str) -> Outcome {
        if self.stream(name).tombstoned {
            return Err(Refusal::Deleted);
        }
        self.stream(name).tombstoned = true;
        let position = self.put(name.to_owned(), LARGEST);
        Ok((Some(LARGEST), Some(position)))
    }

    /// What new metadata do.
    pub fn set_metadata(
        &mut self,
        name: &str,
        max_count: Option<u64>,
        truncate_before: Option<u64>,
    ) -> Outcome {
        let stream = self.streams.entry(name.to_owned()).or_default().clone();
        let mut done = self.put_metadata(name, max_count, truncate_before);
        let opens_nowhere = truncate_before.is_none_or(|before| before == LARGEST);
        if stream.deleted() && !stream.tombstoned && opens_nowhere {
            done = self.put_metadata(name, max_count, Some(stream.events.len() as u64));
        }
        Ok((Some(done.0), Some(done.1)))
    }

    /// The answer of the first time for a retry, nothing for what is new.
    #[expect(clippy::type_complexity, reason = "an answer is a pair, and there may be none")]
    fn decide(
        stream: &Stream,
        expected: ExpectedRevision,
        numbers: &[u64],
    ) -> Result<Option<(Option<u64>, Option<u64>)>, Refusal> {
        let wrong = Err(Refusal::Wrong(stream.last()));
        if stream.tombstoned {
            return Err(Refusal::Deleted);
        }
        // An event may be there twice: appended again with one before it that was reclaimed.
        let newest = |number: &u64| {
            let events = stream.events.iter().enumerate();
            let is = |at: usize| !stream.gone.contains(&(at as u64));
            events.rev().find(|(at, event)| event.0 == *number && is(*at)).map(|(at, _)| at)
        };
        let behind = stream.events.len() as u64;
        let from = match expected {
            ExpectedRevision::StreamExists if stream.deleted() => return Err(Refusal::Deleted),
            ExpectedRevision::StreamExists if behind == 0 && stream.metadata_events == 0 => {
                return wrong;
            }
            ExpectedRevision::Any | ExpectedRevision::StreamExists => {
                let places: Vec<usize> = numbers.iter().map_while(newest).collect();
                return match places.last() {
                    None => Ok(None),
                    Some(&at) if places.len() == numbers.len() => {
                        Ok(Some((Some(at as u64), Some(stream.events[at].1))))
                    }
                    Some(_) => wrong,
                };
            }
            ExpectedRevision::NoStream => 0,
            ExpectedRevision::Exactly(revision) => revision.get() + 1,
        };
        if from == behind {
            return Ok(None);
        }
        let reopens = stream.deleted() && expected == ExpectedRevision::NoStream;
        let there = stream.events.get(from as usize..).unwrap_or_default();
        let same = (from..).zip(there.iter().zip(numbers));
        let same = same.take_while(|(at, (event, number))| {
            *at >= stream.first_left as u64 && event.0 == **number
        });
        match same.count() {
            0 if reopens => Ok(None),
            same if same == numbers.len() && same > 0 => {
                let (_, position) = there[same - 1];
                Ok(Some((Some(from + same as u64 - 1), Some(position))))
            }
            _ => wrong,
        }
    }

    /// Puts an event behind the last, known or not; a deleted stream is opened by it.
    fn put_event(&mut self, name: &str, number: u64) {
        let stream = self.stream(name).clone();
        if stream.deleted() {
            self.put_metadata(name, stream.max_count, Some(stream.events.len() as u64));
        }
        let position = self.put(name.to_owned(), self.behind(name));
        self.stream(name).events.push((number, position));
    }

    fn put_metadata(
        &mut self,
        name: &str,
        max_count: Option<u64>,
        truncate_before: Option<u64>,
    ) -> (u64, u64) {
        let stream = self.stream(name);
        let revision = stream.metadata_events;
        stream.metadata_events += 1;
        stream.max_count = max_count;
        stream.truncate_before = truncate_before;
        (revision, self.put(format!("$${name}"), revision))
    }

    fn put(&mut self, name: String, revision: u64) -> u64 {
        self.log.push((name, revision));
        self.log.len() as u64
    }

    fn stream(&mut self, name: &str) -> &mut Stream {
        self.streams.entry(name.to_owned()).or_default()
    }
}
