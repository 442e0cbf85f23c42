//! The lists that streams have of who may do what with them, evaluated.

use serde::Deserialize;
use serde_json::Value;

use super::{ADMINS, AccessDenied, Principal};
use crate::stream::{StreamAcl, StreamName};

/// Everybody who has logged in, in a list.
const EVERYBODY: &str = "$all";

/// The log as a stream: what may be done with it is said where that is said of streams.
pub(crate) const ALL: &str = "$all";

/// What is done with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamAction {
    /// Its events are read or followed.
    Read,
    /// Events are appended.
    Write,
    /// It is deleted, for good or not.
    Delete,
    /// Its metadata are read.
    MetadataRead,
    /// Its metadata are written.
    MetadataWrite,
}

/// The lists of streams that have none of their own, as `$settings` holds them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DefaultAcls {
    /// Of streams of users.
    #[serde(rename = "$userStreamAcl", default)]
    pub user_streams: Option<StreamAcl>,
    /// Of streams of the system (`$…`).
    #[serde(rename = "$systemStreamAcl", default)]
    pub system_streams: Option<StreamAcl>,
}

/// The stream whose list is asked, and for what: what is done with `$$s` is done with the metadata
/// of `s`. Metadata are not deleted, and the log is neither written nor deleted, by anybody.
pub fn subject(
    stream: &StreamName,
    action: StreamAction,
) -> Result<(StreamName, StreamAction), AccessDenied> {
    let Some(subject) = stream.metadata_subject() else {
        let changes = matches!(action, StreamAction::Write | StreamAction::Delete);
        if stream.as_str() == ALL && changes {
            return Err(AccessDenied);
        }
        return Ok((stream.clone(), action));
    };
    match action {
        StreamAction::Read | StreamAction::MetadataRead => {
            Ok((subject, StreamAction::MetadataRead))
        }
        StreamAction::Write | StreamAction::MetadataWrite => {
            Ok((subject, StreamAction::MetadataWrite))
        }
        StreamAction::Delete => Err(AccessDenied),
    }
}

/// Whether that may be done with a [`subject`] that has this list of its own.
pub fn allows(
    principal: &Principal,
    action: StreamAction,
    subject: &StreamName,
    own: Option<&StreamAcl>,
    defaults: &DefaultAcls,
) -> bool {
    if !principal.is_known() {
        return false;
    }
    if principal.is_admin() {
        return true;
    }
    let default = match subject.is_system() {
        true => defaults.system_streams.as_ref(),
        false => defaults.user_streams.as_ref(),
    };
    let said = [own, default].into_iter().flatten().find_map(|acl| roles(acl, action));
    let allows = |role: &str| role == EVERYBODY || principal.has_role(role);
    match said {
        Some(Value::String(role)) => allows(role),
        Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).any(allows),
        // What can't be understood was meant to keep somebody out.
        Some(_) => false,
        None => allows(if subject.is_system() { ADMINS } else { EVERYBODY }),
    }
}

