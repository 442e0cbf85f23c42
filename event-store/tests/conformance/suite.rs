//! What every implementation of the port must do, one function a promise.
//!
//! Each takes a store that may be shared with others, so it uses streams of its own.

mod appending;
#[path = "../given/deliveries.rs"]
pub mod deliveries;
mod following;
mod hiding;
pub mod multi;
mod reading;
mod retrying;

use std::sync::Arc;
use std::time::Duration;

pub use appending::*;
pub use following::*;
pub use hiding::*;
pub use multi::{
    an_append_of_one_deleted_stream_is_refused_alike, an_append_of_one_stream_is_like_any_other,
    what_makes_no_sense_is_refused,
};
pub use reading::*;
pub use retrying::*;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use event_store::{
    AppendError, ContentType, Delivery, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    ReadAll, ReadError, ReadStream, RecordedEvent, Revision, StreamName, Subscription,
};
use futures::TryStreamExt;
use uuid::Uuid;

use deliveries::{next, until_caught_up};

/// A store under test.
pub type Store = Arc<dyn EventStore>;

/// Longer than any answer takes, so that a test that would hang fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One test for each promise; the expression makes a future of a store and of what must live as
/// long as it. Behind it stands the module that tells what the store does of appends to
/// streams in one: all of them (`several`, which has indexes of categories and types too), or those
/// of one stream (`one_at_a_time`, which follows none). What is hidden may be gone at once
/// (`several_without_past`). `linked` is of a store that has links to categories.
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr, several) => {
        $crate::conformance_suite!(@past $make);
        $crate::conformance_suite!(@each $make, several, metadata_is_written_among_others);
        $crate::conformance_suite!(@each $make, indexed,
            what_is_hidden_of_a_stream_is_in_its_category);
        $crate::conformance_suite!($make, several_without_past);
    };
    ($make:expr, several_without_past) => {
        $crate::conformance_suite!(@common $make);
        $crate::conformance_suite!(@each $make, several,
            events_of_several_streams_keep_their_order,
            checks_of_streams_that_are_not_written_hold_or_not,
            every_stream_that_is_not_as_expected_is_told, a_deleted_stream_is_opened_among_others,
            a_retry_to_several_streams_appends_nothing,
            a_mixture_of_known_and_new_is_refused,
            one_id_may_be_in_several_streams_of_an_append,
            too_much_for_several_streams_is_refused,
            one_of_many_writers_to_several_streams_wins);
        $crate::conformance_suite!(@each $make, indexed,
            a_category_is_read_both_ways_from_anywhere, a_type_is_read_across_all_streams,
            names_without_a_category_are_in_none, the_past_of_an_index_is_read,
            an_index_is_read_from_a_time,
            a_long_category_is_read_whole, an_index_is_followed_from_the_past_to_live,
            followers_of_an_index_see_each_event_once_under_load);
    };
    ($make:expr, one_at_a_time) => {
        $crate::conformance_suite!(@past $make);
        $crate::conformance_suite!(@common $make);
        $crate::conformance_suite!(@each $make, one_at_a_time, several_streams_are_refused,
            indexes_are_not_followed);
    };
    ($make:expr, linked) => {
        $crate::conformance_suite!(@each $make, linked,
            deleted_links_are_gone_and_go_on, metadata_of_deleted_links_bring_nothing_back,
            the_last_link_is_known_though_it_is_hidden,
            links_that_never_were_can_not_be_deleted,
            deleted_links_are_followed_from_behind_the_deletion,
            no_link_is_deleted_that_was_not_expected);
    };
    (@common $make:expr) => {
        $crate::conformance_suite!(@each $make, suite,
            an_append_is_read_back_as_it_was, revisions_are_gapless_and_positions_rise,
            any_takes_whatever_is_there, no_stream_refuses_a_stream,
            an_exact_revision_must_be_the_last, an_existing_stream_must_exist,
            a_retry_with_a_revision_appends_nothing, a_retry_without_a_revision_appends_nothing,
            half_a_retry_is_refused, one_id_may_be_in_two_streams,
            a_retry_is_known_by_its_ids_whatever_its_bytes,
            a_part_of_what_is_there_is_a_retry_where_it_stands, what_is_known_in_part_is_refused,
            what_begins_anew_is_appended_with_ids_that_are_known,
            an_id_of_another_stream_is_new_here,
            an_empty_append_only_checks, one_of_many_writers_wins,
            a_stream_is_read_both_ways_from_anywhere, an_unknown_stream_is_not_found,
            a_long_stream_is_read_whole, the_log_is_read_both_ways,
            filters_keep_what_matches, a_bad_filter_is_refused,
            a_read_looks_at_no_more_than_it_may,
            the_past_is_read_by_time,
            a_stream_is_read_from_a_time, the_log_is_read_from_a_time,
            a_deleted_stream_is_gone_and_goes_on, what_never_was_can_not_be_deleted,
            a_tombstone_is_for_good, metadata_of_a_tombstoned_stream_is_written_and_not_read,
            a_tombstone_needs_no_stream, metadata_is_deleted_for_good_with_its_subject_only,
            metadata_is_kept_and_versioned, metadata_of_a_deletion_open_the_stream,
            the_last_revision_is_known_though_it_is_hidden,
            a_young_stream_is_read_whole_with_max_age, the_last_event_is_the_last,
            a_subscriber_gets_the_past_and_then_live, a_subscriber_begins_after_a_place,
            a_stream_is_followed_before_it_is_there, who_is_live_gets_also_what_is_hidden_at_once,
            a_tombstone_ends_a_subscription,
            filtered_subscribers_get_checkpoints, subscribers_see_each_event_once_under_load,
            too_large_is_refused, an_append_of_one_stream_is_like_any_other,
            an_append_of_one_deleted_stream_is_refused_alike, what_makes_no_sense_is_refused);
    };
    (@past $make:expr) => {
        $crate::conformance_suite!(@each $make, suite,
            the_past_is_read_by_position, max_count_and_truncation_hide_events);
    };
    (@each $make:expr, $module:ident, $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _guard) = $make.await;
                $crate::$module::$name(store).await;
            }
        )+
    };
}

