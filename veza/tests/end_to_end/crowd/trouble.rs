//! What some purchases of a crowd run into: a licence that many want and one can have, cards that
//! are declined after money was held, masters that are taken down before they are delivered.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::acts::{list, offer, publish_tone};
use crate::platform::Platform;

/// How those pay who rush for an exclusive licence: mostly so that it comes free again.
const METHODS: [&str; 3] =
    ["sandbox:decline-capture", "sandbox:decline", "sandbox:decline-capture"];

/// One of so many who rush pays well, and has it for good.
const WELL_PAID_OF: usize = 40;

/// How many tracks are uploaded at once.
const UPLOADS_AT_ONCE: usize = 2;

/// Licences to be fought for, and tracks that will be taken down; a pair of each serves for a few
/// rounds.
#[derive(Default)]
pub struct Trouble {
    exclusive: Vec<Value>,
    doomed: Vec<(String, Value)>,
    rounds_each: usize,
    taken_down: Mutex<Vec<String>>,
    lost: AtomicU64,
}

impl Trouble {
    /// For so many rounds, from tracks of the artist.
    pub async fn prepare(platform: &Platform, artist: &str, pairs: usize, rounds: usize) -> Self {
        // An account may not upload much at once.
        let publishing = (0..2 * pairs).map(|_| publish_tone(platform, artist, 100));
        let tracks: Vec<_> = stream::iter(publishing).buffered(UPLOADS_AT_ONCE).collect().await;
        let (exclusive, doomed) = tracks.split_at(pairs);
        let exclusive = exclusive.iter().map(|track| list(platform, artist, track, "instant"));
        let doomed = doomed.iter().map(async |track| {
            let listing = offer(platform, artist, track, "non_exclusive", "on_approval").await;
            (track.clone(), listing)
        });
        Self {
            exclusive: join_all(exclusive).await,
            doomed: join_all(doomed).await,
            rounds_each: rounds.div_ceil(pairs),
            ..Self::default()
        }
    }

    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        !self.exclusive.is_empty()
    }

    /// The licence that is fought for in this round, counted from one.
    pub fn exclusive(&self, round: usize) -> &Value {
        &self.exclusive[self.index(round)]
    }

    /// The track that is taken down in this round, and its licence.
    pub fn doomed(&self, round: usize) -> &(String, Value) {
        &self.doomed[self.index(round)]
    }

    /// How somebody pays who rolled so much.
    pub fn method(rolled: usize) -> &'static str {
        if rolled.is_multiple_of(WELL_PAID_OF) {
            "sandbox:ok"
        } else {
            METHODS[rolled % METHODS.len()]
        }
    }

    fn index(&self, round: usize) -> usize {
        (round.saturating_sub(1) / self.rounds_each).min(self.exclusive.len() - 1)
    }

    /// Somebody was told that a master is taken down.
    pub fn note_taken_down(&self, track: &str) {
        self.taken_down.lock().unwrap().push(track.to_owned());
    }

    /// Somebody was told that the licence is another's, or not to be had any more.
    pub fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// The licences that were fought for.
    pub fn exclusives(&self) -> impl Iterator<Item = &str> {
        self.exclusive.iter().filter_map(Value::as_str)
    }

    /// The tracks whose masters somebody was told are taken down.
    pub fn taken_down(&self) -> Vec<String> {
        self.taken_down.lock().unwrap().clone()
    }

    /// How many purchases were refused.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
