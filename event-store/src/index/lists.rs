//! Lists of numbers that grow at their ends, many of them in one piece of memory: most are of one
//! number, which is no reason for as many allocations, and some are of millions.
//!
//! A list of one number is that number. A longer one is a chain of chunks, each with room for twice
//! as many as the one before, up to a bound; so the place of a number is found in a few steps, and
//! at most half of what a list takes is room. A chunk's first word says where the next one is.

use std::iter;

/// How many numbers the first chunk of a list has room for, and any of them at most.
const CHUNK_MIN: u32 = 2;
const CHUNK_MAX: u32 = 16_384;
/// How many chunks are smaller than the largest, and how many numbers these have room for.
const GROWING: u32 = CHUNK_MAX.ilog2() - CHUNK_MIN.ilog2();
const GROWING_NUMBERS: u32 = CHUNK_MAX - CHUNK_MIN;

/// The memory of lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    words: Vec<u32>,
}

/// A list, which has one number at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// The only number, or the place of the first chunk.
    first: u32,
    /// The place of the last chunk.
    last: u32,
    count: u32,
}

impl List {
    /// A list of one number.
    pub(super) fn of(number: u32) -> Self {
        Self { first: number, last: 0, count: 1 }
    }

    /// How many numbers it has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

impl Lists {
    /// How much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u32>()
    }

    /// Adds a number to a list.
    pub(super) fn push(&mut self, list: &mut List, number: u32) {
        if list.count == 1 {
            let chunk = self.add_chunk(0);
            self.words[chunk as usize + 1] = list.first;
            (list.first, list.last) = (chunk, chunk);
        }
        let (chunk, at) = place(list.count);
        if at == 0 {
            let next = self.add_chunk(chunk);
            self.words[list.last as usize] = next;
            list.last = next;
        }
        self.words[(list.last + 1 + at) as usize] = number;
        list.count += 1;
    }

    /// The numbers of a list, the first of them skipped.
    pub(super) fn numbers(&self, list: &List, skip: u32) -> impl Iterator<Item = u32> {
        let (only, count) =
            if list.count == 1 { (Some(list.first), 0) } else { (None, list.count) };
        let mut left = count.saturating_sub(skip);
        let (mut chunk, mut at) = place(skip);
        let mut word = list.first as usize;
        if left > 0 {
            (0..chunk).for_each(|_| word = self.words[word] as usize);
        }
        let chained = iter::from_fn(move || {
            left = left.checked_sub(1)?;
            if at == room(chunk) {
                (chunk, at, word) = (chunk + 1, 0, self.words[word] as usize);
            }
            at += 1;
            Some(self.words[word + at as usize])
        });
        only.filter(|_| skip == 0).into_iter().chain(chained)
    }

    fn add_chunk(&mut self, chunk: u32) -> u32 {
        let place = self.words.len();
        self.words.resize(place + 1 + room(chunk) as usize, 0);
        u32::try_from(place).expect("a segment is below 4 GiB")
    }
}

/// How many numbers the chunk with this number has room for.
fn room(chunk: u32) -> u32 {
    CHUNK_MIN << chunk.min(GROWING)
}

/// The chunk that a number of a list is in, and its place there.
fn place(number: u32) -> (u32, u32) {
    match number.checked_sub(GROWING_NUMBERS) {
        Some(behind) => (GROWING + behind / CHUNK_MAX, behind % CHUNK_MAX),
        None => {
            let chunk = (number / CHUNK_MIN + 1).ilog2();
            (chunk, number + CHUNK_MIN - room(chunk))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Given numbers that are added to several lists in any order, then each list has its own,
        /// in their order, from any place on.
        #[test]
        fn each_list_has_what_was_added_to_it(
            added in vec((0..5_usize, any::<u32>()), 1..600),
            skip in 0..200_u32,
        ) {
            let mut lists = Lists::default();
            let mut told: [(Option<List>, Vec<u32>); 5] = Default::default();
            for (at, number) in added {
                let (list, numbers) = &mut told[at];
                match list {
                    Some(list) => lists.push(list, number),
                    None => *list = Some(List::of(number)),
                }
                numbers.push(number);
            }
            for (list, numbers) in told {
                let Some(list) = list else { continue };
                prop_assert_eq!(list.count() as usize, numbers.len());
                let read: Vec<u32> = lists.numbers(&list, skip).collect();
                let behind = numbers.get(skip as usize..).unwrap_or_default();
                prop_assert_eq!(&read[..], behind);
            }
        }
    }

    #[test]
    fn a_long_list_is_read_from_anywhere_and_takes_little_room() {
        const COUNT: u32 = 100_000;
        let (mut lists, mut list) = (Lists::default(), List::of(0));
        (1..COUNT).for_each(|number| lists.push(&mut list, number));
        let edges = [GROWING_NUMBERS, GROWING_NUMBERS + CHUNK_MAX, COUNT].map(|it| it - 1);
        for skip in edges.into_iter().chain([0, 1, 5]).flat_map(|edge| edge..edge + 2) {
            let behind = lists.numbers(&list, skip);
            assert!(behind.eq(skip..COUNT), "from {skip}");
        }
        assert!(lists.bytes() < COUNT as usize * 5);
    }
}
