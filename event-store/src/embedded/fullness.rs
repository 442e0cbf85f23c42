//! Whether the disk is full, as appends find it, and what the log says of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long no append may be refused before the log says that there is room again: beside the end
/// of a disk small ones fit where large ones don't, and each would take back what the other said.
const QUIET: Duration = Duration::from_secs(5);

/// What is known of the room on the disk.
#[derive(Default)]
pub(super) struct Fullness {
    is_full: AtomicBool,
    /// When an append was last refused, from what the log says of it to what it says of its end.
    refused: Mutex<Option<Instant>>,
}

/// What there is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Full,
    HasRoom,
}

impl Fullness {
    /// Whether the last append found no room.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Takes note of what an append found just now.
    pub(super) fn found(&self, is_full: bool, now: Instant) -> Option<News> {
        self.is_full.store(is_full, Ordering::Relaxed);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if is_full {
            return refused.replace(now).is_none().then_some(News::Full);
        }
        let is_over = refused.is_some_and(|refused| now.duration_since(refused) >= QUIET);
        is_over.then(|| {
            *refused = None;
            News::HasRoom
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_however_often_appends_are_refused_between() {
        let (fullness, began) = (Fullness::default(), Instant::now());
        let after = |millis| began + Duration::from_millis(millis);
        for (is_full, millis, news) in [
            (false, 0, None),
            (true, 1, Some(News::Full)),
            (false, 2, None),
            (true, 3, None),
            (true, 4_000, None),
            (false, 8_999, None),
            (false, 9_000, Some(News::HasRoom)),
            (false, 9_001, None),
            (true, 9_002, Some(News::Full)),
        ] {
            assert_eq!(fullness.found(is_full, after(millis)), news, "{millis}");
            assert_eq!(fullness.is_full(), is_full);
        }
    }
}
