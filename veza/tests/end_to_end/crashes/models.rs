//! The read models beside the log, while nobody sends commands: have they caught up, exactly?

use std::collections::{BTreeMap, BTreeSet};

use super::log::Log;
use super::postgres;
use crate::platform::{Platform, eventually};

/// Waits until every model has come to the log's end, and compares those that only commands change
/// with the log. (Sagas may still be at work on orders and balances.)
pub async fn have_caught_up(platform: &Platform, log: &Log) {
    let pool = &postgres::pool(platform.data()).await;
    let head = i64::try_from(log.head()).unwrap();
    eventually("the models catch up", async || {
        let behind: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, position FROM projection.checkpoints WHERE position < $1")
                .bind(head)
                .fetch_all(pool)
                .await
                .unwrap();
        behind.is_empty()
    })
    .await;
    let built: i64 = sqlx::query_scalar("SELECT count(*) FROM projection.checkpoints")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(built, 9, "models are missing");
    let parked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM projection.parked").fetch_one(pool).await.unwrap();
    assert_eq!(parked, 0, "events are parked");

    let plays: Option<i64> =
        sqlx::query_scalar("SELECT sum(plays)::bigint FROM plays_v1.track_days")
            .fetch_one(pool)
            .await
            .unwrap();
    let played = log.of_type("TrackPlayed").count();
    assert_eq!(plays.unwrap_or(0), i64::try_from(played).unwrap(), "plays");

    let messages: Vec<(String, String)> =
        sqlx::query_as("SELECT message_id::text, text FROM channels_v2.messages")
            .fetch_all(pool)
            .await
            .unwrap();
    let posted = log.of_type("MessagePosted").map(|event| {
        let text = |field: &str| event.data[field].as_str().unwrap().to_owned();
        (text("message_id"), text("text"))
    });
    let messages: BTreeSet<_> = messages.into_iter().collect();
    assert_eq!(messages, posted.collect(), "messages");

    let names: Vec<(String, String)> =
        sqlx::query_as("SELECT user_id::text, display_name FROM profiles_v1.profiles")
            .fetch_all(pool)
            .await
            .unwrap();
    let mut expected = BTreeMap::new();
    for event in &log.0 {
        if ["UserRegistered", "UserProfileChanged"].contains(&event.event_type.as_str()) {
            let text = |field: &str| event.data[field].as_str().unwrap().to_owned();
            expected.insert(text("user_id"), text("display_name"));
        }
    }
    assert_eq!(names.into_iter().collect::<BTreeMap<_, _>>(), expected, "names");
    let found: Vec<(String, String)> =
        sqlx::query_as("SELECT user_id::text, display_name FROM search_v5.people")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected, "names in search");
    pool.close().await;
}
