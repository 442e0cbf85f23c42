//! The keys that wrap data keys, as an operator writes them down.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, str};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::cipher::{Cipher, KEY_BYTES, KeyBytes, random};
use crate::log::SystemEntropy;

/// Longest name of a key, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 64;
/// Longest text with keys, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// That everybody on the machine may read or write a file.
const ANYBODY: u32 = 0o006;

/// One or more keys, each with a name. The first wraps what is new; all unwrap.
///
/// As text they stand one a line, or separated by commas, each as `<name>:<32 bytes>` with the
/// bytes in base64 or in hexadecimal. Names have letters, digits, `.`, `_` and `-`. Empty lines
/// and those that begin with `#` say nothing.
pub struct WrappingKeys(Vec<WrappingKey>);

struct WrappingKey {
    id: String,
    cipher: Cipher,
}

/// Why wrapping keys can't be had. What it says never holds a part of a key.
#[derive(Debug, Error)]
pub enum WrappingKeysError {
    /// The file can't be read.
    #[error("can't read the keys in {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Everybody on the machine may read or write the file.
    #[error("everybody may read or write the keys in {}: make it its owner's alone", .0.display())]
    Exposed(PathBuf),
    /// The text is too long.
    #[error("the keys have more than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// There is no key in it.
    #[error("there is no key")]
    None,
    /// A line is no key.
    #[error("key {number} is not <name>:<32 bytes in base64 or hexadecimal>")]
    NotAKey {
        /// Which of the keys, from 1.
        number: usize,
    },
    /// A name can't be one.
    #[error("the name of a key has 1 to {ID_BYTES_MAX} letters, digits, `.`, `_` or `-`")]
    BadName,
    /// Two keys have one name.
    #[error("two keys are named {0}")]
    Twice(String),
}

impl WrappingKeys {
    /// The keys in a file, which must not be open to everybody on the machine.
    ///
    /// # Errors
    /// When it can't be read, is open to everybody, or does not hold keys.
    pub fn from_file(path: &Path) -> Result<Self, WrappingKeysError> {
        let unreadable = |source| WrappingKeysError::Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & ANYBODY != 0 {
            return Err(WrappingKeysError::Exposed(path.into()));
        }
        // At its full size at once: text that was moved would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX + 1));
        file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(WrappingKeysError::TooLong);
        }
        Self::from_text(str::from_utf8(&text).unwrap_or_default())
    }

    /// The keys in a text.
    ///
    /// # Errors
    /// When it does not hold keys.
    pub fn from_text(text: &str) -> Result<Self, WrappingKeysError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(WrappingKeysError::TooLong);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let keys = lines.flat_map(|line| line.split(',').map(str::trim));
        let mut read: Vec<WrappingKey> = Vec::new();
        for (number, key) in (1..).zip(keys.filter(|key| !key.is_empty())) {
            let (id, bytes) = key.split_once(':').ok_or(WrappingKeysError::NotAKey { number })?;
            let id = checked_id(id.trim_end())?;
            let bytes = key_bytes(bytes.trim()).ok_or(WrappingKeysError::NotAKey { number })?;
            if read.iter().any(|known| known.id == id) {
                return Err(WrappingKeysError::Twice(id.to_owned()));
            }
            read.push(WrappingKey { id: id.to_owned(), cipher: Cipher::new(&bytes) });
        }
        if read.is_empty() {
            return Err(WrappingKeysError::None);
        }
        Ok(Self(read))
    }

    /// A new random key of this name, as the line that [`Self::from_text`] reads.
    ///
    /// # Errors
    /// When it can't be a name.
    pub fn new_line(id: &str) -> Result<Zeroizing<String>, WrappingKeysError> {
        let mut line = Zeroizing::new(String::with_capacity(2 * ID_BYTES_MAX));
        line.push_str(checked_id(id)?);
        line.push(':');
        STANDARD.encode_string(&random::<KEY_BYTES>(&SystemEntropy)[..], &mut line);
        Ok(line)
    }

    /// The name of the key that wraps what is new.
    pub fn first(&self) -> &str {
        &self.0[0].id
    }

    /// The names of all keys, that of the first first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &*key.id)
    }

    /// The cipher of the key that wraps what is new.
    pub(crate) fn first_cipher(&self) -> &Cipher {
        &self.0[0].cipher
    }

    /// The cipher of the key of this name.
    pub(crate) fn cipher(&self, id: &str) -> Option<&Cipher> {
        self.0.iter().find(|key| key.id == id).map(|key| &key.cipher)
    }
}

