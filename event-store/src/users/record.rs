//! A user as the store keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The JSON of an event of `$user-<login>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub login_name: String,
    #[serde(default)]
    pub full_name: String,
    /// Empty: it is in the hash.
    #[serde(default)]
    pub salt: String,
    /// As a PHC string.
    #[serde(default)]
    pub hash: String,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub groups: Vec<String>,
}

impl fmt::Debug for Record {
    /// Without what is secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { login_name, disabled, groups, .. } = self;
        formatter
            .debug_struct("Record")
            .field("login_name", login_name)
            .field("disabled", disabled)
            .field("groups", groups)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_protocol_s_tools_read_it_and_shows_no_hash() {
        let record = Record {
            login_name: "ann".to_owned(),
            full_name: "Ann".to_owned(),
            salt: String::new(),
            hash: "$argon2id$secret".to_owned(),
            disabled: false,
            groups: vec!["$ops".to_owned()],
        };
        let expected = "{\"loginName\":\"ann\",\"fullName\":\"Ann\",\"salt\":\"\",\
             \"hash\":\"$argon2id$secret\",\"disabled\":false,\"groups\":[\"$ops\"]}";
        assert_eq!(serde_json::to_string(&record).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Record>(expected).unwrap(), record);
        assert!(!format!("{record:?}").contains("secret"));
    }
}
