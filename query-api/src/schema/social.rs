//! Channels and messages: for members, and nobody else.

use async_graphql::{Context, Description, Object};
use chrono::{DateTime, Utc};
use event_schemas::{ChannelId, UserId};
use projections::{Page, postgres};
use uuid::Uuid;

use crate::failure::{Failure, Nullable};
use crate::reader::Reader;
use crate::rows::{MembersOf, MessagesOf};
use crate::schema::connection::{Connection, connection};
use crate::schema::page::{cost, place};
use crate::schema::user::User;

/// What can be asked about channels.
#[derive(Default)]
pub struct SocialQuery;

#[Object]
impl SocialQuery {
    /// A channel that one is a member of.
    async fn channel(&self, context: &Context<'_>, id: Uuid) -> Nullable<Channel> {
        let reader = Reader::of(context);
        let viewer = reader.viewer.as_ref()?;
        async {
            let channels = reader.channels().await?;
            if !channels.is_member(ChannelId(id), UserId(viewer.user_id)).await? {
                return Ok(None);
            }
            Ok(channels.by_id(ChannelId(id)).await?.map(Channel))
        }
        .await
        .transpose()
    }
}

/// A channel, as its members see it.
#[derive(Description)]
pub struct Channel(pub postgres::Channel);

#[Object(use_type_description)]
impl Channel {
    /// Which channel.
    async fn id(&self) -> Uuid {
        self.0.channel_id.0
    }

    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whose it is.
    async fn owner(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.owner_id).await?))
    }

    /// When it was opened, as recorded.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Its members, the last to join first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn members(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<User>, Failure> {
        let place = place(first, after.as_deref())?;
        let rows = &Reader::of(context).rows;
        let page = rows.load_one(MembersOf(self.0.channel_id, place)).await?;
        let page = page.unwrap_or_else(Page::empty);
        let profiles = rows.load_many(page.rows.iter().map(|(_, user)| *user)).await?;
        // Whom the model of people does not know yet is left out until it does.
        Ok(connection(page, place, |user| profiles.get(&user).cloned().map(User)))
    }

    /// What was said, latest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn messages(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Message>, Failure> {
        let place = place(first, after.as_deref())?;
        let rows = &Reader::of(context).rows;
        let page = rows.load_one(MessagesOf(self.0.channel_id, place)).await?;
        Ok(connection(page.unwrap_or_else(Page::empty), place, Message))
    }
}

/// What somebody said.
#[derive(Description)]
pub struct Message(pub postgres::Message);

#[Object(use_type_description)]
impl Message {
    /// Which message.
    async fn id(&self) -> Uuid {
        self.0.message_id.0
    }

    /// What was said.
    async fn text(&self) -> &str {
        &self.0.text
    }

    /// When, as recorded: messages are listed by it.
    async fn posted_at(&self) -> DateTime<Utc> {
        self.0.posted_at
    }

    /// By whom.
    async fn author(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.author_id).await?))
    }

    /// In which channel.
    async fn channel_id(&self) -> Uuid {
        self.0.channel_id.0
    }

    /// Its place among all that happens; `messagePosted(after:)` goes on behind it.
    async fn position(&self) -> String {
        self.0.position.to_string()
    }
}
