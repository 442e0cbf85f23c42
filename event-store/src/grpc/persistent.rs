//! The PersistentSubscriptions service: which group is asked, and for what.
//!
//! The groups of a store are set to work with the first call about any of them; a store that nobody
//! asks for groups keeps nothing of them.

mod asked;
mod info;
mod problem;
mod reading;

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::asked::{definition, event_source, group};
use self::problem::{does_not_exist, of_persistent};
use self::reading::Replies;
use super::arriving::Reception;
use super::caller::Caller;
use super::carried::Carried;
use super::proto::event_store::client::{Empty, persistent_subscriptions as sent};
use super::sending::Sending;
use crate::access::Operation;
use crate::persistent::PersistentSubscriptions;
use crate::port::EventStore;
use sent::list_req::options::ListOption;
use sent::persistent_subscriptions_server as server;
use sent::replay_parked_req::options::StopAtOption as ReplayStop;
use sent::truncate_parked_req::options::StopAtOption as TruncateStop;
use sent::{
    CreateReq, CreateResp, DeleteReq, DeleteResp, GetInfoReq, GetInfoResp, ListReq, ListResp,
    ReadReq, ReplayParkedReq, ReplayParkedResp, TruncateParkedReq, TruncateParkedResp, UpdateReq,
    UpdateResp,
};

/// The groups of a store, from the first call about them on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Groups {
    store: Arc<dyn EventStore>,
    begun: Arc<OnceCell<PersistentSubscriptions>>,
}

impl Groups {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, begun: Arc::default() }
    }

    /// The groups at work; where they can't be read now, the next call tries again.
    async fn at_work(&self) -> Result<&PersistentSubscriptions, Status> {
        let begin = || PersistentSubscriptions::start(Arc::clone(&self.store));
        self.begun.get_or_try_init(begin).await.map_err(|error| of_persistent(&error))
    }

    /// Ends them and begins anew.
    pub(super) async fn restart(&self) -> Result<(), Status> {
        let restarted = self.at_work().await?.restart().await;
        restarted.map_err(|error| of_persistent(&error))
    }

    /// Ends them in peace, each with a last checkpoint.
    pub(super) async fn close(&self) {
        if let Some(groups) = self.begun.get() {
            groups.close().await;
        }
    }
}

/// Answers for the groups.
pub(super) struct PersistentService {
    groups: Groups,
    reception: Reception,
    sending: Sending,
    shutdown: CancellationToken,
}

impl PersistentService {
    pub(super) fn new(
        groups: Groups,
        reception: Reception,
        sending: Sending,
        shutdown: CancellationToken,
    ) -> Self {
        Self { groups, reception, sending, shutdown }
    }
}

#[tonic::async_trait]
impl server::PersistentSubscriptions for PersistentService {
    type ReadStream = Replies;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        let asked = definition(request.into_inner().options.unwrap_or_default())?;
        let groups = self.groups.at_work().await?;
        let created = groups.create(&asked.group, asked.filter, asked.settings).await;
        created.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        let asked = definition(request.into_inner().options.unwrap_or_default())?;
        let updated = self.groups.at_work().await?.update(&asked.group, asked.settings).await;
        updated.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        let options = request.into_inner().options.unwrap_or_default();
        let group = group(event_source(options.stream_option)?, options.group_name)?;
        let deleted = self.groups.at_work().await?.delete(&group).await;
        deleted.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadReq>>,
    ) -> Result<Response<Replies>, Status> {
        let groups = self.groups.at_work().await?;
        let (carried, shutdown) = (Carried::default(), self.shutdown.clone());
        let (time_max, sending) = (self.reception.time_max, &self.sending);
        let replies =
            reading::answer(groups, request, time_max, sending, carried.clone(), shutdown).await?;
        let mut response = Response::new(replies);
        response.extensions_mut().insert(carried);
        Ok(response)
    }

    async fn get_info(
        &self,
        request: Request<GetInfoReq>,
    ) -> Result<Response<GetInfoResp>, Status> {
        Caller::of(&request)?.may(Operation::LookAtGroups)?;
        let options = request.into_inner().options.unwrap_or_default();
        let group = group(event_source(options.stream_option)?, options.group_name)?;
        let info = self.groups.at_work().await?.info(&group).await;
        let info = info.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(GetInfoResp { subscription_info: Some(info.into()) }))
    }

    async fn replay_parked(
        &self,
        request: Request<ReplayParkedReq>,
    ) -> Result<Response<ReplayParkedResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        let options = request.into_inner().options.unwrap_or_default();
        let group = group(event_source(options.stream_option)?, options.group_name)?;
        let before = match options.stop_at_option {
            Some(ReplayStop::StopAt(before)) => Some(parked_revision(before)?),
            Some(ReplayStop::NoLimit(_)) | None => None,
        };
        let replayed = self.groups.at_work().await?.replay_parked(&group, before).await;
        replayed.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(ReplayParkedResp {}))
    }

    async fn truncate_parked(
        &self,
        request: Request<TruncateParkedReq>,
    ) -> Result<Response<TruncateParkedResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        let options = request.into_inner().options.unwrap_or_default();
        let group = group(event_source(options.stream_option)?, options.group_name)?;
        let before = match options.stop_at_option {
            Some(TruncateStop::StopAt(before)) => Some(parked_revision(before)?),
            Some(TruncateStop::NoLimit(_)) => None,
            // What is let go does not come back, so it must be said how much that is to be.
            None => return Err(Status::invalid_argument("it is not said where to stop")),
        };
        let truncated = self.groups.at_work().await?.truncate_parked(&group, before).await;
        truncated.map_err(|error| of_persistent(&error))?;
        Ok(Response::new(TruncateParkedResp {}))
    }

    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        Caller::of(&request)?.may(Operation::LookAtGroups)?;
        let options = request.into_inner().options.unwrap_or_default();
        let source = match options.list_option {
            Some(ListOption::ListForStream(of)) => Some(event_source(of.stream_option)?),
            Some(ListOption::ListAllSubscriptions(_)) => None,
            None => return Err(Status::invalid_argument("it is not said which groups to list")),
        };
        let infos = self.groups.at_work().await?.list(source.as_ref()).await;
        let infos = infos.map_err(|error| of_persistent(&error))?;
        // Of all groups there may be none; of one source that is an error to the protocol.
        match source {
            Some(source) if infos.is_empty() => Err(does_not_exist(&source.to_string(), "")),
            _ => {
                let subscriptions = infos.into_iter().map(Into::into).collect();
                Ok(Response::new(ListResp { subscriptions }))
            }
        }
    }

    async fn restart_subsystem(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        self.groups.restart().await?;
        Ok(Response::new(Empty {}))
    }
}

/// A revision of the stream that keeps parked messages, before which to stop.
fn parked_revision(number: i64) -> Result<u64, Status> {
    let none = |_| Status::invalid_argument(format!("{number} is no revision to stop at"));
    u64::try_from(number).map_err(none)
}
