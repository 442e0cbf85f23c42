//! Frames and records: from events to bytes, and back with every check.

use bytes::Bytes;
use chrono::DateTime;
use crc32c::crc32c_append;
use uuid::Uuid;

use super::chain::ChainEnd;
use super::codec::{array_at, i64_at, u16_at, u32_at, u64_at};
use crate::event::{ContentType, EventId, EventType, RecordedEvent};
use crate::position::Position;
use crate::stream::{Revision, StreamName};

pub(crate) const FRAME_MAGIC: [u8; 4] = *b"VZFR";
pub(crate) const RECORD_HEADER_BYTES: usize = 64;

/// The shortest header of a frame: without the end of the chain.
pub(crate) const FRAME_HEAD_BYTES: usize = 24;
const CHAINED_HEAD_BYTES: usize = FRAME_HEAD_BYTES + ChainEnd::BYTES;

/// Where the CRC of a frame or a record ends, and what it covers begins.
const COVERED_FROM: usize = 8;
const FLAG_JSON: u8 = 1;
/// The highest revision: that of a tombstone.
const REVISION_MAX: u64 = i64::MAX as u64;

/// How the frames of a segment are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where its checksums begin.
    pub(crate) salt: u32,
    /// Whether frames carry the end of the chain.
    pub(crate) chained: bool,
}

/// Encodes the events of one commit as one frame.
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    record_offsets: Vec<u32>,
    salt: u32,
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
    pub(crate) fn frame_head_bytes(self) -> usize {
        if self.chained { CHAINED_HEAD_BYTES } else { FRAME_HEAD_BYTES }
    }
}

/// The fields of a record's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHead {
    pub(crate) length: usize,
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) recorded_at_micros: i64,
    pub(crate) id: EventId,
    json: bool,
    stream_bytes: usize,
    type_bytes: usize,
    metadata_bytes: usize,
}

impl FrameBuilder {
    /// The size that an event takes in a frame, in bytes.
    pub(crate) fn record_bytes(event: &RecordedEvent) -> usize {
        RECORD_HEADER_BYTES
            + event.stream.as_str().len()
            + event.event_type.as_str().len()
            + event.metadata.len()
            + event.data.len()
    }

    /// The size of the frame with these events, in bytes.
    pub(crate) fn frame_bytes(events: &[RecordedEvent]) -> usize {
        CHAINED_HEAD_BYTES + events.iter().map(Self::record_bytes).sum::<usize>()
    }

