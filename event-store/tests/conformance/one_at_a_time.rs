//! A store that appends to one stream at a time and has no indexes of categories and types: it says
//! so, and appends nothing.

use event_store::{
    EventType, ExpectedState, Index, IndexError, MultiAppendError, ReadIndex, SubscribeFrom,
};

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

pub async fn indexes_are_refused(store: Store) {
    let of_type = Index::EventType(EventType::new("Numbered").unwrap());
    for index in [Index::category("conformance"), of_type] {
        let read = store.read_index(ReadIndex::forward(index.clone())).await;
        assert!(matches!(read.err(), Some(IndexError::Unsupported)), "{index}");
        let followed = store.subscribe_index(&index, SubscribeFrom::Start).await;
        assert!(matches!(followed.err(), Some(IndexError::Unsupported)), "{index}");
    }
}
