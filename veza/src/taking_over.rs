//! Taking over what another process may be just letting go.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use event_store::grpc::Listeners;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// How long a process that was killed may still hold its locks and ports: the kernel lets go of
/// them only once it has cleared the memory away.
const LET_GO_TIME_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);

/// Opens something that only one process may have open; while it is in use, again for two seconds.
///
/// # Errors
/// What the last attempt told.
pub async fn when_free<T, E: Display, Opening: Future<Output = Result<T, E>>>(
    open: impl Fn() -> Opening,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let until = Instant::now() + LET_GO_TIME_MAX;
    loop {
        match open().await {
            Err(error) if is_in_use(&error) && Instant::now() < until => {
                tracing::debug!(%error, "it is waited for");
                sleep(POLL).await;
            }
            opened => return opened,
        }
    }
}

/// Listens on the address; while its port is in use, again for two seconds.
///
/// # Errors
/// What the last attempt told.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bind = async || TcpListener::bind(address).await;
    when_free(bind, |error| error.kind() == io::ErrorKind::AddrInUse).await
}

/// Listens on the address, and on the other address of `localhost` if that is one of it: clients
/// that are told the name try both, and tell what became of the last. Without that other one the
/// server serves all the same. A port that is any free one nobody knows by the name.
///
/// # Errors
/// What the last attempt told of the address itself.
pub async fn listen_as_localhost(address: SocketAddr) -> io::Result<Listeners> {
    let first = listen(address).await?;
    let is_localhost =
        [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(IpAddr::V4).contains(&address.ip());
    if !is_localhost || address.port() == 0 {
        return Ok(first.into());
    }
    let other = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
    match listen(other).await {
        Ok(other) => Ok(Listeners::new(first, Some(other))),
        Err(error) => {
            tracing::info!(%other, %error, "localhost is served at one of its addresses");
            Ok(first.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::net::TcpStream;

    use super::*;

    /// Opens what is in use at the first so many attempts; how many there were, and how it ended.
    async fn attempts(
        in_use: u32,
        error: &'static str,
    ) -> (u32, Result<&'static str, &'static str>) {
        let count = Cell::new(0);
        let open = async || {
            count.set(count.get() + 1);
            if count.get() > in_use { Ok("open") } else { Err(error) }
        };
        let opened = when_free(open, |error| *error == "in use").await;
        (count.get(), opened)
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_free_is_opened_and_what_does_not_is_refused_after_two_seconds() {
        assert_eq!(attempts(0, "in use").await, (1, Ok("open")));
        assert_eq!(attempts(5, "in use").await, (6, Ok("open")));
        assert_eq!(attempts(1, "broken").await, (1, Err("broken")));
        let began = Instant::now();
        assert_eq!(attempts(u32::MAX, "in use").await.1, Err("in use"));
        let waited = began.elapsed();
        assert!(waited >= LET_GO_TIME_MAX && waited < LET_GO_TIME_MAX + 2 * POLL, "{waited:?}");
    }

    #[tokio::test]
    async fn localhost_is_listened_on_at_both_its_addresses() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listeners = listen_as_localhost(address).await.unwrap();
        assert_eq!(listeners.local_addr().unwrap(), address);
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let has_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        assert_eq!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.is_ok(), has_v6);
    }
}
