//! The audio domain: tracks.

pub mod track;

pub use track::{Track, TrackCommand, TrackRejection};
