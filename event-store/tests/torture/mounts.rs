//! Real file systems that lose power or run full. They are mounted where nobody else sees them and
//! are gone with the process, however it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_store::{
    AppendError, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, StoreError,
};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::given::{event, everything, stream};
use crate::seeds::seeds;

/// Says to the process that its mounts are its own.
const INSIDE: &str = "EVENT_STORE_TORTURE_MOUNTS";
const PATIENCE: Duration = Duration::from_secs(20);
const SEGMENT_BYTES: u64 = 32 * 1024;
const WRITERS: u64 = 4;
/// How many events an append has.
const EVENTS: u64 = 3;

/// Whether this is the process whose mounts are its own. Unless it is, runs the test of this name
/// in one, if this user may: root must, wherever every test counts.
fn inside_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = ["--mount", "--propagation", "private"];
    let may = Command::new("unshare").args(unshare).args(["sh", "-c", PROBE]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        let counts = std::env::var_os("CI").is_some() && rustix::process::geteuid().is_root();
        assert!(!counts, "{test}: root could not mount an ext4 image and cut its power");
        eprintln!("SKIPPED {test}: a user who may mount, mkfs.ext4 and python3 are needed");
        return false;
    }
    let name = format!("torture::mounts::{test}");
    let status = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "yes")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its own mounts");
    false
}

/// Tries what the tests need, in mounts of its own.
const PROBE: &str = "set -e; d=$(mktemp -d); trap 'umount -l $d/m; rm -rf $d' EXIT; mkdir $d/m; \
    truncate -s 8M $d/i; mkfs.ext4 -q -F $d/i; mount -o loop $d/i $d/m; python3 -c ''";

/// Cuts the power of the file systems whose paths it reads: nothing that was not synced, the
/// journal included, reaches the disk from then on (FS_IOC_SHUTDOWN with NOLOGFLUSH).
const CUTTER: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    folder = os.open(line.strip(), os.O_RDONLY)
    fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))
    os.close(folder)
    print('cut', flush=True)
";

struct Cutter {
    process: Child,
    paths: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cutter {
    fn start() -> Self {
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut python = Command::new("python3");
        let mut process =
            python.args(["-c", CUTTER]).stdin(input).stdout(output).spawn().expect("python3");
        let paths = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, paths, answers }
    }

    fn cut(&mut self, folder: &Path) {
        writeln!(self.paths, "{}", folder.display()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "cut\n", "the file system takes the ioctl");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file system at a path, while it is mounted.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], device: &Path, path: &Path) -> Self {
        let status = Command::new("mount").args(arguments).args([device, path]).status();
        assert!(status.unwrap().success(), "mount {arguments:?}");
        Self(path.to_owned())
    }

    /// An ext4 of 64 MiB in this file, which is made if it is not there.
    fn ext4(image: &Path, path: &Path) -> Self {
        if !image.exists() {
            File::create(image).unwrap().set_len(64 * 1024 * 1024).unwrap();
            let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image).status();
            assert!(made.unwrap().success());
        }
        Self::new(&["-o", "loop"], image, path)
    }

    /// A file system in memory that is full at so many bytes.
    fn tmpfs(bytes: u64, path: &Path) -> Self {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={bytes}")], Path::new("none"), path)
    }

    /// Unmounts it, once nobody has a file open there.
    fn unmount(self) {
        let begun = Instant::now();
        loop {
            if Command::new("umount").arg("-q").arg(&self.0).status().unwrap().success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "somebody has a file open in {:?}", self.0);
            std::thread::sleep(Duration::from_millis(5)); // poll
        }
    }
}

/// What was acknowledged: of each writer, how many events.
type Acknowledged = Arc<Mutex<BTreeMap<u64, u64>>>;

/// How many appends were acknowledged.
type Count = Arc<AtomicU64>;

fn options(folder: &Path) -> EmbeddedOptions {
    EmbeddedOptions::folder(folder.join("events")).segment_bytes(SEGMENT_BYTES)
}

/// What tells the events of one writer from those of another.
fn number(writer: u64, revision: u64) -> u64 {
    writer << 32 | revision
}

