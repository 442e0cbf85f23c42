//! A FLAC by itself (RFC 9639): its frames are gone through one by one, from the first, which has
//! to follow the blocks about it, to the last.
//!
//! A frame does not say where it ends. It ends where its checksum is right and the next begins,
//! which has a checksum of its own and a number that goes on from this one's. So nothing can be
//! missing, doubled or changed in between unseen.

mod frame_header;
mod frames;
mod stream_info;
mod window;

use std::fs::File;

use symphonia::core::units::TimeBase;

use self::frames::Behind;
use self::stream_info::StreamInfo;
use super::length::Length;
use super::{AudioCodec, AudioFacts, ProbeError};
use crate::sniff::AudioFormat;

/// Probes a FLAC; how long it may be is not looked at.
pub(super) fn probe(file: &mut File) -> Result<AudioFacts, ProbeError> {
    let (info, frames_at) = StreamInfo::read(file)?;
    let frames = frames::walk(file, &info, frames_at).map_err(ProbeError::Io)?;
    match frames.behind {
        Behind::Recording => return Err(ProbeError::SeveralRecordings),
        Behind::NoFrame if !frames.are_there => return Err(ProbeError::HeaderTruncated),
        _ => {}
    }
    let length = Length {
        declared: info.samples,
        found: frames.samples,
        played: info.samples.unwrap_or(frames.samples),
        // What counts its samples needs no other end.
        has_end: info.samples.is_some() || frames.has_end,
        is_damaged: frames.behind == Behind::Frame,
    };
    let unit = TimeBase::new(1, info.sample_rate_hz);
    Ok(AudioFacts {
        duration_ms: length.played_ms(unit, false)?,
        format: AudioFormat::Flac,
        codec: AudioCodec::Flac,
        sample_rate_hz: info.sample_rate_hz,
        channels: info.channels,
        bits_per_sample: Some(info.bits_per_sample),
        pcm: None,
    })
}

#[cfg(test)]
mod tests;
