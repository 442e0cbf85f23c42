//! The official Python client, which reads trailers and texts that the Rust client does not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Server;

/// The release that the story is written for.
const CLIENT: &str = "kurrentdbclient==1.3.5";

/// A Python with the client in it, installed once; `None` where there is no Python.
fn python() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kurrentdbclient-1.3.5");
    let python = home.join("bin/python");
    // Tests run in processes of their own, and one of them installs it.
    let lock = File::create(home.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock");
    if home.join("ready").exists() {
        return Some(python);
    }
    let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let installed = run(Command::new("python3").args(["-m", "venv"]).arg(&home))
        && run(Command::new(&python).args(["-m", "pip", "install", "--quiet", CLIENT]));
    if !installed {
        return None;
    }
    std::fs::write(home.join("ready"), CLIENT).expect("the folder was just made");
    Some(python)
}

/// Has the client tell this story to a server of its own.
async fn tell(story: &str) {
    let installed = tokio::task::spawn_blocking(python).await.expect("no panic");
    let Some(python) = installed else {
        assert!(std::env::var_os("CI").is_none(), "python3 with venv and pip is needed");
        eprintln!("skipped: python3 with venv and pip is needed");
        return;
    };
    let server = Server::start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_protocol").join(story);
    let address = server.address();
    let story = move || Command::new(python).arg(script).arg(address).output();
    let output = tokio::task::spawn_blocking(story).await.expect("no panic").expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim() == "told", "{told}\n{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_tells_its_story() {
    tell("story.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_consumes_in_groups() {
    tell("groups.py").await;
}
