//! Which service a request is for.

use std::sync::Arc;

use ::http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tower::Service;

use super::arriving::Reception;
use super::carried::Carried;
use super::http;
use super::node::{Node, NodeService};
use super::persistent::{Groups, PersistentService};
use super::projections::{ProjectionsAtWork, ProjectionsService};
use super::proto::event_store::client::gossip::gossip_server::{self, GossipServer};
use super::proto::event_store::client::persistent_subscriptions::persistent_subscriptions_server::{
    self, PersistentSubscriptionsServer as PersistentServer,
};
use super::proto::event_store::client::projections::projections_server::{self, ProjectionsServer};
use super::proto::event_store::client::server_features::server_features_server;
use super::proto::event_store::client::streams::streams_server::{self, StreamsServer};
use super::proto::kurrentdb::protocol::v2::streams::streams_service_server::{
    self, StreamsServiceServer,
};
use super::requests::past_tonic;
use super::sending::Sending;
use super::several::SeveralService;
use super::streams::StreamsService;
use super::unfinished::UnfinishedBody;
use crate::port::EventStore;

/// Largest message with an event, asked or replied: the largest event, and room for its frame.
pub(super) const MESSAGE_BYTES_MAX: usize = 17 * 1024 * 1024;

/// Largest request of any other call: a filter with the most and longest prefixes has a quarter.
const QUESTION_BYTES_MAX: usize = 1024 * 1024;

/// The calls that send many messages, or large ones.
const APPEND: &str = "/event_store.client.streams.Streams/Append";
const BATCH_APPEND: &str = "/event_store.client.streams.Streams/BatchAppend";
const APPEND_SESSION: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
const APPEND_RECORDS: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords";

type FeaturesServer<T> = server_features_server::ServerFeaturesServer<T>;

/// All services; cheap to clone.
#[derive(Clone)]
pub(super) struct Router {
    store: Arc<dyn EventStore>,
    node: Arc<Node>,
    reception: Reception,
    streams: StreamsServer<StreamsService>,
    several: StreamsServiceServer<SeveralService>,
    persistent: PersistentServer<PersistentService>,
    projections: ProjectionsServer<ProjectionsService>,
    gossip: GossipServer<NodeService>,
    features: FeaturesServer<NodeService>,
}

impl Router {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        node: Arc<Node>,
        groups: Groups,
        projections: ProjectionsAtWork,
        reception: Reception,
        sending: Sending,
        shutdown: CancellationToken,
    ) -> Self {
        let persistent =
            PersistentService::new(groups, reception.clone(), sending.clone(), shutdown.clone());
        let persistent = PersistentServer::new(persistent)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(QUESTION_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let streams = StreamsService::new(Arc::clone(&store), reception.clone(), sending, shutdown);
        let streams = StreamsServer::new(streams)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(QUESTION_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let several = SeveralService::new(Arc::clone(&store), reception.clone());
        let told = NodeService::new(Arc::clone(&node));
        Self {
            gossip: GossipServer::new(told.clone()),
            features: FeaturesServer::new(told),
            store,
            node,
            reception,
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
    pub(super) async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        if !is_grpc(request.headers()) {
            return http::answer(&*self.store, &self.node, &request).await;
        }
        let (parts, body) = request.into_parts();
        let request = match UnfinishedBody::new(body, self.reception.clone()) {
            Ok(body) => Request::from_parts(parts, body),
            Err(full) => return full.into_http(),
        };
        let path = request.uri().path().to_owned();
        let request = match path.as_str() {
            APPEND | BATCH_APPEND | APPEND_SESSION | APPEND_RECORDS => past_tonic(request),
            _ => request.map(Body::new),
        };
        let service = path.split('/').nth(1).unwrap_or_default();
        let answered = if service == streams_server::SERVICE_NAME {
            self.streams.call(request).await
        } else if service == streams_service_server::SERVICE_NAME {
            self.several.call(request).await
        } else if service == persistent_subscriptions_server::SERVICE_NAME {
            self.persistent.call(request).await
        } else if service == projections_server::SERVICE_NAME {
            self.projections.call(request).await
        } else if service == gossip_server::SERVICE_NAME {
            self.gossip.call(request).await
        } else if service == server_features_server::SERVICE_NAME {
            self.features.call(request).await
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
