//! The messages of a call that sends many.
//!
//! `tonic` puts all messages of a call together in one buffer, which stays as large as the largest
//! of them while the call lasts, and a client may keep its call for days. Here each message has a
//! buffer of its own, which goes with it. So the body of such a call goes past `tonic`, beside a
//! request whose own body is empty.

use std::io::Read;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::Request;
use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::body::Body as HttpBody;
use prost::Message;
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::parts::{ManyParts, PARTS_MAX, count};
use super::unfinished::{HEADER_BYTES, UnfinishedBody};

/// A body beside its request, to be taken once.
#[derive(Clone)]
struct Beside(Arc<Mutex<Option<UnfinishedBody>>>);

/// The request without its body, which [`Requests::of`] finds.
pub(super) fn past_tonic(request: Request<UnfinishedBody>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Beside(Arc::new(Mutex::new(Some(body)))));
    Request::from_parts(parts, Body::empty())
}

/// The messages, one after the other.
pub(super) struct Requests<M> {
    body: UnfinishedBody,
    /// Whether messages may be compressed.
    gzip: bool,
    /// What has come and is not looked at.
    frame: Bytes,
    /// What there is of the next message, its header included.
    begun: Vec<u8>,
    messages: PhantomData<fn() -> M>,
}

impl<M: Message + Default + ManyParts> Requests<M> {
    /// Those of a request that went past `tonic`.
    pub(super) fn of(mut request: tonic::Request<Streaming<M>>) -> Result<Self, Status> {
        // Any other encoding was refused already.
        let gzip = request.metadata().get("grpc-encoding").is_some_and(|name| name == "gzip");
        let beside = request.extensions_mut().remove::<Beside>();
        let body = beside
            .and_then(|Beside(body)| body.lock().unwrap_or_else(PoisonError::into_inner).take());
        let body = body.ok_or_else(|| Status::internal("the call has no body"))?;
        let (frame, begun) = (Bytes::new(), Vec::new());
        Ok(Self { body, gzip, frame, begun, messages: PhantomData })
    }

    /// The next message; `None` when the client sends no more. May be dropped while it waits.
    pub(super) async fn message(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            let frame =
                std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            match frame.await.transpose()?.map(hyper::body::Frame::into_data) {
                Some(Ok(data)) => self.frame = data,
                // Trailers say nothing of messages.
                Some(Err(_)) => {}
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(Status::internal("the request ends within a message")),
            }
        }
    }

    /// The next message, if all of it has come.
    fn next(&mut self) -> Result<Option<M>, Status> {
        self.fill(HEADER_BYTES);
        let Some(&[compressed, ref length @ ..]) = self.begun.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > M::BYTES_MAX {
            return Err(M::too_large(length));
        }
        self.fill(HEADER_BYTES + length);
        if self.begun.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let message = Bytes::from(mem::take(&mut self.begun)).slice(HEADER_BYTES..);
        let message = match compressed {
            0 => message,
            1 if self.gzip => decompressed::<M>(&message)?,
            _ => return Err(Status::internal("a message is compressed in no known way")),
        };
        if count::<M>(&message) > PARTS_MAX {
            return Err(Status::invalid_argument(format!(
                "a message has more than {PARTS_MAX} events and properties of them"
            )));
        }
        let unread = |error| Status::internal(format!("a message can't be read: {error}"));
        M::decode(message).map(Some).map_err(unread)
    }

    /// Moves bytes of the frame to the message until it has so many.
    fn fill(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.begun.len());
        let here = self.frame.split_to(missing.min(self.frame.len()));
        if self.begun.capacity() < self.begun.len() + here.len() {
            // Twice what is there, as a rule, but nothing beyond the message.
            self.begun.reserve_exact(missing.min(self.begun.len().max(here.len())));
        }
        self.begun.extend_from_slice(&here);
    }
}

fn decompressed<M: ManyParts>(message: &[u8]) -> Result<Bytes, Status> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(M::BYTES_MAX).unwrap_or(u64::MAX);
    let read = GzDecoder::new(message).take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Status::internal(format!("a message can't be decompressed: {error}")))?;
    if bytes.len() > M::BYTES_MAX {
        return Err(M::too_large(bytes.len()));
    }
    Ok(bytes.into())
}
