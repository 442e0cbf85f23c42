//! Where connections come in: at one address, or at both that `localhost` is.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

/// Where a server accepts connections. It names itself by the first of them.
#[derive(Debug)]
pub struct Listeners {
    first: TcpListener,
    other: Option<TcpListener>,
}

impl Listeners {
    /// Both, or the first alone.
    pub fn new(first: TcpListener, other: Option<TcpListener>) -> Self {
        Self { first, other }
    }

    /// The address of the first, with its real port where 0 was asked for.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }

    /// The next connection, of either. Dropping the future loses none.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let Some(other) = &self.other else { return self.first.accept().await };
        tokio::select! {
            accepted = self.first.accept() => accepted,
            accepted = other.accept() => accepted,
        }
    }
}

impl From<TcpListener> for Listeners {
    fn from(only: TcpListener) -> Self {
        Self::new(only, None)
    }
}
