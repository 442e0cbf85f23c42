//! An order, for one of its parties: first as it is, then after each change.

use std::sync::Arc;

use event_schemas::OrderId;
use event_store::Position;
use futures::stream::{self, Stream};
use projections::Watermarks;
use projections::postgres::{Models, Order, orders};

use crate::failure::Failure;
use crate::limits::{FRESHNESS_TIME_MAX, LOOK_TIME_MAX};
use crate::live::{Following, Hub, Next, Topic};

/// One order that changes.
struct Feed {
    hub: Arc<Hub>,
    models: Models,
    watermarks: Watermarks,
    following: Following,
    order: Order,
    /// The change that it was given after last.
    last: Position,
}

/// The order as it is, and then after each change, once and in order. It ends with a failure when
/// the model can't be read.
///
/// # Errors
/// When there is no such order, or `is_seen` says that it is not to be seen.
pub async fn order(
    hub: Arc<Hub>,
    models: Models,
    watermarks: Watermarks,
    order: OrderId,
    is_seen: &(dyn Fn(&Order) -> bool + Sync),
) -> Result<impl Stream<Item = Result<Order, Failure>> + use<>, Failure> {
    let (following, now) = hub.follow(Topic::Order(order)).await?;
    let found = as_of(&models, &watermarks, order, now).await?;
    let (order, last) = found.filter(|(order, _)| is_seen(order)).ok_or(Failure::Forbidden)?;
    let first = order.clone();
    let feed = Feed { hub, models, watermarks, following, order, last };
    let changes = stream::unfold(Some(feed), async |feed| {
        let mut feed = feed?;
        match feed.next().await {
            Ok(order) => order.map(|order| (Ok(order), Some(feed))),
            Err(failure) => Some((Err(failure), None)),
        }
    });
    Ok(stream::StreamExt::chain(stream::once(async { Ok(first) }), changes))
}

impl Feed {
    /// The order after the next change; `None` when the process stops.
    async fn next(&mut self) -> Result<Option<Order>, Failure> {
        loop {
            match self.following.next().await {
                Next::Event(envelope) if envelope.position() > self.last => {
                    self.last = envelope.position();
                    self.order.apply(&envelope.event);
                    // What is asked of the order beside itself is in the model, its history first.
                    let models = [orders::MODEL];
                    self.watermarks.wait_for(&models, self.last, FRESHNESS_TIME_MAX).await?;
                    return Ok(Some(self.order.clone()));
                }
                Next::Event(_) => {}
                Next::Missed => {
                    let order = self.order.order_id;
                    let now;
                    (self.following, now) = self.hub.follow(Topic::Order(order)).await?;
                    let found = as_of(&self.models, &self.watermarks, order, now).await?;
                    let (order, last) = found.ok_or(Failure::NotYetVisible)?;
                    if last > self.last {
                        (self.order, self.last) = (order, last);
                        return Ok(Some(self.order.clone()));
                    }
                }
                Next::End => return Ok(None),
            }
        }
    }
}

/// The order as the model has it, once that has come to this position.
async fn as_of(
    models: &Models,
    watermarks: &Watermarks,
    order: OrderId,
    position: Position,
) -> Result<Option<(Order, Position)>, Failure> {
    watermarks.check_log(orders::MODEL, LOOK_TIME_MAX).await?;
    watermarks.wait_for(&[orders::MODEL], position, FRESHNESS_TIME_MAX).await?;
    Ok(models.orders.as_of(order).await?)
}
