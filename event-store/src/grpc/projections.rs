//! The Projections service: which projection is asked, and for what.
//!
//! The projections of a store are set to work with the server where there are any or that is asked
//! for, and else with the first call about one: then a store that nobody asks for projections keeps
//! nothing of them.

mod json;
mod problem;
mod told;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::json::value;
use self::problem::of_projection;
use super::caller::Caller;
use super::proto::event_store::client::{Empty, projections as sent};
use crate::access::Operation;
use crate::error::StoreError;
use crate::port::EventStore;
use crate::projections::{
    CreateProjection, DeleteStreams, ProjectionError, ProjectionMode, Projections, Which,
};
use sent::create_req::options::Mode;
use sent::projections_server as server;
use sent::statistics_req::options::Mode as Asked;
use sent::update_req::options::EmitOption;
use sent::{
    CreateReq, CreateResp, DeleteReq, DeleteResp, DisableReq, DisableResp, EnableReq, EnableResp,
    ResetReq, ResetResp, ResultReq, ResultResp, StateReq, StateResp, StatisticsReq, StatisticsResp,
    UpdateReq, UpdateResp,
};

/// The newest engine that clients may ask for; one of ours does for all.
const ENGINE_VERSION_MAX: i32 = 2;

/// What clients know a failure of the server itself by.
const HANDLER_FAILED: &str = "Exception was thrown by handler.";

/// The pause between attempts to set projections to work when the server begins.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done about projections when the server begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// Whether those of the system are enabled.
    pub standard: bool,
    /// Whether they are set to work though there never were any.
    pub always: bool,
}

/// The projections of a store, from when they are needed on. Cheap to clone.
#[derive(Clone)]
pub(super) struct ProjectionsAtWork {
    store: Arc<dyn EventStore>,
    begin: Begin,
    begun: Arc<OnceCell<Arc<Projections>>>,
}

impl ProjectionsAtWork {
    pub(super) fn new(store: Arc<dyn EventStore>, begin: Begin) -> Self {
        Self { store, begin, begun: Arc::default() }
    }

    async fn begin(&self) -> Result<Arc<Projections>, ProjectionError> {
        let begin = async || {
            Projections::start(Arc::clone(&self.store), self.begin.standard).await.map(Arc::new)
        };
        self.begun.get_or_try_init(begin).await.cloned()
    }

