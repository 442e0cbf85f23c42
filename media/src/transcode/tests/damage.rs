//! Masters whose containers are whole and whose sound is not.

use std::fs;
use std::ops::Range;

use super::{Studio, media};
use crate::hls::list_hls;
use crate::prober::tests::prober;
use crate::sample_audio::Chord;

/// What is told of all of them.
const DAMAGED: &str = "the file is damaged: parts of its sound can't be decoded";

/// Seven seconds, made by `ffmpeg` with these options.
fn seven_seconds(studio: &Studio, name: &str, options: &[&str]) -> Vec<u8> {
    let wav = studio.home.path().join("seven.wav");
    fs::write(&wav, Chord::seconds(7).wav()).unwrap();
    let made = studio.home.path().join(name);
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y", "-i"])
        .arg(&wav)
        .args(options)
        .arg(&made)
        .status();
    assert!(status.unwrap().success(), "{name}");
    fs::read(made).unwrap()
}

/// Where the sound of an M4A lies.
fn sound(m4a: &[u8]) -> Range<usize> {
    let at = m4a.windows(4).position(|four| four == b"mdat").unwrap();
    let length = u32::from_be_bytes(m4a[at - 4..at].try_into().unwrap());
    at + 4..at - 4 + usize::try_from(length).unwrap()
}

/// The M4A with so many bytes in the midst of its sound written over.
fn damaged(m4a: &[u8], bytes: usize, with: impl Fn(usize) -> u8) -> Vec<u8> {
    let sound = sound(m4a);
    let from = sound.start + (sound.len() - bytes) / 2;
    let mut damaged = m4a.to_vec();
    damaged[from..from + bytes].iter_mut().enumerate().for_each(|(at, byte)| *byte = with(at));
    damaged
}

fn random(at: usize) -> u8 {
    let at = u32::try_from(at).unwrap();
    (at.wrapping_mul(2_654_435_761).rotate_left(at % 13) >> 24) as u8
}

/// How long the stream of a master plays, in milliseconds, or why there is none.
async fn transcoded(studio: &Studio, master: Vec<u8>) -> Result<u64, String> {
    let master = studio.put_master(master).await;
    let facts = prober().probe_object(studio.storage.as_ref(), &master).await;
    let facts = facts.map_err(|error| {
        assert!(!error.is_transient(), "{error:?}");
        error.to_string()
    })?;
    let package = studio.real().await.to_hls(media(), &master, &facts).await;
    let package = package.map_err(|error| {
        assert!(!error.is_transient(), "{error:?}");
        error.to_string()
    })?;
    Ok(package.duration_ms)
}

#[tokio::test]
async fn an_m4a_whose_sound_is_damaged_fails_and_is_told_so() {
    let studio = Studio::new();
    for (name, options) in [
        ("aac.m4a", &["-c:a", "aac"][..]),
        ("mono.m4a", &["-c:a", "aac", "-ac", "1"]),
        ("six.m4a", &["-c:a", "aac", "-ac", "6"]),
        ("alac.m4a", &["-c:a", "alac"]),
    ] {
        let whole = seven_seconds(&studio, name, options);
        let all = sound(&whole).len();
        for bytes in [all / 20, all / 4, all] {
            for (what, fill) in [("zeros", (|_| 0) as fn(usize) -> u8), ("random bytes", random)] {
                let told = transcoded(&studio, damaged(&whole, bytes, fill)).await;
                let what = format!("{name}, {what} for {bytes} of {all} bytes");
                assert_eq!(told, Err(DAMAGED.to_owned()), "{what}");
                assert_eq!(list_hls(studio.storage.as_ref(), media()).await.unwrap(), []);
            }
        }
    }
}

#[tokio::test]
async fn a_packet_of_a_lossless_m4a_is_not_lost_in_silence() {
    let studio = Studio::new();
    let whole = seven_seconds(&studio, "a.m4a", &["-c:a", "alac"]);
    let told = transcoded(&studio, damaged(&whole, 200, |_| 0)).await;
    assert_eq!(told, Err(DAMAGED.to_owned()));
}

#[tokio::test]
async fn a_last_packet_that_players_pass_over_is_passed_over() {
    let studio = Studio::new();
    let mut m4a = seven_seconds(&studio, "a.m4a", &["-c:a", "aac"]);
    let end = sound(&m4a).end;
    m4a[end - 40..end].fill(0xFF);
    let played_ms = transcoded(&studio, m4a).await.unwrap();
    assert!(played_ms.abs_diff(7_000) <= 100, "{played_ms} ms");
}
