//! A store that appends to one stream at a time, and reads categories and types from links: it says
//! what it can't, and appends nothing.

use event_store::{
    EventType, ExpectedState, Index, IndexError, MultiAppendError, ReadIndex, SubscribeFrom,
};
use futures::TryStreamExt;

use crate::suite::multi::{is_not_there, refused, to};
use crate::suite::{Store, fresh};

pub async fn several_streams_are_refused(store: Store) {
    let (one, other) = (fresh(), fresh());
    for append in [
        to(&[&one, &other]),
        to(&[&one]).check(&other, ExpectedState::NoStream),
        to(&[&one]).check(&one, ExpectedState::SoftDeleted),
    ] {
        let error = refused(&store, append).await;
        assert!(matches!(error, MultiAppendError::Unsupported), "{error}");
    }
    is_not_there(&store, &one).await;
    is_not_there(&store, &other).await;
}

/// Where the projections that make links are not enabled there are none; they are not followed.
pub async fn indexes_are_not_followed(store: Store) {
    let of_type = Index::EventType(EventType::new("Numbered").unwrap());
    for index in [Index::category("conformance"), of_type] {
        let read = store.read_index(ReadIndex::forward(index.clone())).await.expect("a read");
        let events: Vec<_> = read.try_collect().await.expect("events");
        assert!(events.is_empty(), "{index}: {events:?}");
        let followed = store.subscribe_index(&index, SubscribeFrom::Start).await;
        assert!(matches!(followed.err(), Some(IndexError::Unsupported)), "{index}");
    }
}
