//! Events of the user domain. E-mail addresses and passwords are kept apart from the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::event_family;
use crate::ids::UserId;

event_family! {
    /// What happens to a person's account; streams `user-<id>`.
    UserEvent in "user":
        UserRegistered v 1 { handle of user_id: handle, display_name of user_id: display_name },
        UserEmailConfirmed v 1,
        UserProfileChanged v 1 { display_name of user_id: display_name, bio of user_id: empty },
        UserRoleGranted v 1,
}

/// A person signed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserRegistered {
    /// Who.
    pub user_id: UserId,
    /// The unique name others find them by, case-folded.
    pub handle: String,
    /// The name others see.
    pub display_name: String,
}

/// The person proved that the e-mail address is theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserEmailConfirmed {
    /// Who.
    pub user_id: UserId,
}

/// The person changed what others see of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserProfileChanged {
    /// Who.
    pub user_id: UserId,
    /// The name others see.
    pub display_name: String,
    /// What they say about themselves.
    pub bio: String,
}

/// The person was given a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserRoleGranted {
    /// Who.
    pub user_id: UserId,
    /// Which role, by its name.
    pub role: String,
    /// Why.
    pub reason: String,
}
