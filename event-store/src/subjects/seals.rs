//! What seals and opens events: the marks of their types, and the keys of their subjects.

use std::sync::Arc;

use bytes::Bytes;

use super::data::{Fields, NO_OBJECT, Sealed, sealed_value};
use super::error::PersonalError;
use super::field::FieldPlace;
use super::keys::{Known, SubjectKeys};
use super::marks::{Marks, PersonalField};
use super::subject::Subject;
use crate::error::StoreError;
use crate::event::{ContentType, NewEvent, RecordedEvent};
use crate::stream::StreamName;

/// What is shown where a key is missing, and is to be shown.
const SEALED: &str = "\"sealed\"";

/// What seals and opens.
#[derive(Clone)]
pub(super) struct Seals {
    pub(super) keys: Option<SubjectKeys>,
    pub(super) marks: Marks,
    pub(super) missing: Missing,
}

/// What becomes of a value whose key is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Refused,
    Shown,
}

impl Seals {
    /// Whether one of these fields is sealed.
    pub(super) fn has_sealed(data: &Fields<'_>, marked: &[PersonalField]) -> bool {
        let values = marked.iter().filter_map(|field| data.value(field.name).ok()?);
        values.map(Sealed::of).any(|sealed| sealed.is_some())
    }

    /// The event as it is appended.
    pub(super) async fn seal(
        &self,
        stream: &StreamName,
        event: NewEvent,
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
            let subject = data.text(field.subject).map_err(unsealable)?;
            let subject = subject.ok_or_else(|| unsealable("it does not say whose it is"))?;
            let subject = Subject::new(&subject);
            let keys = self.keys.as_ref().ok_or(PersonalError::NoKeys)?;
            let sealed = match keys.to_seal(subject).await? {
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

    /// Opens the event in its place.
    pub(super) async fn open(&self, event: &mut RecordedEvent) -> Result<(), StoreError> {
        let marked = (self.marks)(&event.event_type);
        if marked.is_empty() {
            return Ok(());
        }
        // From before they were sealed, or by somebody else, such as it is.
        let Some(data) = Fields::of(&event.data) else {
            return Ok(());
        };
        let mut values = Vec::new();
        for field in marked {
            let refused = |reason| PersonalError::Refused { place: place(event, field), reason };
            let value = data.value(field.name).map_err(refused)?;
            let Some((value, sealed)) = value.and_then(|it| Some((it, Sealed::of(it)?))) else {
                continue;
            };
            let bytes = sealed.bytes().ok_or_else(|| refused("it is not base64"))?;
            let subject = data.text(field.subject).map_err(refused)?;
            let subject = subject.ok_or_else(|| refused("the event does not say whose it is"))?;
            values.push((value, self.opened(event, field, &subject, bytes).await?));
        }
        if !values.is_empty() {
            event.data = Bytes::from(data.replaced(values));
        }
        Ok(())
    }

    /// The JSON text of a value.
    async fn opened(
        &self,
        event: &RecordedEvent,
        field: &PersonalField,
        subject_id: &str,
        bytes: Vec<u8>,
    ) -> Result<String, StoreError> {
        let stand_in = || serde_json::Value::from((field.stand_in)(subject_id)).to_string();
        if bytes.is_empty() {
            return Ok(stand_in());
        }
        let subject = Subject::new(subject_id);
        let known = match &self.keys {
            None => Known::Nothing,
            Some(keys) => keys.known(subject).await?,
        };
        match known {
            Known::Forgotten => Ok(stand_in()),
            Known::Nothing if self.missing == Missing::Shown => Ok(SEALED.to_owned()),
            Known::Nothing => {
                let place = place(event, field);
                Err(PersonalError::KeyMissing { place, subject }.into())
            }
            Known::Live(key) => {
                let (stream, id, event_type) = (&event.stream, event.id, &event.event_type);
                let at = FieldPlace { subject, stream, id, event_type, field: field.name };
                let reason = "another key, another place, another version, or changed bytes";
                let text = key.open(&at, bytes);
                let text = text
                    .ok_or_else(|| PersonalError::Refused { place: place(event, field), reason })?;
                Ok(String::clone(&text))
            }
        }
    }
}

fn is_some(value: &&str) -> bool {
    *value != "null"
}

fn place(event: &RecordedEvent, field: &PersonalField) -> Arc<str> {
    let (stream, revision) = (&event.stream, event.revision);
    format!("field {} of event {revision} of stream {stream}", field.name).into()
}