/// A stream that no other test has.
pub fn fresh() -> StreamName {
    StreamName::new(format!("conformance-{}", Uuid::new_v4())).unwrap()
}

pub fn event(number: u64) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Numbered").unwrap(),
        content_type: ContentType::Json,
        data: format!("{{\"number\":{number},\"whose\":\"{}\"}}", number % 3).into(),
        metadata: Bytes::from_static(b"{\"actor\":\"tester\"}"),
    }
}

pub fn events(count: u64) -> Vec<NewEvent> {
    (0..count).map(event).collect()
}

pub fn exactly(revision: u64) -> ExpectedRevision {
    ExpectedRevision::Exactly(Revision::new(revision))
}

pub async fn stream_of(store: &Store, read: ReadStream) -> Vec<RecordedEvent> {
    let read = async { store.read_stream(read).await.unwrap().try_collect().await.unwrap() };
    tokio::time::timeout(PATIENCE, read).await.expect("a read ends")
}

pub async fn all_of(store: &Store, read: ReadAll) -> Vec<RecordedEvent> {
    let read = async { store.read_all(read).await.unwrap().try_collect().await.unwrap() };
    tokio::time::timeout(PATIENCE, read).await.expect("a read ends")
}

pub fn revisions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.revision.get()).collect()
}

pub async fn read_error(store: &Store, read: ReadStream) -> ReadError {
    match store.read_stream(read).await {
        Err(error) => error,
        Ok(events) => events.try_collect::<Vec<_>>().await.expect_err("the read fails"),
    }
}

/// Appends to the stream until an event of it is recorded later than those before; returns when.
pub async fn recorded_later(store: &Store, stream: &StreamName) -> DateTime<Utc> {
    let first = store.last_event(stream).await.unwrap().unwrap().recorded_at;
    let mut last = first;
    while last <= first {
        store.append(stream, ExpectedRevision::Any, events(1)).await.unwrap();
        last = store.last_event(stream).await.unwrap().unwrap().recorded_at;
    }
    last
}

/// The next event, whatever the subscription says before it.
pub async fn next_event(subscription: &mut Subscription) -> RecordedEvent {
    loop {
        if let Delivery::Event(event) = next(subscription).await.unwrap() {
            return event;
        }
    }
}

pub fn is_wrong(error: &AppendError, found: Option<u64>) -> bool {
    matches!(error, AppendError::WrongExpectedRevision { actual, .. }
        if *actual == found.map(Revision::new))
}
