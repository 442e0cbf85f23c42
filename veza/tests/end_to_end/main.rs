//! A real platform, tried through its public doors; each test starts one of its own.

mod crashes;
mod crowd;
mod demo;
mod licences;
mod platform;
mod queries;
mod replay;
mod story;
