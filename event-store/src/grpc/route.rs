//! Which service a request is for.

use std::sync::Arc;

use ::http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tower::Service;

use super::caller::{Gate, denied, unauthorized};
use super::carried::Carried;
use super::http::{self, Door};
use super::monitoring::MonitoringService;
use super::node::NodeService;
use super::operations::OperationsService;
use super::persistent::{Groups, PersistentService};
use super::projections::{ProjectionsAtWork, ProjectionsService};
use super::proto::event_store::client::gossip::gossip_server::{self, GossipServer};
use super::proto::event_store::client::monitoring::monitoring_server::{self, MonitoringServer};
use super::proto::event_store::client::operations::operations_server::{self, OperationsServer};
use super::proto::event_store::client::persistent_subscriptions::persistent_subscriptions_server::{
    self, PersistentSubscriptionsServer as PersistentServer,
};
use super::proto::event_store::client::projections::projections_server::{self, ProjectionsServer};
use super::proto::event_store::client::server_features::server_features_server;
use super::proto::event_store::client::streams::streams_server::{self, StreamsServer};
use super::proto::event_store::client::users::users_server::{self, UsersServer};
use super::proto::kurrentdb::protocol::v2::streams::streams_service_server::{
    self, StreamsServiceServer,
};
use super::requests::past_tonic;
use super::several::SeveralService;
use super::streams::StreamsService;
use super::unfinished::UnfinishedBody;
use super::users::UsersService;
use crate::users::Users;

/// Largest message with an event, asked or replied: the largest event, and room for its frame.
pub(super) const MESSAGE_BYTES_MAX: usize = 17 * 1024 * 1024;

/// Largest request of any other call: a filter with the most and longest prefixes has a quarter.
const QUESTION_BYTES_MAX: usize = 1024 * 1024;

/// The calls that send many messages, or large ones.
const APPEND: &str = "/event_store.client.streams.Streams/Append";
const BATCH_APPEND: &str = "/event_store.client.streams.Streams/BatchAppend";
const APPEND_SESSION: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
const APPEND_RECORDS: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords";

/// The services that answer those too who do not say who they are: clients ask them to find out
/// where to log in, and how.
const OPEN_SERVICES: [&str; 2] =
    [gossip_server::SERVICE_NAME, server_features_server::SERVICE_NAME];

type FeaturesServer<T> = server_features_server::ServerFeaturesServer<T>;

/// All services; cheap to clone.
#[derive(Clone)]
pub(super) struct Router {
    door: Door,
    gate: Gate,
    streams: StreamsServer<StreamsService>,
    several: StreamsServiceServer<SeveralService>,
    persistent: PersistentServer<PersistentService>,
    users: UsersServer<UsersService>,
    projections: ProjectionsServer<ProjectionsService>,
    gossip: GossipServer<NodeService>,
    features: FeaturesServer<NodeService>,
    operations: OperationsServer<OperationsService>,
    monitoring: MonitoringServer<MonitoringService>,
}

impl Router {
    pub(super) fn new(
        door: Door,
        groups: Groups,
        projections: ProjectionsAtWork,
        operations: OperationsService,
        users: Option<Users>,
        shutdown: CancellationToken,
    ) -> Self {
        let (store, reception, sending) = (&door.store, &door.reception, &door.sending);
        let monitoring = MonitoringService {
            statistics: Arc::clone(&door.statistics),
            sending: sending.clone(),
            shutdown: shutdown.clone(),
        };
        let persistent =
            PersistentService::new(groups, reception.clone(), sending.clone(), shutdown.clone());
        let persistent = PersistentServer::new(persistent)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(QUESTION_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let streams =
            StreamsService::new(Arc::clone(store), reception.clone(), sending.clone(), shutdown);
        let streams = StreamsServer::new(streams)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(QUESTION_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let several = SeveralService::new(Arc::clone(store), reception.clone());
        let gate = Gate::new(Arc::clone(store), users);
        let users = UsersServer::new(UsersService::new(door.users.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(QUESTION_BYTES_MAX);
        let told = NodeService::new(Arc::clone(&door.node));
        Self {
            gossip: GossipServer::new(told.clone())
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(QUESTION_BYTES_MAX),
            features: FeaturesServer::new(told)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(QUESTION_BYTES_MAX),
            operations: OperationsServer::new(operations)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(QUESTION_BYTES_MAX),
            monitoring: MonitoringServer::new(monitoring)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(QUESTION_BYTES_MAX),
            users,
            gate,
            door,
            streams,
            several: StreamsServiceServer::new(several)
                .accept_compressed(CompressionEncoding::Gzip),
            persistent,
            projections: ProjectionsServer::new(ProjectionsService::new(projections))
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(QUESTION_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Answers one request; never fails, because errors are answers too.
    pub(super) async fn answer(mut self, mut request: Request<Incoming>) -> Response<Body> {
        let is_grpc = is_grpc(request.headers());
        let is_known = match self.gate.caller(request.headers(), request.extensions()).await {
            Ok(caller) => {
                let is_known = caller.is_known();
                request.extensions_mut().insert(caller);
                is_known
            }
            Err(unknown) if is_grpc => return unknown.into_status().into_http(),
            Err(unknown) => return unknown.into_http(),
        };
        if !is_grpc {
            if !is_known && !http::is_open(request.uri().path()) {
                return unauthorized();
            }
            return http::answer(&self.door, request).await;
        }
        let path = request.uri().path().to_owned();
        let service = path.split('/').nth(1).unwrap_or_default();
        if !is_known && !OPEN_SERVICES.contains(&service) {
            return denied().into_http();
        }
        let (parts, body) = request.into_parts();
        let request = match UnfinishedBody::new(body, self.door.reception.clone()) {
            Ok(body) => Request::from_parts(parts, body),
            Err(full) => return full.into_http(),
        };
        let request = match path.as_str() {
            APPEND | BATCH_APPEND | APPEND_SESSION | APPEND_RECORDS => past_tonic(request),
            _ => request.map(Body::new),
        };
        let answered = if service == streams_server::SERVICE_NAME {
            self.streams.call(request).await
        } else if service == streams_service_server::SERVICE_NAME {
            self.several.call(request).await
        } else if service == persistent_subscriptions_server::SERVICE_NAME {
            self.persistent.call(request).await
        } else if service == users_server::SERVICE_NAME {
            self.users.call(request).await
        } else if service == projections_server::SERVICE_NAME {
            self.projections.call(request).await
        } else if service == gossip_server::SERVICE_NAME {
            self.gossip.call(request).await
        } else if service == server_features_server::SERVICE_NAME {
            self.features.call(request).await
        } else if service == operations_server::SERVICE_NAME {
            self.operations.call(request).await
        } else if service == monitoring_server::SERVICE_NAME {
            self.monitoring.call(request).await
        } else {
            Ok(Status::unimplemented("the service is not served here").into_http())
        };
        let mut response = answered.unwrap_or_else(|never| match never {});
        match response.extensions_mut().remove::<Carried>() {
            Some(carried) => response.map(|body| carried.body(body)),
            None => response,
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
