//! The official Node client, which asks what the server supports and reads details of errors in a
//! manner of its own.

use std::process::Command;

use crate::security::secured::Secured;
use crate::stories::{installed, run, tell, tell_to};

/// The release that the story is written for.
const CLIENT: &str = "@kurrent/kurrentdb-client@1.3.1";

/// A Node that finds the client; `None` where there is no Node.
fn node() -> Option<Command> {
    let home = installed("kurrentdb-client-1.3.1", |home| {
        let install = ["install", "--silent", "--no-fund", "--no-audit", CLIENT, "--prefix"];
        run(Command::new("npm").args(install).arg(home))
    })?;
    let mut node = Command::new("node");
    node.env("NODE_PATH", home.join("node_modules"));
    Some(node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_appends_to_several_streams() {
    tell(node, "node with npm", "several.js").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_consumes_what_was_posted_over_http() {
    tell(node, "node with npm", "posted.js").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_says_who_it_is() {
    let secured = Secured::start().await;
    tell_to(node, "node with npm", "secured.js", secured.arguments()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_client_manages_projections() {
    tell(node, "node with npm", "projections.js").await;
}
