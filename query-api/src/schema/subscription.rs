//! What can be followed.

use std::sync::Arc;

use async_graphql::{Context, Description, Subscription as Subscribed};
use event_schemas::{ChannelId, OrderId, UserId};
use event_store::Position;
use futures::{Stream, TryStreamExt as _};
use projections::Cursor;
use uuid::Uuid;

use crate::failure::Failure;
use crate::live::{messages, order};
use crate::reader::Reader;
use crate::schema::commerce::Order;
use crate::schema::social::Message;

/// What can be followed, one field a subscription, over a WebSocket: open `/graphql` with the
/// subprotocol `graphql-transport-ws`, and say `{"type": "connection_init", "payload":
/// {"Authorization": "Bearer <access token>"}}` first, within 10 seconds. Programs that are no
/// pages may send the header `Authorization` with the opening in place of that payload.
///
/// A socket lives as long as its token: then it is closed with the code 4401, and so is one that
/// brings no token or one that is not believed; the reason tells which. To go on, log in anew, open
/// another socket, and subscribe again: `messagePosted` from the last message's `position`, and
/// `orderChanged` tells the order as it is.
#[derive(Description)]
pub struct Subscription;

#[Subscribed(use_type_description)]
impl Subscription {
    /// What is said in a channel that one is a member of: from now on, or from a message's cursor
    /// or position on, which is how one goes on after a broken connection. It ends when one leaves.
    async fn message_posted(
        &self,
        context: &Context<'_>,
        channel_id: Uuid,
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<Message, Failure>> + use<>, Failure> {
        let reader = Reader::of(context);
        let member = UserId(reader.viewer()?.user_id);
        let after = after.as_deref().map(position).transpose()?;
        let parts = &reader.parts;
        let (models, watermarks) = (parts.models.clone(), parts.watermarks.clone());
        let whose = (ChannelId(channel_id), member);
        let hub = Arc::clone(&reader.hub);
        let messages = messages::messages(hub, models, watermarks, whose, after).await?;
        Ok(messages.map_ok(Message))
    }

    /// An order, for its buyer, its seller, and who helps with orders: first as it is, then after
    /// each change.
    async fn order_changed(
        &self,
        context: &Context<'_>,
        order_id: Uuid,
    ) -> Result<impl Stream<Item = Result<Order, Failure>> + use<>, Failure> {
        let reader = Reader::of(context);
        reader.viewer()?;
        let parts = &reader.parts;
        let (models, watermarks) = (parts.models.clone(), parts.watermarks.clone());
        let (hub, id) = (Arc::clone(&reader.hub), OrderId(order_id));
        let is_seen = |order: &_| reader.sees_order(order);
        let changes = order::order(hub, models, watermarks, id, &is_seen).await?;
        Ok(changes.map_ok(Order))
    }
}

/// A place in the log, as a message's position or as its cursor in a page.
fn position(text: &str) -> Result<Position, Failure> {
    let cursor = text.parse::<Cursor>().map(Cursor::position).ok();
    cursor.or_else(|| text.parse().ok()).ok_or_else(|| {
        Failure::Validation("`after` is neither a message's cursor nor its position".to_owned())
    })
}
