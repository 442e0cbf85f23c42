//! Bodies, paths and queries whose rejections are problems that say which field is wrong.

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::problem::{FieldError, Problem};
use crate::problem_type::ProblemType;

/// The largest JSON body of a command. Audio goes another way.
pub const JSON_BODY_BYTES_MAX: usize = 256 * 1024;

/// A JSON body of at most [`JSON_BODY_BYTES_MAX`], sent as `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidJson<T>(pub T);

/// The parameters in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
pub struct ValidPath<T>(pub T);

/// The parameters in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRequestParts)]
#[from_request(via(Query), rejection(Problem))]
pub struct ValidQuery<T>(pub T);

impl<S, T> FromRequest<S> for ValidJson<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !has_json(request.headers()) {
            let problem = Problem::new(ProblemType::UnsupportedMediaType);
            return Err(problem.with_detail("send the body as application/json"));
        }
        DefaultBodyLimit::max(JSON_BODY_BYTES_MAX).apply(&mut request);
        let body = Bytes::from_request(request, state).await?;
        parse_json(&body).map(Self)
    }
}

/// Reads a body that was taken as bytes, as [`ValidJson`] reads one: for handlers that also need
/// the bytes themselves.
///
/// # Errors
/// `malformed` if it is not JSON, `validation` with the field's path if it is not what `T` takes.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let message = inner.to_string();
        let message = match inner.classify() {
            Category::Data => in_words(without_place(&message)),
            // Of a value where another kind is wanted the reader may say only that it is not one.
            _ if serde_json::from_slice::<IgnoredAny>(body).is_ok() => {
                "the value can't be taken".to_owned()
            }
            _ => return not_json(&inner),
        };
        Problem::validation([FieldError::new(field(&path, &message), message)])
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// That a body has more than [`JSON_BODY_BYTES_MAX`].
#[must_use]
pub fn too_large() -> Problem {
    let detail = format!("a body has at most {JSON_BODY_BYTES_MAX} bytes");
    Problem::new(ProblemType::PayloadTooLarge).with_detail(detail)
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return too_large();
        }
        Self::new(ProblemType::Malformed).with_detail("the body ended early")
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        let PathRejection::FailedToDeserializePathParams(error) = rejection else {
            // The route has no such parameter: the handler is wrong, not the request.
            return Self::internal(&rejection);
        };
        let problem = Self::new(ProblemType::Malformed);
        match error.into_kind() {
            kind @ (ErrorKind::WrongNumberOfParameters { .. }
            | ErrorKind::UnsupportedType { .. }) => {
                Self::internal(&std::io::Error::other(kind.to_string()))
            }
            ErrorKind::ParseErrorAtKey { key, .. }
            | ErrorKind::InvalidUtf8InPathParam { key }
            | ErrorKind::DeserializeError { key, .. } => {
                problem.with_detail(format!("the path's {key} cannot be read"))
            }
            _ => problem.with_detail("the path cannot be read"),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ProblemType::Malformed).with_detail(rejection.body_text())
    }
}

/// Whether the headers say that the body is JSON.
#[must_use]
pub fn has_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemType::Malformed).with_detail(format!("the body is not JSON: {error}"))
}

/// The path of the field that is wrong. One that is missing is not in the path: only the message
/// names it.
fn field(path: &str, message: &str) -> String {
    let path = if path == "." { "" } else { path };
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None => path.to_owned(),
    }
}

/// The message without serde's `at line 1 column 7`: the field's path says it better.
fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(what, _)| what)
}

