//! The composition root: configuration, wiring, telemetry and the binaries.
//!
//! It is where adapters are chosen and parts are put together; it is not a place for rules of the
//! domain, for SQL or for routes.
//!
//! - [`config`]: the settings, from flags, variables and a file.
//! - [`postgres`]: the private PostgreSQL that serves where no database is configured.
//! - [`background`]: what works without being asked: projectors and sagas.
//! - [`read_side`]: the projections that the settings ask for.
//! - [`serve`]: the parts put together; [`probes`], [`run_file`], [`telemetry`]: how it is watched.
//! - [`event_store_server`]: the event store alone.
//! - [`replay`]: what `veza-replay` works on, beside a running platform or without one.
//! - [`outbox`]: mails as files, where no mail server is.

pub mod background;
pub mod config;
pub mod event_store_server;
pub mod outbox;
pub mod postgres;
pub mod probes;
pub mod read_side;
pub mod replay;
pub mod run_file;
pub mod serve;
pub mod telemetry;
