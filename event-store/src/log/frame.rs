//! Frames and records: from events to bytes, and back with every check.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use crc32c::crc32c_append;
use uuid::Uuid;

use super::chain::{ChainEnd, Digest, digest};
use super::codec::{array_at, i64_at, name_hash, u16_at, u32_at, u64_at};
use super::data_key::{ChainPlace, DataKey};
use crate::encryption::TAG_BYTES;
use crate::event::{ContentType, EventId, EventType, RecordedEvent};
use crate::indexed::category_of;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

pub(super) const FRAME_MAGIC: [u8; 4] = *b"VZFR";
pub(crate) const RECORD_HEADER_BYTES: usize = 64;

/// The shortest header of a frame: without the end of the chain.
const FRAME_HEAD_BYTES: usize = 24;
const CHAINED_HEAD_BYTES: usize = FRAME_HEAD_BYTES + ChainEnd::BYTES;

/// Where a frame's first position stands.
pub(super) const FIRST_AT: usize = 16;
const ID_AT: usize = 32;

/// Where the CRC of a frame or a record ends, and what it covers begins.
pub(super) const COVERED_FROM: usize = 8;
const FLAGS_AT: usize = 48;
const FLAG_JSON: u8 = 1;
/// The highest revision: that of a tombstone.
const REVISION_MAX: u64 = i64::MAX as u64;
/// All that is left of the event is its place, its kinds and its digest.
const FLAG_RECLAIMED: u8 = 2;

/// The size of the record of a reclaimed event in plain, in bytes.
const RECLAIMED_RECORD_BYTES: usize = RECORD_HEADER_BYTES + size_of::<Digest>();

/// How the frames of a segment are laid out.
pub(crate) struct Layout {
    /// Where its checksums begin.
    pub(crate) salt: u32,
    /// Whether frames carry the end of the chain.
    pub(crate) chained: bool,
    /// What its records are encrypted with, where they are.
    pub(crate) key: Option<DataKey>,
}

/// Encodes the events of one commit as one frame.
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    record_offsets: Vec<u32>,
    layout: Arc<Layout>,
    chain: ChainEnd,
}

/// The fields of a frame's header, of which the frame's bytes were found whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    pub(crate) length: usize,
    pub(crate) count: u32,
    pub(crate) first: u64,
    /// The end of the chain after its last record, where it carries that.
    pub(crate) chain: Option<ChainEnd>,
}

impl Layout {
    /// The size of a frame's header, in bytes.
    pub(crate) fn frame_head_bytes(&self) -> usize {
        if self.chained { CHAINED_HEAD_BYTES } else { FRAME_HEAD_BYTES }
    }

    /// The end of the chain as it stands in the header of the frame that begins with this position;
    /// and the other way round.
    fn hidden(&self, chain: ChainEnd, first: u64) -> ChainEnd {
        let key = self.key.as_ref();
        key.map_or(chain, |key| key.hide(chain, first, ChainPlace::Frame))
    }

    /// The size of the record of a reclaimed event, in bytes.
    pub(crate) fn reclaimed_record_bytes(&self) -> u32 {
        (RECLAIMED_RECORD_BYTES + self.tag_bytes()) as u32
    }

    /// What stands behind a record's data, in bytes.
    fn tag_bytes(&self) -> usize {
        if self.key.is_some() { TAG_BYTES } else { 0 }
    }
}

/// The fields of a record's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHead {
    /// How many bytes it takes.
    pub(crate) length: usize,
    /// Where its data end; a tag may follow.
    pub(crate) data_end: usize,
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) recorded_at_micros: i64,
    pub(crate) id: EventId,
    /// Whether the event was reclaimed; the place of its id is taken then.
    pub(crate) reclaimed: bool,
    json: bool,
    stream_bytes: usize,
    type_bytes: usize,
    metadata_bytes: usize,
}

/// Of which kinds an event is: what is still known when it was reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// The hash of its category; zero where it has none.
    pub(crate) category: u64,
    /// The hash of its type.
    pub(crate) event_type: u64,
}

impl Kinds {
    /// Those of an event.
    pub(crate) fn of_event(event: &RecordedEvent) -> Self {
        Self::of(event.stream.as_str(), event.event_type.as_str())
    }

    /// Those of an event of this type in this stream.
    pub(crate) fn of(stream: &str, event_type: &str) -> Self {
        let category = category_of(stream).map_or(0, kind_hash);
        Self { category, event_type: kind_hash(event_type) }
    }
}

