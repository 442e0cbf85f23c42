//! The Streams service: which question is asked, and who answers it.

use std::sync::Arc;

use futures::stream::BoxStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::arriving::Reception;
use super::caller::Caller;
use super::carried::Carried;
use super::encoded::Encoded;
use super::problem::{Problem, of_store};
use super::proto::event_store::client::Empty;
use super::proto::event_store::client::streams::streams_server::Streams;
use super::proto::event_store::client::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq,
    ReadResp, TombstoneReq, TombstoneResp, delete_resp, tombstone_resp,
};
use super::requests::Requests;
use super::sending::Sending;
use super::wire::{expected, stream_name};
use super::{append, batch, read};
use crate::access::StreamAction;
use crate::port::EventStore;
use crate::stream::StreamName;

/// The replies of a read.
pub(super) type Replies = BoxStream<'static, Result<ReadResp, Status>>;

/// Answers from the store.
pub(super) struct StreamsService {
    store: Arc<dyn EventStore>,
    reception: Reception,
    sending: Sending,
    encoded: Encoded,
    shutdown: CancellationToken,
}

impl StreamsService {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        reception: Reception,
        sending: Sending,
        shutdown: CancellationToken,
    ) -> Self {
        Self { store, reception, sending, encoded: Encoded::new(), shutdown }
    }
}

#[tonic::async_trait]
impl Streams for StreamsService {
    type ReadStream = Replies;
    type BatchAppendStream = ReceiverStream<Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Replies>, Status> {
        let caller = Caller::of(&request)?;
        let options = request.into_inner().options.unwrap_or_default();
        let question = read::question(options)?;
        let may = caller.may_with(&question.stream(), StreamAction::Read).await;
        may.map_err(|error| of_store(&error))?;
        let store = Arc::clone(&self.store);
        let (sent, carried) = ((self.sending.clone(), self.encoded.clone()), Carried::default());
        let shutdown = self.shutdown.clone();
        let asked = (question, caller);
        let replies = read::answer(store, asked, sent, carried.clone(), shutdown).await?;
        let mut response = Response::new(replies);
        response.extensions_mut().insert(carried);
        Ok(response)
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let caller = Caller::of(&request)?;
        let requests = Requests::of(request)?;
        let (store, reception) = (&*self.store, &self.reception);
        let appended = append::append(store, &caller, requests, reception, &self.shutdown).await?;
        Ok(Response::new(appended))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let caller = Caller::of(&request)?;
        let options = request.into_inner().options.unwrap_or_default();
        let stream = stream_name(options.stream_identifier)?;
        let expected = expected(options.expected_stream_revision)?;
        may_delete(&caller, &stream).await?;
        let deleted = self.store.delete_stream(&stream, expected).await.map_err(Problem::from)?;
        use delete_resp::{Position, PositionOption};
        let position = match deleted.position {
            Some(position) => PositionOption::Position(Position {
                commit_position: position.get(),
                prepare_position: position.get(),
            }),
            None => PositionOption::NoPosition(Empty {}),
        };
        Ok(Response::new(DeleteResp { position_option: Some(position) }))
    }

    async fn tombstone(
        &self,
        request: Request<TombstoneReq>,
    ) -> Result<Response<TombstoneResp>, Status> {
        let caller = Caller::of(&request)?;
        let options = request.into_inner().options.unwrap_or_default();
        let stream = stream_name(options.stream_identifier)?;
        let expected = expected(options.expected_stream_revision)?;
        may_delete(&caller, &stream).await?;
        let deleted =
            self.store.tombstone_stream(&stream, expected).await.map_err(Problem::from)?;
        use tombstone_resp::{Position, PositionOption};
        let position = match deleted.position {
            Some(position) => PositionOption::Position(Position {
                commit_position: position.get(),
                prepare_position: position.get(),
            }),
            None => PositionOption::NoPosition(Empty {}),
        };
        Ok(Response::new(TombstoneResp { position_option: Some(position) }))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let (store, caller) = (Arc::clone(&self.store), Caller::of(&request)?);
        let (reception, shutdown) = (self.reception.clone(), self.shutdown.clone());
        let replies = batch::serve(store, caller, Requests::of(request)?, reception, shutdown);
        Ok(Response::new(replies))
    }
}

async fn may_delete(caller: &Caller, stream: &StreamName) -> Result<(), Status> {
    let may = caller.may_with(stream, StreamAction::Delete).await;
    may.map_err(|error| of_store(&error))
}
