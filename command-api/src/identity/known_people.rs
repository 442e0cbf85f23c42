//! The port to what the log says of people. The accounts are a system of record of their own, so a
//! database that was lost, or an older one that was put back, lacks who is in the log all the same.

use async_trait::async_trait;
use event_schemas::UserId;
use thiserror::Error;

use super::names::Handle;

/// Tells who people are by the log, whether they have an account or not.
#[async_trait]
pub trait KnownPeople: Send + Sync + 'static {
    /// Who has the handle for good: they registered with it and proved an address. Whoever never
    /// did may lose it to another.
    ///
    /// # Errors
    /// When that can't be told just now.
    async fn holder(&self, handle: &Handle) -> Result<Option<UserId>, NotKnown>;

    /// Whether somebody else than this person has the handle for good.
    ///
    /// # Errors
    /// When that can't be told just now.
    async fn is_anothers(&self, handle: &Handle, user_id: UserId) -> Result<bool, NotKnown> {
        Ok(self.holder(handle).await?.is_some_and(|holder| holder != user_id))
    }
}

/// What the log says of people can't be told just now.
#[derive(Debug, Error)]
#[error("who has the handle can't be looked up just now")]
pub struct NotKnown;
