//! Envelopes: recorded events opened for projectors, with their family and metadata decoded.

use chrono::{DateTime, Utc};
use event_schemas::analytics::PlayEvent;
use event_schemas::audio::TrackEvent;
use event_schemas::catalogue::FAMILIES;
use event_schemas::commerce::{EscrowEvent, ListingEvent, OrderEvent, PaymentEvent};
use event_schemas::saga::SagaEvent;
use event_schemas::social::{ChannelEvent, MessageEvent};
use event_schemas::user::UserEvent;
use event_schemas::{DecodeError, EventFamily, Metadata};
use event_store::{EventType, Position, RecordedEvent, StreamName};
use serde_json::Value;
use thiserror::Error;

/// An event as a projector sees it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Where it stands in the log, how it was recorded, and its bytes.
    pub recorded: RecordedEvent,
    /// Who made it happen, and when.
    pub metadata: Metadata,
    /// What happened.
    pub event: Event,
}

/// Every event of the platform, by the family that its stream's category names.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Of a person's account.
    User(UserEvent),
    /// Of a track.
    Track(TrackEvent),
    /// Of one listening.
    Play(PlayEvent),
    /// Of a channel.
    Channel(ChannelEvent),
    /// Of one message.
    Message(MessageEvent),
    /// Of an offer of licences.
    Listing(ListingEvent),
    /// Of an order.
    Order(OrderEvent),
    /// Of the money held for an order.
    Escrow(EscrowEvent),
    /// Of what the gateway did for an order.
    Payment(PaymentEvent),
    /// Of one run of a saga.
    Saga(SagaEvent),
}

/// Why a recorded event can't be opened. No retry helps; another release may.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its stream's category is no family's.
    #[error("no family of events has streams like {0}")]
    UnknownCategory(StreamName),
    /// Neither its type nor its metadata is the platform's: somebody else's, and no release's.
    #[error("an event of type {0} is of somebody else")]
    Foreign(EventType),
    /// Its metadata is not as every event's is.
    #[error("the metadata is not readable")]
    Metadata(#[source] serde_json::Error),
    /// Its data is no JSON document.
    #[error("the data is no JSON document")]
    Data(#[source] serde_json::Error),
    /// Its data is not of its type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Envelope {
    /// Opens a recorded event.
    pub fn open(recorded: RecordedEvent) -> Result<Self, OpenError> {
        let metadata: Metadata = serde_json::from_slice(&recorded.metadata).map_err(|error| {
            // A later release may know the type, but it writes this metadata as well.
            if has_type(&recorded) {
                OpenError::Metadata(error)
            } else {
                OpenError::Foreign(recorded.event_type.clone())
            }
        })?;
        let data: Value = serde_json::from_slice(&recorded.data).map_err(OpenError::Data)?;
        let event = decode(&recorded, metadata.schema_version, data)?;
        Ok(Self { recorded, metadata, event })
    }

    /// Its place among all events.
    pub fn position(&self) -> Position {
        self.recorded.position
    }

    /// When it was recorded: what rows tell that are listed by position. When it was asked for is
    /// another time, as of two requests the later may be recorded first; this one never runs
    /// backwards along positions.
    pub fn recorded_at(&self) -> DateTime<Utc> {
        self.recorded.recorded_at
    }

    /// Its place among all events, as PostgreSQL keeps it.
    pub fn position_column(&self) -> i64 {
        position_column(self.recorded.position)
    }
}

/// A position as a `bigint`: stores count from one and never get near its end.
pub(crate) fn position_column(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

/// A position from a `bigint` that [`position_column`] made.
pub(crate) fn position_from_column(column: i64) -> Position {
    Position::new(column.max(0).unsigned_abs())
}

/// Whether the family of its stream has its type.
fn has_type(recorded: &RecordedEvent) -> bool {
    let family = FAMILIES.iter().find(|(category, _)| *category == recorded.stream.category());
    family.is_some_and(|(_, types)| {
        types.iter().any(|known| known.name == recorded.event_type.as_str())
    })
}

fn decode(recorded: &RecordedEvent, version: u32, data: Value) -> Result<Event, OpenError> {
    fn of<F: EventFamily>(name: &str, version: u32, data: Value) -> Result<F, OpenError> {
        Ok(F::decode(name, version, data)?)
    }
    let name = recorded.event_type.as_str();
    Ok(match recorded.stream.category() {
        UserEvent::CATEGORY => Event::User(of(name, version, data)?),
        TrackEvent::CATEGORY => Event::Track(of(name, version, data)?),
        PlayEvent::CATEGORY => Event::Play(of(name, version, data)?),
        ChannelEvent::CATEGORY => Event::Channel(of(name, version, data)?),
        MessageEvent::CATEGORY => Event::Message(of(name, version, data)?),
        ListingEvent::CATEGORY => Event::Listing(of(name, version, data)?),
        OrderEvent::CATEGORY => Event::Order(of(name, version, data)?),
        EscrowEvent::CATEGORY => Event::Escrow(of(name, version, data)?),
        PaymentEvent::CATEGORY => Event::Payment(of(name, version, data)?),
        SagaEvent::CATEGORY => Event::Saga(of(name, version, data)?),
        _ => return Err(OpenError::UnknownCategory(recorded.stream.clone())),
    })
}
