//! `deploy/local/setup` on machines that lack something.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn a_rust_that_is_too_old_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    let path = std::env::var("PATH").unwrap();
    for (version, is_too_old) in [("1.94.1", true), ("1.9.0", true), ("1.200.0", false)] {
        fs::write(&cargo, format!("#!/bin/sh\necho 'cargo {version} (0000000 2026-01-01)'\n"))
            .unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut setup = Command::new(root.join("deploy/local/setup"));
        setup.env("PATH", format!("{}:{path}", folder.path().display()));
        let output = setup.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if is_too_old {
            assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
            let words = format!("setup: Rust {version} is too old: ");
            assert!(said.starts_with(&words), "{said}");
            assert!(said.contains(env!("CARGO_PKG_RUST_VERSION")), "{said}");
        } else {
            assert!(output.status.success(), "{said}");
        }
    }
}
