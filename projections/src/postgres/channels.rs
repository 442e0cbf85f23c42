//! Channels: where members talk, who they are, and what was said.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_schemas::social::{ChannelEvent, MessageEvent};
use event_schemas::{ChannelId, MessageId, UserId};
use event_store::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event, position_column, position_from_column};
use crate::page::{Cursor, Page, PageSize, page, pages};
use crate::postgres::{projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "channels", version: 2 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS channels (
        channel_id uuid PRIMARY KEY,
        name text NOT NULL,
        owner_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        position bigint NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS members (
        channel_id uuid NOT NULL,
        user_id uuid NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (channel_id, user_id)
    )",
    "CREATE INDEX IF NOT EXISTS members_by_user ON members (user_id, position DESC)",
    "CREATE TABLE IF NOT EXISTS messages (
        message_id uuid PRIMARY KEY,
        channel_id uuid NOT NULL,
        author_id uuid NOT NULL,
        text text NOT NULL,
        posted_at timestamptz NOT NULL,
        position bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS messages_by_channel ON messages (channel_id, position DESC)",
];

/// Fills the model.
pub struct ChannelsProjection;

projection!(ChannelsProjection, MODEL, ["channel", "message"], TABLES);

impl ChannelsProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        match &envelope.event {
            Event::Channel(event) => self.channel(to, envelope, event).await,
            Event::Message(MessageEvent::MessagePosted(event)) => {
                query(
                    "INSERT INTO messages (message_id, channel_id, author_id, text, posted_at,
                                           position)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(event.message_id.0)
                .bind(event.channel_id.0)
                .bind(event.author_id.0)
                .bind(&event.text)
                .bind(envelope.recorded_at())
                .bind(envelope.position_column())
                .execute(to)
                .await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn channel(
        &self,
        to: &mut PgConnection,
        envelope: &Envelope,
        event: &ChannelEvent,
    ) -> Result<(), ApplyError> {
        let position = envelope.position_column();
        match event {
            ChannelEvent::ChannelCreated(event) => {
                query(
                    "INSERT INTO channels (channel_id, name, owner_id, created_at, position)
                     VALUES ($1, $2, $3, $4, $5)",
                )
                .bind(event.channel_id.0)
                .bind(&event.name)
                .bind(event.owner_id.0)
                .bind(envelope.recorded_at())
                .bind(position)
                .execute(&mut *to)
                .await?;
                join(to, event.channel_id, event.owner_id, position).await
            }
            ChannelEvent::ChannelMemberJoined(event) => {
                join(to, event.channel_id, event.user_id, position).await
            }
            ChannelEvent::ChannelMemberLeft(event) => {
                query("DELETE FROM members WHERE channel_id = $1 AND user_id = $2")
                    .bind(event.channel_id.0)
                    .bind(event.user_id.0)
                    .execute(to)
                    .await?;
                Ok(())
            }
        }
    }
}

async fn join(
    to: &mut PgConnection,
    channel: ChannelId,
    user: UserId,
    position: i64,
) -> Result<(), ApplyError> {
    query(
        "INSERT INTO members (channel_id, user_id, position) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(channel.0)
    .bind(user.0)
    .bind(position)
    .execute(to)
    .await?;
    Ok(())
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner_id: UserId,
    /// When it was opened, as recorded.
    pub created_at: DateTime<Utc>,
}

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which message.
    pub message_id: MessageId,
    /// In which channel.
    pub channel_id: ChannelId,
    /// Who said it.
    pub author_id: UserId,
    /// What was said.
    pub text: String,
    /// When, as recorded.
    pub posted_at: DateTime<Utc>,
    /// Where its event is in the log.
    pub position: Position,
}

queries! {
    /// Queries over channels.
    Channels
}

impl Channels {
    /// The channel with this id.
    pub async fn by_id(&self, channel: ChannelId) -> Result<Option<Channel>, QueryError> {
        let row = query("SELECT * FROM channels_v2.channels WHERE channel_id = $1")
            .bind(channel.0)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read_channel).transpose()
    }

    /// Whether somebody is a member of the channel.
    pub async fn is_member(&self, channel: ChannelId, user: UserId) -> Result<bool, QueryError> {
        let row = query(
            "SELECT EXISTS (SELECT 1 FROM channels_v2.members
                            WHERE channel_id = $1 AND user_id = $2) AS member",
        )
        .bind(channel.0)
        .bind(user.0)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("member")?)
    }

    /// The channels somebody is a member of, the one joined last first.
    pub async fn of_member(
        &self,
        user: UserId,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Channel>, QueryError> {
        let sql = "SELECT c.channel_id, c.name, c.owner_id, c.created_at, m.position
                   FROM channels_v2.members m JOIN channels_v2.channels c USING (channel_id)
                   WHERE m.user_id = $1 AND m.position < $2 ORDER BY m.position DESC LIMIT $3";
        page(&self.pool, sql, user.0, (after, size), read_channel).await
    }

    /// The members of several channels, the last to join first.
    pub async fn members_of(
        &self,
        channels: &[ChannelId],
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<HashMap<Uuid, Page<UserId>>, QueryError> {
        let sql = "SELECT of_one.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
                       SELECT * FROM channels_v2.members
                       WHERE channel_id = wanted.id AND position < $2
                       ORDER BY position DESC LIMIT $3) AS of_one";
        let channels = channels.iter().map(|channel| channel.0).collect();
        let read = |row: &PgRow| Ok(UserId(row.try_get("user_id")?));
        pages(&self.pool, sql, "channel_id", channels, (after, size), read).await
    }

    /// What was said in several channels, each channel's latest first.
    pub async fn messages_of(
        &self,
        channels: &[ChannelId],
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<HashMap<Uuid, Page<Message>>, QueryError> {
        let sql = "SELECT of_one.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
                       SELECT * FROM channels_v2.messages
                       WHERE channel_id = wanted.id AND position < $2
                       ORDER BY position DESC LIMIT $3) AS of_one";
        let channels = channels.iter().map(|channel| channel.0).collect();
        pages(&self.pool, sql, "channel_id", channels, (after, size), message).await
    }

    /// What was said in a channel after one position and up to another, in the order it was said,
    /// at most so many.
    pub async fn messages_between(
        &self,
        channel: ChannelId,
        after: Position,
        upto: Position,
        size: PageSize,
    ) -> Result<Vec<Message>, QueryError> {
        let rows = query(
            "SELECT * FROM channels_v2.messages
             WHERE channel_id = $1 AND position > $2 AND position <= $3
             ORDER BY position LIMIT $4",
        )
        .bind(channel.0)
        .bind(position_column(after))
        .bind(position_column(upto))
        .bind(i64::from(size.rows()))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(message).collect()
    }
}

fn read_channel(row: &PgRow) -> Result<Channel, QueryError> {
    Ok(Channel {
        channel_id: ChannelId(row.try_get("channel_id")?),
        name: row.try_get("name")?,
        owner_id: UserId(row.try_get("owner_id")?),
        created_at: row.try_get("created_at")?,
    })
}

fn message(row: &PgRow) -> Result<Message, QueryError> {
    Ok(Message {
        message_id: MessageId(row.try_get("message_id")?),
        channel_id: ChannelId(row.try_get("channel_id")?),
        author_id: UserId(row.try_get("author_id")?),
        text: row.try_get("text")?,
        posted_at: row.try_get("posted_at")?,
        position: position_from_column(row.try_get("position")?),
    })
}
