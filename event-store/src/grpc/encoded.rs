//! Events as they are sent. What many follow at once is encoded once.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;

use super::proto::event_store::client::streams::read_resp::ReadEvent;
use super::proto::event_store::client::streams::read_resp::read_event::Position;
use super::wire::{UuidForm, recorded};
use crate::event::{EventId, RecordedEvent};
use crate::stream::{Revision, StreamName};

/// How many events are kept.
const EVENTS: usize = 64;
/// Larger ones are not: what their data and metadata may have together, in bytes.
const BYTES_MAX: usize = 32 * 1024;

/// The newest events that followers were sent.
#[derive(Clone)]
pub(super) struct Encoded(Arc<[Mutex<Option<Kept>>; EVENTS]>);

/// What was sent, and of which event: the links of categories and types are at the positions of
/// what they point to.
struct Kept {
    position: u64,
    stream: StreamName,
    revision: Revision,
    id: EventId,
    form: UuidForm,
    bytes: Bytes,
}

impl Kept {
    fn is_of(&self, event: &RecordedEvent, form: UuidForm) -> bool {
        self.position == event.position.get()
            && (self.revision, self.id, self.form) == (event.revision, event.id, form)
            && self.stream == event.stream
    }
}

impl Encoded {
    pub(super) fn new() -> Self {
        Self(Arc::new([const { Mutex::new(None) }; EVENTS]))
    }

    /// The bytes of an event, not of a link that is followed: those that others were sent, or else
    /// made now.
    pub(super) fn of(&self, event: RecordedEvent, form: UuidForm) -> Bytes {
        let position = event.position.get();
        if event.data.len() + event.metadata.len() > BYTES_MAX {
            return encode(Some(event), None, position, form);
        }
        let slot = &self.0[usize::try_from(position % EVENTS as u64).unwrap_or_default()];
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = kept.as_ref().filter(|kept| kept.is_of(&event, form)) {
            return same.bytes.clone();
        }
        let (stream, revision, id) = (event.stream.clone(), event.revision, event.id);
        let bytes = encode(Some(event), None, position, form);
        // Who is far behind others does not take their place.
        if kept.as_ref().is_none_or(|kept| kept.position <= position) {
            *kept = Some(Kept { position, stream, revision, id, form, bytes: bytes.clone() });
        }
        bytes
    }
}

/// The bytes of an event, or of a link and what it points to, at this position.
pub(super) fn encode(
    event: Option<RecordedEvent>,
    link: Option<RecordedEvent>,
    position: u64,
    form: UuidForm,
) -> Bytes {
    let message = ReadEvent {
        event: event.map(|event| recorded(event, form)),
        link: link.map(|link| recorded(link, form)),
        position: Some(Position::CommitPosition(position)),
    };
    message.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::event::{ContentType, EventType};
    use crate::position::Position as Place;

    fn event(position: u64, data: &'static [u8]) -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::from_u128(7)),
            stream: StreamName::new("song-1").unwrap(),
            revision: Revision::new(0),
            position: Place::new(position),
            event_type: EventType::new("Played").unwrap(),
            content_type: ContentType::Json,
            data: Bytes::from_static(data),
            metadata: Bytes::new(),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    /// Given events that others were sent, then their bytes are shared, in each form of identities,
    /// and those of whom an older or a large one is sent stay.
    #[test]
    fn what_others_were_sent_is_not_made_again() {
        static LARGE: [u8; BYTES_MAX + 1] = [7; BYTES_MAX + 1];
        let encoded = Encoded::new();
        let (text, structured) = (UuidForm::Text, UuidForm::Structured);
        let of = |position, form| encoded.of(event(position, b"{}"), form);
        let read = |bytes: Bytes| ReadEvent::decode(bytes).unwrap();
        let plain =
            |position, form| read(encode(Some(event(position, b"{}")), None, position, form));
        let first = of(100, text);
        assert_eq!(read(first.clone()), plain(100, text));
        assert_eq!(of(100, text).as_ptr(), first.as_ptr());
        let older = 100 - EVENTS as u64;
        assert_eq!(read(of(older, text)), plain(older, text));
        assert_eq!(of(100, text).as_ptr(), first.as_ptr());
        let large = encoded.of(event(100 + EVENTS as u64, &LARGE), text);
        assert!(large.len() > BYTES_MAX);
        assert_eq!(of(100, text).as_ptr(), first.as_ptr());
        assert_eq!(read(of(100, structured)), plain(100, structured));
    }

    /// Given a link at the position of what it points to, then each is sent as what it is.
    #[test]
    fn a_link_is_not_taken_for_what_it_points_to() {
        let encoded = Encoded::new();
        let original = event(100, b"{}");
        let link = |id, stream, revision| RecordedEvent {
            id: EventId(Uuid::from_u128(id)),
            stream: StreamName::recorded(stream),
            revision: Revision::new(revision),
            data: Bytes::from_static(b"0@song-1"),
            ..original.clone()
        };
        let others = [
            link(8, "song-1", 0),
            link(7, "$ce-song", 0),
            link(7, "song-1", 1),
            original.clone(),
            link(8, "$ce-song", 1),
            original.clone(),
        ];
        for sent in others {
            let told = ReadEvent::decode(encoded.of(sent.clone(), UuidForm::Text)).unwrap();
            assert_eq!(told.event, Some(recorded(sent, UuidForm::Text)));
        }
    }
}
