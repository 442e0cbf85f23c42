//! A client that makes calls and takes nothing from its socket, whatever it was let to ask for.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The largest that HTTP/2 knows, for each call and for the connection.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What the connection's window is at first.
const WINDOW: u32 = 65_535;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const WINDOW_UPDATE: u8 = 0x8;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// Makes so many gRPC calls of one message on a connection of their own, and reads none of the
/// answers. They last until it is dropped.
pub async fn calls(
    address: &str,
    path: &str,
    message: &[u8],
    count: usize,
) -> io::Result<TcpStream> {
    let mut sent = PREFACE.to_vec();
    let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend(WINDOW_MAX.to_be_bytes());
    frame(&mut sent, SETTINGS, 0, 0, &settings);
    frame(&mut sent, WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW).to_be_bytes());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", address),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let headers: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    body.extend(message);
    for number in 0..u32::try_from(count).expect("few") {
        let stream = 2 * number + 1;
        frame(&mut sent, HEADERS, END_HEADERS, stream, &headers);
        frame(&mut sent, DATA, END_STREAM, stream, &body);
    }
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&sent).await?;
    Ok(socket)
}

fn frame(sent: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    sent.extend(&length[1..]);
    sent.extend([kind, flags]);
    sent.extend(stream.to_be_bytes());
    sent.extend(payload);
}

/// A header as it is, to be kept in no table.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // Longer ones would need more than a byte for their length.
        assert!(text.len() < 127, "{text}");
        field.push(u8::try_from(text.len()).expect("short"));
        field.extend(text.as_bytes());
    }
    field
}
