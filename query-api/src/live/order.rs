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
    /// The order as it was given last.
    order: Order,
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
    let order = found.filter(|order| is_seen(order)).ok_or(Failure::Forbidden)?;
    let first = order.clone();
    let feed = Feed { hub, models, watermarks, following, order };
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
                Next::Event(envelope) if envelope.position() > self.order.changed_at => {
                    self.order.apply(&envelope);
                    // What is asked of the order beside itself is in the model, its history first.
                    let (models, now) = ([orders::MODEL], envelope.position());
                    self.watermarks.wait_for(&models, now, FRESHNESS_TIME_MAX).await?;
                    return Ok(Some(self.order.clone()));
                }
                Next::Event(_) => {}
                Next::Missed => {
                    let order = self.order.order_id;
                    let now;
                    (self.following, now) = self.hub.follow(Topic::Order(order)).await?;
                    let found = as_of(&self.models, &self.watermarks, order, now).await?;
                    let order = found.ok_or(Failure::NotYetVisible)?;
                    if order.changed_at > self.order.changed_at {
                        self.order = order;
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
) -> Result<Option<Order>, Failure> {
    watermarks.check_log(orders::MODEL, LOOK_TIME_MAX).await?;
    watermarks.wait_for(&[orders::MODEL], position, FRESHNESS_TIME_MAX).await?;
    Ok(models.orders.by_id(order).await?)
}
