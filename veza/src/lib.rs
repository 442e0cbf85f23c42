//! The composition root: configuration, wiring, telemetry and the binaries.
//!
//! It is where adapters are chosen and parts are put together; it is not a place for rules of the
//! domain, for SQL or for routes.
//!
//! - [`config`]: the settings, from flags, variables and a file.
//! - [`serve`]: the parts that the roles of a process need, put together.
//! - [`data_folder`]: where all is kept, and who may look.
//! - [`parts`]: what keeps things (events, PostgreSQL, objects); [`postgres`]: the private
//!   PostgreSQL that serves where no database is configured.
//! - [`background`]: what works without being asked: projectors and sagas; [`saga_role`]: the
//!   latter, which one process at a time runs.
//! - [`read_side`]: the projections that the settings ask for.
//! - [`doors`]: HTTP, and the manners all its routes share; [`docs`]: the page for people.
//! - [`probes`], [`readiness`], [`run_file`], [`telemetry`]: how a process is watched.
//! - [`console`]: what a process tells whoever started it.
//! - [`known_people`], [`account_watch`]: people as the log knows them, and whether accounts say
//!   the same; [`own_command`]: commands on them that nobody sent to a door.
//! - [`disk_reserve`], [`log_guard`], [`open_files`], [`stopping`]: when it takes on no more.
//! - [`event_store_server`], [`postgres_server`]: a part alone; [`user`], [`signing_keys`]:
//!   accounts and keys, on the server's own machine.
//! - [`taking_over`]: opened right after a process that was killed.
//! - [`sweeping`]: what is left behind, removed.
//! - [`replay`]: what `veza-replay` works on; [`beside`]: the store, beside a running platform or
//!   without one, [`listening`]: where that is; [`resume`], [`giving_up`]: its commands that are
//!   the platform's own.
//! - [`encryption`], [`event_store_keys`]: the keys that the event store is encrypted with.
//! - [`keys`]: what signs tokens and tells requests apart; [`personal`]: what people can take back.
//! - [`outbox`]: mails as files, where no mail server is.
//! - `allocator`: where memory comes from.

// Those panic when nobody reads any more; `console` does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod account_watch;
mod allocator;
pub mod background;
pub mod beside;
pub mod config;
pub mod console;
pub mod cryptography;
pub mod data_folder;
pub mod disk_reserve;
pub mod docs;
pub mod doors;
pub mod encryption;
pub mod engine_watch;
pub mod event_store_keys;
pub mod event_store_server;
pub mod giving_up;
pub mod keys;
pub mod known_people;
pub mod listening;
pub mod log_guard;
pub mod open_files;
pub mod outbox;
pub mod own_command;
pub mod parts;
pub mod personal;
pub mod postgres;
pub mod postgres_server;
pub mod probes;
pub mod read_side;
pub mod readiness;
pub mod replay;
pub mod resume;
pub mod run_file;
pub mod saga_role;
pub mod scavenging;
pub mod scrubbing;
pub mod serve;
pub mod signing_keys;
pub mod stopping;
pub mod sweeping;
pub mod taking_over;
pub mod telemetry;
pub mod user;
