//! Requests on their way: how much the server holds of messages that are not whole yet.
//!
//! A message is put together before it is looked at, so what has come of it costs memory while its
//! client takes its time. Calls whose request is still arriving are counted, and refused beyond a
//! number; what has come of a message beyond its first bytes shares what appends may hold, and its
//! rest must come in time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::arriving::{Held, Reception};
use super::problem::Problem;

/// What may come of a message before it is accounted for: the place of its call pays for that.
const FREE_BYTES: usize = 16 * 1024;

/// How a message begins in gRPC: whether it is compressed, and its length in four bytes.
pub(super) const HEADER_BYTES: usize = 5;

/// The body of a request, within the limits.
pub(super) struct UnfinishedBody {
    body: Incoming,
    reception: Reception,
    message: Message,
    held: Option<Held>,
    /// Until when the rest of the message must come, if its first bytes are there.
    until: Option<Pin<Box<Sleep>>>,
    _place: Held,
}

impl UnfinishedBody {
    pub(super) fn new(body: Incoming, reception: Reception) -> Result<Self, Status> {
        let full = |_| Status::resource_exhausted("too many calls have not ended their requests");
        let place = reception.place().map_err(full)?;
        let (message, held, until) = (Message::default(), None, None);
        Ok(Self { body, reception, message, held, until, _place: place })
    }

    /// Accounts for what has come.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        if self.message.take(bytes) {
            // Whoever gets a message that is whole accounts for it.
            (self.held, self.until) = (None, None);
        }
        let held = self.held.as_ref().map_or(0, Held::num_permits);
        let costs = self.message.arrived().saturating_sub(FREE_BYTES);
        if costs > held {
            self.reception.hold(&mut self.held, costs - held)?;
        }
        if self.message.is_begun() && self.until.is_none() {
            self.until = Some(Box::pin(sleep(self.reception.time_max)));
        }
        Ok(())
    }
}

impl HttpBody for UnfinishedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            if let Some(until) = &mut self.until {
                ready!(until.as_mut().poll(context));
                return Poll::Ready(Some(Err(Problem::TooSlow.into())));
            }
            return Poll::Pending;
        };
        let Some(frame) = frame.transpose().map_err(|error| Status::from_error(error.into()))?
        else {
            return Poll::Ready(None);
        };
        if let Some(bytes) = frame.data_ref() {
            self.take(bytes)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where in a message its bytes are.
#[derive(Default)]
struct Message {
    header: usize,
    /// The last four bytes of the header, as far as they have come.
    length: u32,
    payload: usize,
}

impl Message {
    /// Follows these bytes; returns whether a message ended in them.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while let [first, rest @ ..] = bytes {
            if self.header < HEADER_BYTES {
                self.header += 1;
                self.length = (self.length << 8) | u32::from(*first);
                bytes = rest;
            } else {
                let missing = self.length as usize - self.payload;
                let here = missing.min(bytes.len());
                self.payload += here;
                bytes = &bytes[here..];
            }
            if self.header == HEADER_BYTES && self.payload == self.length as usize {
                *self = Self::default();
                ended = true;
            }
        }
        ended
    }

    fn is_begun(&self) -> bool {
        self.header > 0
    }

    fn arrived(&self) -> usize {
        self.header + self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, length];
        bytes.resize(HEADER_BYTES + usize::from(length), 7);
        bytes
    }

    /// However the bytes are cut, messages end where they end.
    #[test]
    fn messages_are_followed_over_any_cut() {
        let bytes = [message(3), message(0), message(200), message(1)].concat();
        let ends = [8, 13, 218, 224];
        for piece in 1..=bytes.len() {
            let mut followed = Message::default();
            for (number, cut) in bytes.chunks(piece).enumerate() {
                let (from, to) = (number * piece, number * piece + cut.len());
                let ended = ends.iter().any(|&end| from < end && end <= to);
                assert_eq!(followed.take(cut), ended, "bytes {from} to {to}");
                let begun = ends.iter().filter(|&&end| end <= to).max().copied().unwrap_or(0);
                assert_eq!(followed.arrived(), to - begun);
                assert_eq!(followed.is_begun(), to > begun);
            }
        }
    }
}
