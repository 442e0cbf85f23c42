//! The models, filled from events and asked.
