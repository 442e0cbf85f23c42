//! A store that appends to one stream at a time: it says so, and appends nothing.

use event_store::{ExpectedState, MultiAppendError};

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
