//! A person's account: what others see of them, and what they may do.
//!
//! That a handle is nobody else's is kept by the caller, by reserving it; e-mail address and
//! password are kept apart from the log.

use std::collections::BTreeSet;

use event_schemas::UserId;
use event_schemas::user::{
    UserEmailConfirmed, UserEvent, UserProfileChanged, UserRegistered, UserRoleGranted,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};
use crate::user::role::Role;

/// Shortest handle, in characters.
pub const HANDLE_CHARS_MIN: usize = 3;

/// Longest handle, in characters.
pub const HANDLE_CHARS_MAX: usize = 30;

/// Longest display name, in characters.
pub const DISPLAY_NAME_CHARS_MAX: usize = 60;

/// Longest text about oneself, in characters.
pub const BIO_CHARS_MAX: usize = 2000;

/// The reason that is kept with roles chosen at sign-up.
const CHOSEN_AT_SIGN_UP: &str = "chosen at sign-up";

/// What can be asked of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UserCommand {
    /// Sign up.
    Register {
        /// Who.
        user_id: UserId,
        /// The name others find them by; case does not matter.
        handle: String,
        /// The name others see.
        display_name: String,
        /// What they want to be; a listener when they name nothing.
        roles: BTreeSet<Role>,
    },
    /// Note that the e-mail address is theirs.
    ConfirmEmail,
    /// Change what others see.
    ChangeProfile {
        /// The name others see.
        display_name: String,
        /// What they say about themselves; may be empty.
        bio: String,
    },
    /// Give the person a role.
    GrantRole {
        /// Who grants it.
        by: Grantor,
        /// Which role.
        role: Role,
        /// Why.
        reason: String,
    },
}

/// Who grants a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantor {
    /// Whoever works on the server's own machine; how the first administrator comes to be.
    Operator,
    /// A person.
    User {
        /// Who.
        user_id: UserId,
        /// Whether they are an administrator, as the caller knows for sure.
        administrator: bool,
    },
}

/// Why an account refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserRejection {
    /// Nobody signed up under this id.
    #[error("the user is not there")]
    NotRegistered,
    /// Somebody signed up under this id.
    #[error("the user is already there")]
    AlreadyRegistered,
    /// The handle can't be taken.
    #[error(
        "a handle is {HANDLE_CHARS_MIN} to {HANDLE_CHARS_MAX} of the characters a-z, 0-9, _ and ., \
         and begins with a letter"
    )]
    Handle,
    /// A text can't be taken.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The role is granted, not chosen.
    #[error("the role {0} can't be chosen")]
    RoleNotChosen(Role),
    /// Nobody grants themselves a role.
    #[error("nobody may grant a role to themselves")]
    OwnRole,
    /// Only administrators grant roles.
    #[error("only an administrator may grant roles")]
    NotAdministrator,
    /// Roles that are not chosen are for people whose address was proved.
    #[error("the person has not confirmed their address")]
    NotConfirmed,
}

/// A person's account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Who they are; `None` before they sign up.
    pub user_id: Option<UserId>,
    /// The name others find them by.
    pub handle: String,
    /// The name others see.
    pub display_name: String,
    /// What they say about themselves.
    pub bio: String,
    /// Whether the e-mail address is known to be theirs.
    pub email_confirmed: bool,
    /// What they are, by names: a later release may know more of them.
    pub roles: BTreeSet<String>,
}

aggregate!(User: UserCommand => UserEvent, UserRejection);

impl Decider for User {
    type Id = UserId;

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserRejection> {
        match command {
            UserCommand::Register { user_id, handle, display_name, roles } => {
                self.register(user_id, &handle, &display_name, roles)
            }
            UserCommand::ConfirmEmail => {
                let user_id = self.user_id()?;
                if self.email_confirmed {
                    return Ok(vec![]);
                }
                Ok(vec![UserEmailConfirmed { user_id }.into()])
            }
            UserCommand::ChangeProfile { display_name, bio } => {
                let user_id = self.user_id()?;
                let display_name =
                    text::line("display name", &display_name, DISPLAY_NAME_CHARS_MAX)?;
                let bio = text::optional_lines("bio", &bio, BIO_CHARS_MAX)?;
                if display_name == self.display_name && bio == self.bio {
                    return Ok(vec![]);
                }
                Ok(vec![UserProfileChanged { user_id, display_name, bio }.into()])
            }
            UserCommand::GrantRole { by, role, reason } => self.grant(by, role, &reason),
        }
    }

