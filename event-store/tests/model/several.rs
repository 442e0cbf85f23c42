//! What an event store does with an append to several streams.

use event_store::{ExpectedRevision, ExpectedState, Revision, StreamState};

use super::{Model, Refusal, Stream};

/// The last revision of each stream and the last position, or why not.
pub type MultiOutcome = Result<(Vec<(String, u64)>, u64), MultiRefusal>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiRefusal {
    /// Streams, the places of their checks, and what they are like.
    Violated(Vec<(String, Option<usize>, StreamState)>),
    HalfKnown,
}

/// What is to become of one of the streams.
enum Verdict {
    New,
    Known(u64, u64),
    HalfKnown,
    Wrong,
}

impl Model {
    /// What an append of events with these numbers to these streams does.
    pub fn append_to_streams(
        &mut self,
        events: &[(String, u64)],
        checks: &[(String, ExpectedState)],
    ) -> MultiOutcome {
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in events {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let check_of = |name: &String| checks.iter().position(|check| check.0 == *name);
        let (mut known, mut half, mut violations) = (Vec::new(), false, Vec::new());
        for &name in &names {
            let check = check_of(name);
            let numbers: Vec<u64> =
                events.iter().filter(|event| event.0 == *name).map(|event| event.1).collect();
            match verdict(&self.found(name), check.map(|at| checks[at].1), &numbers) {
                Verdict::New => {}
                Verdict::Known(revision, position) => {
                    known.push((name.clone(), revision, position))
                }
                Verdict::HalfKnown => half = true,
                Verdict::Wrong => violations.push((name.clone(), check, self.state(name))),
            }
        }
        if known.len() == names.len() {
            let position = known.iter().map(|it| it.2).max().unwrap_or(0);
            return Ok((known.into_iter().map(|it| (it.0, it.1)).collect(), position));
        }
        for (at, (name, expected)) in checks.iter().enumerate() {
            if !names.contains(&name) && !self.holds(name, *expected) {
                violations.push((name.clone(), Some(at), self.state(name)));
            }
        }
        if !violations.is_empty() {
            violations.sort_by_key(|violation| violation.1.unwrap_or(usize::MAX));
            return Err(MultiRefusal::Violated(violations));
        }
        if half || !known.is_empty() {
            return Err(MultiRefusal::HalfKnown);
        }
        // Where the first of a stream was reclaimed those behind it are appended with it, known or
        // not.
        for (name, number) in events {
            self.put_event(name, *number);
        }
        let ends = names.iter().map(|name| ((*name).clone(), self.behind(name) - 1)).collect();
        Ok((ends, self.log.len() as u64))
    }

    /// What a stream is like.
    pub fn state(&self, name: &str) -> StreamState {
        let stream = self.found(name);
        match stream.last().map(Revision::new) {
            _ if stream.tombstoned => StreamState::Tombstoned,
            last if stream.deleted() => StreamState::SoftDeleted { last },
            Some(last) => StreamState::At(last),
            None => StreamState::NoEvents,
        }
    }

    fn holds(&self, name: &str, expected: ExpectedState) -> bool {
        let stream = self.found(name);
        match expected {
            ExpectedState::Tombstoned => stream.tombstoned,
            _ if stream.tombstoned => expected == ExpectedState::NoStream,
            ExpectedState::NoStream => stream.events.is_empty() || stream.deleted(),
            ExpectedState::StreamExists => {
                !stream.deleted() && (!stream.events.is_empty() || stream.metadata_events > 0)
            }
            ExpectedState::SoftDeleted => stream.deleted(),
            ExpectedState::Exactly(revision) => stream.last() == Some(revision.get()),
        }
    }

    fn found(&self, name: &str) -> Stream {
        self.streams.get(name).cloned().unwrap_or_default()
    }
}

fn verdict(stream: &Stream, expected: Option<ExpectedState>, numbers: &[u64]) -> Verdict {
    let as_one = match expected {
        None | Some(ExpectedState::SoftDeleted) => ExpectedRevision::Any,
        Some(ExpectedState::StreamExists) => ExpectedRevision::StreamExists,
        Some(ExpectedState::NoStream) => ExpectedRevision::NoStream,
        Some(ExpectedState::Exactly(revision)) => ExpectedRevision::Exactly(revision),
        Some(ExpectedState::Tombstoned) => return Verdict::Wrong,
    };
    match Model::decide(stream, as_one, numbers) {
        Ok(Some((Some(revision), Some(position)))) => Verdict::Known(revision, position),
        Ok(Some(_)) => unreachable!("what is known has a place"),
        Ok(None) if expected == Some(ExpectedState::SoftDeleted) && !stream.deleted() => {
            Verdict::Wrong
        }
        Ok(None) => Verdict::New,
        // What may be in any state is refused for one reason, what must exist for two.
        Err(Refusal::Wrong(_)) if as_one == ExpectedRevision::Any => Verdict::HalfKnown,
        Err(Refusal::Wrong(Some(_))) if as_one == ExpectedRevision::StreamExists => {
            Verdict::HalfKnown
        }
        Err(_) => Verdict::Wrong,
    }
}
