//! Who may look into the data folder.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use crate::process::{Process, folder, veza_after};

const OTHERS: u32 = 0o077;

/// What others may do with anything in the folder; of PostgreSQL's, with its folder, which is shut.
fn open_to_others(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.mode() & OTHERS != 0 {
            found.push(format!("{} {:o}", path.display(), about.mode()));
        }
        if about.is_dir() && entry.file_name() != "postgres" {
            open_to_others(&path, found);
        }
    }
}

#[tokio::test]
async fn nobody_else_can_read_mails_events_books_or_objects() {
    let folder = folder();
    let data = folder.path().join("new").join("data");
    let mut command = veza_after("umask 0", &data, &["serve"]);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let platform = Process::as_it_is(&data, "run.json", command).await;
    platform.member("nina", "artist").await;
    assert!(data.join("outbox/email").is_dir() && data.join("postgres/data").is_dir());
    for passed in [&*data, data.parent().unwrap()] {
        let mode = fs::metadata(passed).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o711, "PostgreSQL's user passes, and sees nothing");
    }
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    assert!(found.is_empty(), "{found:#?}");
    platform.stop().await;
}