/// Appends until it is refused, which must be for the failure of the disk.
async fn write(store: Arc<EmbeddedStore>, writer: u64, from: u64, all: Acknowledged, count: Count) {
    let name = stream(&format!("writer-{writer}"));
    for first in (from..).step_by(EVENTS as usize) {
        let events = (first..first + EVENTS).map(|at| event(number(writer, at))).collect();
        match store.append(&name, ExpectedRevision::Any, events).await {
            Ok(_) => {
                all.lock().unwrap().insert(writer, first + EVENTS);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Err(AppendError::Store(StoreError::Poisoned { .. } | StoreError::Io(_))) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

/// How many events each writer has in the store, which must hold all that were acknowledged, no
/// append by half, and nothing else.
async fn held(store: &EmbeddedStore, acknowledged: &Acknowledged) -> BTreeMap<u64, u64> {
    let mut held = BTreeMap::new();
    for event in everything(store).await.unwrap() {
        let writer: u64 = event.stream.as_str().trim_start_matches("writer-").parse().unwrap();
        let count = held.entry(writer).or_insert(0);
        assert_eq!(event.revision.get(), *count, "writer {writer}");
        assert_eq!(event.id, crate::given::event(number(writer, *count)).id, "writer {writer}");
        *count += 1;
    }
    assert!(held.values().all(|count| count % EVENTS == 0), "half of an append: {held:?}");
    for (writer, acknowledged) in &*acknowledged.lock().unwrap() {
        let found = held.get(writer).copied().unwrap_or(0);
        assert!(found >= *acknowledged, "writer {writer}: {found} of {acknowledged}");
    }
    held
}

/// Given writers on an ext4, when its power is cut at any moment and comes back, again and again,
/// then all that was acknowledged is there, and no append by half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_on_a_real_disk_lose_nothing() {
    const TEST: &str = "power_cuts_on_a_real_disk_lose_nothing";
    const CUTS_A_STORE: u64 = 25;
    if !inside_own_mounts(TEST) {
        return;
    }
    let here = TempDir::new().unwrap();
    let (image, path) = (here.path().join("image"), here.path().join("mounted"));
    fs::create_dir(&path).unwrap();
    let mut cutter = Cutter::start();
    let mut acknowledged = Acknowledged::default();
    let mut mount = Mount::ext4(&image, &path);
    let mut appended = 0;
    for (cycle, seed) in (0..).zip(seeds(TEST, 50, 1000)) {
        let mut dice = Dice::new(seed);
        if cycle % CUTS_A_STORE == 0 && cycle > 0 {
            mount.unmount();
            fs::remove_file(&image).unwrap();
            mount = Mount::ext4(&image, &path);
            acknowledged = Acknowledged::default();
        }
        let store = Arc::new(EmbeddedStore::open(options(&path)).await.unwrap());
        let from = held(&store, &acknowledged).await;
        let count = Count::default();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, from) = (Arc::clone(&store), from.get(&writer).copied().unwrap_or(0));
                let (acknowledged, count) = (Arc::clone(&acknowledged), Arc::clone(&count));
                tokio::spawn(write(store, writer, from, acknowledged, count))
            })
            .collect();
        let until = dice.below(60);
        let begun = Instant::now();
        while count.load(Ordering::SeqCst) < until {
            assert!(begun.elapsed() < PATIENCE, "the writers stand still");
            tokio::task::yield_now().await;
        }
        // What is answered while the power goes may have been so before or after: it counts for
        // nothing, as where the answer would have been lost with the power.
        let before = acknowledged.lock().unwrap().clone();
        cutter.cut(&path);
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        *acknowledged.lock().unwrap() = before;
        appended += until;
        mount.unmount();
        mount = Mount::ext4(&image, &path);
        let store = EmbeddedStore::open(options(&path)).await.unwrap();
        *acknowledged.lock().unwrap() = held(&store, &acknowledged).await;
        store.verify(None).await.unwrap();
        store.close().await.unwrap();
    }
    println!("{appended} appends were acknowledged before the cuts");
    mount.unmount();
}

