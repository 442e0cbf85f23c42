//! Turns at work of which only so much is done at once, by whose it is.
//!
//! Whoever has the fewest at work comes first, and owners take turns among themselves: who has many
//! waiting gets as many turns as who has one. Nobody has every place, where there is more than one:
//! so who comes while somebody else is at long works need not wait for their end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_schemas::UserId;
use tokio::sync::oneshot;

/// The places at one kind of work.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

/// A place at the work, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    owner: UserId,
}

struct State {
    free: usize,
    of_owner_max: usize,
    /// Of those who have any.
    at_work: HashMap<UserId, usize>,
    /// None of the queues is empty. Whose turn comes next is in front.
    waiting: VecDeque<(UserId, VecDeque<oneshot::Sender<Turn>>)>,
}

/// One who waits, and leaves the queue when dropped.
struct Waiting<'a> {
    turns: &'a Turns,
    owner: UserId,
    turn: oneshot::Receiver<Turn>,
}

// === impl Turns ===

impl Turns {
    /// So many places, and one at least.
    pub(super) fn new(at_once_max: usize) -> Self {
        let free = at_once_max.max(1);
        let of_owner_max = (free - 1).max(1);
        let (at_work, waiting) = (HashMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(State { free, of_owner_max, at_work, waiting })))
    }

    /// Waits for a place on somebody's behalf.
    pub(super) async fn take(&self, owner: UserId) -> Turn {
        let (sender, turn) = oneshot::channel();
        let mut waiting = Waiting { turns: self, owner, turn };
        self.state().wait(owner, sender);
        self.pass_on();
        (&mut waiting.turn).await.expect("who waits is in the queue")
    }

    /// Gives what is free to those whose turn it is. A turn that nobody takes any more is dropped
    /// here, and so passed on.
    fn pass_on(&self) {
        loop {
            let next = self.state().next();
            let Some((owner, waiter)) = next else { return };
            drop(waiter.send(Turn { turns: self.clone(), owner }));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().end(self.owner);
        self.turns.pass_on();
    }
}

// === impl Waiting ===

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turn.close();
        self.turns.state().leave(self.owner);
    }
}

// === impl State ===

impl State {
    fn wait(&mut self, owner: UserId, waiter: oneshot::Sender<Turn>) {
        match self.waiting.iter_mut().find(|(of, _)| *of == owner) {
            Some((_, waiters)) => waiters.push_back(waiter),
            None => self.waiting.push_back((owner, VecDeque::from([waiter]))),
        }
    }

    /// Removes those of an owner who went away.
    fn leave(&mut self, owner: UserId) {
        self.waiting.retain_mut(|(of, waiters)| {
            if *of == owner {
                waiters.retain(|waiter| !waiter.is_closed());
            }
            !waiters.is_empty()
        });
    }

    /// Who comes next, and has a place from now on.
    fn next(&mut self) -> Option<(UserId, oneshot::Sender<Turn>)> {
        if self.free == 0 {
            return None;
        }
        let at_work = |owner: &UserId| self.at_work.get(owner).copied().unwrap_or(0);
        let queues = self.waiting.iter().enumerate();
        let counted = queues.map(|(at, (owner, _))| (at, at_work(owner)));
        let least = counted.filter(|(_, count)| *count < self.of_owner_max);
        let (at, _) = least.min_by_key(|(_, count)| *count)?;
        let (owner, mut waiters) = self.waiting.remove(at)?;
        let waiter = waiters.pop_front()?;
        if !waiters.is_empty() {
            self.waiting.push_back((owner, waiters));
        }
        self.free -= 1;
        *self.at_work.entry(owner).or_default() += 1;
        Some((owner, waiter))
    }

    fn end(&mut self, owner: UserId) {
        self.free += 1;
        if let Some(count) = self.at_work.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.at_work.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    const A: UserId = UserId(Uuid::from_u128(1));
    const B: UserId = UserId(Uuid::from_u128(2));
    const C: UserId = UserId(Uuid::from_u128(3));

    type Taking<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    /// One who has asked, and has the turn already or waits.
    fn asked(turns: &Turns, owner: UserId) -> Result<Turn, Taking<'_>> {
        let mut taking: Taking<'_> = Box::pin(turns.take(owner));
        (&mut taking).now_or_never().ok_or(taking)
    }

    fn at_once(turns: &Turns, owner: UserId) -> Turn {
        asked(turns, owner).unwrap_or_else(|_| panic!("it waits"))
    }

    fn waits(turns: &Turns, owner: UserId) -> Taking<'_> {
        asked(turns, owner).err().expect("it waits")
    }

    /// The one of these whose turn it is, which is taken out of them.
    fn whose(waiting: &mut Vec<(&'static str, Taking<'_>)>) -> (&'static str, Turn) {
        let mut ready = Vec::new();
        for at in (0..waiting.len()).rev() {
            if let Some(turn) = (&mut waiting[at].1).now_or_never() {
                ready.push((waiting.remove(at).0, turn));
            }
        }
        assert_eq!(ready.len(), 1, "one turn ended, and one begins");
        ready.remove(0)
    }

    #[test]
    fn nobody_has_every_place() {
        let turns = Turns::new(3);
        let _held = [at_once(&turns, A), at_once(&turns, A)];
        let mut third = waits(&turns, A);
        let of_b = at_once(&turns, B);
        drop(of_b);
        assert!((&mut third).now_or_never().is_none(), "the place is kept for others");
        at_once(&turns, C);
    }

    #[test]
    fn the_only_place_is_anybodys() {
        for none_or_one in [0, 1] {
            let turns = Turns::new(none_or_one);
            let held = at_once(&turns, A);
            let waiting = waits(&turns, B);
            drop(held);
            assert!(waiting.now_or_never().is_some());
        }
    }

    #[test]
    fn owners_take_turns_however_many_of_theirs_wait() {
        let turns = Turns::new(1);
        let mut held = at_once(&turns, C);
        let asking = [("A1", A), ("A2", A), ("A3", A), ("B1", B), ("B2", B), ("C1", C)];
        let mut waiting: Vec<_> =
            asking.into_iter().map(|(name, owner)| (name, waits(&turns, owner))).collect();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held);
            let (name, turn) = whose(&mut waiting);
            order.push(name);
            held = turn;
        }
        assert_eq!(order, ["A1", "B1", "C1", "A2", "B2", "A3"]);
    }

    #[test]
    fn who_has_none_at_work_comes_before_who_has() {
        let turns = Turns::new(3);
        let (first, _second) = (at_once(&turns, A), at_once(&turns, A));
        let _of_b = at_once(&turns, B);
        let mut waiting = vec![("A", waits(&turns, A)), ("C", waits(&turns, C))];
        drop(first);
        assert_eq!(whose(&mut waiting).0, "C");
    }

    #[test]
    fn who_goes_away_leaves_the_queue_and_the_turn() {
        let turns = Turns::new(1);
        let held = at_once(&turns, A);
        let (gone, mut second) = (waits(&turns, B), waits(&turns, C));
        drop(gone);
        assert_eq!(turns.state().waiting.len(), 1, "of B nobody waits");
        drop(held);
        assert!((&mut second).now_or_never().is_some());

        let held = at_once(&turns, A);
        let (given, mut next) = (waits(&turns, B), waits(&turns, C));
        drop(held);
        // It has the turn, and goes before it has seen that.
        drop(given);
        assert!((&mut next).now_or_never().is_some());
        let state = turns.state();
        assert_eq!((state.free, state.at_work.len(), state.waiting.len()), (1, 0, 0));
    }
}
