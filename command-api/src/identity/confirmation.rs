//! The one-time token that proves an e-mail address.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

/// How long a token is good for.
pub const CONFIRMATION_LIFETIME: TimeDelta = TimeDelta::hours(24);

const TOKEN_BYTES: usize = 32;

/// A token of 256 random bits; only its digest is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfirmationToken([u8; TOKEN_BYTES]);

impl ConfirmationToken {
    /// A fresh token from the operating system's randomness.
    pub fn fresh() -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// A token as somebody sent it back; `None` when it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The token as it stands in the mail.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is stored of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for ConfirmationToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConfirmationToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_mail() {
        let token = ConfirmationToken::fresh();
        assert_eq!(ConfirmationToken::parse(&token.to_text()), Some(token.clone()));
        assert_ne!(ConfirmationToken::fresh(), token);
        for bad in ["", "short", &"a".repeat(44), "!!"] {
            assert_eq!(ConfirmationToken::parse(bad), None, "{bad:?}");
        }
    }
}
