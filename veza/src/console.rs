//! What a process tells whoever started it. Nobody has to read it: a terminal that was closed, or a
//! `head` that has seen enough, is no reason to stop.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{SecondsFormat, Utc};
use serde_json::json;

/// Whether complaints are documents as the lines of the log are, among which they stand.
static COMPLAINS_IN_JSON: AtomicBool = AtomicBool::new(false);

/// From now on complains as the log tells in JSON, for whoever reads that. What is said on standard
/// output stays as it is: people and scripts wait for it.
pub fn complain_in_json() {
    COMPLAINS_IN_JSON.store(true, Ordering::Relaxed);
}

/// A line on standard output.
pub fn say(line: impl Display) {
    write(io::stdout(), format!("{line}\n"));
}

/// A line on standard error, about something that the operator should mend.
pub fn complain(line: impl Display) {
    if !COMPLAINS_IN_JSON.load(Ordering::Relaxed) {
        return write(io::stderr(), format!("veza: {line}\n"));
    }
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let message = line.to_string();
    let said = json!({
        "timestamp": timestamp, "level": "ERROR", "message": message, "target": "veza::console",
    });
    write(io::stderr(), format!("{said}\n"));
}

/// Whole, so that lines of several threads do not run into each other.
fn write(mut to: impl Write, text: String) {
    // Whoever read it is gone, and there is nobody else to tell.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
