//! What seals and opens events: the marks of their types, and the keys of their subjects.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::data::{Fields, NO_OBJECT, Sealed, sealed_value};
use super::error::PersonalError;
use super::field::{FieldPlace, SubjectKey};
use super::keys::{Known, SubjectKeys};
use super::marks::{Marks, PersonalField};
use super::subject::Subject;
use super::unreadable::{UnreadableField, UnreadableFields};
use crate::error::{ReadError, StoreError};
use crate::event::{ContentType, NewEvent, RecordedEvent};
use crate::port::EventStore;
use crate::read::ReadStream;
use crate::stream::StreamName;

/// What is shown for what can't be opened, where that is to be shown.
const SEALED: &str = "\"sealed\"";

/// What seals and opens.
#[derive(Clone)]
pub(super) struct Seals {
    pub(super) keys: Option<SubjectKeys>,
    pub(super) marks: Marks,
    pub(super) unopened: Unopened,
    pub(super) unreadable: UnreadableFields,
}

/// The keys of the people of one append; none for who is forgotten. So each is looked for once.
pub(super) type KeysAtHand = HashMap<Subject, Option<Arc<SubjectKey>>>;

/// What becomes of a value that can't be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    Left,
    Shown,
}

impl Seals {
    /// Whether one of these fields is sealed.
    pub(super) fn has_sealed(data: &Fields<'_>, marked: &[PersonalField]) -> bool {
        marked.iter().any(|field| is_sealed(data, field))
    }

    /// The event as it is appended to the log.
    pub(super) async fn seal(
        &self,
        log: &dyn EventStore,
        stream: &StreamName,
        event: NewEvent,
        at_hand: &mut KeysAtHand,
    ) -> Result<NewEvent, StoreError> {
        let marked = (self.marks)(&event.event_type);
        if marked.is_empty() {
            return Ok(event);
        }
        let unsealable = |reason| {
            let event_type = event.event_type.clone();
            PersonalError::Unsealable { event_type, reason }
        };
        let data = Fields::of(&event.data).filter(|_| event.content_type == ContentType::Json);
        let data = data.ok_or_else(|| unsealable(NO_OBJECT))?;
        let mut values = Vec::new();
        for field in marked {
            let Some(value) = data.value(field.name).map_err(unsealable)?.filter(is_some) else {
                continue;
            };
            let person = data.text(field.subject).map_err(unsealable)?;
            let person = person.ok_or_else(|| unsealable("it does not say whose it is"))?;
            let subject = Subject::new(&person);
            let key = match at_hand.entry(subject) {
                Entry::Occupied(at_hand) => at_hand.into_mut(),
                Entry::Vacant(place) => place.insert(self.key(log, field.home, &person).await?),
            };
            let sealed = match key {
                // Nothing is kept.
                None => Vec::new(),
                Some(key) => {
                    let (id, event_type, field) = (event.id, &event.event_type, field.name);
                    key.seal(&FieldPlace { subject, stream, id, event_type, field }, value)
                }
            };
            values.push((value, sealed_value(&sealed)));
        }
        let data = Bytes::from(data.replaced(values));
        Ok(NewEvent { data, ..event })
    }

    /// The key to seal with for a person; none where they are forgotten. Who has none is given one,
    /// but never a second.
    async fn key(
        &self,
        log: &dyn EventStore,
        home: &str,
        person: &str,
    ) -> Result<Option<Arc<SubjectKey>>, StoreError> {
        let keys = self.keys.as_ref().ok_or(PersonalError::NoKeys)?;
        let subject = Subject::new(person);
        let mut known = keys.to_seal(subject).await?;
        if matches!(known, Known::Nothing) {
            if let Ok(home) = StreamName::new(format!("{home}-{person}"))
                && self.has_sealed_of(log, &home, person).await?
            {
                // Who sealed it may have made the key meanwhile, which is always made before.
                known = keys.to_seal(subject).await?;
                if matches!(known, Known::Nothing) {
                    return Err(PersonalError::KeyLost { subject, home }.into());
                }
            } else {
                known = keys.to_seal_first(subject).await?;
            }
        }
        Ok(match known {
            Known::Live(key) => Some(key),
            Known::Forgotten | Known::Nothing => None,
        })
    }

