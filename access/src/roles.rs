//! Roles, permissions, and the one table that joins them.
//!
//! The table is a `match` over every pair that is granted; whatever it does not name is denied.
//! Staff roles hold staff permissions only: a moderator who also sells music holds two roles.

use std::fmt;
use std::str::FromStr;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person is on the platform. One person may hold several.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Listens, talks and buys.
    Listener,
    /// Publishes music of their own, and sells it.
    Artist,
    /// Publishes and sells for the artists it stands for.
    Label,
    /// Keeps the peace: takes down tracks and messages, suspends accounts.
    Moderator,
    /// Helps people with their orders and accounts.
    Support,
    /// Runs the platform and grants roles.
    Administrator,
}

impl Role {
    /// Every role, in the order of the golden table.
    pub const ALL: [Self; 6] = [
        Self::Listener,
        Self::Artist,
        Self::Label,
        Self::Moderator,
        Self::Support,
        Self::Administrator,
    ];

    /// The name used in tokens, events and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Artist => "artist",
            Self::Label => "label",
            Self::Moderator => "moderator",
            Self::Support => "support",
            Self::Administrator => "administrator",
        }
    }

    /// Whether a person may take this role by themselves when signing up; the others are granted.
    #[must_use]
    pub const fn may_be_chosen_at_sign_up(self) -> bool {
        matches!(self, Self::Listener | Self::Artist | Self::Label)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A role name that the platform does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no role is named {0:?}")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.name() == name);
        known.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// A set of roles. Written as a list of names; names it does not know are dropped on reading,
/// because a role that this build does not know can grant nothing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Roles(u8);

impl Roles {
    /// Nobody's roles: everything is denied.
    pub const NONE: Self = Self(0);

    /// Whether the set holds `role`.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The same set with `role`.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// The same set without `role`.
    #[must_use]
    pub const fn without(self, role: Role) -> Self {
        Self(self.0 & !role.bit())
    }

    /// The roles in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::NONE.with(role)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(names.iter().filter_map(|name| name.parse::<Role>().ok()).collect())
    }
}

/// One thing a caller may be allowed to do. "Own" says that the handler must also see that the
/// object belongs to the caller; a permission alone never proves that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Send audio to be probed and transcoded.
    UploadAudio,
    /// Make a track visible to everybody.
    PublishTrack,
    /// Take down a track of one's own.
    TakeDownOwnTrack,
    /// Take down anybody's track.
    TakeDownAnyTrack,
    /// Have a play counted.
    PlayTrack,
    /// Read the statistics of one's own tracks.
    ReadOwnStatistics,
    /// Open a channel.
    CreateChannel,
    /// Join a channel and leave it.
    JoinChannel,
    /// Post into a channel one is a member of.
    PostMessage,
    /// Remove anybody's message.
    RemoveAnyMessage,
    /// Offer a licence for a track of one's own.
    SellLicence,
    /// Order a licence.
    BuyLicence,
    /// Read orders in which one is buyer or seller.
    ReadOwnOrder,
    /// Read anybody's order.
    ReadAnyOrder,
    /// Read and change one's own account.
    ManageOwnAccount,
    /// Read anybody's account.
    ReadAnyAccount,
    /// Suspend an account and lift the suspension.
    SuspendAccount,
    /// Grant a role and take it away.
    GrantRole,
    /// See and steer projections, parked events and sagas.
    OperatePlatform,
}

impl Permission {
    /// Every permission, in the order of the golden table.
    pub const ALL: [Self; 19] = [
        Self::UploadAudio,
        Self::PublishTrack,
        Self::TakeDownOwnTrack,
        Self::TakeDownAnyTrack,
        Self::PlayTrack,
        Self::ReadOwnStatistics,
        Self::CreateChannel,
        Self::JoinChannel,
        Self::PostMessage,
        Self::RemoveAnyMessage,
        Self::SellLicence,
        Self::BuyLicence,
        Self::ReadOwnOrder,
        Self::ReadAnyOrder,
        Self::ManageOwnAccount,
        Self::ReadAnyAccount,
        Self::SuspendAccount,
        Self::GrantRole,
        Self::OperatePlatform,
    ];

    /// Whether the account's e-mail must be confirmed as well: one may log in without, but not
    /// publish, buy or sell, nor do anything about others.
    #[must_use]
    pub const fn needs_confirmed_email(self) -> bool {
        matches!(
            self,
            Self::PublishTrack
                | Self::SellLicence
                | Self::BuyLicence
                | Self::TakeDownAnyTrack
                | Self::RemoveAnyMessage
                | Self::ReadAnyOrder
                | Self::ReadAnyAccount
                | Self::SuspendAccount
                | Self::GrantRole
                | Self::OperatePlatform
        )
    }
}

