//! The headers the platform defines: their names and what their values may be.

use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;
use crate::problem_type::ProblemType;

/// On the answer of a command: the position of its last event.
pub const VEZA_POSITION: HeaderName = HeaderName::from_static("veza-position");
/// On a query: the position its answer must at least have seen.
pub const VEZA_MIN_POSITION: HeaderName = HeaderName::from_static("veza-min-position");
/// On a query: `allow` takes an older answer over none.
pub const VEZA_STALE: HeaderName = HeaderName::from_static("veza-stale");
/// On the answer of a query: the position its models had reached.
pub const VEZA_MODEL_POSITION: HeaderName = HeaderName::from_static("veza-model-position");
/// On a command: two requests with the same key are one.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest `Idempotency-Key`, in characters, which are all ASCII.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// The longest position, in characters.
pub const POSITION_CHARS_MAX: usize = 128;

/// Why a header's value is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header is there more than once.
    #[error("{0} is given more than once")]
    Repeated(HeaderName),
    /// The value is empty, too long, or has characters that are not visible ASCII.
    #[error("{0} must have 1 to {1} visible ASCII characters")]
    NotVisible(HeaderName, usize),
    /// The value is none of those it may be.
    #[error("{0} must be {1}")]
    Unexpected(HeaderName, &'static str),
}

/// A position in the log, opaque: it is handed back as it was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PositionToken(String);

/// The key that makes a repeated command one command.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// How fresh the answer of a query must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consistency {
    /// What the answer must at least have seen.
    pub min_position: Option<PositionToken>,
    /// Whether an older answer is better than none once waiting was in vain.
    pub allow_stale: bool,
}

// === impl PositionToken ===

impl PositionToken {
    /// A position of this text.
    ///
    /// # Errors
    /// When it is empty, longer than [`POSITION_CHARS_MAX`], or not visible ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, HeaderError> {
        visible(VEZA_POSITION, text.into(), POSITION_CHARS_MAX).map(Self)
    }

    /// The text, as the store made it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PositionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The value for [`VEZA_POSITION`] or [`VEZA_MODEL_POSITION`].
impl From<&PositionToken> for HeaderValue {
    fn from(position: &PositionToken) -> Self {
        Self::from_str(&position.0).expect("visible ASCII is a header value")
    }
}

// === impl IdempotencyKey ===

impl IdempotencyKey {
    /// A key of this text.
    ///
    /// # Errors
    /// When it is empty, longer than [`IDEMPOTENCY_KEY_CHARS_MAX`], or not visible ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, HeaderError> {
        visible(IDEMPOTENCY_KEY, text.into(), IDEMPOTENCY_KEY_CHARS_MAX).map(Self)
    }

    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// When it has several, or one that is no key.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, HeaderError> {
        single(headers, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_CHARS_MAX).map(|key| key.map(Self))
    }

    /// The text, as the client chose it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shows no more than a beginning: some clients put into it what does not belong in a log.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(8)];
        // No key has this character, so none goes on in what follows.
        write!(formatter, "IdempotencyKey({shown}…, {} characters)", self.0.len())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(Self::from_headers(&parts.headers)?)
    }
}

// === impl Consistency ===

impl Consistency {
    /// What a request asks for; nothing asked is any freshness.
    ///
    /// # Errors
    /// When one of the two headers is repeated or is not what it may be.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let min_position = single(headers, VEZA_MIN_POSITION, POSITION_CHARS_MAX)?;
        let allow_stale = match single(headers, VEZA_STALE, POSITION_CHARS_MAX)?.as_deref() {
            None => false,
            Some("allow") => true,
            Some(_) => return Err(HeaderError::Unexpected(VEZA_STALE, "allow")),
        };
        Ok(Self { min_position: min_position.map(PositionToken), allow_stale })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Consistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::from_headers(&parts.headers)?)
    }
}

impl From<HeaderError> for Problem {
    fn from(error: HeaderError) -> Self {
        Self::new(ProblemType::Malformed).with_detail(error.to_string())
    }
}

fn single(
    headers: &HeaderMap,
    name: HeaderName,
    chars_max: usize,
) -> Result<Option<String>, HeaderError> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(HeaderError::Repeated(name));
    }
    let Ok(text) = value.to_str() else {
        return Err(HeaderError::NotVisible(name, chars_max));
    };
    visible(name, text.to_owned(), chars_max).map(Some)
}

