//! Deliveries of a subscription within a time: one whose fields hang is given up, and with it the
//! subscription, so that its client sees where it has to go on.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::{Response, ServerError};
use futures::stream::{self, Stream, StreamExt as _};
use tokio::time::timeout;

use crate::failure::{Failure, refused};
use crate::limits::DELIVERY_TIME_MAX;

/// Bounds the time in which the fields of one delivery are resolved; what is waited for between two
/// deliveries does not count.
pub struct TimedDeliveries;

impl ExtensionFactory for TimedDeliveries {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for TimedDeliveries {
    async fn execute(
        &self,
        context: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let delivery = timeout(DELIVERY_TIME_MAX, next.run(context, operation_name)).await;
        delivery.unwrap_or_else(|_| refused(Failure::Timeout))
    }
}

/// The deliveries up to one that was given up, which is the last: what it was to tell is missed.
pub fn until_late(
    deliveries: impl Stream<Item = Response> + Unpin,
) -> impl Stream<Item = Response> {
    stream::unfold(Some(deliveries), async |deliveries| {
        let mut deliveries = deliveries?;
        let delivery = deliveries.next().await?;
        let was_late = delivery.errors.contains(&ServerError::from(Failure::Timeout));
        Some((delivery, (!was_late).then_some(deliveries)))
    })
}
