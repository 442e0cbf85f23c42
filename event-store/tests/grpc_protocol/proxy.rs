//! A way to the server that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Forwards connections until they are cut; new ones may be made at once.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let open = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let forward = tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.expect("connect");
                    // It ends with either side, or when it is cut.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
                connections.lock().expect("lock").push(forward.abort_handle());
            }
        });
        Self { address, open }
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
}
