//! `make demo`: one whole story, told to a running platform through its public doors only.
//!
//! It ends with an error at the first step that is not as told. `VEZA_URL` says where the commands
//! are, `VEZA_QUERY_URL` where the queries are (unset: at the same place), `VEZA_DATA` in which
//! folder the platform keeps its outbox and its sandbox gateway.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

// The end-to-end test tells the same story from the same files.
#[path = "story.rs"]
mod story;

use story::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let told = async { story::tell(&stage()?).await }.await;
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The platform that the environment names; by default the one that `make run` starts.
fn stage() -> anyhow::Result<Stage> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let commands = set("VEZA_URL").unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let queries = set("VEZA_QUERY_URL").unwrap_or_else(|| commands.clone());
    let data = set("VEZA_DATA").unwrap_or_else(|| "./veza-data".to_owned());
    // `veza-replay` was built beside this program's folder.
    let program = env::current_exe().context("where this program is")?;
    let built = program.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Stage::new(&commands, &queries, Path::new(&data), &built.join("veza-replay"))
}