    /// Sets them to work if there are any, or there are to be.
    pub(super) async fn go_on(&self, shutdown: CancellationToken) {
        let mut told = false;
        loop {
            let are_there = match self.begin.standard || self.begin.always {
                true => Ok(true),
                false => Projections::are_there(&*self.store).await,
            };
            let begun = match are_there {
                Ok(true) => self.begin().await.map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            let error = match begun {
                // A store that is closed stays so.
                Ok(()) | Err(ProjectionError::Store(StoreError::Closed)) => return,
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "projections can't be set to work just now");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Ends them in peace, each with a last checkpoint.
    pub(super) async fn close(&self) {
        if let Some(projections) = self.begun.get() {
            projections.close().await;
        }
    }
}

/// Answers for the projections.
pub(super) struct ProjectionsService {
    projections: ProjectionsAtWork,
}

impl ProjectionsService {
    pub(super) fn new(projections: ProjectionsAtWork) -> Self {
        Self { projections }
    }

    /// Asks the projections at work, for who may; where they can't be read now, the next call tries
    /// again. What was asked is done to its end, also when the client goes away meanwhile: half of
    /// it would be neither kept nor forgotten.
    async fn ask<T, A, F>(
        &self,
        request: &Request<T>,
        asked: impl FnOnce(Arc<Projections>) -> F + Send + 'static,
    ) -> Result<A, Status>
    where
        A: Send + 'static,
        F: Future<Output = Result<A, ProjectionError>> + Send,
    {
        Caller::of(request)?.may(Operation::RunProjections)?;
        let projections = self.projections.clone();
        let doing = tokio::spawn(async move { asked(projections.begin().await?).await });
        let done = doing.await.map_err(|_panicked| Status::unknown(HANDLER_FAILED))?;
        done.map_err(|error| of_projection(&error))
    }
}

fn creation(options: sent::create_req::Options) -> Result<CreateProjection, Status> {
    if !(0..=ENGINE_VERSION_MAX).contains(&options.engine_version) {
        return Err(Status::invalid_argument("there is no such engine for projections"));
    }
    let create = CreateProjection {
        name: None,
        mode: ProjectionMode::OneTime,
        query: options.query,
        emit_enabled: false,
        track_emitted_streams: false,
    };
    Ok(match options.mode {
        Some(Mode::OneTime(_)) => create,
        Some(Mode::Transient(of)) => {
            CreateProjection { name: Some(of.name), mode: ProjectionMode::Transient, ..create }
        }
        Some(Mode::Continuous(of)) => CreateProjection {
            name: Some(of.name),
            mode: ProjectionMode::Continuous,
            emit_enabled: of.emit_enabled,
            track_emitted_streams: of.track_emitted_streams,
            ..create
        },
        None => {
            let reason = "it is not said how long the projection is to live";
            return Err(Status::invalid_argument(reason));
        }
    })
}

#[tonic::async_trait]
impl server::Projections for ProjectionsService {
    type StatisticsStream = BoxStream<'static, Result<StatisticsResp, Status>>;

    async fn create(
        &self,
        mut request: Request<CreateReq>,
    ) -> Result<Response<CreateResp>, Status> {
        let create = creation(request.get_mut().options.take().unwrap_or_default())?;
        self.ask(&request, async move |all| all.create(create).await).await?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(
        &self,
        mut request: Request<UpdateReq>,
    ) -> Result<Response<UpdateResp>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let emit_enabled = match options.emit_option {
            Some(EmitOption::EmitEnabled(enabled)) => Some(enabled),
            Some(EmitOption::NoEmitOptions(_)) | None => None,
        };
        let (name, query) = (options.name, options.query);
        self.ask(&request, async move |all| all.update(&name, query, emit_enabled).await).await?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(
        &self,
        mut request: Request<DeleteReq>,
    ) -> Result<Response<DeleteResp>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let streams = DeleteStreams {
            emitted: options.delete_emitted_streams,
            states: options.delete_state_stream,
            checkpoint: options.delete_checkpoint_stream,
        };
        self.ask(&request, async move |all| all.delete(&options.name, streams).await).await?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn statistics(
        &self,
        mut request: Request<StatisticsReq>,
    ) -> Result<Response<Self::StatisticsStream>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let which = match options.mode {
            Some(Asked::Name(name)) if !name.is_empty() => Which::Named(name),
            Some(Asked::Transient(_)) => Which::Mode(ProjectionMode::Transient),
            Some(Asked::Continuous(_)) => Which::Mode(ProjectionMode::Continuous),
            Some(Asked::OneTime(_)) => Which::Mode(ProjectionMode::OneTime),
            Some(Asked::Name(_) | Asked::All(_)) | None => Which::All,
        };
        let told = self.ask(&request, async move |all| all.statistics(&which).await).await?;
        let replies =
            told.into_iter().map(|told| Ok(StatisticsResp { details: Some(told.into()) }));
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn disable(
        &self,
        mut request: Request<DisableReq>,
    ) -> Result<Response<DisableResp>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let disable = async move |all: Arc<Projections>| match options.write_checkpoint {
            true => all.disable(&options.name).await,
            false => all.abort(&options.name).await,
        };
        self.ask(&request, disable).await?;
        Ok(Response::new(DisableResp {}))
    }

    async fn enable(
        &self,
        mut request: Request<EnableReq>,
    ) -> Result<Response<EnableResp>, Status> {
        let name = request.get_mut().options.take().unwrap_or_default().name;
        self.ask(&request, async move |all| all.enable(&name).await).await?;
        Ok(Response::new(EnableResp {}))
    }

    async fn reset(&self, mut request: Request<ResetReq>) -> Result<Response<ResetResp>, Status> {
        let name = request.get_mut().options.take().unwrap_or_default().name;
        self.ask(&request, async move |all| all.reset(&name).await).await?;
        Ok(Response::new(ResetResp {}))
    }

    async fn state(&self, mut request: Request<StateReq>) -> Result<Response<StateResp>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let state =
            async move |all: Arc<Projections>| all.state(&options.name, &options.partition).await;
        let state = self.ask(&request, state).await?;
        Ok(Response::new(StateResp { state: Some(value(state.as_deref())?) }))
    }

    async fn result(
        &self,
        mut request: Request<ResultReq>,
    ) -> Result<Response<ResultResp>, Status> {
        let options = request.get_mut().options.take().unwrap_or_default();
        let result =
            async move |all: Arc<Projections>| all.result(&options.name, &options.partition).await;
        let result = self.ask(&request, result).await?;
        Ok(Response::new(ResultResp { result: Some(value(result.as_deref())?) }))
    }

    async fn restart_subsystem(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.ask(&request, async |all| all.restart().await).await?;
        Ok(Response::new(Empty {}))
    }
}
