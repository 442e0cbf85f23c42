//! Where the story is told: the platform's addresses, and the lines that are printed.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use reqwest::Client;
use serde_json::Value;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(50);

/// A platform to tell the story to.
pub struct Stage {
    pub(super) commands: String,
    pub(super) queries: String,
    pub(super) data: PathBuf,
    pub(super) veza_replay: PathBuf,
    pub(super) client: Client,
    began: Instant,
    chapters: AtomicU32,
}

impl Stage {
    /// The platform at these addresses and in this folder.
    ///
    /// # Errors
    /// When the folder is not that platform's.
    pub fn new(
        commands: &str,
        queries: &str,
        data: &Path,
        veza_replay: &Path,
    ) -> anyhow::Result<Self> {
        is_of(data, commands)?;
        Ok(Self {
            commands: commands.trim_end_matches('/').to_owned(),
            queries: queries.trim_end_matches('/').to_owned(),
            data: data.to_owned(),
            veza_replay: veza_replay.to_owned(),
            client: Client::builder().timeout(PATIENCE).build()?,
            began: Instant::now(),
            chapters: AtomicU32::new(0),
        })
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str) {
        let number = self.chapters.fetch_add(1, Ordering::Relaxed) + 1;
        println!("\n{number}. {title}");
    }

    /// Prints a step and what came back.
    pub fn step(&self, step: &str, came_back: impl Display) {
        println!("   {step:<46}  {came_back}");
    }

    /// Ends the story.
    pub fn end(&self) {
        println!("\nThe story was told in {:.1} s.", self.began.elapsed().as_secs_f64());
    }

    /// Polls until there is something.
    pub async fn eventually<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("not within {} s: {what}", PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether the data folder is that of the platform at this address: its mails and ledgers would be
/// waited for in vain elsewhere. A folder that says nothing of a platform is one that has none.
fn is_of(data: &Path, commands: &str) -> anyhow::Result<()> {
    let of_commands = |run: &Value| {
        let roles = run["roles"].as_array().into_iter().flatten();
        roles.filter_map(Value::as_str).any(|role| role == "command-api")
    };
    let files =
        fs::read_dir(data).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("run") && name.ends_with(".json")
    });
    let runs = files.filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok());
    let ports: Vec<String> = runs
        .filter(of_commands)
        .filter_map(|run: Value| run["http"].as_str()?.rsplit_once(':').map(|it| it.1.to_owned()))
        .collect();
    let data = data.display();
    ensure!(!ports.is_empty(), "no platform that takes commands runs on {data} (VEZA_DATA)");
    let asked = commands.trim_end_matches('/');
    // Behind a proxy the address is another.
    let is_here = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| asked.contains(host));
    ensure!(
        !is_here || ports.iter().any(|port| asked.ends_with(&format!(":{port}"))),
        "the platform on {data} (VEZA_DATA) is not at {commands} (VEZA_URL): it is on port {}",
        ports.join(" or ")
    );
    Ok(())
}
