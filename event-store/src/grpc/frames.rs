//! Small frames of HTTP/2, put together before they are taken apart.
//!
//! A client that sends many small events writes a DATA frame for each. While their call waits, for
//! the disk say, the implementation of HTTP/2 below counts what each frame costs beside its bytes,
//! and closes the whole connection when it is too much, with every call on it. But frames of one
//! stream that follow each other say no more than one frame with all their bytes (RFC 9113, 6.1),
//! and take no more of the flow's windows. So of what has arrived together, they become one.
//!
//! Nothing is waited for, and what is not HTTP/2 passes as it is.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of a frame (RFC 9113, 4.1): its header, the longest payload that is taken unless agreed
/// otherwise, and where in the header what stands.
const HEADER_BYTES: usize = 9;
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
const LENGTH_BYTES: usize = 3;
const TYPE_AT: usize = 3;
const FLAGS_AT: usize = 4;
const DATA: u8 = 0;

/// Frames with a larger payload are not counted as small by anybody, and pass as they are.
const SMALL_BYTES_MAX: usize = 1024;

/// How much is read from the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// A socket from which small frames come put together.
pub(super) struct JoinedFrames<S> {
    socket: S,
    joiner: Joiner,
    /// What is to be handed on.
    joined: BytesMut,
}

impl<S> JoinedFrames<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, joiner: Joiner::default(), joined: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for JoinedFrames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.joined.is_empty() {
            // Not kept: a connection that is silent holds nothing.
            let mut bytes = [mem::MaybeUninit::uninit(); READ_BYTES];
            let mut arrived = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut arrived))?;
            if arrived.filled().is_empty() {
                this.joined.extend_from_slice(&this.joiner.rest());
                if this.joined.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.joiner.join(arrived.filled(), &mut this.joined);
            }
        }
        let length = this.joined.len().min(buffer.remaining());
        buffer.put_slice(&this.joined[..length]);
        this.joined.advance(length);
        if this.joined.is_empty() {
            this.joined = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for JoinedFrames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// Goes through what arrives, frame by frame.
#[derive(Default)]
struct Joiner {
    at: At,
    /// What has arrived of a preface, a header or a small frame that is not whole.
    begun: Vec<u8>,
}

/// What the next byte is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The beginning of the connection.
    #[default]
    Preface,
    /// The header of a frame, or a small frame of DATA.
    Frame,
    /// A payload that passes as it is, of which so many bytes are to come.
    Payload(usize),
    /// Something else than HTTP/2.
    Other,
}

/// A frame that others are joined to, while it is not handed on.
#[derive(Clone, Copy)]
struct Open {
    stream: [u8; 4],
    /// Where its header is in what is to be handed on.
    header_at: usize,
    payload_bytes: usize,
}

impl Joiner {
    /// Puts what has arrived behind `joined`, its small frames together.
    fn join(&mut self, mut arrived: &[u8], joined: &mut BytesMut) {
        let mut open: Option<Open> = None;
        while !arrived.is_empty() {
            match self.at {
                At::Other => {
                    joined.extend_from_slice(mem::take(&mut arrived));
                }
                At::Payload(left) => {
                    let here = left.min(arrived.len());
                    joined.extend_from_slice(&arrived[..here]);
                    arrived = &arrived[here..];
                    self.at = if here == left { At::Frame } else { At::Payload(left - here) };
                }
                At::Preface => {
                    self.take(&mut arrived, PREFACE.len());
                    if !PREFACE.starts_with(&self.begun) {
                        self.at = At::Other;
                    } else if self.begun.len() == PREFACE.len() {
                        self.at = At::Frame;
                    } else {
                        return;
                    }
                    joined.extend_from_slice(&mem::take(&mut self.begun));
                }
                At::Frame => {
                    self.take(&mut arrived, HEADER_BYTES);
                    let Some(&header) = self.begun.first_chunk::<HEADER_BYTES>() else { return };
                    let payload_bytes = payload_bytes(&header);
                    let is_plain_data = header[TYPE_AT] == DATA && header[FLAGS_AT] == 0;
                    if !is_plain_data || payload_bytes > SMALL_BYTES_MAX {
                        joined.extend_from_slice(&header);
                        self.begun.clear();
                        open = None;
                        self.at =
                            if payload_bytes == 0 { At::Frame } else { At::Payload(payload_bytes) };
                        continue;
                    }
                    self.take(&mut arrived, HEADER_BYTES + payload_bytes);
                    if self.begun.len() < HEADER_BYTES + payload_bytes {
                        return;
                    }
                    open = Some(add(&self.begun, open, joined));
                    self.begun.clear();
                }
            }
        }
    }

    /// Moves what there is of the first `length` bytes of what is begun.
    fn take(&mut self, arrived: &mut &[u8], length: usize) {
        let here = length.saturating_sub(self.begun.len()).min(arrived.len());
        self.begun.extend_from_slice(&arrived[..here]);
        *arrived = &arrived[here..];
    }

