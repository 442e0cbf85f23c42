//! A consumer's call: a confirmation, messages as the group has them, and answers the other way.
//!
//! Answers are taken by a task of their own, so that a client that is slow to read can go on
//! acknowledging what it has. The call ends well when the client says that no more answers come,
//! and with an error when its group lets it go or the server stops.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::select;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

use super::super::caller::Caller;
use super::super::carried::Carried;
use super::super::problem::of_store;
use super::super::proto::event_store::client as sent;
use super::super::proto::event_store::client::persistent_subscriptions::read_req::nack::Action;
use super::super::proto::event_store::client::persistent_subscriptions::read_req::{self, Options};
use super::super::proto::event_store::client::persistent_subscriptions::read_resp::read_event::{
    Count, Position,
};
use super::super::proto::event_store::client::persistent_subscriptions::read_resp::{
    Content, ReadEvent, SubscriptionConfirmation,
};
use super::super::proto::event_store::client::persistent_subscriptions::{ReadReq, ReadResp};
use super::super::sending::{Room, Sending, Share};
use super::super::source::payload_bytes;
use super::super::wire::{UuidForm, identity, recorded};
use super::asked::{event_source, group};
use super::problem::of_persistent;
use crate::access::StreamAction;
use crate::event::EventId;
use crate::persistent::{
    Acknowledger, Connecting, Consumer, Delivered, EventSource, NackAction, PersistentSubscriptions,
};
use crate::stream::StreamName;

/// What a consumer is sent.
pub(super) type Replies = BoxStream<'static, Result<ReadResp, Status>>;

/// Who is told of where nobody said who they are.
const ANONYMOUS: &str = "anonymous";

/// Lets a consumer join the group that it names first, within this time.
pub(super) async fn answer(
    groups: &PersistentSubscriptions,
    request: Request<Streaming<ReadReq>>,
    time_max: Duration,
    sending: &Sending,
    carried: Carried,
    shutdown: CancellationToken,
) -> Result<Replies, Status> {
    let place = sending.place()?;
    let name = header(request.metadata(), "connection-name").unwrap_or_default().to_owned();
    let caller = Caller::of(&request)?;
    let user = caller.login().unwrap_or(ANONYMOUS).to_owned();
    let mut requests = request.into_inner();
    let first = tokio::time::timeout(time_max, requests.message()).await;
    let late = |_| Status::deadline_exceeded("the options took too long to arrive");
    let first = first.map_err(late)??.and_then(|first| first.content);
    let Some(read_req::Content::Options(options)) = first else {
        return Err(Status::invalid_argument("a consumer begins with its options"));
    };
    let Options { stream_option, group_name, buffer_size, uuid_option } = options;
    let form = UuidForm::asked(uuid_option)?;
    let group = group(event_source(stream_option)?, group_name)?;
    let source = match group.source() {
        EventSource::Stream(stream) => stream.clone(),
        EventSource::All => StreamName::all(),
    };
    let may = caller.may_with(&source, StreamAction::Read).await;
    may.map_err(|error| of_store(&error))?;
    // Fewer than none are refused as none are.
    let buffer_size = u32::try_from(buffer_size).unwrap_or(0);
    // As with EventStoreDB nobody is told where a consumer is, but what it calls itself.
    let connecting = Connecting { name, from: String::new(), user, buffer_size };
    let consumer = groups.connect(&group, connecting).await;
    let consumer = consumer.map_err(|error| of_persistent(&error))?;
    let room = Room::new(sending.clone(), carried);
    let events = events(consumer, requests, (form, caller), (place, room));
    let subscription_id = group.to_string();
    let confirmation =
        reply(Content::SubscriptionConfirmation(SubscriptionConfirmation { subscription_id }));
    let stopped = {
        let shutdown = shutdown.clone();
        stream::once(async move { shutdown.is_cancelled() })
            .filter(|&stopped| std::future::ready(stopped))
            .map(|_| Err(Status::unavailable("Server Is Not Ready")))
    };
    Ok(stream::once(async { Ok(confirmation) })
        .chain(events.take_until(shutdown.cancelled_owned()))
        .chain(stopped)
        .boxed())
}

/// What the group gives the consumer, until that says that no more answers come.
fn events(
    consumer: Consumer,
    requests: Streaming<ReadReq>,
    (form, caller): (UuidForm, Caller),
    (place, room): (Share, Room),
) -> impl Stream<Item = Result<ReadResp, Status>> {
    let Consumer { mut deliveries, acknowledger } = consumer;
    let mut answers = AbortOnDropHandle::new(tokio::spawn(take_answers(requests, acknowledger)));
    async_stream::try_stream! {
        let _place = place;
        let mut waited = None;
        loop {
            let next = select! {
                delivered = deliveries.next() => Ok(delivered),
                ended = &mut answers => Err(ended),
            };
            let delivered = match next {
                Ok(Some(delivered)) => delivered.map_err(|error| of_persistent(&error))?,
                Ok(None) => break,
                Err(ended) => {
                    ended.map_err(|_| Status::unknown("the call has failed"))??;
                    break;
                }
            };
            let bytes = delivered.message.content().map_or(0, payload_bytes);
            while !room.admits(bytes, &mut waited) {
                waited = Some(room.wait(bytes).await?);
            }
            let seen = caller.may_see(&delivered.message).await;
            let hidden = !seen.map_err(|error| of_store(&error))?;
            yield reply(Content::Event(read_event(&delivered, hidden, form)));
        }
    }
}

/// Hands on what the consumer says of its messages, until it says that nothing follows.
async fn take_answers(
    mut requests: Streaming<ReadReq>,
    acknowledger: Acknowledger,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let told = match request.content {
            Some(read_req::Content::Ack(ack)) => acknowledger.ack(ids(ack.ids)?).await,
            Some(read_req::Content::Nack(nack)) => {
                let action = match nack.action() {
                    Action::Unknown => NackAction::Unknown,
                    Action::Park => NackAction::Park,
                    Action::Retry => NackAction::Retry,
                    Action::Skip => NackAction::Skip,
                    Action::Stop => NackAction::Stop,
                };
                acknowledger.nack(action, ids(nack.ids)?, nack.reason).await
            }
            Some(read_req::Content::Options(_)) | None => {
                let reason = "options come once, and then only what became of messages";
                return Err(Status::invalid_argument(reason));
            }
        };
        told.map_err(|error| of_persistent(&error))?;
    }
    Ok(())
}

fn ids(ids: Vec<sent::Uuid>) -> Result<Vec<EventId>, Status> {
    let read = ids.into_iter().map(|id| Ok(EventId(identity(Some(id))?)));
    read.collect()
}

fn read_event(delivered: &Delivered, hides_target: bool, form: UuidForm) -> ReadEvent {
    let Delivered { message, retry_count } = delivered;
    ReadEvent {
        event: message
            .content()
            .filter(|_| !hides_target)
            .map(|event| recorded(event.clone(), form)),
        link: message.resolved_link().map(|link| recorded(link.clone(), form)),
        position: Some(Position::CommitPosition(message.original().position.get())),
        count: Some(Count::RetryCount(i32::try_from(*retry_count).unwrap_or(i32::MAX))),
    }
}

fn reply(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name)?.to_str().ok()
}
