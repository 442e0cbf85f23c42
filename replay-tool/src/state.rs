//! `state`: what a stream's events add up to, now or at a moment of the past.

use aggregates::state_of;
use event_schemas::EventFamily as _;
use event_schemas::saga::SagaEvent;
use event_store::{AsOf, EventStore, ReadError, ReadStream, RecordedEvent, StreamName};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::command::ReplayError;
use crate::events::{is_there_now, stream_name};
use crate::moment::Moment;
use crate::output::Output;

/// Folds the run of a saga that a stream's events record; which fold that is, is wired outside, as
/// sagas are none of this tool's. The error says what is wrong in a line.
pub type FoldSaga = fn(&[RecordedEvent]) -> Result<Value, String>;

/// Which state is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StateArgs {
    /// The stream of an aggregate, such as `order-<id>`, or of a run, such as `saga-checkout-<id>`
    #[arg(value_parser = stream_name)]
    pub stream: StreamName,
    /// As it was at this position, or at this time (RFC 3339)
    #[arg(long, value_name = "POSITION|TIME")]
    pub at: Option<Moment>,
}

/// Prints the state.
pub async fn state(
    store: &dyn EventStore,
    fold_saga: FoldSaga,
    args: &StateArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let as_of = Moment::as_of(args.at, store).await?;
    let folded = if args.stream.category() == SagaEvent::CATEGORY {
        saga(store, fold_saga, &args.stream, as_of).await?
    } else {
        let folded = state_of(store, &args.stream, as_of).await?;
        folded.revision.map(|revision| (revision, folded.position, folded.state))
    };
    let Some((revision, position, state)) = folded else {
        let stream = args.stream.clone();
        return Err(match args.at {
            Some(moment) if is_there_now(store, &stream).await => {
                ReplayError::NotYet { stream, moment }
            }
            _ => ReadError::StreamNotFound(stream).into(),
        });
    };
    output.document(&json!({
        "stream": args.stream.as_str(),
        "revision": revision.get(),
        "position": position.to_string(),
        "state": state,
    }))?;
    Ok(())
}

type Folded = (event_store::Revision, event_store::Position, Value);

async fn saga(
    store: &dyn EventStore,
    fold: FoldSaga,
    stream: &StreamName,
    as_of: Option<AsOf>,
) -> Result<Option<Folded>, ReplayError> {
    let read = ReadStream { as_of, ..ReadStream::forward(stream.clone()) };
    let events: Vec<RecordedEvent> = match store.read_stream(read).await {
        Err(ReadError::StreamNotFound(_)) => return Ok(None),
        events => events?.try_collect().await?,
    };
    let Some(last) = events.last() else {
        return Ok(None);
    };
    let state = fold(&events);
    let state = state.map_err(|reason| ReplayError::Saga { stream: stream.clone(), reason })?;
    Ok(Some((last.revision, last.position, state)))
}
