//! Stories that official clients of other languages tell, which read what the Rust client does not.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Server;

/// Whether it ended well.
pub fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// The folder of this name, once that was installed in it; `None` where it can't be.
pub fn installed(name: &str, install: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Tests run in processes of their own, and one of them installs it.
    let lock = File::create(home.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock");
    if !home.join("ready").exists() {
        if !install(&home) {
            return None;
        }
        std::fs::write(home.join("ready"), name).expect("the folder was just made");
    }
    Some(home)
}

/// Has a client tell this story to a server of its own; `teller` makes it ready, and is what needs
/// `parts`.
pub async fn tell(teller: fn() -> Option<Command>, parts: &str, story: &str) {
    let server = Server::start().await;
    tell_to(teller, parts, story, vec![server.address().into()]).await;
}

/// Has a client tell this story, with these arguments.
pub async fn tell_to(
    teller: fn() -> Option<Command>,
    parts: &str,
    story: &str,
    arguments: Vec<OsString>,
) {
    let teller = tokio::task::spawn_blocking(teller).await.expect("no panic");
    let Some(mut teller) = teller else {
        assert!(std::env::var_os("CI").is_none(), "{parts} is needed");
        eprintln!("skipped: {parts} is needed");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_protocol").join(story);
    let story = move || teller.arg(script).args(arguments).output();
    let output = tokio::task::spawn_blocking(story).await.expect("no panic").expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim() == "told", "{told}\n{failed}");
}
