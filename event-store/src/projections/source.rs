//! The events of a projection, in the one order of the log.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use async_stream::try_stream;
use futures::stream::{BoxStream, StreamExt};

use super::error::Failure;
use super::event::Incoming;
use super::names::is_kept_by_projections;
use super::place::Place;
use super::shape::Shape;
use crate::error::SubscribeError;
use crate::event::RecordedEvent;
use crate::filter::Filter;
use crate::index_streams::index_of;
use crate::indexed::{Index, category_of};
use crate::limits::FILTER_PREFIXES_MAX;
use crate::persistent::{LINK_TYPE, resolve};
use crate::port::EventStore;
use crate::position::Position;
use crate::stream::{StreamMetadata, StreamName};
use crate::subscription::{Delivery, SubscribeFrom};

/// After how many events that a filter drops a projection is told how far it has come.
const PASSED_EVENTS: NonZeroU64 = NonZeroU64::new(1024).expect("it is not zero");

const TOMBSTONE_TYPE: &str = "$streamDeleted";
const METADATA_TYPE: &str = "$metadata";

/// What a source says.
pub(super) enum Read {
    Event(Box<Incoming>),
    /// There is nothing for the projection up to this place, which is so many events, about.
    Passed(Place, Position, u64),
    CaughtUp,
    FellBehind,
}

/// Where the events of a projection come from.
pub(super) enum Source {
    /// One stream, with what links in it lead to.
    Stream(StreamName),
    /// The log, and which of its events are wanted.
    Log { filter: Option<Filter>, wanted: Wanted },
}

/// Which events of the log a projection is about.
pub(super) struct Wanted {
    /// All; with links, or with what they lead to.
    all: bool,
    include_links: bool,
    deleted: bool,
    streams: HashSet<String>,
    categories: HashSet<String>,
    types: HashSet<String>,
}

impl Source {
    pub(super) fn of(shape: &Shape) -> Self {
        if let ([stream], false, false) = (&shape.streams[..], shape.all, shape.deleted) {
            return Self::Stream(StreamName::recorded(stream));
        }
        let wanted = Wanted::of(shape);
        let filter = if shape.all { wanted.types_of_all(shape) } else { wanted.prefixes() };
        let filter =
            filter.map(|filter| Filter { checkpoint_events: Some(PASSED_EVENTS), ..filter });
        Self::Log { filter, wanted }
    }

    /// Whether that is a place in it.
    pub(super) fn has(&self, place: &Place) -> bool {
        match (self, place) {
            (Self::Stream(stream), Place::Stream(of, _)) => stream == of,
            (Self::Log { .. }, Place::Log(_)) => true,
            _ => false,
        }
    }

    /// Reads on behind a place.
    pub(super) fn read(
        self: &Arc<Self>,
        store: Arc<dyn EventStore>,
        after: Option<Place>,
    ) -> BoxStream<'static, Result<Read, Failure>> {
        let source = Arc::clone(self);
        try_stream! {
            let deliveries = match (&*source, after) {
                (Self::Stream(stream), after) => {
                    let from = match after {
                        Some(Place::Stream(_, revision)) => SubscribeFrom::After(revision),
                        _ => SubscribeFrom::Start,
                    };
                    store.subscribe_stream(stream, from).await
                }
                (Self::Log { filter, .. }, after) => {
                    let from = match after {
                        Some(Place::Log(position)) => SubscribeFrom::After(position),
                        _ => SubscribeFrom::Start,
                    };
                    store.subscribe_all(from, filter.clone()).await
                }
            };
            let mut deliveries = match deliveries {
                // Nothing ever comes again.
                Err(SubscribeError::StreamDeleted(_)) => {
                    yield Read::CaughtUp;
                    futures::stream::pending().boxed()
                }
                deliveries => deliveries.map_err(Failure::from)?,
            };
            while let Some(delivery) = deliveries.next().await {
                match delivery {
                    Ok(Delivery::Event(event)) => yield source.event(&*store, event).await?,
                    Ok(Delivery::Checkpoint(position)) => {
                        yield Read::Passed(Place::Log(position), position, PASSED_EVENTS.get());
                    }
                    Ok(Delivery::CaughtUp) => yield Read::CaughtUp,
                    Ok(Delivery::FellBehind) => yield Read::FellBehind,
                    Err(SubscribeError::StreamDeleted(_)) => {
                        yield Read::CaughtUp;
                        std::future::pending::<()>().await;
                    }
                    Err(error) => Err(Failure::from(error))?,
                }
            }
        }
        .boxed()
    }

    async fn event(&self, store: &dyn EventStore, event: RecordedEvent) -> Result<Read, Failure> {
        let position = event.position;
        let (place, passes, deleted) = match self {
            Self::Stream(stream) => (Place::Stream(stream.clone(), event.revision), true, None),
            Self::Log { wanted, .. } => {
                let deleted = if wanted.deleted { deleted_by(&event) } else { None };
                let passes = wanted.has(&event, deleted.as_deref());
                (Place::Log(position), passes, deleted)
            }
        };
        if !passes {
            return Ok(Read::Passed(place, position, 1));
        }
        let message = resolve(store, event).await.map_err(Failure::from)?;
        let link = message.resolved_link().cloned();
        let Some(event) = message.content().cloned() else {
            return Ok(Read::Passed(place, position, 1));
        };
        Ok(Read::Event(Box::new(Incoming { event, link, place, position, deleted })))
    }
}

