//! A table of an index file: runs of postings, found by a hash. A filter in memory tells of most
//! hashes that the table has nothing of them, without a look at the disk; of the others the first
//! hashes of groups, in memory too, tell in which one to look.

use std::cmp::Ordering;

use super::Extent;
use super::blocks::{Blocks, Damaged, Pieces};
use super::bloom::Bloom;
use super::memory::TOMBSTONE_REVISION;
use crate::log::{u32_at, u64_at};

const ENTRY_BYTES: usize = 32;
const POSTING_BYTES: usize = 4;
const HASH_BYTES: usize = 8;
const FLAG_TOMBSTONE: u32 = 1;
/// No revision or ordinal is higher.
const FIRST_MAX: u64 = TOMBSTONE_REVISION;

/// How many entries are read in one go where many are looked for.
const ENTRIES_AT_ONCE: usize = 65_536;

/// How many entries are a group, of which the first hash is in memory.
const GROUP_ENTRIES: usize = 64;

/// To look for one entry among others takes about as long as reading so many of them in a row.
const ENTRIES_A_SEARCH: usize = 2048;

/// A table of a file that is open.
pub(crate) struct Table {
    blocks: Blocks,
    /// Of the file: what is found in it is told by this from what was found in another.
    salt: u32,
    at: usize,
    entries: usize,
    postings: usize,
    filter: Bloom,
    /// The first hash of each group of entries.
    groups: Vec<u64>,
}

/// A run in a table.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) hash: u64,
    /// Its first is the revision or the ordinal of its first event.
    pub(crate) extent: Extent,
    /// Where in the segment the first record of a stream begins; nothing in the other tables.
    pub(crate) first_offset: u32,
}

impl Table {
    /// Writes these runs, sorted by their hashes, and the postings of all, behind the payload.
    pub(super) fn write<E>(
        entries: impl Iterator<Item = Entry> + Clone,
        postings: impl Iterator<Item = u32>,
        payload: &mut Pieces<'_, E>,
    ) -> Result<(), E> {
        let mut start = 0;
        for Entry { hash, extent, first_offset } in entries.clone() {
            payload.put(&hash.to_le_bytes())?;
            payload.put(&extent.first.to_le_bytes())?;
            payload.put(&small(start))?;
            payload.put(&extent.postings().to_le_bytes())?;
            let flags = if extent.tombstone { FLAG_TOMBSTONE } else { 0 };
            payload.put(&flags.to_le_bytes())?;
            payload.put(&first_offset.to_le_bytes())?;
            start += extent.postings() as usize;
        }
        for posting in postings {
            payload.put(&posting.to_le_bytes())?;
        }
        let hashes: Vec<u64> = entries.map(|entry| entry.hash).collect();
        payload.put(&Bloom::of(&hashes).to_bytes())?;
        let mut groups = hashes.iter().step_by(GROUP_ENTRIES);
        groups.try_for_each(|first| payload.put(&first.to_le_bytes()))
    }

    /// The table of so many entries and postings that begins at this place of a payload; what
    /// is in memory of it is to be loaded.
    pub(crate) fn new(
        blocks: Blocks,
        salt: u32,
        at: usize,
        (entries, postings): (usize, usize),
    ) -> Self {
        Self { blocks, salt, at, entries, postings, filter: Bloom::default(), groups: Vec::new() }
    }

    /// Reads the filter and the groups, without which nothing is found.
    pub(crate) fn load(&mut self) -> Result<(), Damaged> {
        let at = self.filter_at();
        let bytes = self.blocks.read(at, self.end() - at)?;
        let (filter, groups) = bytes.split_at(Bloom::bytes_for(self.entries));
        self.filter = Bloom::from_bytes(filter);
        self.groups = groups.chunks_exact(HASH_BYTES).map(|hash| u64_at(hash, 0)).collect();
        Ok(())
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        let groups = self.entries.div_ceil(GROUP_ENTRIES);
        self.filter_at() + Bloom::bytes_for(self.entries) + groups * HASH_BYTES
    }

