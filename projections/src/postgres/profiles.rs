//! Profiles: people, by id and by handle, with their roles.

use std::collections::HashSet;

use event_schemas::UserId;
use event_schemas::user::UserEvent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event};
use crate::postgres::{projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "profiles", version: 1 };

const TABLES: &[&str] = &["
CREATE TABLE IF NOT EXISTS profiles (
    user_id uuid PRIMARY KEY,
    handle text NOT NULL UNIQUE,
    display_name text NOT NULL,
    bio text NOT NULL DEFAULT '',
    email_confirmed boolean NOT NULL DEFAULT false,
    roles text[] NOT NULL DEFAULT '{}',
    position bigint NOT NULL
)"];

/// Fills the model.
pub struct ProfilesProjection;

projection!(ProfilesProjection, MODEL, ["user"], TABLES);

impl ProfilesProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let Event::User(event) = &envelope.event else {
            return Ok(());
        };
        let statement = match event {
            UserEvent::UserRegistered(event) => {
                // Who never confirmed an address may lose the handle to another. They are named
                // by their id then, which is nobody's handle.
                query("UPDATE profiles SET handle = user_id::text WHERE handle = $1")
                    .bind(&event.handle)
                    .execute(&mut *to)
                    .await?;
                query(
                    "INSERT INTO profiles (user_id, handle, display_name, position)
                     VALUES ($1, $2, $3, $4)",
                )
                .bind(event.user_id.0)
                .bind(&event.handle)
                .bind(&event.display_name)
                .bind(envelope.position_column())
            }
            UserEvent::UserEmailConfirmed(event) => {
                query("UPDATE profiles SET email_confirmed = true WHERE user_id = $1")
                    .bind(event.user_id.0)
            }
            UserEvent::UserProfileChanged(event) => {
                query("UPDATE profiles SET display_name = $2, bio = $3 WHERE user_id = $1")
                    .bind(event.user_id.0)
                    .bind(&event.display_name)
                    .bind(&event.bio)
            }
            UserEvent::UserRoleGranted(event) => query(
                "UPDATE profiles SET roles = array_append(roles, $2)
                 WHERE user_id = $1 AND NOT $2 = ANY (roles)",
            )
            .bind(event.user_id.0)
            .bind(&event.role),
        };
        statement.execute(to).await?;
        Ok(())
    }
}

/// A person, as others see them, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who.
    pub user_id: UserId,
    /// The unique name others find them by.
    pub handle: String,
    /// The name others see.
    pub display_name: String,
    /// What they say about themselves.
    pub bio: String,
    /// Whether the e-mail address is proved to be theirs.
    pub email_confirmed: bool,
    /// Their roles, in the order they were granted.
    pub roles: Vec<String>,
}

queries! {
    /// Queries over people.
    Profiles
}

impl Profiles {
    /// The person with this id.
    pub async fn by_id(&self, user: UserId) -> Result<Option<Profile>, QueryError> {
        Ok(self.by_ids(&[user]).await?.pop())
    }

    /// The people with these ids, in no order; the unknown are left out.
    pub async fn by_ids(&self, users: &[UserId]) -> Result<Vec<Profile>, QueryError> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let rows = query("SELECT * FROM profiles_v1.profiles WHERE user_id = ANY ($1)")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(profile).collect()
    }

    /// Those who have proved an address, by their ids from this one on, so many at most.
    pub async fn confirmed(
        &self,
        after: Option<UserId>,
        count: u32,
    ) -> Result<Vec<UserId>, QueryError> {
        let statement = "SELECT user_id FROM profiles_v1.profiles
             WHERE email_confirmed AND ($1 IS NULL OR user_id > $1) ORDER BY user_id LIMIT $2";
        let after = after.map(|after| after.0);
        let rows =
            query(statement).bind(after).bind(i64::from(count)).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(UserId(row.try_get("user_id")?))).collect()
    }

    /// Those of these people who have proved an address.
    pub async fn confirmed_among(&self, users: &[UserId]) -> Result<HashSet<UserId>, QueryError> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let statement = "SELECT user_id FROM profiles_v1.profiles
             WHERE email_confirmed AND user_id = ANY ($1)";
        let rows = query(statement).bind(ids).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(UserId(row.try_get("user_id")?))).collect()
    }

    /// The person whose handle this is, as it was folded when they registered.
    pub async fn by_handle(&self, handle: &str) -> Result<Option<Profile>, QueryError> {
        let row = query("SELECT * FROM profiles_v1.profiles WHERE handle = $1")
            .bind(handle)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(profile).transpose()
    }
}

fn profile(row: &PgRow) -> Result<Profile, QueryError> {
    Ok(Profile {
        user_id: UserId(row.try_get("user_id")?),
        handle: row.try_get("handle")?,
        display_name: row.try_get("display_name")?,
        bio: row.try_get("bio")?,
        email_confirmed: row.try_get("email_confirmed")?,
        roles: row.try_get("roles")?,
    })
}
