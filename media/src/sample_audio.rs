//! Sound for tests: a chord as samples and as a WAV file, and the loudness of samples.

use std::f64::consts::TAU;

/// A minor, from its fifth down: no partial is another's double.
const PARTIALS_HZ: [f64; 4] = [220.0, 261.63, 329.63, 440.0];

/// A chord that is still being described.
pub(crate) struct Chord {
    pub(crate) sample_rate_hz: u32,
    pub(crate) channels: u16,
    pub(crate) frames: u32,
}

impl Chord {
    /// So many seconds of stereo at 44,100 Hz.
    pub(crate) fn seconds(seconds: u32) -> Self {
        Self { sample_rate_hz: 44_100, channels: 2, frames: seconds * 44_100 }
    }

    /// Interleaved samples; the channels differ in phase, and the loudness swells slowly.
    pub(crate) fn samples(&self) -> Vec<i16> {
        let mut samples = Vec::with_capacity(self.frames as usize * usize::from(self.channels));
        for frame in 0..self.frames {
            let time = f64::from(frame) / f64::from(self.sample_rate_hz);
            let swell = 0.75 + 0.25 * (TAU * 0.4 * time).sin();
            for channel in 0..self.channels {
                let phase = f64::from(channel) * 0.7;
                let wave: f64 = PARTIALS_HZ.iter().map(|hz| (TAU * hz * time + phase).sin()).sum();
                samples.push((wave * swell * 0.15 * f64::from(i16::MAX)) as i16);
            }
        }
        samples
    }

    /// The chord as a WAV file of 16 bits a sample.
    pub(crate) fn wav(&self) -> Vec<u8> {
        let data: Vec<u8> = self.samples().iter().flat_map(|s| s.to_le_bytes()).collect();
        let frame_bytes = self.channels * 2;
        let mut wav = Vec::with_capacity(data.len() + 44);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(data.len() as u32 + 36).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
        wav.extend_from_slice(&self.channels.to_le_bytes());
        wav.extend_from_slice(&self.sample_rate_hz.to_le_bytes());
        wav.extend_from_slice(&(self.sample_rate_hz * u32::from(frame_bytes)).to_le_bytes());
        wav.extend_from_slice(&frame_bytes.to_le_bytes());
        wav.extend_from_slice(b"\x10\0data");
        wav.extend_from_slice(&(data.len() as u32).to_le_bytes());
        wav.extend_from_slice(&data);
        wav
    }
}

/// The root mean square of samples, in units of a sample, were they so many.
pub(crate) fn rms(samples: &[i16], count: usize) -> f64 {
    let squares: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (squares / count as f64).sqrt()
}
