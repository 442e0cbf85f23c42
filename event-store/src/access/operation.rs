//! What is no matter of a single stream, and who may do it.

use super::{AccessDenied, Principal};

/// Something that is asked of the node, of groups, of projections or about users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// To be told that the node is there, and what and where it is.
    Discover,
    /// To read how the node is doing.
    Statistics,
    /// To scavenge, shut down, resign, merge, set priorities, and see how it is configured.
    RunNode,
    /// To look at groups of persistent subscriptions.
    LookAtGroups,
    /// To make, change, delete and restart them, and replay what they have parked.
    ManageGroups,
    /// To make, change, start, stop, reset and delete projections, and read their states.
    RunProjections,
    /// To make, change, enable, disable and delete users, list them, and set their passwords.
    ManageUsers,
    /// To read what is known of the user with this login name.
    LookAtUser(&'a str),
    /// To change a password, which is to be told.
    ChangePassword,
}

impl Principal {
    /// Whether they may do that. What is done with a stream is asked of [`super::Rights`].
    pub fn may(&self, operation: Operation<'_>) -> Result<(), AccessDenied> {
        let may = match operation {
            Operation::Discover => true,
            Operation::Statistics | Operation::LookAtGroups | Operation::ChangePassword => {
                self.is_known()
            }
            // Scripts read and write with the rights of the system, whoever made them.
            Operation::RunNode | Operation::ManageGroups | Operation::RunProjections => {
                self.is_operator()
            }
            Operation::ManageUsers => self.is_admin(),
            Operation::LookAtUser(login) => self.is_admin() || self.login() == Some(login),
        };
        if may { Ok(()) } else { Err(AccessDenied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what() {
        let in_group = |login: &str, group: &str| Principal::user(login, &[group.to_owned()]);
        let all = [
            Principal::Anonymous,
            in_group("ann", "$other"),
            in_group("bob", "$ops"),
            in_group("ops", "none"),
            in_group("cid", "$admins"),
            in_group("admin", "none"),
            Principal::Anybody,
        ];
        // From whom on, in that order, one may.
        for (operation, first) in [
            (Operation::Discover, 0),
            (Operation::Statistics, 1),
            (Operation::LookAtGroups, 1),
            (Operation::ChangePassword, 1),
            (Operation::LookAtUser("ann"), 1),
            (Operation::RunNode, 2),
            (Operation::ManageGroups, 2),
            (Operation::RunProjections, 2),
            (Operation::ManageUsers, 4),
            (Operation::LookAtUser("dan"), 4),
        ] {
            for (at, principal) in all.iter().enumerate() {
                let expected = match operation {
                    Operation::LookAtUser("ann") => at == 1 || at >= 4,
                    _ => at >= first,
                };
                let may = principal.may(operation).is_ok();
                assert_eq!(may, expected, "{principal:?} {operation:?}");
            }
        }
    }
}
