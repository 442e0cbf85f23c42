//! A real platform, tried through its public doors; each test starts one of its own.

mod acts;
mod authorisation;
#[expect(dead_code, reason = "the tests of `projections` also pause it and kill it")]
#[path = "../../../projections/tests/read_side/broker.rs"]
mod broker;
mod crashes;
mod crowd;
mod demo;
mod licences;
mod masters;
mod platform;
mod plays;
mod queries;
mod refusals;
mod repeats;
mod replay;
mod rot;
mod scene;
mod signing_up;
mod sinks;
mod socket;
mod story;