    fn evolve(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserRegistered(registered) => {
                self.user_id = Some(registered.user_id);
                self.handle = registered.handle;
                self.display_name = registered.display_name;
            }
            UserEvent::UserEmailConfirmed(_) => self.email_confirmed = true,
            UserEvent::UserProfileChanged(changed) => {
                self.display_name = changed.display_name;
                self.bio = changed.bio;
            }
            UserEvent::UserRoleGranted(granted) => {
                self.roles.insert(granted.role);
            }
        }
    }
}

impl User {
    /// Whether the person holds the role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(role.name())
    }

    fn user_id(&self) -> Result<UserId, UserRejection> {
        self.user_id.ok_or(UserRejection::NotRegistered)
    }

    fn register(
        &self,
        user_id: UserId,
        handle: &str,
        display_name: &str,
        mut roles: BTreeSet<Role>,
    ) -> Result<Vec<UserEvent>, UserRejection> {
        if self.user_id.is_some() {
            return Err(UserRejection::AlreadyRegistered);
        }
        let handle = folded_handle(handle)?;
        let display_name = text::line("display name", display_name, DISPLAY_NAME_CHARS_MAX)?;
        if let Some(role) = roles.iter().find(|role| !role.may_be_chosen()) {
            return Err(UserRejection::RoleNotChosen(*role));
        }
        if roles.is_empty() {
            roles.insert(Role::Listener);
        }
        let mut events = vec![UserRegistered { user_id, handle, display_name }.into()];
        events.extend(roles.into_iter().map(|role| {
            let (role, reason) = (role.name().to_owned(), CHOSEN_AT_SIGN_UP.to_owned());
            UserEvent::from(UserRoleGranted { user_id, role, reason })
        }));
        Ok(events)
    }

    fn grant(
        &self,
        by: Grantor,
        role: Role,
        reason: &str,
    ) -> Result<Vec<UserEvent>, UserRejection> {
        let user_id = self.user_id()?;
        match by {
            Grantor::User { user_id: grantor, .. } if grantor == user_id => {
                return Err(UserRejection::OwnRole);
            }
            Grantor::User { administrator: false, .. } => {
                return Err(UserRejection::NotAdministrator);
            }
            Grantor::User { administrator: true, .. } | Grantor::Operator => {}
        }
        let reason = text::line("reason", reason, text::REASON_CHARS_MAX)?;
        if self.has(role) {
            return Ok(vec![]);
        }
        // Whoever signed up with an address need not be who has it.
        if !role.may_be_chosen() && !self.email_confirmed {
            return Err(UserRejection::NotConfirmed);
        }
        Ok(vec![UserRoleGranted { user_id, role: role.name().to_owned(), reason }.into()])
    }
}