    /// What is left where nothing more comes.
    fn rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.begun)
    }
}

/// Puts a whole frame behind the open one, into it where it is of the same stream and has room.
fn add(frame: &[u8], open: Option<Open>, joined: &mut BytesMut) -> Open {
    let (header, payload) = frame.split_at(HEADER_BYTES);
    let stream = [header[5], header[6], header[7], header[8]];
    let fits = |open: &Open| {
        open.stream == stream && open.payload_bytes + payload.len() <= PAYLOAD_BYTES_MAX
    };
    let Some(mut open) = open.filter(fits) else {
        let header_at = joined.len();
        joined.extend_from_slice(frame);
        return Open { stream, header_at, payload_bytes: payload.len() };
    };
    joined.extend_from_slice(payload);
    open.payload_bytes += payload.len();
    let length = u32::try_from(open.payload_bytes).unwrap_or(u32::MAX).to_be_bytes();
    joined[open.header_at..open.header_at + LENGTH_BYTES].copy_from_slice(&length[1..]);
    open
}

fn payload_bytes(header: &[u8; HEADER_BYTES]) -> usize {
    let [first, second, third, ..] = *header;
    u32::from_be_bytes([0, first, second, third]) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type, flags, stream and payload.
    type Frame = (u8, u8, u32, Vec<u8>);

    fn bytes(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, stream, payload) in frames {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            bytes.extend_from_slice(&length[1..]);
            bytes.extend_from_slice(&[*kind, *flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut rest = bytes.strip_prefix(PREFACE).expect("the preface comes first");
        let mut frames = Vec::new();
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let (payload, behind) = behind.split_at(payload_bytes(header));
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            frames.push((header[TYPE_AT], header[FLAGS_AT], stream, payload.to_vec()));
            rest = behind;
        }
        assert!(rest.is_empty(), "a frame is not whole");
        frames
    }

    /// Frames as the peer means them: neighbours that may be one are.
    fn meant(frames: Vec<Frame>) -> Vec<Frame> {
        let mut meant: Vec<Frame> = Vec::new();
        for frame in frames {
            match meant.last_mut() {
                Some((DATA, 0, stream, payload))
                    if (frame.0, frame.1, frame.2) == (DATA, 0, *stream) =>
                {
                    payload.extend(frame.3);
                }
                _ => meant.push(frame),
            }
        }
        meant
    }

    fn joined(arrivals: &[&[u8]]) -> Vec<u8> {
        let (mut joiner, mut joined) = (Joiner::default(), BytesMut::new());
        for arrived in arrivals {
            joiner.join(arrived, &mut joined);
        }
        joined.extend_from_slice(&joiner.rest());
        joined.to_vec()
    }

    #[test]
    fn small_frames_that_arrive_together_are_one_and_others_stay() {
        let data = |stream, flags, text: &str| (DATA, flags, stream, text.as_bytes().to_vec());
        let large = "x".repeat(SMALL_BYTES_MAX + 1);
        let sent = [
            (1, 4, 1, b"headers".to_vec()),
            data(1, 0, "one "),
            data(1, 0, ""),
            data(1, 0, "two "),
            data(3, 0, "another "),
            data(3, 1, "and its end"),
            data(1, 0, &large),
            data(1, 0, "three"),
        ];
        let expected = [
            (1, 4, 1, b"headers".to_vec()),
            data(1, 0, "one two "),
            data(3, 0, "another "),
            data(3, 1, "and its end"),
            data(1, 0, &large),
            data(1, 0, "three"),
        ];
        assert_eq!(frames(&joined(&[&bytes(&sent)])), expected);
    }

    #[test]
    fn no_frame_becomes_longer_than_is_taken() {
        let sent = vec![(DATA, 0, 1, vec![7; SMALL_BYTES_MAX]); 40];
        let joined = frames(&joined(&[&bytes(&sent)]));
        assert!(joined.iter().all(|frame| frame.3.len() <= PAYLOAD_BYTES_MAX));
        assert_eq!(joined.len(), 3);
        assert_eq!(meant(joined), meant(sent));
    }

    #[test]
    fn what_is_not_http_2_passes_as_it_is() {
        for text in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1", "P", "", "PUT"] {
            let all =
                joined(&[&text.as_bytes()[..text.len() / 2], &text.as_bytes()[text.len() / 2..]]);
            assert_eq!(all, text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn however_it_arrives_it_means_the_same(
            sent in prop::collection::vec(
                (0_u8..3, 0_u8..2, 1_u32..4, prop::collection::vec(any::<u8>(), 0..2000)),
                0..30,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let bytes = bytes(&sent);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let mut arrivals = Vec::new();
            let mut from = 0;
            for cut in cuts {
                arrivals.push(&bytes[from..cut]);
                from = cut;
            }
            arrivals.push(&bytes[from..]);
            prop_assert_eq!(meant(frames(&joined(&arrivals))), meant(sent));
        }
    }
}
