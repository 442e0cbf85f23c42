//! A disk in memory that fails and loses power on demand, for tests of the engine.
//!
//! The fault model: what was written but not synced may survive a power cut in any subset of its
//! sectors of 512 bytes; of the files created, renamed or removed without a folder sync each may be
//! as before, whatever became of the others; what was synced survives whole. After a sync that
//! failed, what it was for counts as synced, as Linux has it: a later sync makes only that durable
//! which was written anew. An operation can be told to fail, and the disk to be full.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, FileId, FileStamp};

/// What survives or is lost in one piece, in bytes.
const SECTOR_BYTES: usize = 512;

/// A failure to come: of the nth such call from now on (the first is 1). But for a write, which is
/// half done, and a sync, what fails has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of a write.
    Write(u64),
    /// Of a sync, of a file or of the folder.
    Sync(u64),
    /// Of a sync of a segment: that of an append.
    SegmentSync(u64),
    /// Of opening or making a file.
    Open(u64),
    /// Of a read.
    Read(u64),
    /// Of finding a file room.
    Allocate(u64),
    /// Of cutting a file.
    Truncate(u64),
    /// Of a renaming.
    Rename(u64),
    /// Of a removal.
    Remove(u64),
}

/// A folder in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// What the next folder sync makes durable, in order.
    unsynced: Vec<EntryChange>,
    capacity_bytes: Option<usize>,
    faults: Vec<Fault>,
    syncs: u64,
    reads: u64,
    read_bytes: u64,
    /// How much was read at once, since some of it is not in memory.
    cold: Option<u64>,
    dead: bool,
    /// How everything was after each change, once that is to be remembered.
    history: Option<Vec<State>>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The sectors that the next sync makes durable.
    dirty: BTreeSet<usize>,
    /// How often it was changed.
    changes: i64,
}

/// A change of the folder: of which name, and which file it is about.
#[derive(Clone, Debug)]
enum EntryChange {
    Created(String, usize),
    Renamed(String, String, usize),
    Removed(String, usize),
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

/// What a fault may concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Write,
    Sync,
    SegmentSync,
    Open,
    Read,
    Allocate,
    Truncate,
    Rename,
    Remove,
}

impl SimDisk {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an operation to come fail.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Nothing that was to fail, and has not, fails any more.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// How many failures are still to come.
    pub fn faults_to_come(&self) -> usize {
        self.lock().faults.len()
    }

    /// Sets how many bytes all files together may have; `None` is without limit.
    pub fn set_capacity_bytes(&self, capacity: Option<usize>) {
        self.lock().capacity_bytes = capacity;
    }

    /// The bytes of all files together.
    pub fn used_bytes(&self) -> usize {
        self.lock().used_bytes()
    }

    /// How often anything was synced.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How often anything was read from a file.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// How many bytes were read from files.
    pub fn read_bytes(&self) -> u64 {
        self.lock().read_bytes
    }

    /// The bytes of a file; `None` when there is none.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = *state.live.get(name)?;
        Some(state.inodes[inode].live.clone())
    }

    /// Puts a file there, durable.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.lock();
        let inode = state.inodes.len();
        state.inodes.push(Inode { live: bytes.clone(), durable: bytes, ..Inode::default() });
        state.live.insert(name.to_owned(), inode);
        state.durable.insert(name.to_owned(), inode);
    }

    /// Changes a file that is there under whoever has it open, durable.
    pub fn put_into(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        if let Some(&inode) = state.live.get(name) {
            let inode = &mut state.inodes[inode];
            inode.live = bytes.to_vec();
            inode.durable = bytes.to_vec();
            inode.changes += 1;
        }
    }

    /// From now on some of what is read at once would have to be waited for.
    pub fn cool(&self) {
        self.lock().cold = Some(0);
    }

    /// A disk with the same durable files, of which nothing is shared.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        let names: Vec<String> = self.lock().live.keys().cloned().collect();
        for name in names {
            if let Some(bytes) = self.contents(&name) {
                copy.put(&name, bytes);
            }
        }
        copy
    }

    /// Remembers from now on how the disk is after each change.
    pub fn remember(&self) {
        self.lock().history = Some(Vec::new());
    }

    /// How the disk was after each change since it remembers, in order.
    pub fn remembered(&self) -> Vec<Self> {
        let history = self.lock().history.clone().unwrap_or_default();
        history.into_iter().map(|state| Self { state: Arc::new(Mutex::new(state)) }).collect()
    }

    /// How many changes are remembered.
    pub fn changes(&self) -> usize {
        self.lock().history.as_ref().map_or(0, Vec::len)
    }

    /// Cuts the power. The disk fails from now on; what is returned is the disk as it is found
    /// when the power is back: of what was not synced, `survives` is asked for each change of the
    /// folder and for each sector.
    #[must_use]
    pub fn cut_power(&self, mut survives: impl FnMut() -> bool) -> Self {
        let mut state = self.lock();
        state.dead = true;
        let mut names = state.durable.clone();
        for change in &state.unsynced {
            if survives() {
                change.make(&mut names);
            }
        }
        let after = Self::new();
        for (name, inode) in names {
            after.put(&name, state.inodes[inode].after_power_cut(&mut survives));
        }
        after
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside the disk")
    }
}