/// Given writers on an ext4, when its journal is given up and it takes no more writes, then they
/// are told so and readers go on; mounted anew it has all that was acknowledged before, and can be
/// written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_stops_writers_and_no_readers() {
    if !inside_own_mounts("a_disk_that_turns_read_only_stops_writers_and_no_readers") {
        return;
    }
    let here = TempDir::new().unwrap();
    let (image, path) = (here.path().join("image"), here.path().join("mounted"));
    fs::create_dir(&path).unwrap();
    let mount = Mount::ext4(&image, &path);
    let store = Arc::new(EmbeddedStore::open(options(&path)).await.unwrap());
    let (acknowledged, count) = (Acknowledged::default(), Count::default());
    let writing = tokio::spawn(write(
        Arc::clone(&store),
        0,
        0,
        Arc::clone(&acknowledged),
        Arc::clone(&count),
    ));
    let begun = Instant::now();
    while count.load(Ordering::SeqCst) < 20 {
        assert!(begun.elapsed() < PATIENCE, "the writer stands still");
        tokio::task::yield_now().await;
    }
    let before = acknowledged.lock().unwrap().clone();
    let given_up = Command::new("mount").args(["-o", "remount,abort"]).arg(&path).status();
    assert!(given_up.unwrap().success());
    writing.await.unwrap();
    let seen = held(&store, &acknowledged).await;
    assert_eq!(seen, *acknowledged.lock().unwrap(), "what nobody was told is not seen");
    match store.append(&stream("late"), ExpectedRevision::Any, vec![event(0)]).await {
        Err(AppendError::Store(StoreError::Poisoned { .. } | StoreError::Io(_))) => {}
        other => panic!("{other:?}"),
    }
    store.close().await.unwrap();
    drop(store);
    mount.unmount();
    // Of a sync that is on its way while the journal is given up ext4 may say that it is done, to
    // any program, though it is not: what is answered meanwhile counts for nothing.
    *acknowledged.lock().unwrap() = before;
    let mount = Mount::ext4(&image, &path);
    let store = EmbeddedStore::open(options(&path)).await.unwrap();
    held(&store, &acknowledged).await;
    store.append(&stream("writer-1"), ExpectedRevision::NoStream, vec![event(0)]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    mount.unmount();
}

/// Given a file system with so much room and no more, when it is full, then appends are refused as
/// such and nothing of them is kept; once there is room, the same store goes on.
async fn fills_up_and_goes_on(path: &Path, room: u64) {
    let filler = path.join("filler");
    let file = File::create(&filler).unwrap();
    let (store, all) = (EmbeddedStore::open(options(path)).await.unwrap(), Acknowledged::default());
    let left = statvfs(path).unwrap();
    let fill = (left.f_bavail * left.f_frsize).saturating_sub(room);
    fallocate(&file, FallocateFlags::empty(), 0, fill).unwrap();
    file.sync_all().unwrap();
    let (name, mut count, mut refusals) = (stream("writer-0"), 0, 0);
    while refusals < 3 {
        let events = (count..count + EVENTS).map(|at| event(number(0, at))).collect();
        match store.append(&name, ExpectedRevision::Any, events).await {
            Ok(_) => count += EVENTS,
            Err(AppendError::Store(StoreError::StorageFull)) => refusals += 1,
            Err(other) => panic!("with room for {room}: {other}"),
        }
        all.lock().unwrap().insert(0, count);
        let seen = everything(&store).await.unwrap().len() as u64;
        assert_eq!(seen, count, "with room for {room}");
    }
    assert!(store.is_full());
    fs::remove_file(&filler).unwrap();
    drop(file);
    for _ in 0..40 {
        let events = (count..count + EVENTS).map(|at| event(number(0, at))).collect();
        store.append(&name, ExpectedRevision::Any, events).await.unwrap();
        count += EVENTS;
        all.lock().unwrap().insert(0, count);
    }
    store.close().await.unwrap();
    let store = EmbeddedStore::open(options(path)).await.unwrap();
    assert_eq!(held(&store, &all).await.get(&0), Some(&count), "with room for {room}");
    store.verify(None).await.unwrap();
    store.close().await.unwrap();
}

/// Given a file system in memory and an ext4 on a disk, each with little room, then being full is
/// told and gone through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_refuses_and_goes_on_once_there_is_room() {
    if !inside_own_mounts("a_full_file_system_refuses_and_goes_on_once_there_is_room") {
        return;
    }
    const PAGE_BYTES: u64 = 4096;
    let here = TempDir::new().unwrap();
    let path = here.path().join("mounted");
    fs::create_dir(&path).unwrap();
    for pages in 1..20 {
        let mount = Mount::tmpfs(1024 * 1024, &path);
        fills_up_and_goes_on(&path, pages * PAGE_BYTES).await;
        mount.unmount();
    }
    for pages in [3, 9, 17] {
        let image = here.path().join(format!("image-{pages}"));
        let mount = Mount::ext4(&image, &path);
        fills_up_and_goes_on(&path, pages * PAGE_BYTES).await;
        mount.unmount();
        fs::remove_file(&image).unwrap();
    }
}