/// The hash of a category or a type, which is never zero.
pub(crate) fn kind_hash(name: &str) -> u64 {
    name_hash(name).max(1)
}

impl FrameBuilder {
    /// The size of an event's record, in bytes; where it is encrypted it is a little more.
    pub(crate) fn record_bytes(event: &RecordedEvent) -> usize {
        RECORD_HEADER_BYTES
            + event.stream.as_str().len()
            + event.event_type.as_str().len()
            + event.metadata.len()
            + event.data.len()
    }

    /// The size of the frame with these events, in bytes.
    pub(crate) fn frame_bytes(events: &[RecordedEvent], layout: &Layout) -> usize {
        let record = |event| Self::record_bytes(event) + layout.tag_bytes();
        CHAINED_HEAD_BYTES + events.iter().map(record).sum::<usize>()
    }

    /// The frame with these events, whose positions follow one another, behind this end of the
    /// chain. Where they are encrypted it must be written, or the segment be left: nothing else may
    /// ever be encrypted at these positions with its key.
    pub(crate) fn encode(events: &[RecordedEvent], layout: &Arc<Layout>, chain: ChainEnd) -> Self {
        let first = events.first().map_or(0, |event| event.position.get());
        let mut frame = Self::begin(first, layout, chain);
        frame.bytes.reserve(Self::frame_bytes(events, layout));
        frame.record_offsets.reserve(events.len());
        for event in events {
            frame.record(event);
        }
        frame.finish();
        frame
    }

    /// A frame that is to be filled, from this position on, behind this end of the chain.
    pub(crate) fn begin(first: u64, layout: &Arc<Layout>, chain: ChainEnd) -> Self {
        let (bytes, record_offsets, layout) = (Vec::new(), Vec::new(), Arc::clone(layout));
        let mut frame = Self { bytes, record_offsets, layout, chain };
        frame.bytes.extend_from_slice(&FRAME_MAGIC);
        frame.bytes.extend_from_slice(&[0; 12]);
        frame.bytes.extend_from_slice(&first.to_le_bytes());
        frame.bytes.extend_from_slice(ChainEnd::START.as_bytes());
        frame
    }

    /// Adds the record of another segment, which is in plain, as it is there.
    pub(crate) fn copy(&mut self, head: &RecordHead, record: &[u8]) {
        let start = self.start_record();
        self.bytes.extend_from_slice(&record[COVERED_FROM..]);
        self.seal_record(start, &head.digest(record));
    }

