//! The social domain: channels, and what is said in them.

pub mod channel;
pub mod message;

pub use channel::{Channel, ChannelCommand, ChannelRejection};
pub use message::{Message, MessageCommand, MessageRejection};
