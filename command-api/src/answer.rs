//! What is said to a command that was carried out.

use access::PositionToken;
use access::headers::VEZA_POSITION;
use aggregates::Outcome;
use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A command was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Done {
    /// What it was about, or made.
    pub id: Uuid,
    /// The position of its outcome in the log; opaque. A query that is sent it as
    /// `Veza-Min-Position` sees the outcome.
    pub position: String,
}

/// [`Done`] with its status and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    done: Done,
}

impl Answer {
    /// Something was made.
    pub fn created<E>(id: Uuid, outcome: &Outcome<E>) -> Self {
        Self { status: StatusCode::CREATED, done: Done::new(id, outcome) }
    }

    /// Something was changed, or was already so.
    pub fn done<E>(id: Uuid, outcome: &Outcome<E>) -> Self {
        Self { status: StatusCode::OK, done: Done::new(id, outcome) }
    }
}

impl Done {
    fn new<E>(id: Uuid, outcome: &Outcome<E>) -> Self {
        Self { id, position: outcome.position.to_string() }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let position = PositionToken::new(self.done.position.clone());
        let header = position.as_ref().map(HeaderValue::from).ok();
        let mut response = (self.status, Json(self.done)).into_response();
        if let Some(value) = header {
            response.headers_mut().insert(VEZA_POSITION, value);
        }
        response
    }
}
