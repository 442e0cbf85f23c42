//! Operations: what is said at the start, while models are made, and what goes wrong then or later,
//! roles as processes of their own, sagas that take turns, full disks, accounts made on the
//! server's machine, who may look into the data folder, lost keys, `veza-replay`, the manners that
//! all HTTP doors share, bodies that do not come as they should, unused uploads, personal data that
//! is sealed and forgotten, or lost with its keys, accounts that are lost, machines that lack
//! something, engines outside PostgreSQL that come and go.

mod accounts;
mod another_log;
mod bodies;
#[expect(dead_code, reason = "the tests of `projections` also pause it and read it")]
#[path = "../../../projections/tests/read_side/broker.rs"]
mod broker;
mod console;
mod disks;
#[expect(dead_code, reason = "the tests of `projections` also let it cut answers off")]
#[path = "../../../projections/tests/read_side/door.rs"]
mod door;
mod doors;
mod engines;
mod faults;
mod keys;
mod lost_accounts;
mod lost_keys;
mod outages;
mod personal;
mod privacy;
mod process;
mod replaying;
mod roles;
mod saga_turns;
mod setup;
mod starting;
mod uploads;
