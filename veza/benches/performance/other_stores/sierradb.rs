//! SierraDB, asked in RESP3: a node alone, a connection a writer.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use event_store::{NewEvent, StreamName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Program, Server, free_address, new_folder};

/// Where its program is.
const PROGRAM: &str = "VEZA_BENCH_SIERRADB";

/// It answers what is synced, by itself up to 5 ms after the write. Any write is enough for a sync
/// here, so that nobody waits for that; the rest is as it comes.
const SETTINGS: &str = "[sync]\nmin_bytes = 1\n";

/// A running SierraDB.
pub struct SierraDb {
    /// Its name and version.
    pub version: String,
    server: Server,
}

impl SierraDb {
    /// Starts one below this folder; none where it is not installed.
    pub async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = Program::named(PROGRAM, "SierraDB").await? else {
            return Ok(None);
        };
        let folder = new_folder(folder, "sierradb")?;
        let settings = folder.join("settings.toml");
        fs::write(&settings, SETTINGS)?;
        let address = free_address()?;
        let arguments: [OsString; 8] = [
            "--config".into(),
            settings.into(),
            "--dir".into(),
            folder.join("data").into(),
            "--client-address".into(),
            address.to_string().into(),
            "--cluster-address".into(),
            "/ip4/127.0.0.1/tcp/0".into(),
        ];
        let server = program.start(&folder, address, &arguments).await?;
        Ok(Some(Self { version: program.version, server }))
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }
}

/// A writer of one stream, on a connection of its own.
pub struct SierraWriter {
    socket: BufReader<TcpStream>,
    stream: StreamName,
    written: u64,
    line: Vec<u8>,
}

impl SierraWriter {
    pub async fn connect(address: SocketAddr, stream: StreamName) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let socket = BufReader::new(socket);
        let mut writer = Self { socket, stream, written: 0, line: Vec::new() };
        writer.ask(&[b"HELLO", b"3"]).await?;
        Ok(writer)
    }

    /// Appends an event at the stream's revision.
    pub async fn append(&mut self, event: &NewEvent) -> anyhow::Result<()> {
        let stream = self.stream.clone();
        let expected = match self.written.checked_sub(1) {
            None => "empty".to_owned(),
            Some(last) => last.to_string(),
        };
        self.ask(&[
            b"EAPPEND",
            stream.as_str().as_bytes(),
            event.event_type.as_str().as_bytes(),
            b"EXPECTED_VERSION",
            expected.as_bytes(),
            b"PAYLOAD",
            &event.data,
        ])
        .await?;
        self.written += 1;
        Ok(())
    }

    async fn ask(&mut self, words: &[&[u8]]) -> anyhow::Result<()> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.socket.write_all(&request).await?;
        self.answered().await
    }

    /// Reads one answer to its end; nothing in it is of interest but that it is no refusal.
    async fn answered(&mut self) -> anyhow::Result<()> {
        let mut left: usize = 1;
        while left > 0 {
            self.line.clear();
            let read = self.socket.read_until(b'\n', &mut self.line).await?;
            ensure!(read > 0, "SierraDB closed the connection");
            let said = String::from_utf8_lossy(&self.line);
            let (kind, rest) = said.trim_end().split_at_checked(1).context("an empty line")?;
            left -= 1;
            match kind {
                "%" => left += 2 * rest.parse::<usize>()?,
                "*" | "~" => left += rest.parse::<usize>()?,
                "$" => {
                    let mut bytes = vec![0; rest.parse::<usize>()? + b"\r\n".len()];
                    self.socket.read_exact(&mut bytes).await?;
                }
                "-" | "!" => bail!("SierraDB refused: {rest}"),
                _ => {}
            }
        }
        Ok(())
    }
}
