//! FLACs of every make, whole, and damaged in each way that would cost sound.

mod written;

use std::path::Path;

use self::written::{Frames, Stream};
use crate::probe::ProbeError;
use crate::probe::tests::{convert, probe, write};
use crate::sample_audio::Chord;

/// What a program puts behind a file that knows no other way.
fn id3v1() -> Vec<u8> {
    [b"TAG".as_slice(), &[b' '; 125]].concat()
}

/// How long it is, in milliseconds, or why it is refused.
async fn told(home: &Path, bytes: &[u8]) -> Result<u64, String> {
    let answer = probe(write(home, "told.flac", bytes)).await;
    answer.map(|facts| facts.duration_ms).map_err(|error| error.to_string())
}

/// Six seconds that `ffmpeg` makes with these options.
fn six_seconds(home: &Path, options: &[&str]) -> Vec<u8> {
    let wav = write(home, "six.wav", &Chord::seconds(6).wav());
    std::fs::read(convert(&wav, "six.flac", options)).unwrap()
}

/// The same without its count of samples, which 36 bits have, as it is written to a pipe.
fn piped(mut flac: Vec<u8>) -> Vec<u8> {
    flac[21] &= 0xF0;
    flac[22..26].fill(0);
    flac
}

#[tokio::test]
async fn recordings_that_are_joined_are_several_however_they_are_coded() {
    let home = tempfile::tempdir().unwrap();
    let sixteen = six_seconds(home.path(), &["-frame_size", "1152"]);
    let wide = six_seconds(home.path(), &["-sample_fmt", "s32", "-frame_size", "4608"]);
    let mono = six_seconds(home.path(), &["-ac", "1", "-ar", "48000"]);
    let all = [&sixteen, &wide, &mono, &piped(sixteen.clone()), &piped(wide.clone())];
    let tag = [b"ID3\x04\0\0\0\0\x01\x02".as_slice(), &[0; 130]].concat();
    for (first, one) in all.iter().enumerate() {
        for (second, other) in all.iter().enumerate() {
            for between in [&[][..], &id3v1(), &tag, &[0; 5_000]] {
                let joined = [one.as_slice(), between, other].concat();
                let answer = probe(write(home.path(), "joined.flac", &joined)).await;
                let is_told = matches!(answer, Err(ProbeError::SeveralRecordings));
                assert!(is_told, "{first}, {} bytes, {second}: {answer:?}", between.len());
            }
        }
    }
}

#[tokio::test]
async fn a_stretch_that_is_there_twice_is_damage() {
    let home = tempfile::tempdir().unwrap();
    let counted = six_seconds(home.path(), &[]);
    for whole in [counted.clone(), piped(counted)] {
        let sound = whole.len() - 9_000;
        for stretch in [100, 5_000, 12_345, 40_000] {
            for from in [1, 2, 3].map(|part| 9_000 + (sound - stretch) * part / 4) {
                let (before, doubled) = (&whole[..from + stretch], &whole[from..]);
                let told = told(home.path(), &[before, doubled].concat()).await;
                let is_told = told.as_ref().is_err_and(|told| told.contains("is damaged"));
                assert!(is_told, "{stretch} bytes from {from}: {told:?}");
            }
        }
    }
}