fn visible(name: HeaderName, text: String, chars_max: usize) -> Result<String, HeaderError> {
    let fits = (1..=chars_max).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(HeaderError::NotVisible(name, chars_max))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;

    fn headers(entries: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn keys_are_visible_and_bounded() {
        let longest = "k".repeat(255);
        let too_long = "k".repeat(256);
        let cases = [
            ("a", true),
            ("\"8e03978e-40d5\"", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            ("two words", false),
            ("a\tb", false),
            ("ключ", false),
        ];
        for (text, taken) in cases {
            let key = IdempotencyKey::from_headers(&headers(&[(IDEMPOTENCY_KEY, text)]));
            assert_eq!(key.is_ok(), taken, "{text:?}");
        }
        assert_eq!(IdempotencyKey::from_headers(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn a_repeated_header_is_refused() {
        let twice = headers(&[(IDEMPOTENCY_KEY, "a"), (IDEMPOTENCY_KEY, "a")]);
        let refused = IdempotencyKey::from_headers(&twice);
        assert_eq!(refused, Err(HeaderError::Repeated(IDEMPOTENCY_KEY)));
        let twice = headers(&[(VEZA_MIN_POSITION, "1"), (VEZA_MIN_POSITION, "2")]);
        assert!(Consistency::from_headers(&twice).is_err());
    }

    #[test]
    fn consistency_is_what_both_headers_say() {
        let none = Consistency::from_headers(&HeaderMap::new()).unwrap();
        assert_eq!(none, Consistency::default());
        let both = headers(&[(VEZA_MIN_POSITION, "42"), (VEZA_STALE, "allow")]);
        let both = Consistency::from_headers(&both).unwrap();
        assert_eq!(both.min_position.unwrap().as_str(), "42");
        assert!(both.allow_stale);
        for wrong in ["Allow", "yes", "allow,allow", ""] {
            assert!(
                Consistency::from_headers(&headers(&[(VEZA_STALE, wrong)])).is_err(),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn handlers_take_the_headers_or_answer_400() {
        let echo = |key: Option<IdempotencyKey>, wanted: Consistency| async move {
            let key = key.map_or_else(|| "none".to_owned(), |key| key.as_str().to_owned());
            format!("{key} {}", wanted.min_position.is_some())
        };
        let router = Router::new().route("/", get(echo));
        let cases = [
            (headers(&[]), 200, "none false"),
            (headers(&[(IDEMPOTENCY_KEY, "k"), (VEZA_MIN_POSITION, "7")]), 200, "k true"),
            (headers(&[(IDEMPOTENCY_KEY, "two words")]), 400, "urn:veza:problem:malformed"),
            (headers(&[(VEZA_STALE, "perhaps")]), 400, "veza-stale must be allow"),
        ];
        for (sent, status, text) in cases {
            let mut request = Request::get("/").body(Body::empty()).unwrap();
            *request.headers_mut() = sent.clone();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{sent:?}");
            let body = to_bytes(response.into_body(), 4096).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(text), "{body}");
        }
    }

    #[test]
    fn a_refusal_names_the_header() {
        let error = IdempotencyKey::new("two words").unwrap_err();
        let problem = Problem::from(error);
        assert_eq!(problem.kind(), ProblemType::Malformed);
        let expected = "idempotency-key must have 1 to 255 visible ASCII characters";
        assert_eq!(problem.detail(), Some(expected));
    }

    proptest! {
        /// Whatever is taken as a position comes back as the same header value.
        #[test]
        fn positions_survive_the_header(text in "\\PC{0,140}") {
            let fits = (1..=128).contains(&text.len());
            let fits = fits && text.bytes().all(|byte| byte.is_ascii_graphic());
            let position = PositionToken::new(text.clone());
            prop_assert_eq!(position.is_ok(), fits);
            if let Ok(position) = position {
                let value = HeaderValue::from(&position);
                prop_assert_eq!(value.to_str().unwrap(), text);
            }
        }

        #[test]
        fn debug_never_shows_a_whole_long_key(text in "[!-~]{9,255}") {
            let shown = format!("{:?}", IdempotencyKey::new(text.clone()).unwrap());
            prop_assert!(!shown.contains(&text));
        }
    }
}
