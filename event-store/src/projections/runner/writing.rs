//! What a projection writes, and when.

use std::collections::HashSet;

use futures::TryStreamExt;

use super::super::error::{Ended, Failure};
use super::super::kept;
use super::super::place::Place;
use super::super::script::Stored;
use super::{PAUSE, Runner};
use crate::error::{AppendError, ReadError};
use crate::limits::EMITTED_STREAMS_KNOWN_MAX;
use crate::multi::{MultiAppend, MultiAppended};
use crate::read::ReadStream;
use crate::stream::{ExpectedRevision, StreamMetadata, StreamName};

impl Runner {
    /// The streams that are listed as emitted to.
    pub(super) async fn tracked(&mut self) -> Result<&mut HashSet<StreamName>, Failure> {
        if self.tracked.as_ref().is_none_or(|known| known.len() > EMITTED_STREAMS_KNOWN_MAX) {
            let limit = EMITTED_STREAMS_KNOWN_MAX as u64;
            let read = ReadStream::backward(self.plan.names.emitted_streams()).limit(limit);
            let known = match self.plan.store.read_stream(read).await {
                Ok(events) => events.try_collect::<Vec<_>>().await?,
                Err(ReadError::StreamNotFound(_)) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            let name = |data: &[u8]| StreamName::recorded(&String::from_utf8_lossy(data));
            self.tracked = Some(known.iter().map(|event| name(&event.data)).collect());
        }
        Ok(self.tracked.get_or_insert_default())
    }

    /// Writes what waits, again and again until it is there.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.due = None;
        let place = match &self.place {
            Some(place) if self.plan.definition.is_kept() => place.clone(),
            _ => {
                self.settle();
                return Ok(());
            }
        };
        if self.plan.live.now().checkpoint.as_ref() == Some(&place) {
            self.settle();
            return Ok(());
        }
        self.begin_anew().await?;
        let append = self.states_to_write(&place)?;
        self.plan.live.now().is_writing = true;
        let mut pause = PAUSE;
        let appended = loop {
            let error = match self.plan.store.append_to_streams(append.clone()).await {
                Ok(appended) => break appended,
                Err(error) => error,
            };
            let told = error.to_string();
            match Failure::from(error) {
                Failure::Passing(error) if self.stop.is_cancelled() => {
                    return Err(Failure::Passing(error));
                }
                Failure::Passing(_) => self.plan.live.now().trouble = Some(told),
                failure => return Err(failure),
            }
            self.wait(&mut pause).await;
        };
        self.written(place, &appended);
        Ok(())
    }

    /// Adds the states that are not written yet, and where they are of.
    fn states_to_write(&mut self, place: &Place) -> Result<MultiAppend, Failure> {
        let mut commit = self.commit.take();
        let now = self.plan.live.now();
        let transforms = self.plan.shape.transforms;
        // A result that is the state itself is not kept twice.
        let kept = |stored: &Stored| Stored {
            state: stored.state.clone(),
            result: stored.result.clone().filter(|_| transforms),
        };
        for name in now.partitions.unwritten_names() {
            if let Some(partition) = now.partitions.get(&name).filter(|_| !name.is_empty()) {
                commit.partition(place, &name, &kept(&partition.stored), partition.is_known)?;
            }
        }
        let root = now.partitions.get("").map(|root| kept(&root.stored)).unwrap_or_default();
        commit.finish(place, &root, now.shared.as_deref(), self.after)
    }

    /// Hides what an earlier life of the projection has left in the streams that are written next.
    async fn begin_anew(&mut self) -> Result<(), Failure> {
        if !self.plan.definition.was_reset() {
            return Ok(());
        }
        if self.known.len() > EMITTED_STREAMS_KNOWN_MAX {
            self.known.clear();
        }
        let store = &*self.plan.store;
        let unknown: Vec<StreamName> = {
            let streams = self.commit.streams().iter();
            streams.filter(|stream| !self.known.contains(*stream)).cloned().collect()
        };
        for stream in unknown {
            let last = kept::last(store, &stream).await?;
            let life = self.plan.definition.life();
            let earlier = last.filter(|last| kept::is_of_earlier_life(last, life));
            if let Some(last) = earlier {
                let (metadata, _) = store.stream_metadata(&stream).await?;
                let truncate_before = Some(last.revision.next().get());
                let metadata = StreamMetadata { truncate_before, ..metadata };
                let set = store.set_stream_metadata(&stream, ExpectedRevision::Any, metadata);
                set.await.map_err(|error| match error {
                    AppendError::Store(error) => Failure::from(error),
                    error => Failure::Final(Ended::fault(error)),
                })?;
            }
            self.known.insert(stream);
        }
        Ok(())
    }

    fn written(&mut self, place: Place, appended: &MultiAppended) {
        let checkpoint = self.plan.names.checkpoint();
        let mut now = self.plan.live.now();
        for (stream, revision) in &appended.revisions {
            if *stream == checkpoint {
                self.after = Some(*revision);
            }
        }
        now.partitions.written();
        now.checkpoint = Some(place);
        now.is_writing = false;
        now.trouble = None;
        drop(now);
        self.settle();
    }

    /// What was handled is told.
    fn settle(&mut self) {
        self.unwritten = 0;
        let mut now = self.plan.live.now();
        now.handled += std::mem::take(&mut self.handled);
        self.passed = 0;
        if self.plan.definition.is_kept() {
            now.partitions.shrink();
        }
    }
}