/// Given frames that begin where we know, when the header of one is not as it was, or the frame is
/// gone, then that is told, though none but their own numbers count them.
#[tokio::test]
async fn no_frame_is_lost_unseen() {
    let home = tempfile::tempdir().unwrap();
    for frames in [Frames::Numbered, Frames::Placed] {
        let (whole, begins) = Stream { frames, ..Stream::default() }.written(&[192; 9], Some(100));
        for whole in [whole.clone(), piped(whole)] {
            assert_eq!(told(home.path(), &whole).await, Ok(229));
            let [.., last_but_one, last] = begins[..] else { panic!() };
            for at in [begins[0], begins[4], last_but_one, last] {
                for behind in [&[][..], &id3v1()] {
                    for (byte, bit) in (0..7).flat_map(|byte| [0, 3, 7].map(|bit| (byte, bit))) {
                        let mut damaged = [&whole, behind].concat();
                        damaged[at + byte] ^= 1 << bit;
                        let told = told(home.path(), &damaged).await;
                        assert!(told.is_err(), "{frames:?}, {at}, {byte}, {bit}: {told:?}");
                    }
                }
            }
            for (from, to) in [(last, whole.len()), (last_but_one, last), (begins[3], begins[5])] {
                for behind in [&[][..], &id3v1(), b"\n"] {
                    let mut zeroed = [&whole, behind].concat();
                    zeroed[from..to].fill(0);
                    let told = told(home.path(), &zeroed).await;
                    assert!(told.is_err(), "{frames:?}, {from}..{to}: {told:?}");
                    let cut = [&whole[..from], &whole[to..], behind].concat();
                    let told = self::told(home.path(), &cut).await;
                    // Where frames end without a count, and nothing is behind them, they end.
                    let may_end = to == whole.len() && behind.len() != 1;
                    assert!(told.is_err() || may_end, "{frames:?}, {from}..{to}: {told:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn streams_of_every_make_are_whole() {
    let home = tempfile::tempdir().unwrap();
    let usual = Stream::default();
    let mixed = [16, 4_608, 192, 65_535, 17, 256, 1_000];
    for (stream, blocks) in [
        (Stream { frames: Frames::Placed, ..usual }, &mixed[..]),
        (Stream { frames: Frames::PlacedWithoutAFlag, ..usual }, &mixed),
        (usual, &[16; 200]),
        (usual, &[65_535; 2]),
        (usual, &[1_000; 200]),
        (Stream { first: 70_000, ..usual }, &[192; 10]),
        (Stream { rate_hz: 44_100, ..usual }, &[4_608; 2]),
        (Stream { rate_hz: 12_345, ..usual }, &[4_608; 2]),
        (Stream { rate_hz: 655_350, ..usual }, &[65_535; 2]),
    ] {
        whole(home.path(), &stream, blocks).await;
    }
    for bits in 4..=32 {
        whole(home.path(), &Stream { bits, ..usual }, &[1_152; 2]).await;
    }
    for channels in 1..=8 {
        whole(home.path(), &Stream { channels, ..usual }, &[1_152; 2]).await;
    }
}

/// Given such a stream with a few samples more in a last frame, with a count and without, then it
/// is as long as it is, whatever tags are around it.
async fn whole(home: &Path, stream: &Stream, blocks: &[u32]) {
    let samples = u64::from(blocks.iter().sum::<u32>()) + 5;
    let expected = (samples * 2_000 / u64::from(stream.rate_hz)).div_ceil(2);
    let (counted, _) = stream.written(blocks, Some(5));
    let tag = [b"ID3\x04\0\0\0\0\x01\x02".as_slice(), &[0; 130]].concat();
    let id3v1 = id3v1();
    for flac in [counted.clone(), piped(counted)] {
        for (before, behind) in
            [(&[][..], &[][..]), (&tag, &[]), (&[], &tag), (&[], &id3v1), (&tag, &id3v1)]
        {
            let told = told(home, &[before, &flac, behind].concat()).await;
            assert_eq!(told, Ok(expected), "{stream:?}, {blocks:?}");
        }
    }
}

/// Given as many samples as whole frames hold, with no count, then it ends with its last frame.
#[tokio::test]
async fn a_last_frame_may_be_as_long_as_others() {
    let home = tempfile::tempdir().unwrap();
    let flac = piped(Stream::default().written(&[1_152; 2], None).0);
    for behind in [vec![], id3v1()] {
        assert_eq!(told(home.path(), &[&flac[..], &behind].concat()).await, Ok(288));
    }
}

#[tokio::test]
async fn blocks_before_the_frames_are_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let (flac, begins) = Stream::default().written(&[1_152; 2], Some(5));
    let picture = [b"\x06\x0f\0\0".as_slice(), &vec![0xFF; 0x0F_0000]].concat();
    let padding = [b"\x81\0\x20\0".as_slice(), &[0; 0x2000]].concat();
    let mut blocks = flac[..begins[0]].to_vec();
    blocks[4] = 0;
    let flac = [&blocks, &picture, &padding, &flac[begins[0]..]].concat();
    assert_eq!(told(home.path(), &flac).await, Ok(289));
    for kept in [10, 41, 50, 9_000, 0x0F_0000 + 100] {
        let told = told(home.path(), &flac[..kept]).await;
        let is_told = told.as_ref().is_err_and(|told| told.contains("before its audio"));
        assert!(is_told, "{kept}: {told:?}");
    }
}
