//! What is told of a projection, in the protocol's words.

use super::super::proto::event_store::client::projections::statistics_resp::Details;
use crate::projections::ProjectionStatistics;

impl From<ProjectionStatistics> for Details {
    fn from(told: ProjectionStatistics) -> Self {
        Self {
            core_processing_time: large(told.core_processing_millis),
            version: told.version,
            epoch: told.epoch,
            effective_name: told.name.clone(),
            writes_in_progress: small(told.writes_in_progress),
            reads_in_progress: small(told.reads_in_progress),
            partitions_cached: small(told.partitions_cached),
            status: told.status,
            state_reason: told.state_reason,
            name: told.name,
            mode: told.mode.name().to_owned(),
            position: told.position,
            progress: told.progress,
            last_checkpoint: told.last_checkpoint,
            events_processed_after_restart: large(told.events_processed_after_restart),
            // Checkpoints are written at once here, so there is nothing between two.
            checkpoint_status: String::new(),
            buffered_events: large(told.buffered_events),
            write_pending_events_before_checkpoint: 0,
            write_pending_events_after_checkpoint: 0,
        }
    }
}

/// The protocol counts with signs, and some things with few digits.
fn small(number: u64) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn large(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
