//! Every aggregate by the category of its streams, for tools that are given a stream's name.

use event_store::{AsOf, EventStore, Position, Revision, StreamName};
use serde_json::Value;
use thiserror::Error;

use crate::analytics::ListenerDay;
use crate::audio::Track;
use crate::commerce::{Escrow, Listing, Order, Payment};
use crate::decider::Decider;
use crate::fold::{self, LoadError};
use crate::social::{Channel, Message};
use crate::user::User;

/// The state of some aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct StateDocument {
    /// Which aggregate: the category of its stream.
    pub aggregate: &'static str,
    /// The state, as JSON.
    pub state: Value,
    /// The revision of the last event folded; `None` when there is none.
    pub revision: Option<Revision>,
    /// The position of that event; [`Position::START`] when there is none.
    pub position: Position,
}

/// Why there is no state to show.
#[derive(Debug, Error)]
pub enum StateError {
    /// The stream is no aggregate's.
    #[error("no aggregate has streams of category {category}")]
    NoAggregate {
        /// The category of the stream.
        category: String,
    },
    /// The stream can't be folded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Folds a stream by its name: now, or as of a moment of the past.
pub async fn state_of(
    store: &dyn EventStore,
    stream: &StreamName,
    as_of: Option<AsOf>,
) -> Result<StateDocument, StateError> {
    macro_rules! by_category {
        ($($aggregate:ty),*) => {
            match stream.category() {
                $(category if category == <$aggregate as cqrs_es::Aggregate>::TYPE => {
                    document::<$aggregate>(store, stream, as_of).await
                })*
                category => Err(StateError::NoAggregate { category: category.to_owned() }),
            }
        };
    }
    by_category!(Channel, Escrow, ListenerDay, Listing, Message, Order, Payment, Track, User)
}

async fn document<A: Decider>(
    store: &dyn EventStore,
    stream: &StreamName,
    as_of: Option<AsOf>,
) -> Result<StateDocument, StateError> {
    let folded = fold::load::<A>(store, stream, as_of).await?;
    Ok(StateDocument {
        aggregate: A::TYPE,
        state: serde_json::to_value(&folded.state).expect("states are plain data"),
        revision: folded.revision,
        position: folded.position,
    })
}
