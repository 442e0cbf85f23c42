//! GraphQL by POST: one query a request, answered as the specification of GraphQL over HTTP says.

use access::extract::{has_json, parse_json};
use access::headers::VEZA_MODEL_POSITION;
use access::{Authenticated, Consistency, Problem, ProblemType};
use async_graphql::ServerError;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::QueryApi;
use crate::engine::{Answer, Query};
use crate::failure;
use crate::freshness::Freshness;

/// The media type by which a refused request has a status of its own.
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// The answer to a request that was not carried out: it has no `data`, not even null.
#[derive(Serialize)]
struct Refused<'a> {
    errors: &'a [ServerError],
}

/// Answers a query.
///
/// # Errors
/// What is no query at all is a problem; what is wrong with a query, its answer says.
pub async fn post(
    State(api): State<QueryApi>,
    caller: Option<Authenticated>,
    consistency: Consistency,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    if !has_json(&headers) {
        let problem = Problem::new(ProblemType::UnsupportedMediaType);
        return Err(problem.with_detail("send the query as application/json"));
    }
    let body = body?;
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let problem = Problem::new(ProblemType::Malformed);
        return Err(problem.with_detail("send one query a request: there are no batches"));
    }
    let query: Query = parse_json(&body).map_err(as_malformed)?;
    let viewer = caller.map(|Authenticated(principal)| principal);
    let freshness = Freshness::asked(api.parts().watermarks.clone(), &consistency)?;
    Ok(respond(api.engine().answer(query, viewer, freshness).await, &headers))
}

/// JSON that is no request of GraphQL is a bad request, whatever its fields.
fn as_malformed(problem: Problem) -> Problem {
    match problem.kind() {
        ProblemType::Validation => Problem::new(ProblemType::Malformed)
            .with_detail("the body must be an object with `query`, and may have `variables`"),
        _ => problem,
    }
}

fn respond(answer: Answer, headers: &HeaderMap) -> Response {
    let Answer { response, timed_out, model_position } = answer;
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains(GRAPHQL_RESPONSE));
    let with_status = headers.get_all(header::ACCEPT).iter().any(accepts);
    let was_refused = !timed_out && failure::was_refused(&response);
    let was_too_much = failure::was_too_much(&response);
    let status = match () {
        () if timed_out => StatusCode::GATEWAY_TIMEOUT,
        () if was_too_much => StatusCode::SERVICE_UNAVAILABLE,
        () if with_status && was_refused => StatusCode::BAD_REQUEST,
        () => StatusCode::OK,
    };
    let media_type = if with_status { GRAPHQL_RESPONSE } else { "application/json" };
    let body = match was_refused {
        true => serde_json::to_vec(&Refused { errors: &response.errors }),
        false => serde_json::to_vec(&response),
    };
    let body = body.expect("a response is plain data");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, failure::RETRY_AFTER.as_secs().into());
    }
    if let Some(position) = model_position {
        headers.insert(VEZA_MODEL_POSITION, HeaderValue::from(&position));
    }
    response
}
