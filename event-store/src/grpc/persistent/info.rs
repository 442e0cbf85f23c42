//! What is told of a group, in the protocol's words.

use super::super::proto::event_store::client::persistent_subscriptions as sent;
use super::super::proto::event_store::client::persistent_subscriptions::subscription_info;
use crate::persistent::{ConsumerInfo, GroupInfo, Measurement};

impl From<GroupInfo> for sent::SubscriptionInfo {
    fn from(info: GroupInfo) -> Self {
        let (source, settings) = (info.group.source(), &info.settings);
        let place = |place: Option<crate::persistent::Place>| {
            place.map(|place| place.to_string()).unwrap_or_default()
        };
        Self {
            event_source: source.to_string(),
            group_name: info.group.name().to_owned(),
            status: info.status.to_string(),
            average_per_second: small(info.average_per_second),
            total_items: large(info.total_items),
            count_since_last_measurement: large(info.count_since_last_measurement),
            last_checkpointed_event_position: place(info.last_checkpointed),
            last_known_event_position: place(info.last_known),
            resolve_link_tos: settings.resolve_links,
            start_from: settings.start_text(source),
            message_timeout_milliseconds: small(settings.message_timeout.as_millis()),
            extra_statistics: settings.extra_statistics,
            max_retry_count: small(settings.max_retry_count),
            live_buffer_size: small(settings.live_buffer_size),
            buffer_size: small(settings.history_buffer_size),
            read_batch_size: small(settings.read_batch_size),
            check_point_after_milliseconds: small(settings.checkpoint_after.as_millis()),
            min_check_point_count: small(settings.min_checkpoint_count),
            max_check_point_count: small(settings.max_checkpoint_count),
            read_buffer_count: small(info.read_buffer_count),
            live_buffer_count: large(info.live_buffer_count),
            retry_buffer_count: small(info.retry_buffer_count),
            total_in_flight_messages: small(info.in_flight_count),
            outstanding_messages_count: small(info.in_flight_count),
            named_consumer_strategy: settings.strategy.to_string(),
            max_subscriber_count: small(settings.max_subscriber_count),
            parked_message_count: large(info.parked_count),
            connections: info.consumers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ConsumerInfo> for subscription_info::ConnectionInfo {
    fn from(info: ConsumerInfo) -> Self {
        Self {
            from: info.from,
            username: info.user,
            average_items_per_second: small(info.average_per_second),
            total_items: large(info.total_items),
            count_since_last_measurement: large(info.count_since_last_measurement),
            observed_measurements: info.measurements.into_iter().map(Into::into).collect(),
            available_slots: small(info.available_slots),
            in_flight_messages: small(info.in_flight_count),
            connection_name: info.name,
        }
    }
}

impl From<Measurement> for subscription_info::Measurement {
    fn from(Measurement { key, millis }: Measurement) -> Self {
        Self { key: key.to_owned(), value: large(millis) }
    }
}

/// The protocol counts with signs, and some things with few digits.
fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn large(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