impl fmt::Debug for WrappingKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WrappingKeys({})", self.names().collect::<Vec<_>>().join(", "))
    }
}

fn checked_id(id: &str) -> Result<&str, WrappingKeysError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_one = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain);
    is_one.then_some(id).ok_or(WrappingKeysError::BadName)
}

fn key_bytes(text: &str) -> Option<KeyBytes> {
    let mut key = KeyBytes::default();
    if text.len() == 2 * KEY_BYTES {
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        return Some(key);
    }
    // The decoder asks for room by the text's length, padding included.
    let mut decoded = Zeroizing::new([0; KEY_BYTES + 1]);
    let length = STANDARD.decode_slice(text, &mut decoded[..]).ok()?;
    key.copy_from_slice(decoded.get(..length).filter(|bytes| bytes.len() == KEY_BYTES)?);
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    /// One key in both writings.
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn keys_are_read_in_both_writings_one_a_line_or_with_commas() {
        let sealed = |keys: &WrappingKeys, id| {
            let mut bytes = [7; 40];
            keys.cipher(id).unwrap().seal([1; 12], b"about", &mut bytes);
            bytes
        };
        let lines = WrappingKeys::from_text(&format!("# ours\n\nnew:{HEX}\r\n old : {BASE64}\n"));
        let lines = lines.unwrap();
        let commas = WrappingKeys::from_text(&format!("new:{BASE64},old:{HEX}")).unwrap();
        assert_eq!(lines.names().collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!((lines.first(), commas.first()), ("new", "new"));
        assert_eq!(sealed(&lines, "new"), sealed(&lines, "old"));
        assert_eq!(sealed(&lines, "old"), sealed(&commas, "old"));
        assert!(lines.cipher("other").is_none());
        let line = WrappingKeys::new_line("made").unwrap();
        assert_ne!(line, WrappingKeys::new_line("made").unwrap());
        assert_eq!(WrappingKeys::from_text(&line).unwrap().first(), "made");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let short = &HEX[2..];
        for text in [
            String::new(),
            "# a\n\n".to_owned(),
            HEX.to_owned(),
            format!("a:{short}"),
            format!("a:{HEX}00"),
            format!("a:{}", HEX.replace('0', "g")),
            format!("a:{BASE64}="),
            format!("a:{}", BASE64.trim_end_matches('=')),
            format!("a b:{HEX}"),
            format!(":{HEX}"),
            format!("{}:{HEX}", "a".repeat(65)),
            format!("a:{HEX},a:{BASE64}"),
            format!("a:{HEX},b"),
            "#".repeat(TEXT_BYTES_MAX + 1),
        ] {
            let said = WrappingKeys::from_text(&text).unwrap_err().to_string();
            assert!(!said.contains(&HEX[4..12]) && said.lines().count() == 1, "{said}");
        }
        let shown = format!("{:?}", WrappingKeys::from_text(&format!("a:{HEX}")).unwrap());
        assert_eq!(shown, "WrappingKeys(a)");
        assert!(WrappingKeys::new_line("").is_err());
    }

    #[test]
    fn a_file_that_everybody_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let unreadable = WrappingKeys::from_file(&path).unwrap_err();
        assert!(unreadable.to_string().contains(path.to_str().unwrap()), "{unreadable}");
        fs::write(&path, format!("a:{HEX}\n")).unwrap();
        for (mode, good) in [(0o604, false), (0o602, false), (0o640, true), (0o600, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(WrappingKeys::from_file(&path).is_ok(), good, "{mode:o}");
        }
        fs::write(&path, "#".repeat(TEXT_BYTES_MAX + 1)).unwrap();
        assert!(matches!(WrappingKeys::from_file(&path), Err(WrappingKeysError::TooLong)));
    }
}
