//! The composition root: configuration, wiring, telemetry and the binaries
