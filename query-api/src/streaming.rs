//! The streaming of sound: objects as HTTP serves files, in parts and never whole in memory.

pub mod order;
mod range;
pub mod track;

use access::headers::VEZA_MODEL_POSITION;
use access::{Problem, ProblemType};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use media::{ByteRange, ObjectHead, ObjectKey, ObjectReader, StorageError};

use crate::api::QueryApiParts;
use crate::freshness::Freshness;
use crate::limits::STREAM_DRAIN_TIME;

/// What is said of an object beside its bytes.
struct Said {
    content_type: &'static str,
    cache_control: &'static str,
    /// How it is saved, when it is to be.
    disposition: Option<String>,
}

/// What is asked of an object.
struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
}

/// Serves an object, or the part of it that is asked for.
async fn serve(
    parts: &QueryApiParts,
    key: &ObjectKey,
    asked: Asked<'_>,
    said: Said,
) -> Result<Response, Problem> {
    let head = parts.objects.head(key).await.map_err(|error| unread(&error))?;
    let etag = etag(&head);
    if range::is_known(asked.headers, &head, &etag) {
        return Ok(described(StatusCode::NOT_MODIFIED.into_response(), &head, &etag, &said));
    }
    let is_get = asked.method == Method::GET;
    let range = if is_get { range::wanted(asked.headers, &head, &etag) } else { ByteRange::Whole };
    let reader = match parts.objects.get(key, range).await {
        Ok(reader) => reader,
        Err(StorageError::RangeNotSatisfiable { size_bytes }) => {
            let mut response = Problem::new(ProblemType::RangeNotSatisfiable).into_response();
            put(&mut response, header::CONTENT_RANGE, &format!("bytes */{size_bytes}"));
            return Ok(response);
        }
        Err(error) => return Err(unread(&error)),
    };
    let is_part = range != ByteRange::Whole;
    let status = if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let ObjectReader { size_bytes, range, body } = reader;
    // One that takes its time does not hold up the end of the process.
    let stop = parts.stop.clone();
    let cut = Box::pin(async move {
        stop.cancelled().await;
        tokio::time::sleep(STREAM_DRAIN_TIME).await;
    });
    let mut response = (status, Body::from_stream(body.take_until(cut))).into_response();
    put(&mut response, header::CONTENT_TYPE, said.content_type);
    put(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    if is_part {
        let text = format!("bytes {}-{}/{size_bytes}", range.start, range.end.saturating_sub(1));
        put(&mut response, header::CONTENT_RANGE, &text);
    }
    Ok(described(response, &head, &etag, &said))
}

/// Says how far the models had come by which it was found, to who takes an older answer.
fn as_of(mut response: Response, freshness: &Freshness) -> Response {
    if let Some(position) = freshness.model_position() {
        put(&mut response, VEZA_MODEL_POSITION, &position.to_string());
    }
    response
}

/// Says what is true of the object whichever part is sent.
fn described(mut response: Response, head: &ObjectHead, etag: &str, said: &Said) -> Response {
    put(&mut response, header::ETAG, etag);
    let modified = head.modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    put(&mut response, header::LAST_MODIFIED, &modified);
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    put(&mut response, header::CACHE_CONTROL, said.cache_control);
    put(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(disposition) = &said.disposition {
        put(&mut response, header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn put(response: &mut Response, name: header::HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("it was made of visible ASCII");
    response.headers_mut().insert(name, value);
}

/// A strong tag: an object that is put again is another, whatever its bytes.
fn etag(head: &ObjectHead) -> String {
    format!("\"{:x}-{:x}\"", head.modified.timestamp_micros(), head.size_bytes)
}

fn unread(error: &StorageError) -> Problem {
    match error {
        StorageError::NotFound { .. } => Problem::new(ProblemType::NotFound),
        error => Problem::internal(error),
    }
}
