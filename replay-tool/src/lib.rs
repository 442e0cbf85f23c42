//! The commands of veza-replay: temporal queries, rebuilds, verification
