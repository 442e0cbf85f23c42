//! The users of a store: who may log in, and in which groups they are.
//!
//! It stands on the port alone, as persistent subscriptions do, and keeps all in streams of the
//! store itself, named and shaped as EventStoreDB (server 26) does it:
//!
//! - `$user-<login>`: its last event is how the user is now, as JSON with `loginName`, `fullName`,
//!   `salt`, `hash`, `disabled` and `groups`; type `$UserCreated`, and after any change
//!   `$UserUpdated`. Its metadata let administrators alone write it. Who is deleted has a deleted
//!   stream.
//! - `$users`: an event `$User` for each user who was ever made, its data the login name.
//!
//! What differs from that server: `hash` is Argon2id in its standard text form, which has the salt
//! within, so `salt` is empty; nobody can log in by a hash of another kind. Administrators alone
//! read `$user-<login>`, whatever `$settings` say, for the hash. And nothing is written to
//! `$users-password-notifications`, which tells the other nodes of a cluster.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`service`] | [`Users`]: create, update, enable, disable, delete, details, passwords |
//! | [`login`] | [`Login`]: what users may be called |
//! | [`user`] | [`User`]: what is told of one |
//! | [`error`] | what can go wrong |
//! | `record` | a user as the store keeps them |
//! | `streams` | the streams of users, read and written |
//! | `password` | Argon2, a few at a time |
//! | `credentials` | who has proved who they are, remembered |

mod credentials;
pub mod error;
pub mod login;
mod password;
mod record;
pub mod service;
mod streams;
pub mod user;

pub use error::UsersError;
pub use login::{InvalidLogin, Login};
pub use password::Password;
pub use service::{DefaultPasswords, Users};
pub use user::User;
