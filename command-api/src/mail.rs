//! The port by which people are written to.

use async_trait::async_trait;
use thiserror::Error;

use crate::identity::{ConfirmationToken, Email};

/// Sends the mails of identity. They carry secrets, so they are neither events nor logged.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Asks whoever reads this address to confirm it with the token.
    async fn confirm_address(&self, to: &Email, token: &ConfirmationToken)
    -> Result<(), MailError>;
}

/// The mail could not be handed over.
#[derive(Debug, Error)]
#[error("the mail could not be sent: {reason}")]
pub struct MailError {
    /// What was seen.
    pub reason: String,
}
