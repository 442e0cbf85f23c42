//! The messages on their way to one consumer.
//!
//! It holds what the consumer has not looked at yet: never more than the consumer's buffer, because
//! all of it is in flight, and what is taken back from the consumer leaves it too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::consumer::Delivered;
use super::error::PersistentError;
use crate::event::EventId;

/// Between a group and one of its consumers.
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// Rings at the group when a consumer is gone.
    left: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivered>,
    end: End,
    abandoned: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    Ended(PersistentError),
    Told,
}

impl Mailbox {
    pub(super) fn new(left: Arc<Notify>) -> Self {
        Self { state: Mutex::default(), left }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the consumer a message.
    pub(super) fn push(&self, delivered: Delivered) {
        let mut state = self.state();
        if matches!(state.end, End::Open) {
            state.waiting.push_back(delivered);
            wake(state);
        }
    }

    /// Takes a message back, if the consumer did not take it yet.
    pub(super) fn withdraw(&self, id: EventId) {
        self.state().waiting.retain(|delivered| delivered.message.id() != id);
    }

    /// Ends the deliveries with this error; the first end counts.
    pub(super) fn end(&self, why: PersistentError) {
        let mut state = self.state();
        if matches!(state.end, End::Open) {
            state.waiting.clear();
            state.end = End::Ended(why);
            wake(state);
        }
    }

    /// Whether the consumer is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// The consumer is gone.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.waiting.clear();
        drop(state);
        self.left.notify_one();
    }

    /// The next message for the consumer.
    pub(super) fn poll(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivered, PersistentError>>> {
        let mut state = self.state();
        if let Some(delivered) = state.waiting.pop_front() {
            return Poll::Ready(Some(Ok(delivered)));
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::Open => {
                state.end = End::Open;
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            End::Ended(why) => Poll::Ready(Some(Err(why))),
            End::Told => Poll::Ready(None),
        }
    }
}

/// Wakes the consumer, with nothing locked.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
