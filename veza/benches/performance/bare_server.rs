//! The baseline of commands: a server that does nothing but read the JSON of a request and make it
//! durable, with one sync for all that wait, as the event store does. It runs in a process of its
//! own, as the platform does.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use anyhow::{Context as _, bail};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

/// The argument that makes this program that server.
pub const ROLE: &str = "bare-server";

/// Most requests that wait for the file.
const WAITING_MAX: usize = 4096;

type Waiting = (Vec<u8>, oneshot::Sender<u64>);

/// The server as a process; killed when this is dropped.
pub struct BareServer {
    pub address: SocketAddr,
    _process: Child,
}

impl BareServer {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(folder.join("bare.jsonl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("its output is piped")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let address = line.context("the bare server did not start")?.parse()?;
        Ok(Self { address, _process: process })
    }
}

/// Serves until standard input ends, which it does when whoever started this is gone.
pub fn serve(path: &Path) -> anyhow::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || keep_all(file, waiting));
    thread::spawn(|| {
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(i32::from(ended.is_err()));
    });
    let router = Router::new().fallback(keep).with_state(sender);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        axum::serve(listener, router).await?;
        bail!("the bare server ended")
    })
}

async fn keep(
    State(queue): State<mpsc::Sender<Waiting>>,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let gone = StatusCode::SERVICE_UNAVAILABLE;
    let mut line = body.to_string().into_bytes();
    line.push(b'\n');
    let (reply, kept) = oneshot::channel();
    queue.send((line, reply)).await.map_err(|_| gone)?;
    let position = kept.await.map_err(|_| gone)?;
    Ok((StatusCode::CREATED, Json(json!({ "position": position.to_string() }))))
}

/// Writes and syncs all that wait at once, then answers them. It ends at the first error, and the
/// requests that wait are told that it is gone.
fn keep_all(mut file: File, mut waiting: mpsc::Receiver<Waiting>) {
    let mut position = 0;
    while let Some(first) = waiting.blocking_recv() {
        let (mut bytes, mut replies) = (first.0, vec![first.1]);
        while let Ok((line, reply)) = waiting.try_recv() {
            bytes.extend_from_slice(&line);
            replies.push(reply);
        }
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for reply in replies {
            position += 1;
            // Whoever asked may have gone.
            let _ = reply.send(position);
        }
    }
}
