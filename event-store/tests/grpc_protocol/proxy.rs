//! A way to the server that can be cut, or lose all that the server answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Forwards connections until they are cut; new ones may be made at once.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    loses_answers: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let open = Arc::new(Mutex::new(Vec::new()));
        let loses_answers = Arc::<AtomicBool>::default();
        let (connections, loses) = (Arc::clone(&open), Arc::clone(&loses_answers));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let forward = tokio::spawn(forward(near, server, Arc::clone(&loses)));
                connections.lock().expect("lock").push(forward.abort_handle());
            }
        });
        Self { address, open, loses_answers }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for connection in self.open.lock().expect("lock").drain(..) {
            connection.abort();
        }
    }

    /// Loses from now on what the server answers, or no more; what is asked goes through.
    pub fn lose_answers(&self, lose: bool) {
        self.loses_answers.store(lose, Ordering::SeqCst);
    }
}

/// Forwards one connection, until either side ends it or it is cut.
async fn forward(mut near: TcpStream, server: SocketAddr, loses_answers: Arc<AtomicBool>) {
    // A server that is away takes no connection.
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = near.split();
    let (mut from_server, mut to_server) = far.split();
    let answers = async {
        let mut bytes = [0; 4096];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            if !loses_answers.load(Ordering::SeqCst) {
                to_client.write_all(&bytes[..count]).await?;
            }
        }
    };
    let questions = async {
        io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let _ = tokio::try_join!(answers, questions);
}
