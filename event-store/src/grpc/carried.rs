//! Bodies whose bytes carry what they hold, until the transport has sent them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::sending::Share;

/// The shares of a call's messages that are not encoded yet: its next bytes carry them.
#[derive(Clone, Default)]
pub(super) struct Carried(Arc<Mutex<Option<Share>>>);

impl Carried {
    /// Adds the share of the message that comes next.
    pub(super) fn hold(&self, share: Share) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) => held.merge(share),
            None => *held = Some(share),
        }
    }

    fn take(&self) -> Option<Share> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The body, its bytes with their shares.
    pub(super) fn body(self, body: Body) -> Body {
        Body::new(CarryingBody { body, carried: self })
    }
}

struct CarryingBody {
    body: Body,
    carried: Carried,
}

/// Bytes that give their share back when the last of them is dropped.
struct CarryingBytes {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for CarryingBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for CarryingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map_ok(|frame| {
            let carried = &self.carried;
            frame.map_data(|bytes| match carried.take() {
                Some(_share) => Bytes::from_owner(CarryingBytes { bytes, _share }),
                None => bytes,
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
