//! Where the story is told: the platform's addresses, and the lines that are printed.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use reqwest::Client;

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
    pub fn new(
        commands: &str,
        queries: &str,
        data: &Path,
        veza_replay: &Path,
    ) -> anyhow::Result<Self> {
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
