//! The messages of `graphql-transport-ws`, and the codes that sockets are closed with.

use std::borrow::Cow;

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
        /// `{"authorization": "Bearer …"}`.
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
#[derive(Debug, Deserialize)]
pub struct Init {
    /// As in the header of the same name.
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

/// Why a socket is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code of the close frame.
    pub code: u16,
    /// Its reason, for people.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// The process stops.
    pub const GOING_AWAY: Self = Self::new(1001, "the server stops");
    /// A message is larger than may be.
    pub const TOO_BIG: Self = Self::new(1009, "the message is too big");
    /// Nothing that the protocol knows.
    pub const BAD_MESSAGE: Self = Self::new(4400, "Invalid message received");
    /// No believable token, or one that has run out.
    pub const UNAUTHORIZED: Self = Self::new(4401, "Unauthorized");
    /// It was never said who it is.
    pub const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    /// It was said twice.
    pub const TOO_MANY_INITS: Self = Self::new(4429, "Too many initialisation requests");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// Two things are to be called the same.
    pub fn exists(id: &str) -> Self {
        Self { code: 4409, reason: format!("Subscriber for {id} already exists").into() }
    }
}
