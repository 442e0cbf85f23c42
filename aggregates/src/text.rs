//! Words people write: how long they may be, and which characters have no place in them.

use icu_properties::props::{
    DefaultIgnorableCodePoint, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup,
    PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};
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
    /// It has more than one space between two words, of which nobody sees how many they are.
    #[error("the {field} has more than one space between two words")]
    Spaced {
        /// Which text.
        field: &'static str,
    },
    /// It has a mark that belongs on a character before it, at its beginning or behind a space.
    #[error("the {field} has a mark that has no character to be on")]
    LooseMark {
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
            | Self::Spaced { field }
            | Self::LooseMark { field }
            | Self::ControlCharacter { field } => field,
        }
    }
}

/// One line of text without the white space around it: 1 to `max_chars` characters.
///
/// It is what people know others and their works by, so it must not look like another: nothing in
/// it may be unseen or turn the order of what follows, every character has a meaning of its own,
/// words are one space apart, and no mark stands where a space, or the text before the name, would
/// have to carry it. What scripts and emoji need is let in, emoji among it that are newer than this
/// program.
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
    let mut is_after_space = true;
    for character in text.chars() {
        if is_after_space && is_mark(character) {
            return Err(TextError::LooseMark { field });
        }
        let is_space = character.is_whitespace();
        if is_after_space && is_space {
            return Err(TextError::Spaced { field });
        }
        is_after_space = is_space;
    }
    Ok(text)
}

/// Lines of text without the white space around them: 1 to `max_chars` characters. They may have
/// whatever scripts and emoji need, unseen characters among it, as long as there is something to
/// see.
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

/// Noncharacters (The Unicode Standard, 23.7), and those for private use or not assigned yet. Some
/// of the last are set aside for emoji, which come every year: they mean something to who has newer
/// fonts than this program has tables.
fn means_nothing(character: char) -> bool {
    match category(character) {
        GeneralCategory::PrivateUse => true,
        GeneralCategory::Unassigned => {
            !CodePointSetData::new::<ExtendedPictographic>().contains(character)
        }
        _ => false,
    }
}

/// What is written on or around the character before it.
fn is_mark(character: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(character))
}

/// White space, control characters, and those that only join, split, turn or format others. Among
/// others they are fine: scripts and emoji need them.
fn shows_nothing(character: char) -> bool {
    /// By Unicode's properties a symbol or a mark each, but blank: a note head that is none, a cell
    /// of Braille without dots, a filler of Khitan, and the place of an object that is not text.
    const BLANK: [char; 4] = ['\u{1d159}', '\u{2800}', '\u{16fe4}', '\u{fffc}'];
    let is_format = || match category(character) {
        GeneralCategory::Control => true,
        // Of formats these alone are seen: signs that Arabic and others write below numbers.
        GeneralCategory::Format => {
            !CodePointSetData::new::<PrependedConcatenationMark>().contains(character)
        }
        _ => false,
    };
    character.is_whitespace()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || is_format()
        || BLANK.contains(&character)
}

fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
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
            "ni\u{fff0}na",
            "ni\u{fff8}na",
            "ni\u{1d173}na",
            "ni\u{1d17a}na",
            "ni\u{1bca0}na",
            "ni\u{1bca3}na",
            "ni\u{13430}na",
            "ni\u{13438}na",
            "ni\u{2065}na",
            "ni\u{e0fff}na",
            "ni\u{2800}na",
            "ni\u{1d159}na",
            "ni\u{fffc}na",
            "क\u{16fe4}",
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
            // Not assigned, and not set aside for emoji.
            '\u{378}',
            '\u{e1000}',
            '\u{40000}',
        ];
        for character in not_known {
            assert_eq!(line("name", &format!("ni{character}na"), 20), meaningless, "{character:?}");
        }
        let mark = Err(TextError::LooseMark { field: "name" });
        for loose in [
            "\u{301}nina",
            "\u{301}\u{302}",
            "\u{903}क",
            "\u{20dd}",
            " \u{e31}ก",
            "nina \u{301}",
            "ni \u{301}na",
            "ni\u{a0}\u{302}na",
            "音楽\u{3000}\u{20dd}",
        ] {
            assert_eq!(line("name", loose, 20), mark, "{loose:?}");
        }
        let spaced = Err(TextError::Spaced { field: "name" });
        for doubled in ["ni  na", "ni \u{a0}na", "ni\u{2003}\u{2003}na", "音\u{3000}\u{3000}楽"] {
            assert_eq!(line("name", doubled, 20), spaced, "{doubled:?}");
            assert_eq!(lines("text", doubled, 20), Ok(doubled.to_owned()));
        }
        // The last two are set aside for emoji, and not assigned yet.
        for fine in [
            "\u{fdcf}ni",
            "\u{fffd}",
            "สวัสดี",
            "नीना",
            "n\u{301}",
            "ni na n\u{301}",
            "👍🏽",
            "\u{600}١٢",
            "র\u{200d}\u{9cd}য",
            "\u{1faff}",
            "\u{1fffd}",
        ] {
            assert_eq!(line("name", fine, 20), Ok(fine.to_owned()), "{fine:?}");
        }
    }

    #[test]
    fn running_text_has_all_that_scripts_and_emoji_need() {
        for fine in [
            "👩\u{200d}👩\u{200d}👧\u{200d}👦 ❤\u{fe0f}",
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "\u{200f}שלום (nina)\u{200e}",
            "葛\u{e0100}",
            "two  spaces, and a mark on none: \u{301}",
            "\u{13000}\u{13430}\u{13001}",
        ] {
            assert_eq!(lines("text", fine, 60), Ok(fine.to_owned()), "{fine:?}");
            assert_eq!(optional_lines("bio", fine, 60), Ok(fine.to_owned()), "{fine:?}");
        }
        for nothing in ["\u{fff0}", "\u{13430}\u{1bca0}", "\u{1d173} \u{fe0f}\n\u{200d}"] {
            assert_eq!(lines("text", nothing, 60), Err(TextError::Empty { field: "text" }));
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(reason(&"é".repeat(REASON_CHARS_MAX + 1)), "é".repeat(REASON_CHARS_MAX));
    }
}
