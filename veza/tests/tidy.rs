//! The manners of the house that a program can check, over every file that git tracks (or would).
//!
//! Each rule is a function from one source file to its complaints, so that the last tests here can
//! show each rule a file that breaks it: a rule that catches nothing would otherwise look obeyed.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/rules.rs"]
mod rules;

use std::path::{Path, PathBuf};
use std::process::Command;

use rules::{Rule, Source};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("veza/ stands in the workspace").into()
}

/// Every file of the project, new ones not yet added among them, as paths from its root.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git lists the files: {listed:?}");
    let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let files: Vec<String> =
        listed.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect();
    assert!(files.iter().any(|path| path == "veza/tests/tidy.rs"), "this file is among them");
    files
}

fn read(path: &str) -> Option<String> {
    // What is not text has no manners to check.
    String::from_utf8(std::fs::read(root().join(path)).expect("a listed file can be read")).ok()
}

fn all_obey(ending: &str, rule: Rule) {
    let sources: Vec<Source> = files()
        .into_iter()
        .filter(|path| path.ends_with(ending) && path != "Cargo.lock")
        .filter_map(|path| read(&path).map(|text| Source::new(&path, &text)))
        .collect();
    let of_tests: Vec<String> = sources.iter().flat_map(Source::modules_of_tests).collect();
    let complaints: Vec<String> =
        sources.into_iter().flat_map(|source| rule(&source.within(&of_tests))).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_source_file_says_first_what_it_is() {
    all_obey(".rs", rules::header);
}

#[test]
fn lines_fit_a_page() {
    all_obey(".rs", rules::columns);
}

#[test]
fn files_are_short() {
    all_obey(".rs", rules::file_length);
}

#[test]
fn functions_are_short() {
    all_obey(".rs", rules::function_length);
}

#[test]
fn files_are_named_for_what_they_hold() {
    all_obey("", rules::name);
}

#[test]
fn nothing_is_left_unfinished() {
    all_obey(".rs", rules::unfinished);
}

#[test]
fn only_tests_unwrap() {
    all_obey(".rs", rules::unwraps);
}

#[test]
fn tests_wait_by_polling() {
    all_obey(".rs", rules::sleeps);
}

#[test]
fn the_domain_sees_no_clock_and_no_chance() {
    all_obey(".rs", rules::domain_purity);
}

#[test]
fn routes_are_added_where_they_are_listed() {
    all_obey(".rs", rules::routes);
}

#[test]
fn no_merge_is_left_half_done() {
    all_obey("", rules::merged);
}

#[test]
fn no_file_speaks_of_one_machine() {
    all_obey("", rules::machine_words);
}

#[test]
fn crates_import_only_what_the_house_allows() {
    let complaints: Vec<String> = files()
        .into_iter()
        .filter(|path| path.ends_with("/Cargo.toml"))
        .flat_map(|path| manifests::complaints(&path, &read(&path).expect("a manifest is text")))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_metric_is_described() {
    let described = read(metrics::DESCRIBED).expect("it is text");
    let sources: Vec<(String, String)> = files()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && path.contains("/src/"))
        .filter_map(|path| read(&path).map(|text| (path, text)))
        .collect();
    let complaints: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| metrics::complaints(path, text, &described))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    let counted: Vec<&str> = sources.iter().flat_map(|(_, text)| metrics::counted(text)).collect();
    assert!(counted.contains(&"veza_http_requests_total"), "{counted:?}");
    let told = described.split("(\"").skip(1).filter_map(|behind| behind.split('"').next());
    let gone: Vec<&str> = told.filter(|name| !counted.contains(name)).collect();
    assert!(gone.is_empty(), "nobody counts {gone:?}");
}
