//! The registry of problem types: name, status and title of every refusal the platform gives.
//!
//! Names are a contract: clients branch on them, so an entry may be added but never renamed.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// What every problem type's URI begins with.
pub const TYPE_PREFIX: &str = "urn:veza:problem:";

macro_rules! registry {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal;)*) => {
        /// The kind of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemType { $($(#[$doc])* $variant,)* }

        impl ProblemType {
            /// Every type, in the order of the registry.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as in `urn:veza:problem:<name>`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// What kind of problem it is, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

registry! {
    /// The request could not be read: broken JSON, an unreadable path, query or header.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    /// The request was read, and some of its fields are wrong; `errors` lists them.
    Validation = "validation", UNPROCESSABLE_ENTITY, "Some fields are not valid";
    /// No access token, or one that is not believed.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid access token is needed";
    /// No account has this address and this password; which of the two is wrong is not told.
    WrongCredentials = "wrong-credentials", UNAUTHORIZED, "The address or the password is wrong";
    /// The caller may see that it exists, but not do this.
    Forbidden = "forbidden", FORBIDDEN, "This is not allowed";
    /// The account must confirm its e-mail address first.
    EmailNotConfirmed = "email-not-confirmed", FORBIDDEN, "The e-mail address is not confirmed";
    /// There is no such thing, or the caller may not know of it.
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The state of the thing does not allow it, or it changed meanwhile.
    Conflict = "conflict", CONFLICT, "The state does not allow this";
    /// Another buyer holds the exclusive licence.
    LicenceTaken = "licence-taken", CONFLICT, "The licence is taken";
    /// The first request with this key is still running.
    IdempotencyInProgress = "idempotency-in-progress", CONFLICT,
        "A request with this key is still running";
    /// The key was used with another body.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY,
        "The key was used for another request";
    /// The body stopped coming.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to come";
    /// The body is larger than the route takes.
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The range begins behind the end of what is asked for.
    RangeNotSatisfiable = "range-not-satisfiable", RANGE_NOT_SATISFIABLE,
        "The range is not there";
    /// The body is of a type the route does not take.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE,
        "The body's type is not supported";
    /// Too many requests; `Retry-After` says when to come back.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "Too many requests";
    /// Something broke; nothing about it is told.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong";
    /// What was recorded of it can't be read here: a personal field whose key is lost, or an event
    /// of a later release. To ask again does not help.
    Unreadable = "unreadable", INTERNAL_SERVER_ERROR, "What was recorded cannot be read";
    /// The platform sheds load; `Retry-After` says when to come back.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The platform is too busy";
    /// A part that is needed can't be reached, or the process is stopping.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A part of the platform is out of reach";
    /// The read model has not reached the position that was asked for.
    NotYetVisible = "not-yet-visible", GATEWAY_TIMEOUT, "The change is not visible yet";
    /// The disk is full up to its reserve.
    StorageFull = "storage-full", INSUFFICIENT_STORAGE, "There is no storage left";
}

impl ProblemType {
    /// The URI that a document carries as `type`.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.name())
    }

    /// The type of a URI that [`ProblemType::uri`] made.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let name = uri.strip_prefix(TYPE_PREFIX)?;
        Self::ALL.iter().copied().find(|known| known.name() == name)
    }

    /// The same name as GraphQL writes error codes: `NOT_YET_VISIBLE`.
    #[must_use]
    pub fn code(self) -> String {
        self.name().replace('-', "_").to_ascii_uppercase()
    }
}

/// One of the URIs.
impl PartialSchema for ProblemType {
    fn schema() -> RefOr<Schema> {
        let uris = Self::ALL.iter().map(|kind| kind.uri());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(uris)).into()
    }
}

impl ToSchema for ProblemType {}

impl Serialize for ProblemType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{TYPE_PREFIX}{}", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Clients rely on names and statuses: renaming one must change this golden list as well.
    #[test]
    fn the_registry_is_the_golden_one() {
        let mut text = String::new();
        for kind in ProblemType::ALL {
            text.push_str(&format!("{} {}\n", kind.status().as_u16(), kind.name()));
        }
        let golden = include_str!("../tests/golden/problems.txt");
        assert_eq!(text, golden, "the registry is now:\n{text}");
    }

    #[test]
    fn names_are_unique_and_found_again() {
        let names: BTreeSet<_> = ProblemType::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ProblemType::ALL.len());
        for kind in ProblemType::ALL {
            assert_eq!(ProblemType::from_uri(&kind.uri()), Some(*kind));
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
        }
        assert_eq!(ProblemType::from_uri("urn:veza:problem:no-such"), None);
        assert_eq!(ProblemType::from_uri("about:blank"), None);
    }

    #[test]
    fn codes_are_as_graphql_writes_them() {
        assert_eq!(ProblemType::NotYetVisible.code(), "NOT_YET_VISIBLE");
        assert_eq!(ProblemType::Unauthenticated.code(), "UNAUTHENTICATED");
    }
}
