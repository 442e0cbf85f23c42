//! What a process tells whoever started it. Nobody has to read it: a terminal that was closed, or a
//! `head` that has seen enough, is no reason to stop.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{SecondsFormat, Utc};
use serde_json::json;

/// Whether lines are documents as those of the log are.
static SPEAKS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on says everything as the log does in JSON, for whoever reads that.
pub fn speak_json() {
    SPEAKS_JSON.store(true, Ordering::Relaxed);
}

/// A line on standard output.
pub fn say(line: impl Display) {
    write(io::stdout(), worded("INFO", "", &line));
}

/// A line on standard error, about something that the operator should mend.
pub fn complain(line: impl Display) {
    write(io::stderr(), worded("ERROR", "veza: ", &line));
}

fn worded(level: &str, who: &str, line: &dyn Display) -> String {
    if !SPEAKS_JSON.load(Ordering::Relaxed) {
        return format!("{who}{line}\n");
    }
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let message = line.to_string();
    let said = json!({
        "timestamp": timestamp, "level": level, "message": message, "target": "veza::console",
    });
    format!("{said}\n")
}

/// Whole, so that lines of several threads do not run into each other.
fn write(mut to: impl Write, text: String) {
    // Whoever read it is gone, and there is nobody else to tell.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