/// The handle as it is kept and reserved, or why it can't be.
pub fn folded_handle(handle: &str) -> Result<String, UserRejection> {
    let handle = handle.trim().to_ascii_lowercase();
    let lengths = HANDLE_CHARS_MIN..=HANDLE_CHARS_MAX;
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
    let good = lengths.contains(&handle.len())
        && handle.starts_with(|first: char| first.is_ascii_lowercase())
        && handle.bytes().all(letters);
    good.then_some(handle).ok_or(UserRejection::Handle)
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const ADA: UserId = UserId(Uuid::from_u128(1));
    const BEA: UserId = UserId(Uuid::from_u128(2));

    fn register(handle: &str, roles: &[Role]) -> UserCommand {
        UserCommand::Register {
            user_id: ADA,
            handle: handle.to_owned(),
            display_name: " Ada ".to_owned(),
            roles: roles.iter().copied().collect(),
        }
    }

    fn registered() -> UserEvent {
        let (handle, display_name) = ("ada".to_owned(), "Ada".to_owned());
        UserRegistered { user_id: ADA, handle, display_name }.into()
    }

    fn granted(role: Role, reason: &str) -> UserEvent {
        let (role, reason) = (role.name().to_owned(), reason.to_owned());
        UserRoleGranted { user_id: ADA, role, reason }.into()
    }

    fn grant(by: Grantor, role: Role) -> UserCommand {
        UserCommand::GrantRole { by, role, reason: "trusted".to_owned() }
    }

    fn given(events: Vec<UserEvent>) -> AggregateTestExecutor<User> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn people_sign_up_once_with_roles_they_may_choose() {
        let chosen = |role| granted(role, CHOSEN_AT_SIGN_UP);
        given(vec![])
            .when(register("Ada", &[]))
            .then_expect_events(vec![registered(), chosen(Role::Listener)]);
        given(vec![])
            .when(register("ada", &[Role::Artist, Role::Listener]))
            .then_expect_events(vec![registered(), chosen(Role::Listener), chosen(Role::Artist)]);
        given(vec![])
            .when(register("ada", &[Role::Administrator]))
            .then_expect_error(UserRejection::RoleNotChosen(Role::Administrator));
        given(vec![registered()])
            .when(register("ada", &[]))
            .then_expect_error(UserRejection::AlreadyRegistered);
    }

    #[test]
    fn handles_are_plain() {
        for bad in ["", "ab", "a b c", "1ada", "_ada", "ädä", "a/../b", &"a".repeat(31)] {
            given(vec![]).when(register(bad, &[])).then_expect_error(UserRejection::Handle);
        }
        assert_eq!(folded_handle(" Ada.L_1 "), Ok("ada.l_1".to_owned()));
    }

    #[test]
    fn an_address_is_confirmed_once() {
        let confirmed = UserEvent::from(UserEmailConfirmed { user_id: ADA });
        given(vec![registered()])
            .when(UserCommand::ConfirmEmail)
            .then_expect_events(vec![confirmed.clone()]);
        given(vec![registered(), confirmed])
            .when(UserCommand::ConfirmEmail)
            .then_expect_events(vec![]);
        given(vec![])
            .when(UserCommand::ConfirmEmail)
            .then_expect_error(UserRejection::NotRegistered);
    }

    #[test]
    fn a_profile_that_stays_the_same_is_no_change() {
        let change = |bio: &str| UserCommand::ChangeProfile {
            display_name: "Ada".to_owned(),
            bio: bio.to_owned(),
        };
        let changed = UserProfileChanged {
            user_id: ADA,
            display_name: "Ada".to_owned(),
            bio: "cello\nand loops".to_owned(),
        };
        given(vec![registered()]).when(change("")).then_expect_events(vec![]);
        given(vec![registered()])
            .when(change("cello\nand loops"))
            .then_expect_events(vec![changed.into()]);
        let too_long = TextError::TooLong { field: "bio", max_chars: BIO_CHARS_MAX };
        given(vec![registered()])
            .when(change(&"b".repeat(BIO_CHARS_MAX + 1)))
            .then_expect_error(too_long.into());
    }

    #[test]
    fn only_another_administrator_or_the_operator_grants_roles() {
        let user = |user_id, administrator| Grantor::User { user_id, administrator };
        let role = Role::Moderator;
        let confirmed = UserEvent::from(UserEmailConfirmed { user_id: ADA });
        let there = || given(vec![registered(), confirmed.clone()]);
        there().when(grant(user(ADA, false), role)).then_expect_error(UserRejection::OwnRole);
        there().when(grant(user(ADA, true), role)).then_expect_error(UserRejection::OwnRole);
        there()
            .when(grant(user(BEA, false), role))
            .then_expect_error(UserRejection::NotAdministrator);
        let events = vec![granted(role, "trusted")];
        there().when(grant(user(BEA, true), role)).then_expect_events(events.clone());
        there().when(grant(Grantor::Operator, role)).then_expect_events(events.clone());
        given([vec![registered(), confirmed.clone()], events].concat())
            .when(grant(Grantor::Operator, role))
            .then_expect_events(vec![]);
    }

    #[test]
    fn who_never_confirmed_an_address_gets_no_role_that_is_not_chosen() {
        let there = || given(vec![registered()]);
        let operators = |role| grant(Grantor::Operator, role);
        for role in [Role::Moderator, Role::Administrator] {
            there().when(operators(role)).then_expect_error(UserRejection::NotConfirmed);
        }
        let artist = granted(Role::Artist, "trusted");
        there().when(operators(Role::Artist)).then_expect_events(vec![artist]);
    }

    fn any_command() -> impl Strategy<Value = UserCommand> {
        let role = prop::sample::select(Role::ALL.to_vec());
        prop_oneof![
            prop::collection::btree_set(role.clone(), 0..3)
                .prop_map(|roles| register("ada", &roles.into_iter().collect::<Vec<_>>())),
            (role, any::<bool>(), any::<bool>()).prop_map(|(role, own, administrator)| {
                let user_id = if own { ADA } else { BEA };
                grant(Grantor::User { user_id, administrator: administrator && !own }, role)
            }),
            Just(UserCommand::ConfirmEmail),
        ]
    }

    proptest! {
        #[test]
        fn nobody_becomes_staff_by_themselves(
            commands in prop::collection::vec(any_command(), 1..40),
        ) {
            let mut user = User::default();
            for command in commands {
                let by_administrator = matches!(
                    command,
                    UserCommand::GrantRole { by: Grantor::User { administrator: true, .. }, .. }
                );
                let before = user.roles.clone();
                for event in user.decide(command).unwrap_or_default() {
                    user.evolve(event);
                }
                for new in user.roles.difference(&before) {
                    let role: Role = new.parse().unwrap();
                    let is_given = by_administrator && user.email_confirmed;
                    prop_assert!(is_given || role.may_be_chosen(), "{new} was taken");
                }
            }
        }
    }
}
