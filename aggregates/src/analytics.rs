//! The analytics domain: what was listened to.

pub mod play;

pub use play::{ListenerDay, ListenerDayId, PlayCommand, PlayRejection};
