//! Identity for both APIs: who is calling, what they may do, how often, and how a refusal reads.
//!
//! It is not where accounts, passwords or sessions live: those are the command side's. It knows
//! no event and no store, and reads no clock of its own: every time is passed in.
//!
//! - [`client_address`]: the address of the client, behind proxies that are trusted by setting
//! - [`digest_key`]: the key by which secrets and addresses are compared, kept in a folder
//! - [`extract`]: bodies, paths and queries whose rejections are problems
//! - [`headers`]: the names and the parsing of the headers the platform defines
//! - [`key_folder`]: private files that are written whole or not at all
//! - [`key_ring`]: the keys of access tokens in a running process, which notices a rotation
//! - [`key_set`]: the same as they stand in their folder: made, listed, rotated
//! - [`principal`]: the caller of a request, and the extractor that demands one
//! - [`problem`]: problem documents (RFC 9457) and the registry of their types
//! - [`rate`]: token buckets in bounded memory, and the middleware that answers 429
//! - [`roles`]: roles, permissions, and the one table that joins them
//! - [`token`]: access tokens: issuing and verifying
//!
//! Invariants: what is not granted is denied; a token is believed only after its signature, kind,
//! issuer, audience and times are; nothing here grows with the number of callers.

pub mod client_address;
pub mod digest_key;
pub mod extract;
pub mod headers;
pub mod key_folder;
pub mod key_ring;
pub mod key_set;
pub mod principal;
pub mod problem;
mod problem_type;
pub mod rate;
pub mod roles;
pub mod token;

pub use client_address::{ClientAddress, TrustedProxies};
pub use digest_key::DigestKey;
pub use extract::{ValidJson, ValidPath, ValidQuery};
pub use headers::{Consistency, IdempotencyKey, PositionToken};
pub use key_folder::{KeyFolder, Put};
pub use key_ring::KeyRing;
pub use key_set::KeySet;
pub use principal::{Authenticated, Principal, SessionId};
pub use problem::{FieldError, Problem};
pub use problem_type::ProblemType;
pub use rate::{RateGate, RateLimits, RouteClass};
pub use roles::{Permission, Role, Roles};
pub use token::{TokenIssuer, TokenScope, TokenVerifier};
