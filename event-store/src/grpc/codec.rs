//! How messages become bytes: in pieces small enough for what a stalled call may hold.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// What a call has allocated for its replies before there are any.
const BUFFER_BYTES: usize = 8 * 1024;

/// Messages are handed on together once they are this many bytes: with one more of the usual size
/// they still fit a frame of HTTP/2, and twice what is allocated at first.
const PIECE_BYTES: usize = 14 * 1024;

/// Protobuf, as `tonic` has it but for the sizes.
pub struct PieceCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for PieceCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for PieceCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, PIECE_BYTES))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::default()
    }
}