/// Whether one of `roles` grants `permission`.
#[must_use]
pub fn allows(roles: Roles, permission: Permission) -> bool {
    roles.iter().any(|role| grants(role, permission))
}

const fn grants(role: Role, permission: Permission) -> bool {
    use Permission as P;
    use Role as R;
    match role {
        R::Listener => in_community(permission) || matches!(permission, P::BuyLicence),
        R::Artist | R::Label => {
            in_community(permission)
                || matches!(
                    permission,
                    P::UploadAudio
                        | P::PublishTrack
                        | P::TakeDownOwnTrack
                        | P::ReadOwnStatistics
                        | P::SellLicence
                        | P::BuyLicence
                )
        }
        R::Moderator => {
            in_community(permission)
                || matches!(
                    permission,
                    P::TakeDownAnyTrack
                        | P::RemoveAnyMessage
                        | P::ReadAnyAccount
                        | P::SuspendAccount
                )
        }
        R::Support => {
            in_community(permission) || matches!(permission, P::ReadAnyOrder | P::ReadAnyAccount)
        }
        R::Administrator => {
            in_community(permission)
                || matches!(
                    permission,
                    P::TakeDownAnyTrack
                        | P::RemoveAnyMessage
                        | P::ReadAnyOrder
                        | P::ReadAnyAccount
                        | P::SuspendAccount
                        | P::GrantRole
                        | P::OperatePlatform
                )
        }
    }
}

/// What everybody with an account may do, whatever their role.
const fn in_community(permission: Permission) -> bool {
    use Permission as P;
    matches!(
        permission,
        P::PlayTrack
            | P::CreateChannel
            | P::JoinChannel
            | P::PostMessage
            | P::ReadOwnOrder
            | P::ManageOwnAccount
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole table as text, one row a permission, `x` where the role of the column grants it.
    fn table() -> String {
        let mut text = format!("{:18}", "");
        for role in Role::ALL {
            text.push_str(&format!(" {role}"));
        }
        for permission in Permission::ALL {
            text.push_str(&format!("\n{:18}", format!("{permission:?}")));
            for role in Role::ALL {
                let mark = if allows(role.into(), permission) { "x" } else { "." };
                text.push_str(&format!(" {mark:>width$}", width = role.name().len()));
            }
            if permission.needs_confirmed_email() {
                text.push_str(" confirmed");
            }
        }
        text + "\n"
    }

    /// A change of the table shows in review as a change of the golden file.
    #[test]
    fn the_table_is_the_golden_one() {
        let golden = include_str!("../tests/golden/permissions.txt");
        assert_eq!(table(), golden, "the table is now:\n{}", table());
    }

    #[test]
    fn no_roles_allow_nothing() {
        for permission in Permission::ALL {
            assert!(!allows(Roles::NONE, permission), "{permission:?}");
        }
    }

    #[test]
    fn staff_roles_are_granted_not_chosen() {
        let chosen: Vec<_> =
            Role::ALL.into_iter().filter(|r| r.may_be_chosen_at_sign_up()).collect();
        assert_eq!(chosen, [Role::Listener, Role::Artist, Role::Label]);
        for role in chosen {
            assert!(!allows(role.into(), Permission::GrantRole));
            assert!(!allows(role.into(), Permission::OperatePlatform));
        }
    }

    #[test]
    fn unknown_roles_are_dropped_on_reading() {
        let roles: Roles = serde_json::from_str(r#"["artist","emperor"]"#).unwrap();
        assert_eq!(roles, Roles::from(Role::Artist));
        assert!("emperor".parse::<Role>().is_err());
    }

    proptest! {
        /// Holding more roles never takes a permission away, and grants no more than their sum.
        #[test]
        fn roles_add_up(bits in 0_u8..64) {
            let roles = Roles(bits);
            for permission in Permission::ALL {
                let one_grants = roles.iter().any(|role| allows(role.into(), permission));
                prop_assert_eq!(allows(roles, permission), one_grants);
            }
        }

        #[test]
        fn sets_survive_json(bits in 0_u8..64) {
            let text = serde_json::to_string(&Roles(bits)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Roles>(&text).unwrap(), Roles(bits));
        }
    }
}
