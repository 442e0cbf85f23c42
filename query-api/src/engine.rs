//! A request carried out: its document read and measured, its fields resolved within a time.

use std::sync::Arc;
use std::time::Instant;

use access::{PositionToken, Principal};
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerError, Variables};
use futures::future;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Deserialize;
use tokio::time::timeout;

use crate::api::QueryApiParts;
use crate::delivery::{self, TimedDeliveries};
use crate::document;
use crate::failure::{Failure, refused, with_codes};
use crate::freshness::Freshness;
use crate::limits::{COMPLEXITY_MAX, QUERY_TIME_MAX, SUBSCRIPTION_COMPLEXITY_MAX};
use crate::live::Hub;
use crate::nul;
use crate::reader::{Life, Reader};
use crate::schema::{self, VezaSchema};

/// A request, as GraphQL over HTTP and over WebSocket write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What came of a request.
pub struct Answer {
    /// The answer.
    pub response: Response,
    /// Whether the time was up: for a model to come to what was asked for, or for the query.
    pub timed_out: bool,
    /// How far the models had come, for who takes an older answer.
    pub model_position: Option<PositionToken>,
}

impl From<ServerError> for Answer {
    fn from(error: ServerError) -> Self {
        Self { response: unread(error), timed_out: false, model_position: None }
    }
}

/// Carries requests out.
pub struct Engine {
    queries: VezaSchema,
    subscriptions: VezaSchema,
    parts: Arc<QueryApiParts>,
    hub: Arc<Hub>,
}

impl Engine {
    /// An engine over these parts.
    pub fn new(parts: Arc<QueryApiParts>, hub: Arc<Hub>) -> Self {
        let builder = |complexity_max| {
            let builder = schema::builder(complexity_max);
            // A suggestion tells of the schema as well.
            if parts.introspection { builder } else { builder.disable_suggestions() }
        };
        let queries = builder(COMPLEXITY_MAX).finish();
        let subscriptions = builder(SUBSCRIPTION_COMPLEXITY_MAX).extension(TimedDeliveries);
        Self { queries, subscriptions: subscriptions.finish(), parts, hub }
    }

    /// Answers one query.
    pub async fn answer(
        &self,
        query: Query,
        viewer: Option<Principal>,
        freshness: Freshness,
    ) -> Answer {
        let began = Instant::now();
        let reader = Arc::new(self.reader(viewer, freshness, Life::Answer));
        let request = match self.read(query) {
            Ok((request, _)) => request.data(Arc::clone(&reader)),
            Err(error) => return error.into(),
        };
        let executed = timeout(QUERY_TIME_MAX, self.queries.execute(request)).await;
        let freshness = &reader.freshness;
        let timed_out = executed.is_err() || freshness.was_late();
        let response = executed.unwrap_or_else(|_| refused(Failure::Timeout));
        let position = freshness.model_position();
        metrics::histogram!("veza_graphql_query_seconds").record(began.elapsed());
        Answer {
            response: counted(with_codes(response, COMPLEXITY_MAX)),
            timed_out,
            model_position: position.and_then(|at| PositionToken::new(at.to_string()).ok()),
        }
    }

    /// Answers a query once, or follows a subscription until it ends.
    pub fn follow(&self, query: Query, viewer: Principal) -> BoxStream<'static, Response> {
        let (request, operation) = match self.read(query) {
            Ok(read) => read,
            Err(error) => return stream::once(future::ready(unread(error))).boxed(),
        };
        let freshness = Freshness::any(self.parts.watermarks.clone());
        if operation == OperationType::Subscription {
            let reader = self.reader(Some(viewer), freshness, Life::Subscription);
            let responses = self.subscriptions.execute_stream(request.data(Arc::new(reader)));
            let responses = delivery::until_late(responses);
            let coded = responses.map(|each| with_codes(each, SUBSCRIPTION_COMPLEXITY_MAX));
            return coded.map(counted).boxed();
        }
        let reader = self.reader(Some(viewer), freshness, Life::Answer);
        let (schema, request) = (self.queries.clone(), request.data(Arc::new(reader)));
        let answer = async move {
            let executed = timeout(QUERY_TIME_MAX, schema.execute(request)).await;
            let response = executed.unwrap_or_else(|_| refused(Failure::Timeout));
            counted(with_codes(response, COMPLEXITY_MAX))
        };
        stream::once(answer).boxed()
    }

    fn reader(&self, viewer: Option<Principal>, freshness: Freshness, life: Life) -> Reader {
        let (parts, hub) = (Arc::clone(&self.parts), Arc::clone(&self.hub));
        Reader::new(parts, hub, viewer, freshness, life)
    }

    /// A request whose document is within its limits.
    fn read(&self, query: Query) -> Result<(Request, OperationType), ServerError> {
        let Query { query, operation_name, variables } = query;
        let name = operation_name.as_deref().filter(|name| !name.is_empty());
        let document = document::read(&query, name, self.parts.introspection)?;
        let mut request = Request::new(query);
        request.operation_name = name.map(str::to_owned);
        request.variables = Variables::from_json(variables.unwrap_or_default().into());
        request.variables.values().try_for_each(nul::refuse)?;
        request.set_parsed_query(document.parsed);
        Ok((request, document.operation))
    }
}

/// What is said to a request whose document is not carried out.
fn unread(error: ServerError) -> Response {
    counted(Response::from_errors(vec![error]))
}

/// Counts what came of a request.
fn counted(response: Response) -> Response {
    let outcome = if response.is_ok() { "answered" } else { "failed" };
    metrics::counter!("veza_graphql_answers_total", "outcome" => outcome).increment(1);
    response
}
