//! The streams of users, read and written.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use serde_json::json;
use uuid::Uuid;

use super::error::UsersError;
use super::login::Login;
use super::record::Record;
use super::user::User;
use crate::access::ADMINS;
use crate::error::{ReadError, StoreError};
use crate::event::{ContentType, EventId, NewEvent, RecordedEvent};
use crate::limits::USERS_LISTED_MAX;
use crate::port::EventStore;
use crate::read::ReadStream;
use crate::stream::{ExpectedRevision, Revision, StreamAcl, StreamMetadata, StreamName};

const USERS: &str = "$users";
const USER_PREFIX: &str = "$user-";
const LISTED_TYPE: &str = "$User";

/// The types of a user's events.
pub(super) const CREATED: &str = "$UserCreated";
pub(super) const UPDATED: &str = "$UserUpdated";

/// A user as they were found.
pub(super) struct Found {
    pub record: Record,
    pub event: EventId,
    pub revision: Revision,
    pub user: User,
}

/// The streams of a store's users.
pub(super) struct UserStreams(pub(super) Arc<dyn EventStore>);

impl UserStreams {
    /// How a user is now.
    pub(super) async fn find(&self, login: &Login) -> Result<Found, UsersError> {
        let last = self.0.last_event(&stream(login)).await;
        let last = last.map_err(|error| UsersError::of_read(error, login))?;
        let event = last.ok_or_else(|| UsersError::NotFound(login.clone()))?;
        found(login, &event).ok_or_else(|| UsersError::Corrupt(login.clone()))
    }

    /// Keeps a user who was not there. They are listed first and can't be changed by others last:
    /// whatever a crash in between leaves, nobody is there unseen, and nobody else has rights.
    pub(super) async fn create(&self, login: &Login, record: &Record) -> Result<(), UsersError> {
        let of_append = |error| UsersError::of_append(error, login);
        let listed = new_event(LISTED_TYPE, ContentType::Binary, login.as_str().to_owned());
        let users = StreamName::recorded(USERS);
        let kept = self.0.append(&users, ExpectedRevision::Any, vec![listed]).await;
        kept.map_err(of_append)?;
        self.write(login, CREATED, ExpectedRevision::NoStream, record).await?;
        let stream = stream(login);
        let (metadata, _) = self
            .0
            .stream_metadata(&stream)
            .await
            .map_err(|error| UsersError::of_read(error, login))?;
        let acl = StreamAcl {
            // Hashes are nobody else's business, whatever the settings say of the system's streams.
            read: Some(json!(ADMINS)),
            write: Some(json!(ADMINS)),
            delete: Some(json!(ADMINS)),
            metadata_write: Some(json!(ADMINS)),
            ..StreamAcl::default()
        };
        let metadata = StreamMetadata { acl: Some(acl), ..metadata };
        let set = self.0.set_stream_metadata(&stream, ExpectedRevision::Any, metadata).await;
        set.map(drop).map_err(of_append)
    }

    /// Keeps what has become of a user.
    pub(super) async fn update(
        &self,
        login: &Login,
        was: &Found,
        is: &Record,
    ) -> Result<(), UsersError> {
        self.write(login, UPDATED, ExpectedRevision::Exactly(was.revision), is).await
    }

    /// Deletes a user as they were found.
    pub(super) async fn delete(&self, login: &Login, was: &Found) -> Result<(), UsersError> {
        let expected = ExpectedRevision::Exactly(was.revision);
        let deleted = self.0.delete_stream(&stream(login), expected).await;
        deleted.map(drop).map_err(|error| UsersError::of_append(error, login))
    }

    /// All users, by their login names.
    pub(super) async fn all(&self) -> Result<Vec<User>, UsersError> {
        let mut users = Vec::new();
        for login in self.logins().await? {
            match self.find(&login).await {
                Ok(found) => users.push(found.user),
                Err(UsersError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(users)
    }

    /// Everybody who was ever made, and possibly deleted since.
    async fn logins(&self) -> Result<BTreeSet<Login>, UsersError> {
        let mut logins = BTreeSet::new();
        let users = StreamName::recorded(USERS);
        let mut events = match self.0.read_stream(ReadStream::forward(users)).await {
            Ok(events) => events,
            Err(ReadError::StreamNotFound(_)) => return Ok(logins),
            Err(error) => return Err(of_listing(error)),
        };
        while let Some(event) = events.try_next().await.map_err(of_listing)? {
            let name = std::str::from_utf8(&event.data).ok();
            if let Some(login) = name.and_then(|name| Login::new(name).ok())
                && logins.len() < USERS_LISTED_MAX
            {
                logins.insert(login);
            }
        }
        Ok(logins)
    }

    async fn write(
        &self,
        login: &Login,
        event_type: &str,
        expected: ExpectedRevision,
        record: &Record,
    ) -> Result<(), UsersError> {
        let data = json!(record).to_string();
        let event = new_event(event_type, ContentType::Json, data);
        let written = self.0.append(&stream(login), expected, vec![event]).await;
        written.map(drop).map_err(|error| UsersError::of_append(error, login))
    }
}

fn stream(login: &Login) -> StreamName {
    StreamName::recorded(&format!("{USER_PREFIX}{login}"))
}

fn found(login: &Login, event: &RecordedEvent) -> Option<Found> {
    let record: Record = serde_json::from_slice(&event.data).ok()?;
    // What was written there by hand for somebody else proves nothing.
    if record.login_name != login.as_str() {
        return None;
    }
    let user = User {
        login: login.clone(),
        full_name: record.full_name.clone(),
        groups: record.groups.clone(),
        disabled: record.disabled,
        last_updated: event.recorded_at,
    };
    Some(Found { record, event: event.id, revision: event.revision, user })
}

fn of_listing(error: ReadError) -> UsersError {
    match error {
        ReadError::Store(error) => error.into(),
        other => StoreError::Unavailable { reason: other.to_string().into() }.into(),
    }
}

fn new_event(event_type: &str, content_type: ContentType, data: String) -> NewEvent {
    NewEvent::system(EventId(Uuid::new_v4()), event_type, content_type, data)
}
