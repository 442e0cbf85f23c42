//! Sound: a WAV of chords that nobody recorded, and how alike two recordings are.

use std::f64::consts::TAU;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Frames a second.
pub const RATE_HZ: u32 = 44_100;

/// How long the chords are, altogether.
pub const SECONDS: u32 = 30;

const CHANNELS: u16 = 2;
const AMPLITUDE: f64 = 6_000.0;

/// A minor, F, C, G: one after the other, three seconds each.
const CHORDS_HZ: &[[f64; 3]] = &[
    [220.00, 261.63, 329.63],
    [174.61, 220.00, 261.63],
    [261.63, 329.63, 392.00],
    [196.00, 246.94, 293.66],
];
const CHORD_SECONDS: f64 = 3.0;

/// Samples of both channels, interleaved.
pub fn chords(seconds: u32) -> Vec<i16> {
    let frames = (0..seconds * RATE_HZ).map(|frame| f64::from(frame) / f64::from(RATE_HZ));
    frames.flat_map(|time| [sample(time, 0.0), sample(time, 0.4)]).collect()
}

fn sample(time: f64, phase: f64) -> i16 {
    let number = (time / CHORD_SECONDS) as usize % CHORDS_HZ.len();
    // Each chord swells and fades, so that a stream put together in a wrong order would show.
    let swell = (0.2 + (time % CHORD_SECONDS) / CHORD_SECONDS * 0.8).min(1.0);
    let notes = CHORDS_HZ[number].iter().map(|hz| (time * hz * TAU + phase).sin());
    (notes.sum::<f64>() * swell * AMPLITUDE) as i16
}

/// The samples as a WAV file.
pub fn wav(samples: &[i16]) -> anyhow::Result<Vec<u8>> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let size = u32::try_from(data.len()).context("too long for a WAV")?;
    let frame_bytes = CHANNELS * 2;
    let mut file = Vec::with_capacity(data.len() + 44);
    file.extend(b"RIFF");
    file.extend((36 + size).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(CHANNELS.to_le_bytes());
    file.extend(RATE_HZ.to_le_bytes());
    file.extend((RATE_HZ * u32::from(frame_bytes)).to_le_bytes());
    file.extend(frame_bytes.to_le_bytes());
    file.extend(16_u16.to_le_bytes());
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    file.extend(data);
    Ok(file)
}

/// What a player hears of this playlist and the files beside it.
pub async fn decode(playlist: &Path) -> anyhow::Result<Vec<i16>> {
    let (rate, channels) = (RATE_HZ.to_string(), CHANNELS.to_string());
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i"])
        .arg(playlist)
        .args(["-f", "s16le", "-ac", &channels, "-ar", &rate, "-"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("ffmpeg can't be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffmpeg can't decode the stream: {said}");
    let pairs = output.stdout.chunks_exact(2);
    Ok(pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// The midst of each whole second: an encoder moves the sound by some hundredths of a second, which
/// would count where one chord ends and another begins.
pub fn each_second(samples: &[i16]) -> impl Iterator<Item = &[i16]> {
    let second = RATE_HZ as usize * usize::from(CHANNELS);
    samples.chunks_exact(second).map(move |samples| &samples[second / 10..second - second / 10])
}

/// How long samples last, in seconds.
pub fn seconds(samples: &[i16]) -> f64 {
    samples.len() as f64 / f64::from(CHANNELS) / f64::from(RATE_HZ)
}

/// How loud samples are, in dB below full scale.
pub fn rms_db(samples: &[i16]) -> f64 {
    let squares: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    let mean = squares / samples.len().max(1) as f64;
    20.0 * (mean.sqrt() / f64::from(i16::MAX)).log10()
}
