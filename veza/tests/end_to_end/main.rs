//! A real platform, tried through its public doors; each test starts one of its own.

mod acts;
mod authorisation;
mod crashes;
mod crowd;
mod demo;
mod licences;
mod platform;
mod queries;
mod repeats;
mod replay;
mod scene;
mod socket;
mod story;
