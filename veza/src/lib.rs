//! The composition root: configuration, wiring, telemetry and the binaries.
//!
//! It is where adapters are chosen and parts are put together; it is not a place for rules of the
//! domain, for SQL or for routes.
//!
//! - [`config`]: the settings, from flags, variables and a file.
//! - [`postgres`]: the private PostgreSQL that serves where no database is configured.
//! - [`background`]: what works without being asked: projectors and sagas.
//! - [`serve`]: the parts put together; [`probes`], [`run_file`], [`telemetry`]: how it is watched.
//! - [`event_store_server`]: the event store alone.
//! - [`outbox`]: mails as files, where no mail server is.

pub mod background;
pub mod config;
pub mod event_store_server;
pub mod outbox;
pub mod postgres;
pub mod probes;
pub mod run_file;
pub mod serve;
pub mod telemetry;
