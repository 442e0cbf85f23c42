//! Everything of a store that can be followed, and taken up again where one was.

use event_store::{
    Delivery, EmbeddedStore, EventStore, Filter, Index, Indexed, Ordinal, Position, RecordedEvent,
    Revision, StreamName, SubscribeFrom,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::given::stream;

/// What a follower follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Log,
    Filtered,
    Stream,
    Category,
}

/// Of each delivery the place to go on behind, if it tells one, and its event, if it is one; none
/// where the subscription has failed.
pub type Followed = BoxStream<'static, Option<(Option<u64>, Option<RecordedEvent>)>>;

const PREFIXES: [&str; 2] = ["track-1", "user"];
const STREAM: &str = "track-1";
const CATEGORY: &str = "track";

impl Kind {
    pub const ALL: [Self; 4] = [Self::Log, Self::Filtered, Self::Stream, Self::Category];

    /// Whether events of this stream are delivered.
    pub fn has(self, of: &StreamName) -> bool {
        match self {
            Self::Log => true,
            Self::Filtered => PREFIXES.iter().any(|prefix| of.as_str().starts_with(prefix)),
            Self::Stream => of.as_str() == STREAM,
            Self::Category => of.as_str().split('-').next() == Some(CATEGORY),
        }
    }

    /// Follows behind this place, or from the first event; none when the store is over.
    pub async fn subscribe(self, store: &EmbeddedStore, after: Option<u64>) -> Option<Followed> {
        let by_position = |event: RecordedEvent| (event.position.get(), event);
        let by_revision = |event: RecordedEvent| (event.revision.get(), event);
        Some(match self {
            Self::Log | Self::Filtered => {
                let filter = (self == Self::Filtered).then(|| Filter::stream_prefixes(PREFIXES));
                let followed = store.subscribe_all(from(after, Position::new), filter).await;
                followed.ok()?.map(move |delivery| brought(delivery, by_position)).boxed()
            }
            Self::Stream => {
                let from = from(after, Revision::new);
                let followed = store.subscribe_stream(&stream(STREAM), from).await;
                followed.ok()?.map(move |delivery| brought(delivery, by_revision)).boxed()
            }
            Self::Category => {
                let from = from(after, Ordinal::new);
                let followed = store.subscribe_index(&Index::category(CATEGORY), from).await;
                let by_ordinal =
                    |delivery| brought(delivery, |it: Indexed| (it.ordinal.get(), it.event));
                followed.ok()?.map(by_ordinal).boxed()
            }
        })
    }
}

fn from<T>(after: Option<u64>, place: impl Fn(u64) -> T) -> SubscribeFrom<T> {
    after.map_or(SubscribeFrom::Start, |after| SubscribeFrom::After(place(after)))
}

fn brought<T, E>(
    delivery: Result<Delivery<T>, E>,
    place: impl Fn(T) -> (u64, RecordedEvent),
) -> Option<(Option<u64>, Option<RecordedEvent>)> {
    Some(match delivery.ok()? {
        Delivery::Event(event) => {
            let (place, event) = place(event);
            (Some(place), Some(event))
        }
        Delivery::Checkpoint(position) => (Some(position.get()), None),
        Delivery::CaughtUp | Delivery::FellBehind => (None, None),
    })
}
