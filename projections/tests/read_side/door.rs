//! A door before a server, that can be shut, held or lied at; and one that executes an insert and
//! then cuts the answer off, as a network does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the door does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lets everything through.
    Open,
    /// Cuts every connection.
    Shut,
    /// Takes requests and answers none.
    Silent,
    /// Answers what no ClickHouse would.
    Lying,
}

pub struct Door {
    pub url: String,
    mode: watch::Sender<Mode>,
    cuts: Arc<AtomicUsize>,
}

impl Door {
    /// A door before the server at this address, in this mode.
    pub async fn before(server: &str, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (mode, cuts) = (watch::Sender::new(mode), Arc::new(AtomicUsize::new(0)));
        let door = Self { url, mode: mode.clone(), cuts: Arc::clone(&cuts) };
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, mode) = (server.clone(), mode.subscribe());
                tokio::spawn(pass(client, server, mode, Arc::clone(&cuts)));
            }
        });
        door
    }

    pub fn turn(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The next inserts are executed, but nobody learns of it.
    pub fn cut_answers_to_inserts(&self, how_many: usize) {
        self.cuts.store(how_many, Ordering::SeqCst);
    }

    pub fn cuts_left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut client: TcpStream,
    server: String,
    mut mode: watch::Receiver<Mode>,
    cuts: Arc<AtomicUsize>,
) {
    let now = *mode.borrow_and_update();
    match now {
        Mode::Shut => {}
        Mode::Silent => drop(mode.changed().await),
        Mode::Lying => {
            let mut request = [0; 4096];
            let _ = client.read(&mut request).await;
            let lie =
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n\x03surprise";
            let _ = client.write_all(lie).await;
        }
        Mode::Open => {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            tokio::select! {
                _ = mode.changed() => {}
                _ = through(client, server, cuts) => {}
            }
        }
    }
}

/// Passes bytes both ways, until one side ends or an answer is to be cut off.
async fn through(client: TcpStream, server: TcpStream, cuts: Arc<AtomicUsize>) -> Option<()> {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_insert = false;
    loop {
        tokio::select! {
            read = from_client.read(&mut asked) => {
                let read = read.ok().filter(|read| *read > 0)?;
                is_insert |= asked[..read].windows(6).any(|window| window == b"INSERT");
                to_server.write_all(&asked[..read]).await.ok()?;
            }
            read = from_server.read(&mut answered) => {
                let read = read.ok().filter(|read| *read > 0)?;
                let left = |left: usize| left.checked_sub(1);
                if is_insert
                    && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
                {
                    return None;
                }
                is_insert = false;
                to_client.write_all(&answered[..read]).await.ok()?;
            }
        }
    }
}
