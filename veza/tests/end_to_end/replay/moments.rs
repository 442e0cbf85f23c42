//! What streams were at moments of the past, asked in every way there is.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::{Said, replay};
use crate::platform::Platform;

/// Every kind of stream that has a state.
const CATEGORIES: [&str; 11] = [
    "channel-",
    "escrow-",
    "listing-",
    "message-",
    "order-",
    "payment-",
    "play-",
    "saga-checkout-",
    "saga-transcode-",
    "track-",
    "user-",
];

/// Most events of a stream that are asked about.
const EVENTS_MAX: usize = 3;

/// The states of the longest stream of each kind, by stream and moment.
pub async fn told(platform: &Platform) -> BTreeMap<(String, String), Value> {
    let mut told = BTreeMap::new();
    for category in CATEGORIES {
        let streams = replay(platform, &["streams", "--prefix", category]).await.documents();
        let longest = streams.iter().max_by_key(|stream| stream["last_revision"].as_u64());
        let stream = longest.unwrap_or_else(|| panic!("no stream is a {category}"));
        let stream = stream["stream"].as_str().unwrap();
        let events = replay(platform, &["events", stream]).await.documents();
        assert!(!events.is_empty(), "{stream}");
        before_it_was_there(platform, stream, &events[0]).await;
        for (index, event) in events.iter().enumerate().take(EVENTS_MAX) {
            let next = events.get(index + 1);
            for (moment, revision) in moments(event, next, index as u64) {
                let state = replay(platform, &["state", stream, "--at", &moment]).await;
                let state = state.documents().remove(0);
                assert_eq!(state["revision"], revision, "{stream} at {moment}");
                let seen = replay(platform, &["events", stream, "--at", &moment]).await;
                assert_eq!(seen.documents().len() as u64, revision + 1, "{stream} at {moment}");
                told.insert((stream.to_owned(), moment), state);
            }
        }
        let now = replay(platform, &["state", stream]).await.documents().remove(0);
        let then = replay(platform, &["state", stream, "--at", "2999-12-31T23:59:59Z"]).await;
        assert_eq!(then.documents()[0], now, "{stream} in the future");
        let then = replay(platform, &["state", stream, "--at", "18446744073709551615"]).await;
        assert_eq!(then.code, Some(2), "{then:?}");
        assert!(then.err.contains("the log ends at position "), "{then:?}");
    }
    told
}

/// At its position; and, where no other event of the stream has its time, at that time and between
/// it and the next.
fn moments(event: &Value, next: Option<&Value>, index: u64) -> Vec<(String, u64)> {
    let position = event["position"].as_str().unwrap().to_owned();
    let mut moments = vec![(position, index)];
    let time = time(event);
    match next.map(self::time) {
        None => {
            moments.push((text(time), index));
            moments.push((text(time + TimeDelta::microseconds(1)), index));
        }
        Some(next) if next > time => {
            moments.push((text(time), index));
            moments.push((text(time + (next - time) / 2), index));
        }
        Some(_) => {}
    }
    moments
}

async fn before_it_was_there(platform: &Platform, stream: &str, first: &Value) {
    let position: u64 = first["position"].as_str().unwrap().parse().unwrap();
    let before = text(time(first) - TimeDelta::microseconds(1));
    for moment in ["0", &(position - 1).to_string(), &before, "1999-12-31T23:59:59+02:00"] {
        for command in ["state", "events"] {
            let said: Said = replay(platform, &[command, stream, "--at", moment]).await;
            let words = format!("veza-replay: stream {stream} was not there yet at ");
            assert_eq!(said.code, Some(1), "{command} {stream} at {moment}: {said:?}");
            assert!(said.err.starts_with(&words), "{said:?}");
        }
    }
}

fn time(event: &Value) -> DateTime<Utc> {
    let time = DateTime::parse_from_rfc3339(event["recorded_at"].as_str().unwrap());
    time.unwrap().with_timezone(&Utc)
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
