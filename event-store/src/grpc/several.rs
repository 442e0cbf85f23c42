//! The second version's Streams service: appends to several streams, all or none.
//!
//! A session sends a request for each stream, each with what it expects; the other call sends
//! records that name their streams, and checks. Nothing goes to the store before all is there.

mod gathered;
mod record;
pub(super) mod refusal;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status, Streaming};

use self::gathered::Gathered;
use super::append::WRITE_SECONDS_MAX;
use super::arriving::Reception;
use super::caller::Caller;
use super::problem::Problem;
use super::proto::kurrentdb::protocol::v2::streams::streams_service_server::StreamsService;
use super::proto::kurrentdb::protocol::v2::streams::{
    AppendRecordsRequest, AppendRecordsResponse, AppendRequest, AppendResponse,
    AppendSessionResponse, StreamRevision, consistency_check,
};
use super::requests::Requests;
use crate::access::StreamAction;
use crate::error::MultiAppendError;
use crate::multi::MultiAppended;
use crate::port::EventStore;
use crate::stream::StreamName;

/// Answers from the store.
pub(super) struct SeveralService {
    store: Arc<dyn EventStore>,
    reception: Reception,
}

/// What the store said, and the streams that were named.
type Answer = (Result<MultiAppended, MultiAppendError>, Vec<StreamName>);

impl SeveralService {
    pub(super) fn new(store: Arc<dyn EventStore>, reception: Reception) -> Self {
        Self { store, reception }
    }

    /// Hands on what has come whole, unless that took too long.
    async fn append(
        &self,
        caller: &Caller,
        gathering: impl Future<Output = Result<Gathered, Status>>,
    ) -> Result<Answer, Status> {
        let gathered = tokio::time::timeout(self.reception.time_max, gathering).await;
        let gathered = gathered.map_err(|_| refusal::of_problem(Problem::TooSlow))??;
        let (append, streams, _held) = gathered.into_append();
        let written: HashSet<StreamName> =
            append.events.iter().map(|(stream, _)| stream.clone()).collect();
        for stream in &streams {
            // One that is only checked is only looked at.
            let action = match written.contains(stream) {
                true => StreamAction::Write,
                false => StreamAction::Read,
            };
            if let Err(error) = caller.may_with(stream, action).await {
                return Ok((Err(error.into()), streams));
            }
        }
        let limit = Duration::from_secs(WRITE_SECONDS_MAX);
        let appended = tokio::time::timeout(limit, self.store.append_to_streams(append)).await;
        Ok((appended.map_err(|_| refusal::of_problem(Problem::Timeout))?, streams))
    }

    /// The requests of a session, each of another stream.
    async fn session(&self, mut requests: Requests<AppendRequest>) -> Result<Gathered, Status> {
        let mut gathered = Gathered::new(self.reception.begin());
        while let Some(request) = requests.message().await.map_err(|it| refusal::of_request(&it))? {
            let stream = gathered.begin(&request.stream)?;
            if request.records.is_empty() {
                return Err(refusal::bad("records", "there is no record"));
            }
            if let Some(expected) = refusal::expected(request.expected_revision.unwrap_or(-2))? {
                gathered.check(&stream, expected);
            }
            for record in request.records {
                gathered.add(&stream, record)?;
            }
        }
        if gathered.is_empty() {
            return Err(refusal::no_requests());
        }
        Ok(gathered)
    }

    /// The records and the checks of the one message.
    async fn records(
        &self,
        mut requests: Requests<AppendRecordsRequest>,
    ) -> Result<Gathered, Status> {
        let mut gathered = Gathered::new(self.reception.begin());
        let request = requests.message().await.map_err(|it| refusal::of_request(&it))?;
        let AppendRecordsRequest { mut records, checks } = request.unwrap_or_default();
        if records.is_empty() {
            return Err(refusal::bad("records", "there is no record"));
        }
        for record in &mut records {
            let stream = gathered.stream(&std::mem::take(&mut record.stream))?;
            gathered.add(&stream, std::mem::take(record))?;
        }
        for check in checks {
            use consistency_check::Type;
            let Some(Type::StreamState(check)) = check.r#type else {
                return Err(refusal::bad("checks", "a check is of no known kind"));
            };
            let stream = gathered.stream(&check.stream)?;
            let Some(expected) = refusal::expected_state(check.expected_state)? else {
                return Err(refusal::bad("checks.expected_state", "a check expects something"));
            };
            gathered.check(&stream, expected);
        }
        if requests.message().await.map_err(|it| refusal::of_request(&it))?.is_some() {
            return Err(refusal::bad("records", "the call has one message"));
        }
        Ok(gathered)
    }
}

#[tonic::async_trait]
impl StreamsService for SeveralService {
    async fn append_session(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<AppendSessionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let requests = Requests::of(request)?;
        let appended = match self.append(&caller, self.session(requests)).await? {
            (Ok(appended), _) => appended,
            (Err(error), streams) => {
                return Err(refusal::of_session(&*self.store, &error, &streams).await);
            }
        };
        let output = appended.revisions.iter().map(|(stream, revision)| AppendResponse {
            stream: stream.to_string(),
            stream_revision: revision.get().cast_signed(),
            position: None,
        });
        let (output, position) = (output.collect(), appended.position.get().cast_signed());
        Ok(Response::new(AppendSessionResponse { output, position }))
    }

    async fn append_records(
        &self,
        request: Request<Streaming<AppendRecordsRequest>>,
    ) -> Result<Response<AppendRecordsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let requests = Requests::of(request)?;
        let (appended, _) = self.append(&caller, self.records(requests)).await?;
        let appended = appended.map_err(|error| refusal::of_records(&error))?;
        let revisions = appended.revisions.iter().map(|(stream, revision)| StreamRevision {
            stream: stream.to_string(),
            revision: revision.get().cast_signed(),
        });
        let (revisions, position) = (revisions.collect(), appended.position.get().cast_signed());
        Ok(Response::new(AppendRecordsResponse { revisions, position }))
    }
}
