//! Scripts, and what becomes of events.
