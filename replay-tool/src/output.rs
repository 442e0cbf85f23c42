//! What is printed: aligned columns for people, one JSON document a line for programs.

use std::borrow::Cow;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{ContentType, RecordedEvent};
use serde_json::{Value, json};

/// Most results that people are shown who did not say how many they want.
const RESULTS_SHOWN: u64 = 1000;

/// Who reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// People.
    Text,
    /// Programs: the fields are stable.
    Json,
}

/// Where and how results are printed.
pub struct Output<'a> {
    writer: &'a mut (dyn Write + Send),
    format: Format,
}

impl<'a> Output<'a> {
    /// Prints to this writer.
    pub fn new(writer: &'a mut (dyn Write + Send), format: Format) -> Self {
        Self { writer, format }
    }

    /// At most how many results are printed when so many were asked for: without a word, as many
    /// as people read, and all for programs.
    pub fn limit(&self, asked: Option<u64>) -> u64 {
        asked.unwrap_or(match self.format {
            Format::Text => RESULTS_SHOWN,
            Format::Json => u64::MAX,
        })
    }

    /// Prints one result: the document, or the line that stands for it.
    pub fn result(&mut self, document: &Value, line: &str) -> io::Result<()> {
        self.result_of_lines(document, &[line])
    }

    /// The same where several lines stand for it.
    pub fn result_of_lines(
        &mut self,
        document: &Value,
        lines: &[impl AsRef<str>],
    ) -> io::Result<()> {
        match self.format {
            Format::Text => {
                lines.iter().try_for_each(|line| writeln!(self.writer, "{}", shown(line.as_ref())))
            }
            Format::Json => self.json(document),
        }
    }

    fn json(&mut self, document: &Value) -> io::Result<()> {
        writeln!(self.writer, "{}", shown(&document.to_string()))
    }

    /// Prints a document that people read whole.
    pub fn document(&mut self, document: &Value) -> io::Result<()> {
        match self.format {
            Format::Text => {
                let text = format!("{document:#}");
                text.lines().try_for_each(|line| writeln!(self.writer, "{}", shown(line)))
            }
            Format::Json => self.json(document),
        }
    }

    /// Shows what was printed so far, before something that takes its time.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Prints a line that programs do not need.
    pub fn remark(&mut self, line: &str) -> io::Result<()> {
        match self.format {
            Format::Text => writeln!(self.writer, "{}", shown(line)),
            Format::Json => Ok(()),
        }
    }
}

/// The text of a line without control characters, each as it is written in JSON: anybody who may
/// append chooses names and texts, and a terminal would do what they say. In JSON, which lets those
/// behind ASCII stand, it is the same text.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// A time, for people and programs.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An event as a document.
pub fn event_document(event: &RecordedEvent) -> Value {
    json!({
        "position": event.position.to_string(),
        "stream": event.stream.as_str(),
        "revision": event.revision.get(),
        "id": event.id.to_string(),
        "type": event.event_type.as_str(),
        "recorded_at": event.recorded_at.to_rfc3339(),
        "data": payload(event.content_type, &event.data),
        "metadata": payload(ContentType::Json, &event.metadata),
    })
}

/// JSON as it is; what is not is told by its size.
fn payload(content_type: ContentType, bytes: &[u8]) -> Value {
    let parsed = match content_type {
        ContentType::Json => serde_json::from_slice(bytes).ok(),
        ContentType::Binary => None,
    };
    parsed.unwrap_or_else(|| match bytes.len() {
        0 => Value::Null,
        length => json!({ "bytes": length }),
    })
}
