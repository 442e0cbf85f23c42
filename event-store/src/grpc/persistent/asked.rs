//! Which group a client means, and what it is to be like.

use std::time::Duration;

use tonic::Status;

use super::super::proto::event_store::client as sent;
use super::super::read::kept;
use super::super::wire::stream_name;
use super::problem::of_persistent;
use crate::filter::Filter;
use crate::persistent::{
    EventSource, GroupId, PersistentError, Place, Settings, StartFrom, Strategy,
};
use crate::position::Position;
use crate::stream::Revision;
use sent::persistent_subscriptions::create_req::all_options::{AllOption, FilterOption};
use sent::persistent_subscriptions::create_req::options::StreamOption;
use sent::persistent_subscriptions::create_req::settings::{CheckpointAfter, MessageTimeout};
use sent::persistent_subscriptions::create_req::{self, AllOptions, ConsumerStrategy, Options};
use sent::persistent_subscriptions::{
    delete_req, get_info_req, list_req, read_req, replay_parked_req, truncate_parked_req,
};
use sent::streams::read_req::options::StreamOptions;
use sent::streams::read_req::options::stream_options::RevisionOption;

/// How many ticks of the protocol a millisecond has.
const TICKS_PER_MILLISECOND: i64 = 10_000;

/// A group that is to be made, or to be so from now on.
pub(super) struct Asked {
    pub group: GroupId,
    pub filter: Option<Filter>,
    pub settings: Settings,
}

/// A source as calls name it, each with its own type.
pub(super) enum Named {
    Stream(sent::StreamIdentifier),
    All,
}

macro_rules! named {
    ($($option:path => $stream:ident),+ $(,)?) => {$(
        impl From<$option> for Named {
            fn from(option: $option) -> Self {
                type Sent = $option;
                match option {
                    Sent::$stream(stream) => Self::Stream(stream),
                    Sent::All(_) => Self::All,
                }
            }
        }
    )+};
}

named! {
    read_req::options::StreamOption => StreamIdentifier,
    delete_req::options::StreamOption => StreamIdentifier,
    get_info_req::options::StreamOption => StreamIdentifier,
    replay_parked_req::options::StreamOption => StreamIdentifier,
    truncate_parked_req::options::StreamOption => StreamIdentifier,
    list_req::stream_option::StreamOption => Stream,
}

/// The source that a call names.
pub(super) fn event_source<T: Into<Named>>(option: Option<T>) -> Result<EventSource, Status> {
    match option.map(Into::into) {
        Some(Named::Stream(stream)) => Ok(EventSource::Stream(stream_name(Some(stream))?)),
        Some(Named::All) => Ok(EventSource::All),
        None => Err(Status::invalid_argument("neither a stream nor the log is named")),
    }
}

/// The group of that name.
pub(super) fn group(source: EventSource, name: String) -> Result<GroupId, Status> {
    GroupId::new(source, name).map_err(|error| of_persistent(&error.into()))
}

/// The group that these options describe.
pub(super) fn definition(options: Options) -> Result<Asked, Status> {
    let asked = options.settings.unwrap_or_default();
    let (source, start_from, filter) = match options.stream_option {
        Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option })) => {
            let start = match revision_option {
                Some(RevisionOption::Revision(number)) => at_revision(number),
                Some(RevisionOption::Start(_)) => StartFrom::Start,
                Some(RevisionOption::End(_)) => StartFrom::End,
                None => return Err(Status::invalid_argument("the start of the group is missing")),
            };
            (EventSource::Stream(stream_name(stream_identifier)?), start, None)
        }
        Some(StreamOption::All(AllOptions { all_option, filter_option })) => {
            let start = match all_option {
                Some(AllOption::Position(position)) => {
                    let position = Position::new(position.commit_position);
                    StartFrom::At(Place::Position(position))
                }
                Some(AllOption::Start(_)) => StartFrom::Start,
                Some(AllOption::End(_)) => StartFrom::End,
                None => return Err(Status::invalid_argument("the start of the group is missing")),
            };
            let filter = match filter_option {
                Some(FilterOption::Filter(options)) => Some(kept(options, false)?),
                Some(FilterOption::NoFilter(_)) | None => None,
            };
            (EventSource::All, start, filter)
        }
        None => {
            let stream = stream_name(options.stream_identifier)?;
            (EventSource::Stream(stream), at_revision(asked.revision), None)
        }
    };
    let group = group(source, options.group_name)?;
    let settings = settings(&group, start_from, asked)?;
    Ok(Asked { group, filter, settings })
}

/// A revision that no event has is the end, as the Node client writes it.
fn at_revision(number: u64) -> StartFrom {
    if number > Revision::TOMBSTONE.get() {
        return StartFrom::End;
    }
    StartFrom::At(Place::Revision(Revision::new(number)))
}

fn settings(
    group: &GroupId,
    start_from: StartFrom,
    asked: create_req::Settings,
) -> Result<Settings, Status> {
    let failed = |reason| of_persistent(&PersistentError::Failed { group: group.clone(), reason });
    let strategy = match asked.consumer_strategy.as_str() {
        "" => match asked.named_consumer_strategy() {
            ConsumerStrategy::DispatchToSingle => Strategy::DispatchToSingle,
            ConsumerStrategy::RoundRobin => Strategy::RoundRobin,
            ConsumerStrategy::Pinned => Strategy::Pinned,
        },
        name => name.parse().map_err(failed)?,
    };
    let count = |name: &str, count: i32| {
        u32::try_from(count).map_err(|_| failed(format!("the {name} is {count}, less than zero")))
    };
    let millis = |name: &str, millis: i64| {
        let millis = u64::try_from(millis);
        millis.map(Duration::from_millis).map_err(|_| failed(format!("the {name} is negative")))
    };
    let message_timeout = match asked.message_timeout {
        Some(MessageTimeout::MessageTimeoutMs(millis)) => i64::from(millis),
        Some(MessageTimeout::MessageTimeoutTicks(ticks)) => ticks / TICKS_PER_MILLISECOND,
        None => 0,
    };
    let checkpoint_after = match asked.checkpoint_after {
        Some(CheckpointAfter::CheckpointAfterMs(millis)) => i64::from(millis),
        Some(CheckpointAfter::CheckpointAfterTicks(ticks)) => ticks / TICKS_PER_MILLISECOND,
        None => 0,
    };
    Ok(Settings {
        resolve_links: asked.resolve_links,
        extra_statistics: asked.extra_statistics,
        start_from,
        message_timeout: millis("message timeout", message_timeout)?,
        max_retry_count: count("number of retries", asked.max_retry_count)?,
        min_checkpoint_count: count("least checkpoint count", asked.min_checkpoint_count)?,
        max_checkpoint_count: count("most checkpoint count", asked.max_checkpoint_count)?,
        checkpoint_after: millis("time between checkpoints", checkpoint_after)?,
        live_buffer_size: count("live buffer size", asked.live_buffer_size)?,
        read_batch_size: count("read batch size", asked.read_batch_size)?,
        history_buffer_size: count("history buffer size", asked.history_buffer_size)?,
        max_subscriber_count: count("number of consumers", asked.max_subscriber_count)?,
        strategy,
    })
}