    /// Whether it may have a run with this hash; a no is certain.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        self.filter.may_have(hash)
    }

    /// The runs with this hash.
    pub(crate) fn find(&self, hash: u64) -> Result<Vec<Entry>, Damaged> {
        let mut found = Vec::new();
        if !self.may_have(hash) {
            return Ok(found);
        }
        let end = self.entries - usize::from(cfg!(veza_canary = "lose-last-index-entry"));
        // Those with one hash may begin in the group before the first that begins with it.
        let group = self.groups.partition_point(|&first| first < hash).saturating_sub(1);
        for from in (group * GROUP_ENTRIES..end).step_by(GROUP_ENTRIES) {
            let bytes = self.entry_bytes(from, GROUP_ENTRIES.min(end - from))?;
            for entry in bytes.chunks_exact(ENTRY_BYTES) {
                match u64_at(entry, 0).cmp(&hash) {
                    Ordering::Less => {}
                    Ordering::Equal => found.push(self.entry(entry)?),
                    Ordering::Greater => return Ok(found),
                }
            }
        }
        Ok(found)
    }

    /// The first run with each of these hashes, which rise: one by one where they are few, else by
    /// going through the table once.
    pub(crate) fn find_each(&self, hashes: &[u64]) -> Result<Vec<Option<Extent>>, Damaged> {
        let likely = hashes.iter().filter(|&&hash| self.may_have(hash)).count();
        if likely * ENTRIES_A_SEARCH < self.entries {
            let found = |&hash| Ok(self.find(hash)?.first().map(|entry| entry.extent));
            return hashes.iter().map(found).collect();
        }
        let mut found = vec![None; hashes.len()];
        let mut next = 0;
        for from in (0..self.entries).step_by(ENTRIES_AT_ONCE) {
            for entry in self.entries(from, ENTRIES_AT_ONCE.min(self.entries - from))? {
                let Entry { hash, extent, .. } = entry;
                while hashes.get(next).is_some_and(|&wanted| wanted < hash) {
                    next += 1;
                }
                match hashes.get(next) {
                    Some(&wanted) if wanted == hash && found[next].is_none() => {
                        found[next] = Some(extent);
                    }
                    Some(_) => {}
                    None => return Ok(found),
                }
            }
        }
        Ok(found)
    }

    /// The runs from this place among them on, in the order of their hashes; fewer where there are
    /// no more.
    pub(crate) fn some(&self, from: usize, count: usize) -> Result<Vec<Entry>, Damaged> {
        self.entries(from, count.min(self.entries.saturating_sub(from)))
    }

    /// The postings of a run, some skipped; with a tombstone where there is one.
    pub(crate) fn postings(
        &self,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u32>, Damaged> {
        let (_, start) = extent.start.ok_or(Damaged)?;
        let count = count.min(extent.postings().saturating_sub(skip)) as usize;
        if count == 0 {
            return Ok(Vec::new());
        }
        let at = self.postings_at() + (start + skip) as usize * POSTING_BYTES;
        let bytes = self.blocks.read(at, count * POSTING_BYTES)?;
        Ok((0..count).map(|place| u32_at(&bytes, place * POSTING_BYTES)).collect())
    }

    fn entries(&self, from: usize, count: usize) -> Result<Vec<Entry>, Damaged> {
        let bytes = self.entry_bytes(from, count)?;
        bytes.chunks_exact(ENTRY_BYTES).map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, bytes: &[u8]) -> Result<Entry, Damaged> {
        let (first, start, count) = (u64_at(bytes, 8), u32_at(bytes, 16), u32_at(bytes, 20));
        let tombstone = u32_at(bytes, 24) & FLAG_TOMBSTONE != 0;
        let behind = u64::from(start) + u64::from(count);
        if behind > self.postings as u64 || first > FIRST_MAX {
            return Err(Damaged);
        }
        let count = count.saturating_sub(u32::from(tombstone));
        let extent = Extent { first, start: Some((self.salt, start)), count, tombstone };
        Ok(Entry { hash: u64_at(bytes, 0), extent, first_offset: u32_at(bytes, 28) })
    }

    fn entry_bytes(&self, from: usize, count: usize) -> Result<Vec<u8>, Damaged> {
        self.blocks.read(self.at + from * ENTRY_BYTES, count * ENTRY_BYTES)
    }

    fn postings_at(&self) -> usize {
        self.at + self.entries * ENTRY_BYTES
    }

    fn filter_at(&self) -> usize {
        self.postings_at() + self.postings * POSTING_BYTES
    }
}

