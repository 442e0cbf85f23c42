//! Words people write: how long they may be, and which characters have no place in them.

use thiserror::Error;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

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
    /// It has characters that nobody sees, or that turn the order of what one sees.
    #[error("the {field} has characters that can't be seen or that turn text around")]
    Unseen {
        /// Which text.
        field: &'static str,
    },
    /// It has characters that mean nothing, or that mean something to some programs only.
    #[error("the {field} has characters that have no meaning")]
    Meaningless {
        /// Which text.
        field: &'static str,
    },
    /// It begins with a mark that belongs on a character before it.
    #[error("the {field} begins with a mark that has no character to be on")]
    BeginsWithMark {
        /// Which text.
        field: &'static str,
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
            | Self::Unseen { field }
            | Self::Meaningless { field }
            | Self::BeginsWithMark { field }
            | Self::ControlCharacter { field } => field,
        }
    }
}

/// One line of text without the white space around it: 1 to `max_chars` characters.
///
/// It is what people know others and their works by, so it must not look like another: nothing in
/// it may be unseen or turn the order of what follows, every character has a meaning of its own,
/// and no mark stands where the text before the name would have to carry it. What scripts and emoji
/// need is let in, characters among it that are newer than this program.
pub fn line(field: &'static str, text: &str, max_chars: usize) -> Result<String, TextError> {
    let text = text.trim();
    if text.chars().all(shows_nothing) {
        return Err(TextError::Empty { field });
    }
    let text = checked(field, text, max_chars, |_| false)?;
    if hides(&text) {
        return Err(TextError::Unseen { field });
    }
    if text.chars().any(means_nothing) {
        return Err(TextError::Meaningless { field });
    }
    if text.chars().next().is_some_and(is_mark) {
        return Err(TextError::BeginsWithMark { field });
    }
    Ok(text)
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

/// Whether a line has characters in it that show nothing.
///
/// Latin, Greek and Cyrillic, which come before Hebrew, need none of them. Behind it two kinds are
/// let in: joiners between two characters, as Persian, the scripts of India and emoji have them,
/// and variation selectors behind one. Emoji that are made of an earlier character have a selector
/// too. For simplicity nothing else is: no marks of direction, soft hyphens, fillers, or the tags
/// of which flags of regions are made.
fn hides(line: &str) -> bool {
    const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
    /// The separators of lines and paragraphs; the other ends of lines are control characters.
    const ENDS_LINE: [char; 2] = ['\u{2028}', '\u{2029}'];
    const HEBREW: char = '\u{590}';
    const EARLY_EMOJI: [char; 2] = ['©', '®'];
    const KEYCAP: char = '\u{20e3}';
    let is_selector = |c: char| matches!(c, '\u{180b}'..='\u{180d}' | '\u{fe00}'..='\u{fe0f}');
    let is_shown = |c: char| c >= HEBREW && !shows_nothing(c);
    let (mut before, mut rest) = (' ', line.chars());
    while let Some(character) = rest.next() {
        let after = rest.clone().next().unwrap_or(' ');
        let is_fine = if JOINERS.contains(&character) {
            (is_shown(before) || is_selector(before)) && is_shown(after)
        } else if is_selector(character) {
            is_shown(before) || EARLY_EMOJI.contains(&before) || after == KEYCAP
        } else {
            !shows_nothing(character)
                || (character.is_whitespace() && !ENDS_LINE.contains(&character))
        };
        if !is_fine {
            return true;
        }
        before = character;
    }
    false
}

/// Noncharacters (The Unicode Standard, 23.7), and those for private use.
fn means_nothing(character: char) -> bool {
    let code = u32::from(character);
    matches!(code, 0xfdd0..=0xfdef)
        || code & 0xfffe == 0xfffe
        || character.general_category() == GeneralCategory::PrivateUse
}

/// What is written on or around the character before it.
fn is_mark(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Mark
}

/// White space, and characters that only join, split or turn others. Among others they are fine:
/// scripts and emoji need them.
fn shows_nothing(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
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
    fn a_line_hides_nothing_and_lines_may() {
        let unseen = Err(TextError::Unseen { field: "name" });
        for hiding in [
            "ni\u{200b}na",
            "ni\u{200d}na",
            "ni\u{200c}na",
            "nina\u{200d}",
            "\u{200d}nina",
            "\u{202e}anin",
            "nina\u{2069}",
            "nina\u{200e}",
            "\u{feff}nina",
            "ni\u{ad}na",
            "ni\u{2060}na",
            "nina\u{3164}",
            "\u{61c}nina",
            "nina\u{e0041}",
            "ni\u{34f}na",
            "👩\u{200d}\u{200d}🎤",
            "nina\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "nina1\u{fe0f}",
            "👩\u{200d} 🎤",
            "👩\u{200d}a",
            "\u{43d}\u{200d}\u{43d}",
            "ni\u{2028}na",
            "ni\u{2029}na",
            "ni\u{fff9}na",
        ] {
            assert_eq!(line("name", hiding, 20), unseen, "{hiding:?}");
            assert_eq!(lines("text", hiding, 20), Ok(hiding.trim().to_owned()));
        }
        for fine in [
            "👩\u{200d}🎤",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "©\u{fe0f}",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "שלום",
            "Zoë",
            "e\u{301}",
            "a\u{a0}b",
            "音楽\u{3000}家",
        ] {
            assert_eq!(line("name", fine, 20), Ok(fine.to_owned()), "{fine:?}");
        }
    }

    #[test]
    fn a_name_is_of_characters_that_everybody_knows_and_stands_by_itself() {
        let meaningless = Err(TextError::Meaningless { field: "name" });
        let not_known = [
            '\u{fdd0}',
            '\u{fdef}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{1fffe}',
            '\u{10ffff}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{f0000}',
            '\u{10fffd}',
        ];
        for character in not_known {
            assert_eq!(line("name", &format!("ni{character}na"), 20), meaningless, "{character:?}");
        }
        let mark = Err(TextError::BeginsWithMark { field: "name" });
        for begins in ["\u{301}nina", "\u{301}\u{302}", "\u{903}क", "\u{20dd}", " \u{e31}ก"] {
            assert_eq!(line("name", begins, 20), mark, "{begins:?}");
        }
        // The last is not assigned yet.
        for fine in ["\u{fdcf}ni", "\u{fffd}", "สวัสดี", "नीना", "n\u{301}", "👍🏽", "\u{1fbfa}"]
        {
            assert_eq!(line("name", fine, 20), Ok(fine.to_owned()), "{fine:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(reason(&"é".repeat(REASON_CHARS_MAX + 1)), "é".repeat(REASON_CHARS_MAX));
    }
}
