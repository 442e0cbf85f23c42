//! The Monitoring service: the server's figures, again and again.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::problem::of_store;
use super::proto::event_store::client::monitoring::monitoring_server::Monitoring;
use super::proto::event_store::client::monitoring::{StatsReq, StatsResp};
use super::sending::{Sending, Share};
use super::statistics::{Statistics, text};
use crate::access::Operation;

/// How long it takes from one answer to the next, at least and at most, in milliseconds.
const REFRESH_MILLIS_MIN: u64 = 100;
const REFRESH_MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Answers those who watch.
pub(super) struct MonitoringService {
    pub statistics: Arc<Statistics>,
    pub sending: Sending,
    pub shutdown: CancellationToken,
}

/// One who watches, and whose place that is.
struct Watcher {
    statistics: Arc<Statistics>,
    shutdown: CancellationToken,
    every: Duration,
    is_first: bool,
    _place: Share,
}

#[tonic::async_trait]
impl Monitoring for MonitoringService {
    type StatsStream = BoxStream<'static, Result<StatsResp, Status>>;

    /// What the figures mean is not told beside them, whether asked for or not: the protocol has
    /// no place for it.
    async fn stats(
        &self,
        request: Request<StatsReq>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        Caller::of(&request)?.may(Operation::Statistics)?;
        let millis = request.into_inner().refresh_time_period_in_ms;
        let every = Duration::from_millis(millis.clamp(REFRESH_MILLIS_MIN, REFRESH_MILLIS_MAX));
        let watcher = Watcher {
            statistics: Arc::clone(&self.statistics),
            shutdown: self.shutdown.clone(),
            every,
            is_first: true,
            _place: self.sending.place()?,
        };
        let replies = stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(reply) => Some((Ok(reply), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(replies.boxed()))
    }
}

impl Watcher {
    async fn next(&mut self) -> Result<StatsResp, Status> {
        if !std::mem::take(&mut self.is_first) {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = self.shutdown.cancelled() => {
                    return Err(Status::unavailable("the server is shutting down"));
                }
            }
        }
        let figures = self.statistics.take().await.map_err(|error| of_store(&error))?;
        let stats = figures.iter().map(|(name, value)| (name.join("-"), text(value))).collect();
        Ok(StatsResp { stats })
    }
}
