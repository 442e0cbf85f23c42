//! Replies on their way: how much of them the server holds for clients that do not read.
//!
//! Three things cost memory while a client stalls, and each has a bound over all calls together:
//!
//! - the call itself, with the few small messages that were handed to the transport already, whose
//!   bytes a call has a bound for: calls that read are counted, and refused beyond a number;
//! - the page of the log that its next events come from: a call has a share while it may hold one.
//!   Where none is free, calls that had theirs for a turn are made to let it go, whether they wait
//!   for their client or look in vain for what a filter keeps, and read on from where they were as
//!   soon as they have one again. Nobody waits for a client, and no event is lost;
//! - messages that are large: they share so many bytes until the transport has sent them. Whoever
//!   waits for room holds nothing meanwhile, and is refused after a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::carried::Carried;
use super::server::ServeOptions;
use super::source::Slot;

/// How often in a turn whoever waits for a share looks for calls that had theirs.
const LOOKS_A_TURN: u32 = 5;

/// Messages below this size are never waited for.
const LARGE_BYTES: usize = 64 * 1024;

/// How long a large message waits for room.
const ROOM_SECONDS_MAX: u64 = 30;

/// A share of what all calls may hold; given back when it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

/// What all calls share.
#[derive(Clone)]
pub(super) struct Sending(Arc<Bounds>);

struct Bounds {
    calls: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    large: Arc<Semaphore>,
    large_bytes_max: u32,
    turn: Duration,
    slots: Mutex<Slots>,
}

struct Slots {
    by_call: HashMap<u64, Arc<Slot>>,
    next_call: u64,
    looked_at: Instant,
}

impl Sending {
    pub(super) fn new(options: &ServeOptions) -> Self {
        let &ServeOptions { reading_calls_max, pages_max, large_bytes_max, turn, .. } = options;
        let large_bytes_max = u32::try_from(large_bytes_max).unwrap_or(u32::MAX).max(1);
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        let by_call = HashMap::new();
        let slots = Slots { by_call, next_call: 0, looked_at: Instant::now() };
        Self(Arc::new(Bounds {
            calls: semaphore(reading_calls_max),
            pages: semaphore(pages_max),
            large: semaphore(large_bytes_max as usize),
            large_bytes_max,
            turn,
            slots: Mutex::new(slots),
        }))
    }

    /// A place for one more call that reads.
    pub(super) fn call(&self, slot: Arc<Slot>) -> Result<Call, Status> {
        let place = self.place()?;
        let mut slots = self.slots();
        let number = slots.next_call;
        slots.next_call += 1;
        slots.by_call.insert(number, slot);
        drop(slots);
        Ok(Call { number, sending: self.clone(), _place: place })
    }

    /// A place for one more call that is sent what others read.
    pub(super) fn place(&self) -> Result<Share, Status> {
        let full = |_| Status::resource_exhausted("too many reads and subscriptions are open");
        Arc::clone(&self.0.calls).try_acquire_owned().map_err(full)
    }

    /// A share to hold a page with, if one is free.
    pub(super) fn free_page(&self) -> Option<Share> {
        Arc::clone(&self.0.pages).try_acquire_owned().ok()
    }

    /// A share to hold a page with, as soon as another call lets one go.
    pub(super) async fn page(&self) -> Share {
        if let Some(share) = self.free_page() {
            return share;
        }
        let waits = Arc::clone(&self.0.pages).acquire_owned();
        tokio::pin!(waits);
        loop {
            self.let_pages_go();
            tokio::select! {
                share = waits.as_mut() => return share.expect("it is never closed"),
                () = tokio::time::sleep(self.look()) => {}
            }
        }
    }

    /// Takes the pages of the calls that have had their turn.
    fn let_pages_go(&self) {
        let mut slots = self.slots();
        if slots.looked_at.elapsed() >= self.look() {
            slots.looked_at = Instant::now();
            slots.by_call.values().for_each(|slot| slot.let_go(self.0.turn));
        }
    }

    fn look(&self) -> Duration {
        self.0.turn / LOOKS_A_TURN
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a call that reads; given back when it is dropped.
pub(super) struct Call {
    number: u64,
    sending: Sending,
    _place: Share,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.sending.slots().by_call.remove(&self.number);
    }
}

/// Room for the large messages of one call.
#[derive(Clone)]
pub(super) struct Room {
    sending: Sending,
    carried: Carried,
}

impl Room {
    pub(super) fn new(sending: Sending, carried: Carried) -> Self {
        Self { sending, carried }
    }

    /// Whether a message of this size may be made now: with what was waited for, or with what is
    /// free. It must be the next one that the call hands to the transport.
    pub(super) fn admits(&self, bytes: usize, waited: &mut Option<Share>) -> bool {
        if bytes < LARGE_BYTES {
            return true;
        }
        let cost = self.cost(bytes);
        let share = match waited.take() {
            Some(share) if share.num_permits() >= cost as usize => share,
            _ => match Arc::clone(&self.sending.0.large).try_acquire_many_owned(cost) {
                Ok(share) => share,
                Err(_) => return false,
            },
        };
        self.carried.hold(share);
        true
    }

    /// Room for a message of this size, once the transport has sent enough of others.
    pub(super) async fn wait(&self, bytes: usize) -> Result<Share, Status> {
        let waits = Arc::clone(&self.sending.0.large).acquire_many_owned(self.cost(bytes));
        let time_max = Duration::from_secs(ROOM_SECONDS_MAX);
        match tokio::time::timeout(time_max, waits).await {
            Ok(share) => Ok(share.expect("it is never closed")),
            Err(_) => Err(Status::resource_exhausted(
                "large events that others asked for and do not read fill the server's room",
            )),
        }
    }

    /// What is larger than all the room there is passes alone.
    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.sending.0.large_bytes_max)
    }
}
