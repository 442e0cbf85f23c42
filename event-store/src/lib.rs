//! The event store: one port, and the engines behind it.
//!
//! It is an append-only log of events in named streams, durable before it is acknowledged, read by
//! stream or in one global order, and followed live. It is not a database of states, and it knows
//! nothing of the domain: to it an event is a type name and bytes.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`embedded`] | the engine of our own: [`EmbeddedStore`], on a folder of this machine |
//! | [`log`] | its bytes on disk: segments, frames, records, recovery; all below [`log::Disk`] |
//! | [`encryption`] | encryption at rest: the keys that an operator keeps |
//! | [`client`] | [`ClientStore`], the port over the network, through the official client |
//! | [`persistent`] | [`PersistentSubscriptions`]: consumers that compete, over any engine |
//! | [`maintenance`] | [`Scavenges`](maintenance::Scavenges): what an operator asks of a store |
//! | [`access`] | on whose behalf something is asked, and what they may do |
//! | [`users`] | [`Users`]: who may log in, kept in the store, over any engine |
//! | [`password_hash`] | what is kept of passwords, and how they are compared |
//! | [`tls`] | [`Tls`]: the certificates that a server shows and takes |
//! | [`projections`] | [`Projections`]: what scripts make of events, over any engine |
//! | [`grpc`] | [`serve`](grpc::serve): the EventStoreDB protocol over any engine |
//! | [`port`] | [`EventStore`], the trait that every engine implements and everybody else uses |
//! | [`multi`] | appends to several streams, all or none |
//! | [`event`] | events before and after they are recorded |
//! | [`stream`] | names, revisions, expectations and metadata of streams |
//! | [`position`] | places in the global order |
//! | [`read`] | what can be asked of a read |
//! | [`indexed`] | categories and types: what can be asked of the indexes over all streams |
//! | [`subscription`] | what a subscription delivers |
//! | [`filter`] | which events of the log a reader wants |
//! | [`error`] | what can go wrong, one enum a question |
//! | [`subjects`] | personal fields, sealed with keys that can be forgotten |
//! | [`limits`] | the sizes that are refused |

pub mod access;
pub mod client;
pub mod embedded;
pub mod encryption;
pub mod error;
pub mod event;
pub mod filter;
pub mod grpc;
mod index;
mod index_streams;
pub mod indexed;
pub mod limits;
pub mod log;
pub mod maintenance;
pub mod multi;
pub mod password_hash;
pub mod persistent;
pub mod port;
pub mod position;
mod presence;
pub mod projections;
pub mod read;
mod size;
pub mod stream;
pub mod subjects;
pub mod subscription;
mod subscriptions;
pub mod tls;
pub mod users;

pub use client::{ClientStore, InvalidConnectionString};
pub use embedded::{
    EmbeddedOptions, EmbeddedStore, OpenError, ScavengeError, ScavengeOptions, ScavengeProgress,
    ScavengeStatus, Scavenged, ScrubOptions, Scrubbed, Verified,
};
pub use embedded::{backup, inspect};
pub use encryption::{WrappingKeys, WrappingKeysError};
pub use error::{
    AppendError, IndexError, MultiAppendError, ReadError, StoreError, SubscribeError, TooLarge,
};
pub use event::{ContentType, EventId, EventType, NewEvent, RecordedEvent};
pub use filter::{Filter, FilterSubject, Pattern};
pub use indexed::{Index, IndexReader, IndexStart, IndexSubscription, Indexed, Ordinal, ReadIndex};
pub use log::Rot;
pub use multi::{ExpectedState, MultiAppend, MultiAppended, StreamCheck, StreamState, Violation};
pub use persistent::PersistentSubscriptions;
pub use port::{Appended, EventStore};
pub use position::{NoPosition, Position};
pub use presence::has_event;
pub use projections::Projections;
pub use read::{AllStart, AsOf, Direction, EventReader, ReadAll, ReadStream, StreamStart};
pub use stream::{ExpectedRevision, Revision, StreamAcl, StreamMetadata, StreamName};
pub use subjects::{
    Marks, PersonalError, PersonalField, PersonalStore, Subject, SubjectKeys, SubjectKeysError,
    SubjectKeysOptions, UnreadableField, UnreadableFields,
};
pub use subscription::{Delivery, SubscribeFrom, Subscription};
pub use tls::{Tls, TlsError};
pub use users::{Users, UsersError};
