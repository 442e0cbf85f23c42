//! What a process tells whoever started it. Nobody has to read it: a terminal that was closed, or a
//! `head` that has seen enough, is no reason to stop.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on standard output.
pub fn say(line: impl Display) {
    write(io::stdout(), format!("{line}\n"));
}

/// A line on standard error, about something that the operator should mend.
pub fn complain(line: impl Display) {
    write(io::stderr(), format!("veza: {line}\n"));
}

/// Whole, so that lines of several threads do not run into each other.
fn write(mut to: impl Write, text: String) {
    // Whoever read it is gone, and there is nobody else to tell.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
