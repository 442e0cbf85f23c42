//! On whose behalf something is asked.

use std::sync::Arc;

/// The group that may do everything.
pub const ADMINS: &str = "$admins";
/// The group that runs the node.
pub const OPERATORS: &str = "$ops";

/// The users who are of these groups by their names.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const OPERATOR: &str = "ops";

/// On whose behalf something is asked. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Whoever it is: where nobody is asked who they are, everybody may do everything.
    Anybody,
    /// Somebody who could have said who they are, and did not.
    Anonymous,
    /// A user, who has proved it.
    User {
        /// Their login name.
        login: Arc<str>,
        /// The groups that they are in.
        groups: Arc<[String]>,
    },
}

impl Principal {
    /// A user in these groups.
    pub fn user(login: &str, groups: &[String]) -> Self {
        Self::User { login: login.into(), groups: groups.into() }
    }

    /// The user's login name; none where it is not known who it is.
    pub fn login(&self) -> Option<&str> {
        match self {
            Self::Anybody | Self::Anonymous => None,
            Self::User { login, .. } => Some(login),
        }
    }

    /// Whether it is known who it is, or nobody is asked.
    pub fn is_known(&self) -> bool {
        *self != Self::Anonymous
    }

    /// Whether they may do everything.
    pub fn is_admin(&self) -> bool {
        self.is_of(ADMIN, ADMINS)
    }

    /// Whether they may run the node, as administrators may.
    pub fn is_operator(&self) -> bool {
        self.is_admin() || self.is_of(OPERATOR, OPERATORS)
    }

    /// Whether a list of users and groups that names this one names them.
    pub fn has_role(&self, role: &str) -> bool {
        match self {
            Self::Anybody => true,
            Self::Anonymous => false,
            Self::User { login, groups } => **login == *role || groups.iter().any(|it| it == role),
        }
    }

    fn is_of(&self, name: &str, group: &str) -> bool {
        match self {
            Self::Anybody => true,
            Self::Anonymous => false,
            Self::User { login, groups } => **login == *name || groups.iter().any(|it| it == group),
        }
    }
}