    /// Whether something of the person is sealed in this stream, or was before it was deleted.
    async fn has_sealed_of(
        &self,
        log: &dyn EventStore,
        stream: &StreamName,
        person: &str,
    ) -> Result<bool, StoreError> {
        let found = async {
            let mut events = log.read_stream(ReadStream::forward(stream.clone())).await?;
            while let Some(event) = events.try_next().await? {
                let marked = (self.marks)(&event.event_type).iter();
                let Some(data) = Fields::of(&event.data) else { continue };
                let is_theirs = |field: &&PersonalField| {
                    data.text(field.subject).is_ok_and(|it| it.as_deref() == Some(person))
                };
                if marked.filter(is_theirs).any(|field| is_sealed(&data, field)) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match found.await {
            Ok(found) => Ok(found),
            Err(ReadError::StreamNotFound(_)) => Ok(false),
            Err(ReadError::StreamDeleted(_)) => Ok(true),
            Err(ReadError::Store(error)) => Err(error),
            Err(
                error @ (ReadError::Reclaimed(_)
                | ReadError::BadFilter(_)
                | ReadError::ScanEnded { .. }),
            ) => Err(StoreError::Unavailable { reason: error.to_string().into() }),
        }
    }

    /// Opens the event in its place. What of it can't be opened is left as it is, and told.
    pub(super) async fn open(
        &self,
        event: &mut RecordedEvent,
    ) -> Result<Vec<UnreadableField>, StoreError> {
        let mut unreadable = Vec::new();
        let marked = (self.marks)(&event.event_type);
        if marked.is_empty() {
            return Ok(unreadable);
        }
        // From before they were sealed, or by somebody else, such as it is.
        let Some(data) = Fields::of(&event.data) else {
            return Ok(unreadable);
        };
        let mut values = Vec::new();
        for field in marked {
            match self.opened(event, &data, field).await? {
                Ok(None) => {}
                Ok(Some((value, text))) => {
                    self.unreadable.opened(event.position, field.name);
                    values.push((value, text));
                }
                Err(told) => {
                    self.unreadable.meet(event.position, field.name, &told.why);
                    if let (Unopened::Shown, Ok(Some(value))) =
                        (self.unopened, data.value(field.name))
                    {
                        values.push((value, SEALED.to_owned()));
                    }
                    unreadable.push(told);
                }
            }
        }
        if !values.is_empty() {
            event.data = Bytes::from(data.replaced(values));
        }
        Ok(unreadable)
    }

    /// The value of a field, and what is to be read in its place; none where it is not sealed.
    async fn opened<'d>(
        &self,
        event: &RecordedEvent,
        data: &Fields<'d>,
        field: &PersonalField,
    ) -> Result<Result<Option<(&'d str, String)>, UnreadableField>, StoreError> {
        let refused = |person: Option<&str>, reason| UnreadableField {
            person: person.map(Box::from),
            key_is_lost: false,
            why: PersonalError::Refused { place: place(event, field), reason },
        };
        let value = match data.value(field.name) {
            Ok(value) => value,
            Err(reason) => return Ok(Err(refused(None, reason))),
        };
        let Some((value, sealed)) = value.and_then(|it| Some((it, Sealed::of(it)?))) else {
            return Ok(Ok(None));
        };
        let person = match data.text(field.subject) {
            Ok(Some(person)) => person,
            Ok(None) => return Ok(Err(refused(None, "the event does not say whose it is"))),
            Err(reason) => return Ok(Err(refused(None, reason))),
        };
        let Some(bytes) = sealed.bytes() else {
            return Ok(Err(refused(Some(&person), "it is not base64")));
        };
        let stand_in = || serde_json::Value::from((field.stand_in)(&person)).to_string();
        if bytes.is_empty() {
            return Ok(Ok(Some((value, stand_in()))));
        }
        let subject = Subject::new(&person);
        let lost =
            |why| UnreadableField { person: Some(Box::from(&*person)), key_is_lost: true, why };
        let known = match &self.keys {
            None => Ok(Known::Nothing),
            Some(keys) => keys.known(subject).await,
        };
        match known {
            Ok(Known::Forgotten) => Ok(Ok(Some((value, stand_in())))),
            Ok(Known::Nothing) => {
                let place = place(event, field);
                Ok(Err(lost(PersonalError::KeyMissing { place, subject })))
            }
            Ok(Known::Live(key)) => {
                let (stream, id, event_type) = (&event.stream, event.id, &event.event_type);
                let at = FieldPlace { subject, stream, id, event_type, field: field.name };
                let reason = "another key, another place, another version, or changed bytes";
                let text = key.open(&at, bytes).ok_or_else(|| refused(Some(&person), reason));
                Ok(text.map(|text| Some((value, text))))
            }
            Err(StoreError::Corrupt { place: slot, reason }) => {
                let (place, reason) = (place(event, field), format!("{slot}: {reason}").into());
                Ok(Err(lost(PersonalError::KeyDamaged { place, subject, reason })))
            }
            Err(error) => Err(error),
        }
    }
}

fn is_sealed(data: &Fields<'_>, field: &PersonalField) -> bool {
    data.value(field.name).is_ok_and(|value| value.and_then(Sealed::of).is_some())
}

fn is_some(value: &&str) -> bool {
    *value != "null"
}

fn place(event: &RecordedEvent, field: &PersonalField) -> Arc<str> {
    let (stream, revision) = (&event.stream, event.revision);
    format!("field {} of event {revision} of stream {stream}", field.name).into()
}
