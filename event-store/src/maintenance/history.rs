//! What is kept of passes: their events, and links to these in one stream for all of them.
//!
//! The names of streams, types and fields are those of EventStoreDB, whose tools read them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::embedded::{ScavengeError, Scavenged};
use crate::error::{AppendError, StoreError};
use crate::event::{ContentType, EventId, NewEvent};
use crate::persistent::LINK_TYPE;
use crate::port::{Appended, EventStore};
use crate::stream::{ExpectedRevision, StreamAcl, StreamMetadata, StreamName};

const SCAVENGES: &str = "$scavenges";
const STARTED: &str = "$scavengeStarted";
const COMPLETED: &str = "$scavengeCompleted";

/// Who may read what is kept.
const READERS: &str = "$ops";

/// How long it is kept, in seconds: thirty days.
const KEPT_SECONDS: u64 = 30 * 24 * 60 * 60;

/// Where passes are kept.
pub(super) struct History {
    store: Arc<dyn EventStore>,
    node: String,
}

impl History {
    pub(super) fn new(store: Arc<dyn EventStore>, node: String) -> Self {
        Self { store, node }
    }

    /// A pass began.
    pub(super) async fn started(&self, id: &str) {
        let data = json!({
            "scavengeId": id,
            "nodeEndpoint": self.node,
            "alwaysKeepScavenged": false,
            "mergeChunks": false,
            "startFromChunk": 0,
            "threads": 1,
        });
        self.keep(id, STARTED, &data).await;
    }

    /// It ended, one way or the other.
    pub(super) async fn completed(
        &self,
        id: &str,
        outcome: &Result<Scavenged, ScavengeError>,
        took: Duration,
    ) {
        let (result, error) = match outcome {
            Ok(Scavenged { completed: true, .. }) => ("Success", String::new()),
            Ok(_) => ("Stopped", String::new()),
            Err(error) => ("Failed", error.to_string()),
        };
        let progress = outcome.as_ref().map(|done| done.progress).unwrap_or_default();
        let data = json!({
            "scavengeId": id,
            "nodeEndpoint": self.node,
            "result": result,
            "error": error,
            "timeTaken": time_span(took),
            "spaceSaved": progress.bytes_given_back,
            "maxChunkScavenged": progress.segments_done.saturating_sub(1),
        });
        self.keep(id, COMPLETED, &data).await;
    }

    /// A pass does its work also where nothing can be kept of it.
    async fn keep(&self, id: &str, event_type: &str, data: &Value) {
        match self.try_keep(id, event_type, data).await {
            Ok(()) => {}
            Err(AppendError::Store(StoreError::Closed)) => {
                tracing::debug!(scavenge.id = id, event_type, "the store was closed before");
            }
            Err(error) => {
                tracing::warn!(scavenge.id = id, event_type, %error, "a pass is not kept");
            }
        }
    }

    async fn try_keep(&self, id: &str, event_type: &str, data: &Value) -> Result<(), AppendError> {
        let all = StreamName::recorded(SCAVENGES);
        let of_one = StreamName::recorded(&format!("{SCAVENGES}-{id}"));
        if event_type == STARTED {
            self.bound(&of_one).await?;
            // It stays as somebody has set it.
            let set = self.store.stream_metadata(&all).await;
            if set.is_ok_and(|(_, revision)| revision.is_none()) {
                self.bound(&all).await?;
            }
        }
        let event = event(event_type, ContentType::Json, data.to_string());
        let appended = self.append(&of_one, event).await?;
        let Some(revision) = appended.last_revision else { return Ok(()) };
        self.append(&all, event_link(&format!("{revision}@{of_one}"))).await?;
        Ok(())
    }

    /// Sees to it that what is kept goes again, and that operators see it.
    async fn bound(&self, stream: &StreamName) -> Result<(), AppendError> {
        let metadata = StreamMetadata {
            max_age_seconds: Some(KEPT_SECONDS),
            acl: Some(StreamAcl { read: Some(json!([READERS])), ..StreamAcl::default() }),
            ..StreamMetadata::default()
        };
        self.store.set_stream_metadata(stream, ExpectedRevision::Any, metadata).await.map(drop)
    }

    async fn append(&self, stream: &StreamName, event: NewEvent) -> Result<Appended, AppendError> {
        self.store.append(stream, ExpectedRevision::Any, vec![event]).await
    }
}

fn event_link(target: &str) -> NewEvent {
    event(LINK_TYPE, ContentType::Binary, target.to_owned())
}

fn event(event_type: &str, content_type: ContentType, data: String) -> NewEvent {
    NewEvent::system(EventId(Uuid::new_v4()), event_type, content_type, data)
}

/// A duration as .NET writes it: days where there are any, and ticks of 100 ns.
fn time_span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{days}{hours:02}:{minutes:02}:{seconds:02}.{:07}", time.subsec_nanos() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_tools_read_them() {
        assert_eq!(time_span(Duration::from_micros(1_500_001)), "00:00:01.5000010");
        assert_eq!(time_span(Duration::from_secs(90_061)), "1.01:01:01.0000000");
    }
}
