//! A real platform, tried through its public doors; each test starts one of its own.

mod demo;
mod platform;
mod queries;
mod story;
