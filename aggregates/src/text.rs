//! Words people write: how long they may be, and which characters have no place in them.

use thiserror::Error;

/// Longest reason that is kept in an event, in characters.
pub const REASON_CHARS_MAX: usize = 500;

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// It is empty, or nothing but white space.
    #[error("the {field} is empty")]
    Empty {
        /// Which text.
        field: &'static str,
    },
    /// It is too long.
    #[error("the {field} has more than {max_chars} characters")]
    TooLong {
        /// Which text.
        field: &'static str,
        /// The longest that is taken, in characters.
        max_chars: usize,
    },
    /// It has characters that are not text.
    #[error("the {field} has control characters")]
    ControlCharacter {
        /// Which text.
        field: &'static str,
    },
}

impl TextError {
    /// Which text, as people call it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::TooLong { field, .. }
            | Self::ControlCharacter { field } => field,
        }
    }
}

/// One line of text without the white space around it: 1 to `max_chars` characters.
pub fn line(field: &'static str, text: &str, max_chars: usize) -> Result<String, TextError> {
    let text = text.trim();
    if text.chars().all(shows_nothing) {
        return Err(TextError::Empty { field });
    }
    checked(field, text, max_chars, |_| false)
}

/// Lines of text without the white space around them: 1 to `max_chars` characters.
pub fn lines(field: &'static str, text: &str, max_chars: usize) -> Result<String, TextError> {
    let text = optional_lines(field, text, max_chars)?;
    if text.chars().all(shows_nothing) {
        return Err(TextError::Empty { field });
    }
    Ok(text)
}

/// The same, and it may be empty.
pub fn optional_lines(
    field: &'static str,
    text: &str,
    max_chars: usize,
) -> Result<String, TextError> {
    checked(field, text.trim(), max_chars, |character| matches!(character, '\n' | '\r' | '\t'))
}

/// White space, and characters that only join, split or turn others. Among others they are fine:
/// scripts and emoji need them.
fn shows_nothing(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

fn checked(
    field: &'static str,
    text: &str,
    max_chars: usize,
    let_in: fn(char) -> bool,
) -> Result<String, TextError> {
    if text.chars().count() > max_chars {
        return Err(TextError::TooLong { field, max_chars });
    }
    if text.chars().any(|character| character.is_control() && !let_in(character)) {
        return Err(TextError::ControlCharacter { field });
    }
    Ok(text.to_owned())
}

/// A reason given by another program, cut to what is kept.
///
/// It is never refused: a gateway's long answer must not keep an order from being undone.
pub fn reason(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert_eq!(line("title", " äöü ", 3), Ok("äöü".to_owned()));
        let too_long = TextError::TooLong { field: "title", max_chars: 2 };
        assert_eq!(line("title", "äöü", 2), Err(too_long));
    }

    #[test]
    fn a_line_has_no_breaks_and_lines_have() {
        let control = TextError::ControlCharacter { field: "text" };
        assert_eq!(line("text", "a\nb", 10), Err(control.clone()));
        assert_eq!(lines("text", "a\nb", 10), Ok("a\nb".to_owned()));
        assert_eq!(lines("text", "a\u{0}b", 10), Err(control));
    }

    #[test]
    fn white_space_is_empty() {
        assert_eq!(lines("text", " \n\t ", 10), Err(TextError::Empty { field: "text" }));
        assert_eq!(optional_lines("text", " \n\t ", 10), Ok(String::new()));
        for unseen in ["\u{200b}\u{feff}", "\u{202e} \u{2066}", "\u{3164}"] {
            assert_eq!(line("name", unseen, 10), Err(TextError::Empty { field: "name" }));
            assert_eq!(lines("text", unseen, 10), Err(TextError::Empty { field: "text" }));
        }
        assert_eq!(line("name", "👩\u{200d}🎤", 10), Ok("👩\u{200d}🎤".to_owned()));
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(reason(&"é".repeat(REASON_CHARS_MAX + 1)), "é".repeat(REASON_CHARS_MAX));
    }
}
