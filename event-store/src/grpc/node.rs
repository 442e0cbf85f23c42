//! What the server tells about itself: one node that always leads, and the calls it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use chrono::Utc;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::proto::event_store::client::gossip::gossip_server::Gossip;
use super::proto::event_store::client::gossip::member_info::VNodeState;
use super::proto::event_store::client::gossip::{ClusterInfo, EndPoint, MemberInfo};
use super::proto::event_store::client::server_features::server_features_server::ServerFeatures;
use super::proto::event_store::client::server_features::{SupportedMethod, SupportedMethods};
use super::proto::event_store::client::{
    Empty, gossip, monitoring, operations, persistent_subscriptions, projections, server_features,
    streams, users,
};
use super::proto::kurrentdb::protocol::v2::streams::streams_service_server;
use super::wire::{UuidForm, uuid};

/// The release of EventStoreDB whose behaviour clients may expect of the calls that are here.
pub(super) const SERVER_VERSION: &str = "26.1.0";

const PERSISTENT: &str = persistent_subscriptions::persistent_subscriptions_server::SERVICE_NAME;
const OPERATIONS: &str = operations::operations_server::SERVICE_NAME;
const USERS: &str = users::users_server::SERVICE_NAME;

const PROJECTIONS: &str = projections::projections_server::SERVICE_NAME;

/// Every call that is answered, and its features: a client makes no other.
const METHODS: [(&str, &str, &[&str]); 44] = [
    (streams::streams_server::SERVICE_NAME, "read", &["position", "events"]),
    (streams::streams_server::SERVICE_NAME, "append", &[]),
    (streams::streams_server::SERVICE_NAME, "delete", &[]),
    (streams::streams_server::SERVICE_NAME, "tombstone", &[]),
    (streams::streams_server::SERVICE_NAME, "batchappend", &["deadline_duration"]),
    (streams_service_server::SERVICE_NAME, "appendsession", &[]),
    (streams_service_server::SERVICE_NAME, "appendrecords", &[]),
    (PERSISTENT, "create", &["stream", "all"]),
    (PERSISTENT, "update", &["stream", "all"]),
    (PERSISTENT, "delete", &["stream", "all"]),
    (PERSISTENT, "read", &["stream", "all"]),
    (PERSISTENT, "getinfo", &["stream", "all"]),
    (PERSISTENT, "replayparked", &["stream", "all"]),
    (PERSISTENT, "truncateparked", &["stream", "all"]),
    (PERSISTENT, "list", &["stream", "all"]),
    (PERSISTENT, "restartsubsystem", &["stream", "all"]),
    (OPERATIONS, "startscavenge", &[]),
    (OPERATIONS, "stopscavenge", &[]),
    (OPERATIONS, "shutdown", &[]),
    (OPERATIONS, "mergeindexes", &[]),
    (OPERATIONS, "resignnode", &[]),
    (OPERATIONS, "setnodepriority", &[]),
    (OPERATIONS, "restartpersistentsubscriptions", &[]),
    (monitoring::monitoring_server::SERVICE_NAME, "stats", &[]),
    (USERS, "create", &[]),
    (USERS, "update", &[]),
    (USERS, "delete", &[]),
    (USERS, "disable", &[]),
    (USERS, "enable", &[]),
    (USERS, "details", &[]),
    (USERS, "changepassword", &[]),
    (USERS, "resetpassword", &[]),
    (PROJECTIONS, "create", &["track_emitted_streams"]),
    (PROJECTIONS, "update", &[]),
    (PROJECTIONS, "delete", &[]),
    (PROJECTIONS, "statistics", &[]),
    (PROJECTIONS, "disable", &[]),
    (PROJECTIONS, "enable", &[]),
    (PROJECTIONS, "reset", &[]),
    (PROJECTIONS, "state", &[]),
    (PROJECTIONS, "result", &[]),
    (PROJECTIONS, "restartsubsystem", &[]),
    (gossip::gossip_server::SERVICE_NAME, "read", &[]),
    (server_features::server_features_server::SERVICE_NAME, "getsupportedmethods", &[]),
];

/// Who the server is, and where clients reach it.
pub(super) struct Node {
    id: Uuid,
    host: String,
    port: u16,
    priority: AtomicI32,
}

impl Node {
    /// Listening everywhere names no host, so loopback is told unless another was chosen.
    pub(super) fn new(address: SocketAddr, host: Option<String>, port: Option<u16>) -> Self {
        let listening = address.ip();
        let host = host.unwrap_or_else(|| match listening.is_unspecified() {
            true => "127.0.0.1".to_owned(),
            false => listening.to_string(),
        });
        let port = port.unwrap_or(address.port());
        Self { id: Uuid::new_v4(), host, port, priority: AtomicI32::new(0) }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How much it is to be preferred as a leader; it is told, and nothing else comes of it.
    pub(super) fn priority(&self) -> i32 {
        self.priority.load(Ordering::Relaxed)
    }

    pub(super) fn set_priority(&self, priority: i32) {
        self.priority.store(priority, Ordering::Relaxed);
    }
}

/// The two services that tell of it.
#[derive(Clone)]
pub(super) struct NodeService(Arc<Node>);

impl NodeService {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self(node)
    }
}

#[tonic::async_trait]
impl Gossip for NodeService {
    async fn read(&self, _: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let member = MemberInfo {
            instance_id: Some(uuid(self.0.id, UuidForm::Structured)),
            time_stamp: Utc::now().timestamp_micros() * 10,
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: self.0.host.clone(),
                port: self.0.port.into(),
            }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}

#[tonic::async_trait]
impl ServerFeatures for NodeService {
    async fn get_supported_methods(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let methods = METHODS.map(|(service, method, features)| SupportedMethod {
            method_name: method.to_owned(),
            service_name: service.to_lowercase(),
            features: features.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.into(),
            event_store_server_version: SERVER_VERSION.to_owned(),
        }))
    }
}
