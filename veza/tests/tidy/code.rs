//! Reads Rust just well enough to count: what is code and what is comment or text, and where a
//! function begins and ends.

/// The source with every comment, string and character blanked, line breaks kept, so that what is
/// found in it is code and stands on the same line.
pub fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied();
    match (chars[at], next(1)) {
        ('/', Some('/')) => find(chars, at, |c, i| c[i] == '\n'),
        ('/', Some('*')) => {
            find(chars, at + 2, |c, i| c[i] == '*' && c.get(i + 1) == Some(&'/')) + 2
        }
        ('"', _) => quoted_end(chars, at),
        ('r', Some('"' | '#')) if at == 0 || !is_name_but_prefix(chars[at - 1]) => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if next(1 + hashes) != Some('"') {
                return at;
            }
            let closes = |c: &[char], i: usize| {
                c[i] == '"' && c[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes
            };
            find(chars, at + 2 + hashes, closes) + 1 + hashes
        }
        ('\'', Some('\\')) => find(chars, at + 3, |c, i| c[i] == '\'') + 1,
        // A character, and not a lifetime, has its quote right behind it.
        ('\'', _) if next(2) == Some('\'') => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn find(chars: &[char], from: usize, here: impl Fn(&[char], usize) -> bool) -> usize {
    (from..chars.len()).find(|i| here(chars, *i)).unwrap_or(chars.len())
}

/// Whether `c` before an `r` makes it the end of a name, and not of the prefix `br` or `cr`.
fn is_name_but_prefix(c: char) -> bool {
    is_name(c) && c != 'b' && c != 'c'
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A function with a body.
pub struct Function {
    pub name: String,
    /// Of its `fn`, from 1.
    pub line: usize,
    /// From its `fn` to its closing brace.
    pub lines: usize,
}

/// Every function in blanked source.
pub fn functions(blanked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        let before = blanked[..at].chars().next_back();
        let name: String = blanked[at + 3..].chars().take_while(|c| is_name(*c)).collect();
        if before.is_some_and(is_name) || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&blanked[at..]) {
            found.push(Function {
                name,
                line: blanked[..at].matches('\n').count() + 1,
                lines: blanked[at..at + end].matches('\n').count() + 1,
            });
        }
    }
    found
}

/// Where the body of the function at the start of `text` closes; none for one without a body.
fn body_end(text: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0_u32, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_literals_are_not_code() {
    let text =
        "a(\"{ \\\" }\"); // {\nlet b = '{'; /* { \n */ c::<'x>(r#\"{\"\"#, br\"{\", '\\'');";
    let code = blanked(text);
    assert!(!code.contains(['{', '"', '\\']), "{code}");
    assert!(code.contains("let b =") && code.contains("c::<'x>("), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn functions_are_measured_whole() {
    let text = "trait T { fn none(&self) -> [u8; 4]; }\npub async fn two(\n) {\n  if x { y }\n}\n";
    let found = functions(&blanked(text));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].line, found[0].lines), ("two", 2, 4));
}