impl EntryChange {
    /// Makes the change, as far as those before it were made.
    fn make(&self, names: &mut BTreeMap<String, usize>) {
        let (gone, new, inode) = match self {
            Self::Created(name, inode) => (None, Some(name), *inode),
            Self::Renamed(from, to, inode) => (Some(from), Some(to), *inode),
            Self::Removed(name, inode) => (Some(name), None, *inode),
        };
        if let Some(name) = gone
            && names.get(name) == Some(&inode)
        {
            names.remove(name);
        }
        if let Some(name) = new {
            names.insert(name.clone(), inode);
        }
    }
}

impl Inode {
    fn after_power_cut(&self, survives: &mut impl FnMut() -> bool) -> Vec<u8> {
        let mut after = self.durable.clone();
        if self.live.len() != after.len() && survives() {
            after.resize(self.live.len(), 0);
        }
        let end = self.live.len().min(after.len());
        for start in (0..end).step_by(SECTOR_BYTES) {
            let sector = start..(start + SECTOR_BYTES).min(end);
            if survives() {
                after[sector.clone()].copy_from_slice(&self.live[sector]);
            }
        }
        after
    }
}

impl State {
    fn used_bytes(&self) -> usize {
        self.live.values().map(|&inode| self.inodes[inode].live.len()).sum()
    }

    fn free_bytes(&self) -> usize {
        let free = |capacity: usize| capacity.saturating_sub(self.used_bytes());
        self.capacity_bytes.map_or(usize::MAX, free)
    }

    /// To be called after each change.
    fn changed(&mut self) {
        if let Some(mut history) = self.history.take() {
            history.push(self.clone());
            self.history = Some(history);
        }
    }

    fn stamp(&self, inode: usize) -> FileStamp {
        let Inode { live, changes, .. } = &self.inodes[inode];
        let file = FileId { device: 0, inode: inode as u64, made: None };
        FileStamp { file, length: live.len() as u64, changed: (*changes, 0) }
    }

    /// Changes the folder.
    fn change(&mut self, change: EntryChange) {
        change.make(&mut self.live);
        self.unsynced.push(change);
        self.changed();
    }

    fn faulty(&mut self, act: Act) -> bool {
        let mut fails = false;
        self.faults.retain_mut(|fault| {
            let (left, of) = match fault {
                Fault::Write(left) => (left, Act::Write),
                Fault::Sync(left) => (left, Act::Sync),
                Fault::SegmentSync(left) => (left, Act::SegmentSync),
                Fault::Open(left) => (left, Act::Open),
                Fault::Read(left) => (left, Act::Read),
                Fault::Allocate(left) => (left, Act::Allocate),
                Fault::Truncate(left) => (left, Act::Truncate),
                Fault::Rename(left) => (left, Act::Rename),
                Fault::Remove(left) => (left, Act::Remove),
            };
            if act == of || (of, act) == (Act::Sync, Act::SegmentSync) {
                *left -= 1;
                fails |= *left == 0;
            }
            *left > 0
        });
        fails
    }

