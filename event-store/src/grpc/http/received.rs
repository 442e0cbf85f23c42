//! The body of a request, within the bounds that all requests share.

use ::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};

use super::super::arriving::{Held, Reception};
use super::super::problem::Problem;
use super::refusal::Refusal;

/// Largest body that is taken, in bytes: as much as EventStoreDB takes for an event this way.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A body that came whole, and what it holds of the server's room.
pub(super) struct Received {
    pub bytes: Vec<u8>,
    _place: Held,
    _held: Option<Held>,
}

/// Receives a body, in time.
pub(super) async fn receive(body: Incoming, reception: &Reception) -> Result<Received, Refusal> {
    let received = tokio::time::timeout(reception.time_max, take(body, reception));
    received.await.map_err(|_| Problem::TooSlow)?
}

async fn take(mut body: Incoming, reception: &Reception) -> Result<Received, Refusal> {
    let full = |_| Refusal::from(Problem::Full);
    let place = reception.place().map_err(full)?;
    let (mut bytes, mut held) = (Vec::new(), None);
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    while let Some(frame) = body.frame().await {
        let broken = |_| Refusal::bad("the request broke off");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let data: Bytes = data;
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        reception.hold(&mut held, data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes, _place: place, _held: held })
}

fn too_large() -> Refusal {
    let reason = format!("the request has more than {BODY_BYTES_MAX} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
}
