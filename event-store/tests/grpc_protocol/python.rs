//! The official Python client, which reads trailers and texts that the Rust client does not.

use std::process::Command;

use crate::security::secured::Secured;
use crate::stories::{self, installed, run};

/// The release that the stories are written for.
const CLIENT: &str = "kurrentdbclient==1.3.5";

/// A Python with the client in it; `None` where there is no Python.
fn python() -> Option<Command> {
    let home = installed("kurrentdbclient-1.3.5", |home| {
        let pip = ["-m", "pip", "install", "--quiet", CLIENT];
        run(Command::new("python3").args(["-m", "venv"]).arg(home))
            && run(Command::new(home.join("bin/python")).args(pip))
    })?;
    Some(Command::new(home.join("bin/python")))
}

async fn tell(story: &str) {
    stories::tell(python, "python3 with venv and pip", story).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_tells_its_story() {
    tell("story.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_consumes_in_groups() {
    tell("groups.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_appends_to_several_streams() {
    tell("several.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_says_who_it_is() {
    let secured = Secured::start().await;
    let arguments = secured.arguments();
    stories::tell_to(python, "python3 with venv and pip", "secured.py", arguments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_manages_projections() {
    tell("projections.py").await;
}
