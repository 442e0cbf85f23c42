//! The messages of `graphql-transport-ws`, and the codes that sockets are closed with.

use std::borrow::Cow;

use access::token::TokenError;
use async_graphql::{Response, ServerError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Query;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromClient {
    /// Who it is.
    ConnectionInit {
        /// `{"Authorization": "Bearer …"}`, or in small letters.
        #[serde(default)]
        payload: Option<Init>,
    },
    /// Whether anybody is there.
    Ping {
        /// Given back.
        #[serde(default)]
        payload: Option<Value>,
    },
    /// That somebody is there.
    Pong {},
    /// What it asks, or follows.
    Subscribe {
        /// How the answers are to be called.
        id: String,
        /// The query.
        payload: Query,
    },
    /// That it follows something no more.
    Complete {
        /// What.
        id: String,
    },
}

/// Who opens a socket.
#[derive(Debug, Default, Deserialize)]
pub struct Init {
    /// As in the header of the same name; where it is left out, that header of the opening counts.
    #[serde(default, alias = "Authorization")]
    pub authorization: Option<String>,
}

/// What is said to a client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToClient<'a> {
    /// It is known who it is.
    ConnectionAck,
    /// Somebody is there.
    Pong {
        /// What came with the ping.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    /// An answer.
    Next {
        /// To what.
        id: &'a str,
        /// The answer.
        payload: &'a Response,
    },
    /// It is not answered.
    Error {
        /// What.
        id: &'a str,
        /// Why.
        payload: &'a [ServerError],
    },
    /// It was answered for the last time.
    Complete {
        /// What.
        id: &'a str,
    },
}

/// The longest reason that a close frame has room for, in bytes (RFC 6455, section 5.5: 125 with
/// the code).
const REASON_BYTES_MAX: usize = 123;

/// Why a socket is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code of the close frame.
    pub code: u16,
    /// Its reason, for people: short enough for a close frame.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// The process stops.
    pub const GOING_AWAY: Self = Self::new(1001, "the server stops");
    /// A message is larger than may be.
    pub const TOO_BIG: Self = Self::new(1009, "the message is too big");
    /// Nothing that the protocol knows.
    pub const BAD_MESSAGE: Self = Self::new(4400, "Invalid message received");
    /// Something is asked before it was said who asks.
    pub const NO_INIT: Self = Self::new(4401, "say who you are by connection_init first");
    /// No token came, neither with the opening nor with the first message.
    pub const NO_TOKEN: Self = Self::new(
        4401,
        r#"no access token: connection_init's payload is {"Authorization": "Bearer <token>"}"#,
    );
    /// A token came whose time is over, or it has run out since.
    pub const TOKEN_EXPIRED: Self =
        Self::new(4401, "the access token has expired: log in anew, and open another socket");
    /// The token is none that is believed.
    pub const TOKEN_INVALID: Self = Self::new(4401, "the access token is not valid");
    /// It was never said who it is.
    pub const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    /// Its account has as many as it may.
    pub const TOO_MANY_SOCKETS: Self = Self::new(4430, "Too many sockets of one account");
    /// It was said twice.
    pub const TOO_MANY_INITS: Self = Self::new(4429, "Too many initialisation requests");

    const fn new(code: u16, reason: &'static str) -> Self {
        assert!(reason.len() <= REASON_BYTES_MAX);
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// Two things are to be called the same; a name that is too long for a reason is cut.
    pub fn exists(id: &str) -> Self {
        const AROUND_BYTES: usize = "Subscriber for  already exists".len();
        let id = &id[..id.floor_char_boundary(REASON_BYTES_MAX - AROUND_BYTES)];
        Self { code: 4409, reason: format!("Subscriber for {id} already exists").into() }
    }
}

/// What is wrong with a token, as problems tell it: whether to log in anew, and no more.
impl From<TokenError> for Close {
    fn from(error: TokenError) -> Self {
        tracing::debug!(reason = %error, "refused an access token on a socket");
        match error {
            TokenError::Expired => Self::TOKEN_EXPIRED,
            _ => Self::TOKEN_INVALID,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_a_close_frame_whatever_the_id() {
        assert_eq!(Close::exists("a").reason, "Subscriber for a already exists");
        for id in ["a".repeat(93), "a".repeat(94), "é".repeat(64), "🎵".repeat(32)] {
            let reason = Close::exists(&id).reason;
            assert!((120..=REASON_BYTES_MAX).contains(&reason.len()), "{reason}");
            assert!(reason.ends_with(" already exists"), "{reason}");
        }
    }
}
