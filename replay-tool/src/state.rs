//! `state`: what a stream's events add up to, now or at a moment of the past.

use aggregates::analytics::Play;
use aggregates::audio::Track;
use aggregates::commerce::{Escrow, Listing, Order, Payment};
use aggregates::fold::load;
use aggregates::social::{Channel, Message};
use aggregates::user::User;
use aggregates::{Decider, LoadError};
use event_schemas::EventFamily;
use event_store::{EventStore, ReadError, StreamName};
use serde_json::{Value, json};

use crate::command::ReplayError;
use crate::events::stream_name;
use crate::moment::Moment;
use crate::output::Output;

/// Which state is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StateArgs {
    /// The stream, such as `order-<id>`
    #[arg(value_parser = stream_name)]
    pub stream: StreamName,
    /// As it was at this position or time (RFC 3339)
    #[arg(long)]
    pub at: Option<Moment>,
}

/// Prints the state.
pub async fn state(
    store: &dyn EventStore,
    args: &StateArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let document = match args.stream.category() {
        category if category == category_of::<Channel>() => fold::<Channel>(store, args).await,
        category if category == category_of::<Escrow>() => fold::<Escrow>(store, args).await,
        category if category == category_of::<Listing>() => fold::<Listing>(store, args).await,
        category if category == category_of::<Message>() => fold::<Message>(store, args).await,
        category if category == category_of::<Order>() => fold::<Order>(store, args).await,
        category if category == category_of::<Payment>() => fold::<Payment>(store, args).await,
        category if category == category_of::<Play>() => fold::<Play>(store, args).await,
        category if category == category_of::<Track>() => fold::<Track>(store, args).await,
        category if category == category_of::<User>() => fold::<User>(store, args).await,
        unknown => return Err(ReplayError::UnknownCategory(unknown.to_owned())),
    }?;
    output.document(&document)?;
    Ok(())
}

fn category_of<A: Decider>() -> &'static str {
    A::Event::CATEGORY
}

async fn fold<A: Decider>(store: &dyn EventStore, args: &StateArgs) -> Result<Value, ReplayError> {
    let as_of = args.at.map(|moment| moment.0);
    let folded = load::<A>(store, &args.stream, as_of)
        .await
        .map_err(|error| match error {
            LoadError::Store(error) => ReplayError::Read(ReadError::Store(error)),
            error => ReplayError::NotFoldable {
                stream: args.stream.to_string(),
                reason: error.to_string(),
            },
        })?;
    if folded.revision.is_none() {
        return Err(ReadError::StreamNotFound(args.stream.clone()).into());
    }
    Ok(json!({
        "stream": args.stream.as_str(),
        "revision": folded.revision.map(|revision| revision.get()),
        "position": folded.position.to_string(),
        "state": serde_json::to_value(&folded.state).expect("states are plain data"),
    }))
}