/// A count or a place in a segment, as an index has it.
pub(super) fn small(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a segment is below 4 GiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::index::names::tests::KEY;
    use crate::log::{Disk as _, SimDisk};

    const NAME: &str = "table";
    const SALT: u32 = 7;

    /// First ordinal and postings of each hash.
    type Runs = BTreeMap<u64, (u64, Vec<u32>)>;

    /// The table of these runs, behind some other bytes.
    fn written(runs: &Runs, ahead: usize) -> (SimDisk, Table) {
        let entries = runs.iter().map(|(&hash, (first, postings))| {
            let tombstone = hash % 5 == 0;
            let count = u32::try_from(postings.len()).unwrap() - u32::from(tombstone);
            let extent = Extent { first: *first, count, tombstone, start: None };
            Entry { hash, extent, first_offset: count }
        });
        let postings = runs.values().flat_map(|(_, postings)| postings.iter().copied());
        let disk = SimDisk::new();
        let blocks = Blocks::new(disk.open(NAME, true).unwrap(), SALT, KEY);
        let mut write = |at, piece: &[u8]| blocks.write(at, piece);
        let mut payload = Pieces::new(&mut write);
        payload.put(&vec![7; ahead]).unwrap();
        Table::write(entries, postings.clone(), &mut payload).unwrap();
        let end = payload.end().unwrap();
        let mut table = Table::new(blocks, SALT, ahead, (runs.len(), postings.count()));
        assert_eq!(table.end(), end);
        table.load().unwrap();
        (disk, table)
    }

    proptest! {
        #[test]
        fn what_was_written_is_found_and_nothing_else(
            runs in btree_map(0..5000_u64, (0..=FIRST_MAX, vec(any::<u32>(), 1..6)), 0..400),
            wanted in vec(0..5000_u64, 0..60),
            ahead in 0..9000_usize,
        ) {
            let (_, table) = written(&runs, ahead);
            let mut wanted = wanted;
            wanted.sort_unstable();
            wanted.dedup();
            let each = table.find_each(&wanted).unwrap();
            for (hash, found) in wanted.iter().zip(each) {
                let alone = table.find(*hash).unwrap();
                prop_assert_eq!(alone.first().map(|entry| entry.extent), found);
                let Some(extent) = found else {
                    prop_assert!(!runs.contains_key(hash));
                    continue;
                };
                let (first, postings) = &runs[hash];
                prop_assert_eq!(extent.first, *first);
                prop_assert_eq!(extent.tombstone, hash % 5 == 0);
                let all = u32::try_from(postings.len()).unwrap();
                prop_assert_eq!(extent.postings(), all);
                prop_assert_eq!(&table.postings(&extent, 0, u32::MAX).unwrap(), postings);
                prop_assert_eq!(&table.postings(&extent, 1, 2).unwrap()[..],
                    &postings[1..postings.len().min(3)]);
            }
        }

        #[test]
        fn a_changed_byte_is_never_served(
            runs in btree_map(any::<u64>(), (0..=FIRST_MAX, vec(any::<u32>(), 1..4)), 1..300),
            at in any::<prop::sample::Index>(),
        ) {
            let (disk, table) = written(&runs, 0);
            let mut bytes = disk.contents(NAME).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 0x11;
            disk.put_into(NAME, &bytes);
            for (&hash, (first, postings)) in &runs {
                let Ok(found) = table.find(hash) else { continue };
                prop_assert_eq!(found[0].extent.first, *first);
                if let Ok(read) = table.postings(&found[0].extent, 0, u32::MAX) {
                    prop_assert_eq!(&read, postings);
                }
            }
        }
    }
}