/// The stream that an event says was deleted.
fn deleted_by(event: &RecordedEvent) -> Option<String> {
    match event.event_type.as_str() {
        TOMBSTONE_TYPE => Some(event.stream.as_str().to_owned()),
        METADATA_TYPE => {
            let subject = event.stream.metadata_subject()?;
            let deletes = StreamMetadata::parse(&event.data).is_of_deleted();
            deletes.then(|| subject.as_str().to_owned())
        }
        _ => None,
    }
}

impl Wanted {
    fn of(shape: &Shape) -> Self {
        let mut wanted = Self {
            all: shape.all,
            include_links: shape.include_links,
            deleted: shape.deleted,
            streams: HashSet::new(),
            categories: HashSet::new(),
            types: HashSet::new(),
        };
        for stream in &shape.streams {
            match index_of(stream) {
                Some(Index::Category(name)) => wanted.categories.insert(name.to_string()),
                Some(Index::EventType(name)) => wanted.types.insert(name.as_str().to_owned()),
                None => wanted.streams.insert(stream.clone()),
            };
        }
        wanted
    }

    fn has(&self, event: &RecordedEvent, deleted: Option<&str>) -> bool {
        let stream = deleted.unwrap_or(event.stream.as_str());
        if self.all {
            let is_link = event.event_type.as_str() == LINK_TYPE;
            return !is_kept_by_projections(stream) && (self.include_links || !is_link);
        }
        self.streams.contains(stream)
            || category_of(stream).is_some_and(|category| self.categories.contains(category))
            || self.types.contains(event.event_type.as_str())
    }

    /// A filter of the log that leaves out most of what is not handled.
    fn types_of_all(&self, shape: &Shape) -> Option<Filter> {
        if shape.any {
            return None;
        }
        let mut types = shape.types.clone();
        if self.include_links {
            types.push(LINK_TYPE.to_owned());
        }
        if self.deleted {
            types.extend([TOMBSTONE_TYPE, METADATA_TYPE].map(str::to_owned));
        }
        (!types.is_empty() && types.len() <= FILTER_PREFIXES_MAX)
            .then(|| Filter::type_prefixes(types))
    }

    fn prefixes(&self) -> Option<Filter> {
        let only_types = self.streams.is_empty() && self.categories.is_empty();
        if only_types && !self.deleted && self.types.len() <= FILTER_PREFIXES_MAX {
            return Some(Filter::type_prefixes(self.types.iter().cloned()));
        }
        if !self.types.is_empty() {
            return None;
        }
        let mut prefixes: Vec<String> = self.streams.iter().cloned().collect();
        prefixes.extend(self.categories.iter().map(|category| format!("{category}-")));
        if self.deleted {
            let metadata: Vec<String> = prefixes.iter().map(|it| format!("$${it}")).collect();
            prefixes.extend(metadata);
        }
        (prefixes.len() <= FILTER_PREFIXES_MAX).then(|| Filter::stream_prefixes(prefixes))
    }
}
