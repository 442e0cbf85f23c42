//! The disk alone: the baseline of everything that writes or reads files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use crate::load::{Latencies, PACE_STEP};
use crate::scale::Span;

/// How much one read of a sequential reader takes, in bytes.
const READ_BYTES: usize = 1 << 20;

/// How much room is found on the disk at once, in bytes: as the event store does it.
const ROOM_BYTES: u64 = event_store::limits::ALLOCATE_BYTES;

/// Most events that are written and synced at once where they come at a pace.
const GROUP_EVENTS_MAX: usize = 1_000;

/// Appends so many bytes to a new file and syncs them (`fdatasync`), again and again. Room is found
/// ahead of the writing, so that a sync does not wait for the file system's journal.
pub struct SyncedFile {
    path: PathBuf,
    file: File,
    batch: Vec<u8>,
    length: u64,
    room: u64,
}

impl SyncedFile {
    pub fn create(folder: &Path, batch_bytes: usize) -> io::Result<Self> {
        let path = folder.join("raw");
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        // Not zeros: a disk may store those for nothing.
        let batch = (0..batch_bytes).map(|at| (at.wrapping_mul(167) >> 3) as u8).collect();
        Ok(Self { path, file, batch, length: 0, room: 0 })
    }

    /// Appends and syncs one batch.
    pub fn append(&mut self) -> io::Result<()> {
        self.append_part(self.batch.len())
    }

    /// The same with so many bytes of a batch.
    fn append_part(&mut self, bytes: usize) -> io::Result<()> {
        let end = self.length + bytes as u64;
        if end > self.room {
            self.room = end.next_multiple_of(ROOM_BYTES);
            fallocate(&self.file, FallocateFlags::empty(), 0, self.room)?;
        }
        self.file.write_all_at(&self.batch[..bytes], self.length)?;
        self.length = end;
        self.file.sync_data()
    }
}

impl Drop for SyncedFile {
    fn drop(&mut self) {
        // It is in a scratch folder, which goes as a whole.
        let _ = fs::remove_file(&self.path);
    }
}

/// How many batches of this size become durable in a second.
pub fn synced_batches(folder: &Path, batch_bytes: usize, time: Duration) -> io::Result<f64> {
    let mut file = SyncedFile::create(folder, batch_bytes)?;
    let began = Instant::now();
    let mut batches = 0_u32;
    while began.elapsed() < time {
        file.append()?;
        batches += 1;
    }
    Ok(f64::from(batches) / began.elapsed().as_secs_f64())
}

/// How long each of so many batches takes.
pub fn sync_times(folder: &Path, batch_bytes: usize, count: usize) -> io::Result<Vec<Duration>> {
    let mut file = SyncedFile::create(folder, batch_bytes)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        file.append()?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// How long events take to become durable that are written at a pace, each from when it was due:
/// all that are due are written and synced together.
pub fn paced_syncs(
    folder: &Path,
    event_bytes: usize,
    rate: f64,
    span: Span,
) -> io::Result<Latencies> {
    let mut file = SyncedFile::create(folder, event_bytes * GROUP_EVENTS_MAX)?;
    let (unmeasured, total) = span.calls(rate);
    let (began, mut written, mut latencies) = (Instant::now(), 0, Latencies::new());
    while written < total {
        let due = ((began.elapsed().as_secs_f64() * rate) as u64 + 1).min(total);
        if due == written {
            thread::sleep(PACE_STEP); // poll
            continue;
        }
        let group = (due - written).min(GROUP_EVENTS_MAX as u64);
        file.append_part(event_bytes * group as usize)?;
        let durable = began.elapsed();
        for number in written..written + group {
            if number >= unmeasured {
                latencies.record(durable - Duration::from_secs_f64(number as f64 / rate));
            }
        }
        written += group;
    }
    Ok(latencies)
}

/// How long it takes to read these files from end to end and to sum them up (CRC-32C).
pub fn sequential_read(files: &[PathBuf]) -> io::Result<Duration> {
    let mut buffer = vec![0; READ_BYTES];
    let began = Instant::now();
    let mut sum = 0;
    for path in files {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => sum = crc32c::crc32c_append(sum, &buffer[..read]),
            }
        }
    }
    std::hint::black_box(sum);
    Ok(began.elapsed())
}

/// The segments of an event store, and how many bytes they have.
pub fn segments(events: &Path) -> io::Result<(Vec<PathBuf>, u64)> {
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(events)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            bytes += fs::metadata(&path)?.len();
            files.push(path);
        }
    }
    files.sort();
    Ok((files, bytes))
}
