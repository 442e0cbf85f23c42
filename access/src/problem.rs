//! Problem documents (RFC 9457): the one shape in which both APIs refuse.
//!
//! A document carries its type's title and status, and optionally what happened this time. The
//! cause of an internal error goes to the log and never to the client.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::problem_type::ProblemType;

/// The media type of problem documents.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// Members that RFC 9457 defines, so that no extension may take their names.
const STANDARD_MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "instance"];
/// The member that lists fields.
const ERRORS: &str = "errors";

/// One field that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The path of the field from the root of the body, as in `tracks[2].title`; empty for the
    /// body as a whole.
    pub field: String,
    /// What is wrong with it, for people.
    pub message: String,
}

impl FieldError {
    /// An error at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A refusal, ready to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Boxed, so that a `Result<_, Problem>` is small on its good way.
    document: Box<ProblemDocument>,
    retry_after: Option<Duration>,
    challenge: Option<&'static str>,
}

/// What a refusal looks like on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// The stable type, `urn:veza:problem:<name>`.
    #[serde(rename = "type")]
    kind: ProblemType,
    /// What kind of problem it is, for people.
    title: &'static str,
    /// The HTTP status, repeated.
    status: u16,
    /// What happened this time, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// A URI of this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The fields that are wrong, where that is the problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// Further members, such as `position`.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem of `kind`, with nothing said about this occurrence.
    #[must_use]
    pub fn new(kind: ProblemType) -> Self {
        let document = ProblemDocument {
            kind,
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: None,
            instance: None,
            errors: Vec::new(),
            extensions: Map::new(),
        };
        Self {
            document: Box::new(document),
            retry_after: None,
            // Not of wrong credentials: no token would help there, and no scheme of HTTP
            // carries what does.
            challenge: (kind == ProblemType::Unauthenticated).then_some("Bearer"),
        }
    }

    /// A validation problem that lists its fields as `errors`.
    #[must_use]
    pub fn validation(errors: impl IntoIterator<Item = FieldError>) -> Self {
        let mut problem = Self::new(ProblemType::Validation);
        problem.document.errors = errors.into_iter().collect();
        problem
    }

    /// An internal problem: logs `cause` with its sources here, and tells the client nothing of it.
    #[must_use]
    pub fn internal(cause: &dyn Error) -> Self {
        Self::logged(ProblemType::Internal, cause)
    }

    /// A problem of this type, logged the same way.
    #[must_use]
    pub fn logged(problem_type: ProblemType, cause: &dyn Error) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            chain.push_str(": ");
            chain.push_str(&inner.to_string());
            source = inner.source();
        }
        tracing::error!(error = %chain, "a request failed");
        Self::new(problem_type)
    }

    /// A 429 that says when to come back.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        let detail = format!("the next request is taken in {} s", whole_seconds(retry_after));
        let problem = Self::new(ProblemType::RateLimited).with_detail(detail);
        problem.with_retry_after(retry_after)
    }

    /// A 503 that says when to come back.
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::new(ProblemType::Overloaded).with_retry_after(retry_after)
    }

    /// Says what happened this time, for people.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.document.detail = Some(detail.into());
        self
    }

    /// Names this occurrence by a URI.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.document.instance = Some(instance.into());
        self
    }

    /// Adds a member of its own.
    ///
    /// # Panics
    /// When `name` is one of the members that RFC 9457 defines: names are literals in handlers.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let is_taken = STANDARD_MEMBERS.contains(&name) || name == ERRORS;
        assert!(!is_taken, "{name} is a standard member of a problem");
        self.document.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Answers with `Retry-After`, in whole seconds rounded up and at least one.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Answers with this `WWW-Authenticate` in place of a bare `Bearer`.
    #[must_use]
    pub(crate) fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// What kind of problem it is.
    #[must_use]
    pub const fn kind(&self) -> ProblemType {
        self.document.kind
    }

    /// The status it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.document.kind.status()
    }

    /// What happened this time, if it says.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.document.detail.as_deref()
    }

    /// Its members beyond those that RFC 9457 defines.
    #[must_use]
    pub const fn extensions(&self) -> &Map<String, Value> {
        &self.document.extensions
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        ProblemDocument::schema()
    }
}

/// So that routes may name `Problem` itself as the body of their refusals.
impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        ProblemDocument::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ProblemDocument::schemas(schemas);
    }
}

impl From<ProblemType> for Problem {
    fn from(kind: ProblemType) -> Self {
        Self::new(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self.document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        // A refusal is true for this caller at this moment only.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(delay).into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

fn whole_seconds(delay: Duration) -> u64 {
    let rounded_up = delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0));
    rounded_up.max(1)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    async fn parts(problem: Problem) -> (StatusCode, axum::http::HeaderMap, Value) {
        let response = problem.into_response();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 * 1024).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_document_has_the_standard_members_and_its_own() {
        let problem = Problem::validation([FieldError::new("title", "is empty")])
            .with_detail("the track has no title")
            .with_instance("/api/v1/tracks/7");
        let (status, headers, body) = parts(problem).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(headers[header::CONTENT_TYPE], PROBLEM_MEDIA_TYPE);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        let expected = json!({
            "type": "urn:veza:problem:validation",
            "title": "Some fields are not valid",
            "status": 422,
            "detail": "the track has no title",
            "instance": "/api/v1/tracks/7",
            "errors": [{"field": "title", "message": "is empty"}],
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn every_type_answers_its_status_and_uri() {
        for kind in ProblemType::ALL {
            let (status, _, body) = parts(Problem::new(*kind)).await;
            assert_eq!(status, kind.status());
            assert_eq!(body["type"], kind.uri());
            assert_eq!(body["status"], kind.status().as_u16());
            assert!(body.get("detail").is_none());
        }
    }

    #[tokio::test]
    async fn retry_after_is_rounded_up() {
        let cases = [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (61_500, 62)];
        for (millis, seconds) in cases {
            let problem = Problem::rate_limited(Duration::from_millis(millis));
            let (_, headers, body) = parts(problem).await;
            assert_eq!(headers[header::RETRY_AFTER], seconds.to_string(), "{millis} ms");
            assert_eq!(body["detail"], format!("the next request is taken in {seconds} s"));
        }
    }

    #[tokio::test]
    async fn an_internal_problem_tells_nothing() {
        let cause = std::io::Error::other("password=hunter2");
        let (status, _, body) = parts(Problem::internal(&cause)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.to_string().contains("hunter2"), "{body}");
    }

    #[test]
    fn the_schema_stands_under_its_name_and_lets_further_members_in() {
        #[derive(utoipa::OpenApi)]
        #[openapi(components(schemas(Problem, FieldError)))]
        struct Document;

        let document = serde_json::to_value(<Document as utoipa::OpenApi>::openapi()).unwrap();
        let schemas = &document["components"]["schemas"];
        let names: Vec<_> = schemas.as_object().unwrap().keys().collect();
        assert_eq!(names, ["FieldError", "Problem", "ProblemType"]);
        let text = schemas["Problem"].to_string();
        assert!(text.contains("additionalProperties"), "{text}");
        assert!(!text.contains("extensions"), "{text}");
        for member in STANDARD_MEMBERS {
            assert!(text.contains(&format!("\"{member}\":{{")), "{member} in {text}");
        }
    }

    #[test]
    fn an_extension_cannot_replace_a_standard_member() {
        let replaced =
            std::panic::catch_unwind(|| Problem::new(ProblemType::Conflict).with("status", 200));
        assert!(replaced.is_err());
    }
}