    fn powered(&self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power was cut"));
        }
        Ok(())
    }

    /// Fails where this call is to.
    fn allowed(&mut self, act: Act) -> io::Result<()> {
        if self.faulty(act) {
            return Err(io::Error::other(format!("simulated failure: {act:?}")));
        }
        Ok(())
    }

    fn sync_allowed(&mut self, act: Act) -> io::Result<()> {
        self.syncs += 1;
        self.allowed(act)
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.powered()?;
        Ok(state.live.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.powered()?;
        state.allowed(Act::Open)?;
        let inode = match state.live.get(name) {
            Some(&inode) => inode,
            None if create => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.change(EntryChange::Created(name.to_owned(), inode));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode }))
    }

    fn stamp(&self, name: &str) -> io::Result<Option<FileStamp>> {
        let state = self.lock();
        state.powered()?;
        Ok(state.live.get(name).map(|&inode| state.stamp(inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.powered()?;
        state.allowed(Act::Rename)?;
        let inode = *state.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(EntryChange::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.powered()?;
        state.allowed(Act::Remove)?;
        let inode = *state.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.change(EntryChange::Removed(name.to_owned(), inode));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.powered()?;
        state.sync_allowed(Act::Sync)?;
        state.durable = state.live.clone();
        state.unsynced.clear();
        state.changed();
        Ok(())
    }
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().expect("no test panics inside the disk");
        state.powered()?;
        act(&mut state)
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.inodes[self.inode].live.len() as u64))
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        self.with(|state| Ok(state.stamp(self.inode)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            state.allowed(Act::Read)?;
            state.reads += 1;
            state.read_bytes += buffer.len() as u64;
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let bytes = state.inodes[self.inode]
                .live
                .get(start..start + buffer.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        // What three reads ask for is in memory, and not what the fourth does.
        let waits = self.with(|state| {
            Ok(state.cold.as_mut().is_some_and(|tries| {
                *tries += 1;
                tries.is_multiple_of(4)
            }))
        })?;
        if waits { Ok(false) } else { self.read_at(buffer, offset).map(|()| true) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let failed = state.faulty(Act::Write);
            let grows = (start + bytes.len()).saturating_sub(state.inodes[self.inode].live.len());
            let free = state.free_bytes();
            let full = grows > free;
            let written = match (failed, full) {
                (true, _) => bytes.len() / 2,
                (false, true) => bytes.len() - (grows - free),
                (false, false) => bytes.len(),
            };
            let live = &mut state.inodes[self.inode].live;
            live.resize(live.len().max(start + written), 0);
            live[start..start + written].copy_from_slice(&bytes[..written]);
            let sectors = start / SECTOR_BYTES..(start + written).div_ceil(SECTOR_BYTES);
            state.inodes[self.inode].dirty.extend(sectors);
            state.inodes[self.inode].changes += 1;
            state.changed();
            match (failed, full) {
                (true, _) => Err(io::Error::other("simulated failure: Write")),
                (false, true) => Err(io::ErrorKind::StorageFull.into()),
                (false, false) => Ok(()),
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            // By the name that it has now: a segment that is being made has another.
            let mut names = state.live.iter().filter(|(_, inode)| **inode == self.inode);
            let is_segment = names.any(|(name, _)| name.ends_with(".log"));
            let act = if is_segment { Act::SegmentSync } else { Act::Sync };
            let allowed = state.sync_allowed(act);
            let inode = &mut state.inodes[self.inode];
            let dirty = mem::take(&mut inode.dirty);
            allowed?;
            inode.durable.resize(inode.live.len(), 0);
            for sector in dirty {
                let end = ((sector + 1) * SECTOR_BYTES).min(inode.live.len());
                let bytes = (sector * SECTOR_BYTES).min(end)..end;
                inode.durable[bytes.clone()].copy_from_slice(&inode.live[bytes]);
            }
            state.changed();
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        self.with(|state| {
            state.allowed(Act::Allocate)?;
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let grows = length.saturating_sub(state.inodes[self.inode].live.len());
            if grows > state.free_bytes() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if grows > 0 {
                state.inodes[self.inode].live.resize(length, 0);
                state.inodes[self.inode].changes += 1;
                state.changed();
            }
            Ok(true)
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|state| {
            state.allowed(Act::Truncate)?;
            let length = usize::try_from(length).map_err(io::Error::other)?;
            state.inodes[self.inode].live.resize(length, 0);
            state.inodes[self.inode].changes += 1;
            state.changed();
            Ok(())
        })
    }
}
