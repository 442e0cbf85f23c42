//! What is told of a user.

use chrono::{DateTime, Utc};

use super::login::Login;

/// A user, without what is secret of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What they log in as.
    pub login: Login,
    /// What they are called.
    pub full_name: String,
    /// The groups that they are in.
    pub groups: Vec<String>,
    /// Whether they can't log in for now.
    pub disabled: bool,
    /// When anything of it was changed last.
    pub last_updated: DateTime<Utc>,
}
