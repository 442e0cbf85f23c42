//! Roles are known to two crates that may not know each other: to the write side by what events
//! keep of them, and to whoever asks what a caller may do. Both must know the same.

#[test]
fn roles_of_events_and_of_callers_are_the_same() {
    let of_events = aggregates::user::Role::ALL.map(|role| (role.name(), role.may_be_chosen()));
    let of_callers = access::Role::ALL.map(|role| (role.name(), role.may_be_chosen_at_sign_up()));
    assert_eq!(of_events, of_callers);
}
