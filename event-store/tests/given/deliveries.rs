//! What subscriptions deliver, waited for no longer than a test may take.

use std::fmt::Debug;
use std::time::Duration;

use event_store::Delivery;
use futures::StreamExt;
use futures::stream::BoxStream;

/// Longer than any delivery takes.
const PATIENCE: Duration = Duration::from_secs(20);

type Deliveries<T, E> = BoxStream<'static, Result<Delivery<T>, E>>;

/// What comes next.
pub async fn next<T, E>(subscription: &mut Deliveries<T, E>) -> Result<Delivery<T>, E> {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("a delivery comes").expect("a subscription has no end")
}

/// The events that come before it is live.
pub async fn until_caught_up<T, E: Debug>(subscription: &mut Deliveries<T, E>) -> Vec<T> {
    let mut events = Vec::new();
    loop {
        match next(subscription).await.unwrap() {
            Delivery::Event(event) => events.push(event),
            Delivery::CaughtUp => return events,
            Delivery::Checkpoint(_) | Delivery::FellBehind => {}
        }
    }
}