/// What the reader expects, as JSON calls it: who sends it does not know our types.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::routing::{get, post};
    use serde::Deserialize;
    use serde_json::{Value, json};
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Album {
        title: String,
        #[serde(default)]
        tracks: Vec<Track>,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        #[default]
        Long,
        Single,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Track {
        seconds: u32,
    }

    #[derive(Deserialize)]
    struct Page {
        first: u8,
    }

    fn router() -> Router {
        let album = |ValidJson(album): ValidJson<Album>| async move {
            let seconds: u32 = album.tracks.iter().map(|track| track.seconds).sum();
            let single = if matches!(album.kind, Kind::Single) { " single" } else { "" };
            format!("{} {seconds}{single}", album.title)
        };
        let track = |ValidPath(id): ValidPath<Uuid>| async move { id.to_string() };
        let page = |ValidQuery(page): ValidQuery<Page>| async move { page.first.to_string() };
        let wrong = |ValidPath(_): ValidPath<(Uuid, Uuid)>| async {};
        Router::new()
            .route("/albums", post(album))
            .route("/tracks/{id}", get(track))
            .route("/wrong/{id}", get(wrong))
            .route("/pages", get(page))
    }

    async fn answer(request: Request) -> (u16, Value) {
        let response = router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 2 * JSON_BODY_BYTES_MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn send(content_type: Option<&str>, body: impl Into<Body>) -> (u16, Value) {
        let mut request = Request::post("/albums");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        answer(request.body(body.into()).unwrap()).await
    }

    async fn fetch(path: &str) -> (u16, Value) {
        answer(Request::get(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn a_wrong_field_is_named_by_its_path() {
        let cases = [
            (json!({"title": 7}), "title", "invalid type: integer `7`, expected a string"),
            (json!({}), "title", "missing field `title`"),
            (
                json!({"title": "a", "tracks": [{"seconds": 1}, {}]}),
                "tracks[1].seconds",
                "missing field `seconds`",
            ),
            (
                json!({"title": "a", "tracks": [{"seconds": 1}, {"seconds": -1}]}),
                "tracks[1].seconds",
                "invalid value: integer `-1`, expected a whole number, zero or more",
            ),
            (
                json!({"title": "a", "nope": 1}),
                "nope",
                "unknown field `nope`, expected one of `title`, `tracks`, `kind`",
            ),
            (json!({"title": "a", "kind": null}), "kind", "the value can't be taken"),
            (json!({"title": "a", "kind": 5}), "kind", "the value can't be taken"),
        ];
        for (body, field, message) in cases {
            let (status, problem) = send(Some("application/json"), body.to_string()).await;
            assert_eq!(status, 422, "{body}");
            assert_eq!(problem["type"], "urn:veza:problem:validation");
            assert_eq!(problem["errors"], json!([{"field": field, "message": message}]), "{body}");
        }
    }

    #[tokio::test]
    async fn only_whole_json_is_read() {
        for body in ["", "{", "{\"title\":\"a\"} x", "title=a", "\u{0}"] {
            let (status, problem) = send(Some("application/json"), body).await;
            assert_eq!(status, 400, "{body:?}");
            assert_eq!(problem["type"], "urn:veza:problem:malformed", "{body:?}");
        }
        let (status, text) =
            send(Some("application/json; charset=utf-8"), r#"{"title":"a"}"#).await;
        assert_eq!((status, text), (200, json!("a 0")));
        let (status, text) =
            send(Some("application/json"), r#"{"title":"a","kind":"single"}"#).await;
        assert_eq!((status, text), (200, json!("a 0 single")));
        let huge = format!(r#"{{"title":"a","tracks":[{{"seconds":{}}}]}}"#, "9".repeat(400));
        let (status, problem) = send(Some("application/json"), huge).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("tracks[0].seconds")));
    }

    #[tokio::test]
    async fn other_media_types_are_refused() {
        let types = [
            None,
            Some("text/plain"),
            Some("application/xml"),
            Some("application/jsonp"),
            Some("application/x-www-form-urlencoded"),
            Some(""),
        ];
        for content_type in types {
            let (status, problem) = send(content_type, r#"{"title":"a"}"#).await;
            assert_eq!(status, 415, "{content_type:?}");
            assert_eq!(problem["type"], "urn:veza:problem:unsupported-media-type");
        }
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
        let frame = r#"{"title":""}"#.len();
        for (bytes, expected) in [(JSON_BODY_BYTES_MAX, 200), (JSON_BODY_BYTES_MAX + 1, 413)] {
            let body = format!(r#"{{"title":"{}"}}"#, "a".repeat(bytes - frame));
            assert_eq!(body.len(), bytes);
            let (status, _) = send(Some("application/json"), body).await;
            assert_eq!(status, expected, "{bytes} bytes");
        }
    }

    #[tokio::test]
    async fn unreadable_paths_and_queries_are_malformed() {
        let (status, problem) = fetch("/tracks/seven").await;
        assert_eq!((status, &problem["type"]), (400, &json!("urn:veza:problem:malformed")));
        let (status, problem) = fetch("/pages?first=300").await;
        assert_eq!((status, &problem["type"]), (400, &json!("urn:veza:problem:malformed")));
        assert!(problem["detail"].as_str().unwrap().contains("first"), "{problem}");
        assert_eq!(fetch("/pages?first=20").await, (200, json!(20)));
        assert_eq!(fetch(&format!("/tracks/{}", Uuid::nil())).await.0, 200);
    }

    #[tokio::test]
    async fn a_handler_that_misreads_its_route_is_an_internal_error() {
        let (status, problem) = fetch("/wrong/7").await;
        assert_eq!((status, &problem["type"]), (500, &json!("urn:veza:problem:internal")));
        assert!(problem.get("detail").is_none());
    }
}
