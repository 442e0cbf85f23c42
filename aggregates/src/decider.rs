//! The trait of all aggregates: a pure decision, and how `cqrs_es::Aggregate` is had from it.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use event_schemas::{ChannelId, EventFamily, ListingId, MessageId, OrderId, TrackId, UserId};
use event_store::StreamName;
use uuid::Uuid;

/// An aggregate whose decisions are pure.
pub trait Decider:
    Aggregate<
        Command: Clone + Send + Sync + 'static,
        Event: EventFamily + 'static,
        Error: Clone + PartialEq + Send + Sync + 'static,
        Services = (),
    > + Clone
    + 'static
{
    /// What its streams are named by.
    type Id: AggregateId;

    /// The events that follow from the command; none when what it asks for is already so.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after the event.
    fn evolve(&mut self, event: Self::Event);
}

/// The identity of an aggregate.
pub trait AggregateId: Copy + Send + Sync + 'static {
    /// It, without its kind.
    fn uuid(self) -> Uuid;
}

macro_rules! aggregate_ids {
    ($($id:ty),*) => {$(
        impl AggregateId for $id {
            fn uuid(self) -> Uuid {
                self.0
            }
        }
    )*};
}
aggregate_ids!(ChannelId, ListingId, MessageId, OrderId, TrackId, UserId);

/// The stream of an aggregate: `<category>-<id>`.
pub fn stream_of<A: Decider>(id: A::Id) -> StreamName {
    let name = format!("{}-{}", A::Event::CATEGORY, id.uuid());
    StreamName::new(name).expect("a category and an id are neither empty nor long")
}

/// Decides and writes the decision down; the whole of every `Aggregate::handle`.
pub async fn handle<A: Decider>(
    aggregate: &mut A,
    command: A::Command,
    sink: &EventSink<A>,
) -> Result<(), A::Error> {
    for event in aggregate.decide(command)? {
        sink.write(event, aggregate).await;
    }
    Ok(())
}

/// Implements `cqrs_es::Aggregate` for a decider.
macro_rules! aggregate {
    ($state:ty: $command:ty => $event:ty, $rejection:ty) => {
        impl cqrs_es::Aggregate for $state {
            const TYPE: &'static str = <$event as event_schemas::EventFamily>::CATEGORY;
            type Command = $command;
            type Event = $event;
            type Error = $rejection;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _services: &(),
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                $crate::decider::handle(self, command, sink).await
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::decider::Decider::evolve(self, event);
            }
        }
    };
}
pub(crate) use aggregate;