    /// The frame with these events, whose positions follow one another, behind this end of the
    /// chain.
    pub(crate) fn encode(events: &[RecordedEvent], salt: u32, chain: ChainEnd) -> Self {
        let mut frame = Self {
            bytes: Vec::with_capacity(Self::frame_bytes(events)),
            record_offsets: Vec::with_capacity(events.len()),
            salt,
            chain,
        };
        let first = events.first().map_or(0, |event| event.position.get());
        frame.bytes.extend_from_slice(&FRAME_MAGIC);
        frame.bytes.extend_from_slice(&[0; 8]);
        frame.u32(events.len());
        frame.bytes.extend_from_slice(&first.to_le_bytes());
        frame.bytes.extend_from_slice(ChainEnd::START.as_bytes());
        for event in events {
            frame.record(event);
        }
        frame.bytes[FRAME_HEAD_BYTES..CHAINED_HEAD_BYTES].copy_from_slice(frame.chain.as_bytes());
        frame.seal(0, 8);
        frame
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
        let number = u16::try_from(number).expect("names are at most 1026 bytes");
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn record(&mut self, event: &RecordedEvent) {
        let start = self.bytes.len();
        let offset = u32::try_from(start).expect("limits keep frames below 4 GiB");
        self.record_offsets.push(offset);
        self.bytes.extend_from_slice(&[0; 8]);
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
        self.seal_record(start);
    }

    fn seal_record(&mut self, start: usize) {
        let length = u32::try_from(self.bytes.len() - start).expect("limits keep records small");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c_append(self.salt, &self.bytes[start + COVERED_FROM..]);
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.chain = self.chain.after(&self.bytes[start..]);
    }

    fn seal(&mut self, start: usize, length_at: usize) {
        let length = u32::try_from(self.bytes.len()).expect("limits keep frames below 4 GiB");
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c_append(self.salt, &self.bytes[start + COVERED_FROM..]);
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

impl FrameHead {
    /// The length that a frame's header claims, if it can be one.
    pub(crate) fn claimed_length(header: &[u8], layout: Layout) -> Option<usize> {
        if header.len() < layout.frame_head_bytes() || header[..4] != FRAME_MAGIC {
            return None;
        }
        let length = usize::try_from(u32_at(header, 8)).ok()?;
        let count = usize::try_from(u32_at(header, 12)).ok()?;
        let least = layout.frame_head_bytes() + count.checked_mul(RECORD_HEADER_BYTES)?;
        (count > 0 && length >= least).then_some(length)
    }

    /// The header of a frame whose bytes are all there and agree with its CRC.
    pub(crate) fn of_whole(frame: &[u8], layout: Layout) -> Option<Self> {
        let length = Self::claimed_length(frame, layout)?;
        let covered = frame.get(COVERED_FROM..length)?;
        let chain = || ChainEnd::from_bytes(array_at(frame, FRAME_HEAD_BYTES));
        let unchecked = cfg!(veza_canary = "recover-half-batch");
        (unchecked || crc32c_append(layout.salt, covered) == u32_at(frame, 4)).then(|| Self {
            length,
            count: u32_at(frame, 12),
            first: u64_at(frame, 16),
            chain: layout.chained.then(chain),
        })
    }
}

impl RecordHead {
    /// The header of the record that these bytes begin with, checked against its CRC.
    pub(crate) fn check(bytes: &[u8], salt: u32) -> Result<Self, &'static str> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return Err("a record's header is cut off");
        }
        let length = u32_at(bytes, 0) as usize;
        let Some(covered) = bytes.get(COVERED_FROM..length) else {
            return Err("a record's length is not possible");
        };
        let unchecked = cfg!(veza_canary = "serve-unchecked");
        let agrees = unchecked || crc32c_append(salt, covered) == u32_at(bytes, 4);
        if length < RECORD_HEADER_BYTES || !agrees {
            return Err("a record does not agree with its checksum");
        }
        let head = Self {
            length,
            position: u64_at(bytes, 8),
            revision: u64_at(bytes, 16),
            recorded_at_micros: i64_at(bytes, 24),
            id: EventId(Uuid::from_bytes(array_at(bytes, 32))),
            json: bytes[48] & FLAG_JSON != 0,
            stream_bytes: usize::from(u16_at(bytes, 50)),
            type_bytes: usize::from(u16_at(bytes, 52)),
            metadata_bytes: u32_at(bytes, 56) as usize,
        };
        let parts = [head.stream_bytes, head.type_bytes, head.metadata_bytes];
        let data_bytes = u32_at(bytes, 60) as usize;
        if RECORD_HEADER_BYTES + parts.iter().sum::<usize>() + data_bytes != length {
            return Err("the parts of a record do not fill it");
        }
        if head.revision > REVISION_MAX {
            return Err("the revision of a record is not possible");
        }
        Ok(head)
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

    /// The whole event in the record with this header.
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
            data: record.slice(data_start..self.length),
            metadata: record.slice(metadata_start..data_start),
            recorded_at: DateTime::from_timestamp_micros(self.recorded_at_micros)
                .ok_or("the time of a record is not possible")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { salt: 7, chained: true };

    fn frame(events: &[RecordedEvent]) -> FrameBuilder {
        FrameBuilder::encode(events, LAYOUT.salt, ChainEnd::START)
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
        let frame = frame(&events);
        let head = FrameHead::of_whole(frame.bytes(), LAYOUT).unwrap();
        assert_eq!((head.length, head.count, head.first), (frame.bytes().len(), 2, 1));
        assert_eq!(head.chain, Some(frame.chain()));
        for (event, &offset) in events.iter().zip(frame.record_offsets()) {
            let record = Bytes::copy_from_slice(&frame.bytes()[offset as usize..]);
            let head = RecordHead::check(&record, 7).unwrap();
            assert_eq!(&head.event(&record).unwrap(), event);
        }
    }

    #[test]
    fn every_changed_byte_of_a_frame_is_noticed() {
        let frame = frame(&[event(1, "first")]);
        for at in 0..frame.bytes().len() {
            let mut bytes = frame.bytes().to_vec();
            bytes[at] ^= 0x10;
            assert!(FrameHead::of_whole(&bytes, LAYOUT).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_frame_of_another_segment_is_none_of_ours() {
        let frame = frame(&[event(1, "first")]);
        assert!(FrameHead::of_whole(frame.bytes(), Layout { salt: 8, ..LAYOUT }).is_none());
    }
}