fn roles(acl: &StreamAcl, action: StreamAction) -> Option<&Value> {
    let roles = match action {
        StreamAction::Read => &acl.read,
        StreamAction::Write => &acl.write,
        StreamAction::Delete => &acl.delete,
        StreamAction::MetadataRead => &acl.metadata_read,
        StreamAction::MetadataWrite => &acl.metadata_write,
    };
    roles.as_ref().filter(|roles| !roles.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> StreamName {
        StreamName::recorded(name)
    }

    fn acl(text: &str) -> StreamAcl {
        serde_json::from_str(text).unwrap()
    }

    fn ann() -> Principal {
        Principal::user("ann", &["players".to_owned()])
    }

    #[test]
    fn a_stream_s_own_list_goes_before_the_defaults() {
        // Stream, what its list says of readers, what the default does, and whether ann may read.
        let table = [
            ("song-1", None, None, true),
            ("song-1", Some(json!("$all")), None, true),
            ("song-1", Some(json!("ann")), None, true),
            ("song-1", Some(json!("players")), None, true),
            ("song-1", Some(json!("bob")), None, false),
            ("song-1", Some(json!("$admins")), None, false),
            ("song-1", Some(json!(["bob", "players"])), None, true),
            ("song-1", Some(json!(["bob", 7])), None, false),
            ("song-1", Some(json!([])), None, false),
            ("song-1", Some(json!("")), None, false),
            ("song-1", Some(json!(7)), None, false),
            ("song-1", Some(json!({"$all": true})), None, false),
            ("song-1", None, Some(json!("bob")), false),
            ("song-1", None, Some(json!(["ann"])), true),
            ("song-1", Some(json!("ann")), Some(json!("bob")), true),
            ("song-1", Some(json!("bob")), Some(json!("ann")), false),
            ("$song", None, None, false),
            ("$song", Some(json!("$all")), None, true),
            ("$song", None, Some(json!("ann")), true),
            ("$all", None, None, false),
            ("$all", Some(json!("players")), None, true),
        ];
        for (stream, own, default, expected) in table {
            let read = |it: &Option<Value>| StreamAcl { read: it.clone(), ..StreamAcl::default() };
            let own = own.map(|it| read(&Some(it)));
            let default = default.map(|it| read(&Some(it)));
            let is_system = stream.starts_with('$');
            let defaults = DefaultAcls {
                user_streams: default.clone().filter(|_| !is_system),
                system_streams: default.clone().filter(|_| is_system),
            };
            let asked = |who: &Principal| {
                allows(who, StreamAction::Read, &name(stream), own.as_ref(), &defaults)
            };
            assert_eq!(asked(&ann()), expected, "{stream} {own:?} {default:?}");
            assert!(!asked(&Principal::Anonymous), "who is not known has no rights");
            assert!(asked(&Principal::user("zed", &["$admins".to_owned()])));
            assert!(asked(&Principal::user("admin", &[])));
            assert!(asked(&Principal::Anybody));
        }
    }

    #[test]
    fn each_action_has_an_entry_of_its_own() {
        let keys = [
            ("$r", StreamAction::Read),
            ("$w", StreamAction::Write),
            ("$d", StreamAction::Delete),
            ("$mr", StreamAction::MetadataRead),
            ("$mw", StreamAction::MetadataWrite),
        ];
        for (key, _) in keys {
            let own = acl(&format!("{{\"{key}\": \"bob\"}}"));
            for (other, action) in keys {
                let defaults = DefaultAcls::default();
                let may = allows(&ann(), action, &name("song-1"), Some(&own), &defaults);
                assert_eq!(may, key != other, "{key} {other}");
            }
        }
    }

    #[test]
    fn what_is_done_with_metadata_is_asked_of_their_stream() {
        use StreamAction::{Delete, MetadataRead, MetadataWrite, Read, Write};
        let table = [
            ("a", Read, Some(("a", Read))),
            ("a", Delete, Some(("a", Delete))),
            ("$$a", Read, Some(("a", MetadataRead))),
            ("$$a", Write, Some(("a", MetadataWrite))),
            ("$$$all", Write, Some(("$all", MetadataWrite))),
            ("$$a", Delete, None),
            ("$all", Read, Some(("$all", Read))),
            ("$all", Write, None),
            ("$all", Delete, None),
        ];
        for (stream, action, expected) in table {
            let found = subject(&name(stream), action).ok();
            let found = found.as_ref().map(|(stream, action)| (stream.as_str(), *action));
            assert_eq!(found, expected, "{stream} {action:?}");
        }
    }

    #[test]
    fn defaults_are_read_as_the_settings_have_them() {
        let text = r#"{"$userStreamAcl": {"$r": "bob"}, "$systemStreamAcl": {"$r": ["ann"]}}"#;
        let defaults: DefaultAcls = serde_json::from_str(text).unwrap();
        let may = |stream| allows(&ann(), StreamAction::Read, &name(stream), None, &defaults);
        assert!(!may("song-1") && may("$song"));
    }
}