    /// Adds what is left of the event in this record of another segment when it is reclaimed.
    pub(crate) fn reclaim(&mut self, head: &RecordHead, record: &[u8]) -> Result<(), &'static str> {
        const DATA_BYTES: u32 = size_of::<Digest>() as u32;
        let (kinds, digest) = (head.kinds(record)?, head.digest(record));
        let start = self.start_record();
        self.bytes.extend_from_slice(&record[COVERED_FROM..ID_AT]);
        self.bytes.extend_from_slice(&kinds.category.to_le_bytes());
        self.bytes.extend_from_slice(&kinds.event_type.to_le_bytes());
        self.bytes.extend_from_slice(&[FLAG_RECLAIMED, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(&DATA_BYTES.to_le_bytes());
        self.bytes.extend_from_slice(&digest);
        self.seal_record(start, &digest);
        Ok(())
    }

    /// Ends the frame, behind its last record.
    pub(crate) fn finish(&mut self) {
        let count = u32::try_from(self.record_offsets.len()).expect("limits keep frames small");
        self.bytes[12..16].copy_from_slice(&count.to_le_bytes());
        let chain = self.layout.hidden(self.chain, u64_at(&self.bytes, FIRST_AT));
        self.bytes[FRAME_HEAD_BYTES..CHAINED_HEAD_BYTES].copy_from_slice(chain.as_bytes());
        self.seal(0, 8);
    }

    /// The end of the chain after its last event.
    pub(crate) fn chain(&self) -> ChainEnd {
        self.chain
    }

    /// The bytes of the frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each record begins, from the beginning of the frame.
    pub(crate) fn record_offsets(&self) -> &[u32] {
        &self.record_offsets
    }

    fn u32(&mut self, number: usize) {
        let number = u32::try_from(number).expect("limits keep frames below 4 GiB");
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn u16(&mut self, number: usize) {
        let number = u16::try_from(number).expect("names are bounded far below");
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn record(&mut self, event: &RecordedEvent) {
        let start = self.start_record();
        self.bytes.extend_from_slice(&event.position.get().to_le_bytes());
        self.bytes.extend_from_slice(&event.revision.get().to_le_bytes());
        self.bytes.extend_from_slice(&event.recorded_at.timestamp_micros().to_le_bytes());
        self.bytes.extend_from_slice(event.id.0.as_bytes());
        let json = event.content_type == ContentType::Json;
        self.bytes.extend_from_slice(&[if json { FLAG_JSON } else { 0 }, 0]);
        self.u16(event.stream.as_str().len());
        self.u16(event.event_type.as_str().len());
        self.u16(0);
        self.u32(event.metadata.len());
        self.u32(event.data.len());
        self.bytes.extend_from_slice(event.stream.as_str().as_bytes());
        self.bytes.extend_from_slice(event.event_type.as_str().as_bytes());
        self.bytes.extend_from_slice(&event.metadata);
        self.bytes.extend_from_slice(&event.data);
        let digest = digest(&self.bytes[start..]);
        self.seal_record(start, &digest);
    }

    /// Leaves room for length and CRC; returns where.
    fn start_record(&mut self) -> usize {
        let start = self.bytes.len();
        let offset = u32::try_from(start).expect("limits keep frames below 4 GiB");
        self.record_offsets.push(offset);
        self.bytes.extend_from_slice(&[0; COVERED_FROM]);
        start
    }

    fn seal_record(&mut self, start: usize, digest: &Digest) {
        self.bytes.resize(self.bytes.len() + self.layout.tag_bytes(), 0);
        let record = &mut self.bytes[start..];
        let length = u32::try_from(record.len()).expect("limits keep records small");
        record[..4].copy_from_slice(&length.to_le_bytes());
        if let Some(key) = &self.layout.key {
            key.encrypt(record, self.layout.salt);
        }
        let crc = crc32c_append(self.layout.salt, &record[COVERED_FROM..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        self.chain = self.chain.after(digest);
    }

    fn seal(&mut self, start: usize, length_at: usize) {
        let length = u32::try_from(self.bytes.len()).expect("limits keep frames below 4 GiB");
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c_append(self.layout.salt, &self.bytes[start + COVERED_FROM..]);
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

impl FrameHead {
    /// The length that a frame's header claims, if it can be one.
    pub(crate) fn claimed_length(header: &[u8], layout: &Layout) -> Option<usize> {
        if header.len() < layout.frame_head_bytes() || header[..4] != FRAME_MAGIC {
            return None;
        }
        let length = usize::try_from(u32_at(header, 8)).ok()?;
        let count = usize::try_from(u32_at(header, 12)).ok()?;
        let least = layout.frame_head_bytes()
            + count.checked_mul(RECORD_HEADER_BYTES + layout.tag_bytes())?;
        (count > 0 && length >= least).then_some(length)
    }

    /// The header of a frame whose bytes are all there and agree with its CRC.
    pub(crate) fn of_whole(frame: &[u8], layout: &Layout) -> Option<Self> {
        let length = Self::claimed_length(frame, layout)?;
        let covered = frame.get(COVERED_FROM..length)?;
        let first = u64_at(frame, FIRST_AT);
        let chain =
            || layout.hidden(ChainEnd::from_bytes(array_at(frame, FRAME_HEAD_BYTES)), first);
        let unchecked = cfg!(veza_canary = "recover-half-batch");
        (unchecked || crc32c_append(layout.salt, covered) == u32_at(frame, 4)).then(|| Self {
            length,
            count: u32_at(frame, 12),
            first,
            chain: layout.chained.then(chain),
        })
    }
}

impl RecordHead {
    /// The length that a record claims at its beginning, in bytes.
    pub(crate) fn claimed_length(bytes: &[u8]) -> Option<u64> {
        bytes.first_chunk().map(|length| u64::from(u32::from_le_bytes(*length)))
    }

    /// The header of the record that these bytes begin with, checked against its CRC. An encrypted
    /// record is decrypted in its place, but for the tag behind its data.
    pub(crate) fn open(bytes: &mut [u8], layout: &Layout) -> Result<Self, &'static str> {
        let least = RECORD_HEADER_BYTES + layout.tag_bytes();
        if bytes.len() < least {
            return Err("a record's header is cut off");
        }
        let length = u32_at(bytes, 0) as usize;
        let Some(covered) = bytes.get(COVERED_FROM..length) else {
            return Err("a record's length is not possible");
        };
        let unchecked = cfg!(veza_canary = "serve-unchecked");
        let agrees = unchecked || crc32c_append(layout.salt, covered) == u32_at(bytes, 4);
        if length < least || !agrees {
            return Err("a record does not agree with its checksum");
        }
        let key = layout.key.as_ref();
        if key.is_some_and(|key| !key.decrypt(&mut bytes[..length], layout.salt)) {
            return Err("a record is not what was encrypted at its place");
        }
        let head = Self {
            length,
            data_end: length - layout.tag_bytes(),
            position: u64_at(bytes, 8),
            revision: u64_at(bytes, 16),
            recorded_at_micros: i64_at(bytes, 24),
            id: EventId(Uuid::from_bytes(array_at(bytes, ID_AT))),
            reclaimed: bytes[FLAGS_AT] & FLAG_RECLAIMED != 0,
            json: bytes[FLAGS_AT] & FLAG_JSON != 0,
            stream_bytes: usize::from(u16_at(bytes, 50)),
            type_bytes: usize::from(u16_at(bytes, 52)),
            metadata_bytes: u32_at(bytes, 56) as usize,
        };
        let parts = [head.stream_bytes, head.type_bytes, head.metadata_bytes];
        let data_bytes = u32_at(bytes, 60) as usize;
        if RECORD_HEADER_BYTES + parts.iter().sum::<usize>() + data_bytes != head.data_end {
            return Err("the parts of a record do not fill it");
        }
        if head.revision > REVISION_MAX {
            return Err("the revision of a record is not possible");
        }
        if head.reclaimed && (head.data_end != RECLAIMED_RECORD_BYTES || parts != [0; 3]) {
            return Err("a reclaimed record is not the size of one");
        }
        Ok(head)
    }

    /// The digest of the event in the record with this header.
    pub(crate) fn digest(&self, record: &[u8]) -> Digest {
        if self.reclaimed { array_at(record, RECORD_HEADER_BYTES) } else { digest(record) }
    }

    /// Of which kinds the event in the record with this header was, when it was reclaimed.
    pub(crate) fn reclaimed_kinds(&self, record: &[u8]) -> Option<Kinds> {
        let (category, event_type) = (u64_at(record, ID_AT), u64_at(record, ID_AT + 8));
        self.reclaimed.then_some(Kinds { category, event_type })
    }

    /// Of which kinds the event in the record with this header is, or was.
    fn kinds(&self, record: &[u8]) -> Result<Kinds, &'static str> {
        match self.reclaimed_kinds(record) {
            Some(kinds) => Ok(kinds),
            None => Ok(Kinds::of(self.stream(record)?, self.event_type(record)?)),
        }
    }

    /// The name of the stream in the record with this header.
    pub(crate) fn stream<'a>(&self, record: &'a [u8]) -> Result<&'a str, &'static str> {
        let end = RECORD_HEADER_BYTES + self.stream_bytes;
        str::from_utf8(&record[RECORD_HEADER_BYTES..end]).map_err(|_| "a stream's name is no text")
    }

    /// The name of the event's type in the record with this header.
    pub(crate) fn event_type<'a>(&self, record: &'a [u8]) -> Result<&'a str, &'static str> {
        let start = RECORD_HEADER_BYTES + self.stream_bytes;
        str::from_utf8(&record[start..start + self.type_bytes])
            .map_err(|_| "the name of an event's type is no text")
    }

    /// The whole event in the record with this header, which was not reclaimed.
    pub(crate) fn event(&self, record: &Bytes) -> Result<RecordedEvent, &'static str> {
        let metadata_start = RECORD_HEADER_BYTES + self.stream_bytes + self.type_bytes;
        let data_start = metadata_start + self.metadata_bytes;
        let event_type = EventType::new(self.event_type(record)?)
            .map_err(|_| "the name of an event's type is not usable")?;
        Ok(RecordedEvent {
            id: self.id,
            stream: StreamName::recorded(self.stream(record)?),
            revision: Revision::new(self.revision),
            position: Position::new(self.position),
            event_type,
            content_type: if self.json { ContentType::Json } else { ContentType::Binary },
            data: record.slice(data_start..self.data_end),
            metadata: record.slice(metadata_start..data_start),
            recorded_at: DateTime::from_timestamp_micros(self.recorded_at_micros)
                .ok_or("the time of a record is not possible")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(salt: u32, key: Option<[u8; 32]>) -> Arc<Layout> {
        Arc::new(Layout { salt, chained: true, key: key.map(|key| DataKey::new(&key.into())) })
    }

    /// In plain, and encrypted.
    fn layouts() -> [Arc<Layout>; 2] {
        [layout(7, None), layout(7, Some([1; 32]))]
    }

    fn frame(events: &[RecordedEvent], layout: &Arc<Layout>) -> FrameBuilder {
        FrameBuilder::encode(events, layout, ChainEnd::START)
    }

    fn event(position: u64, data: &str) -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::from_u128(u128::from(position))),
            stream: StreamName::new("track-1").unwrap(),
            revision: Revision::new(position - 1),
            position: Position::new(position),
            event_type: EventType::new("TrackPublished").unwrap(),
            content_type: ContentType::Json,
            data: Bytes::copy_from_slice(data.as_bytes()),
            metadata: Bytes::from_static(b"{}"),
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let events = [event(1, "first"), event(2, "")];
        for layout in layouts() {
            let frame = frame(&events, &layout);
            assert_eq!(frame.bytes().len(), FrameBuilder::frame_bytes(&events, &layout));
            let head = FrameHead::of_whole(frame.bytes(), &layout).unwrap();
            assert_eq!((head.length, head.count, head.first), (frame.bytes().len(), 2, 1));
            assert_eq!(head.chain, Some(frame.chain()));
            for (event, &offset) in events.iter().zip(frame.record_offsets()) {
                let mut record = frame.bytes()[offset as usize..].to_vec();
                let head = RecordHead::open(&mut record, &layout).unwrap();
                assert_eq!(&head.event(&record.into()).unwrap(), event);
            }
        }
    }

    #[test]
    fn the_chain_is_that_of_the_events_encrypted_or_not() {
        let events = [event(1, "first"), event(2, "")];
        let [plain, encrypted] = layouts();
        assert_eq!(frame(&events, &plain).chain(), frame(&events, &encrypted).chain());
    }

    /// A record that is in plain by now, as a scan has it.
    fn opened(bytes: &[u8], layout: &Layout) -> (RecordHead, Vec<u8>) {
        let mut record = bytes.to_vec();
        let head = RecordHead::open(&mut record, layout).unwrap();
        record.truncate(head.data_end);
        (head, record)
    }

    #[test]
    fn a_reclaimed_record_keeps_place_kinds_and_chain() {
        for (old, new) in layouts().iter().zip([layout(9, None), layout(9, Some([2; 32]))]) {
            let whole = frame(&[event(1, "first"), event(2, "second")], old);
            let mut reclaimed = FrameBuilder::begin(1, &new, ChainEnd::START);
            for (at, &offset) in whole.record_offsets().iter().enumerate() {
                let (head, record) = opened(&whole.bytes()[offset as usize..], old);
                match at {
                    0 => reclaimed.reclaim(&head, &record).unwrap(),
                    _ => reclaimed.copy(&head, &record),
                }
            }
            reclaimed.finish();
            assert_eq!(reclaimed.chain(), whole.chain());
            let head = FrameHead::of_whole(reclaimed.bytes(), &new).unwrap();
            assert_eq!((head.count, head.chain), (2, Some(whole.chain())));
            let [first, second] = reclaimed.record_offsets() else { panic!("two records") };
            let (head, record) = opened(&reclaimed.bytes()[*first as usize..], &new);
            assert!(head.reclaimed && record.len() == RECLAIMED_RECORD_BYTES);
            assert_eq!((head.position, head.revision), (1, 0));
            assert_eq!(head.kinds(&record).unwrap(), Kinds::of("track-1", "TrackPublished"));
            let (head, record) = opened(&reclaimed.bytes()[*second as usize..], &new);
            assert_eq!(head.event(&record.into()).unwrap(), event(2, "second"));
        }
    }

    #[test]
    fn streams_of_the_system_and_without_a_dash_have_no_category() {
        for name in ["track", "$ce-track", "$$track-1"] {
            assert_eq!(Kinds::of(name, "").category, 0, "{name}");
        }
        assert_eq!(Kinds::of("a-b-c", "").category, name_hash("a"));
    }

    #[test]
    fn every_changed_byte_of_a_frame_is_noticed() {
        for layout in layouts() {
            let frame = frame(&[event(1, "first")], &layout);
            for at in 0..frame.bytes().len() {
                let mut bytes = frame.bytes().to_vec();
                bytes[at] ^= 0x10;
                assert!(FrameHead::of_whole(&bytes, &layout).is_none(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_segment_is_none_of_ours() {
        let other = layout(8, None);
        let frame = frame(&[event(1, "first")], &other);
        assert!(FrameHead::of_whole(frame.bytes(), &layouts()[0]).is_none());
    }
}
