//! A listener's time is one, however many processes their plays are sent to.

use std::sync::Arc;

use aggregates::analytics::{ListenerDay, ListenerDayId, PlayCommand};
use aggregates::{CommandError, CommandHandler};
use event_schemas::{PlayId, TrackId, UserId};
use futures::future::join_all;
use uuid::Uuid;

use crate::{context, embedded};

const LISTENER: UserId = UserId(Uuid::from_u128(7));

/// Says that half a minute was heard; whether it counts.
async fn hear(handler: &CommandHandler, number: u128) -> bool {
    let context = context(number);
    let record = PlayCommand::Record {
        play_id: PlayId(context.command_id),
        track_id: TrackId(Uuid::from_u128(1000 + number)),
        artist_id: UserId(Uuid::from_u128(3)),
        listener_id: LISTENER,
        listened_ms: 30_000,
        duration_ms: 200_000,
        now: context.now,
    };
    let day = ListenerDayId::of(LISTENER, context.now);
    match handler.execute::<ListenerDay>(day, record, &context).await {
        Ok(_) => true,
        Err(CommandError::Rejected(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn of_many_plays_at_one_moment_one_counts() {
    let (store, _folder) = embedded().await;
    // Handlers of their own: processes that know nothing of each other.
    let rush = (0..10).map(|number| {
        let handler = CommandHandler::new(Arc::clone(&store));
        async move { hear(&handler, 1 + number).await }
    });
    let counted = join_all(rush).await;
    assert_eq!(counted.into_iter().filter(|counted| *counted).count(), 1);
    let handler = CommandHandler::new(store);
    assert!(!hear(&handler, 11).await, "no time has passed");
}
