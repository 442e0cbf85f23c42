//! The Operations service: what an operator asks of the server.
//!
//! A server that is one node does what there is to do of it: it is scavenged, shut down where the
//! process has nothing else to do, and its persistent subscriptions begin anew. What is for nodes
//! of a cluster is answered as a server that is alone does it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::caller::Caller;
use super::node::Node;
use super::persistent::Groups;
use super::problem::{exception, of_store};
use super::proto::event_store::client::Empty;
use super::proto::event_store::client::operations::operations_server::Operations;
use super::proto::event_store::client::operations::scavenge_resp::ScavengeResult;
use super::proto::event_store::client::operations::{
    ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
};
use crate::access::Operation;
use crate::embedded::{ScavengeError, ScavengeOptions};
use crate::maintenance::{Begun, Scavenges};

/// Answers operators.
pub(super) struct OperationsService {
    pub node: Arc<Node>,
    pub groups: Groups,
    /// Where the store can be scavenged.
    pub scavenges: Option<Arc<Scavenges>>,
    /// Ends the server, where that may be asked for.
    pub shutdown: Option<CancellationToken>,
}

impl OperationsService {
    fn scavenges(&self) -> Result<&Arc<Scavenges>, Status> {
        let none = || Status::unimplemented("the event store is not scavenged through this server");
        self.scavenges.as_ref().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl Operations for OperationsService {
    async fn start_scavenge(
        &self,
        request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        may_run_node(&request)?;
        let asked = request.into_inner().options.unwrap_or_default();
        if asked.thread_count < 0 {
            return Err(Status::invalid_argument("there can't be fewer than no threads"));
        }
        if asked.start_from_chunk != 0 {
            return Err(Status::invalid_argument(
                "scavenging begins where it was stopped, or else at the first segment",
            ));
        }
        let begun = self.scavenges()?.start(ScavengeOptions::default());
        let (id, result) = match begun.map_err(|error| of_scavenge(&error))? {
            Begun::Started(id) => (id, ScavengeResult::Started),
            Begun::InProgress(id) => (id, ScavengeResult::InProgress),
        };
        Ok(scavenge(id, result))
    }

    async fn stop_scavenge(
        &self,
        request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        may_run_node(&request)?;
        let id = request.into_inner().options.unwrap_or_default().scavenge_id;
        match self.scavenges()?.stop(&id).await {
            Some(id) => Ok(scavenge(id, ScavengeResult::Stopped)),
            None => Err(exception(
                Code::NotFound,
                "Scavenge id was invalid.".to_owned(),
                "scavenge-not-found",
                &[("scavenge-id", id)],
            )),
        }
    }

    async fn shutdown(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        may_run_node(&request)?;
        let refused = || {
            Status::failed_precondition(
                "this process does more than serve the event store: stop it from outside",
            )
        };
        let shutdown = self.shutdown.as_ref().ok_or_else(refused)?;
        tracing::info!("a client asks the server to stop");
        shutdown.cancel();
        Ok(Response::new(Empty {}))
    }

    /// Each segment has one index, written once: there are none to merge.
    async fn merge_indexes(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        may_run_node(&request)?;
        Ok(Response::new(Empty {}))
    }

    /// Nobody else could lead.
    async fn resign_node(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        may_run_node(&request)?;
        tracing::info!("a client asks the node to resign; it is alone, and stays");
        Ok(Response::new(Empty {}))
    }

    async fn set_node_priority(
        &self,
        request: Request<SetNodePriorityReq>,
    ) -> Result<Response<Empty>, Status> {
        may_run_node(&request)?;
        self.node.set_priority(request.into_inner().priority);
        Ok(Response::new(Empty {}))
    }

    async fn restart_persistent_subscriptions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Empty>, Status> {
        Caller::of(&request)?.may(Operation::ManageGroups)?;
        self.groups.restart().await?;
        Ok(Response::new(Empty {}))
    }
}

fn may_run_node<T>(request: &Request<T>) -> Result<(), Status> {
    Caller::of(request)?.may(Operation::RunNode)
}

fn scavenge(scavenge_id: String, result: ScavengeResult) -> Response<ScavengeResp> {
    Response::new(ScavengeResp { scavenge_id, scavenge_result: result.into() })
}

fn of_scavenge(error: &ScavengeError) -> Status {
    match error {
        ScavengeError::Running => Status::aborted(error.to_string()),
        ScavengeError::Store(error) => of_store(error),
    }
}
