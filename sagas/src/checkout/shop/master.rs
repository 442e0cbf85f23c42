//! Whether a track's master can be handed out.

use event_schemas::EventFamily;
use event_schemas::TrackId;
use event_schemas::audio::TrackEvent;
use event_store::{ReadError, ReadStream, StreamName};
use futures::TryStreamExt;

use crate::checkout::shop::Shop;
use crate::orchestrator::ActivityError;
use crate::orchestrator::journal::decode;

impl Shop {
    /// The object that is handed out; refused when there is none, or it was taken down.
    pub(super) async fn master(&self, track_id: TrackId) -> Result<String, ActivityError> {
        let transient = |error: String| ActivityError::Transient(error);
        let stream = StreamName::new(format!("{}-{track_id}", TrackEvent::CATEGORY))
            .expect("a category and an id are short");
        let read = self
            .commands
            .store()
            .read_stream(ReadStream::forward(stream));
        let mut events = match read.await {
            Err(ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_)) => {
                return Err(ActivityError::Refused("the track is not there".to_owned()));
            }
            events => events.map_err(|error| transient(error.to_string()))?,
        };
        let mut master = Err(ActivityError::Refused("the track has no master".to_owned()));
        while let Some(event) = events
            .try_next()
            .await
            .map_err(|error| transient(error.to_string()))?
        {
            let decoded = decode::<TrackEvent>(&event);
            match decoded.map_err(|error| transient(error.to_string()))?.0 {
                TrackEvent::TrackCreated(created) => master = Ok(created.master.object_key),
                TrackEvent::TrackMasterTakenDown(taken) => {
                    let why = taken.reason;
                    let reason = format!("the track's master was taken down: {why}");
                    master = Err(ActivityError::Refused(reason));
                }
                _ => {}
            }
        }
        master
    }
}
