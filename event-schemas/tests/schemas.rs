//! Holds every event to its checked-in JSON Schema: `schemas/<category>/<Type>.v<version>.json`.
//!
//! A type that changed in a way that old readers or old data can bear (a new optional property) is
//! written anew with `UPDATE_SCHEMAS=1`; any other change needs the next version and an upcaster.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use event_schemas::upcast::UPCASTERS;
use event_schemas::{
    EventFamily, TypeInfo, analytics, audio, command, commerce, saga, social, user,
};
use serde_json::{Value, json};

fn families() -> Vec<(&'static str, &'static [TypeInfo])> {
    fn of<F: EventFamily>() -> (&'static str, &'static [TypeInfo]) {
        (F::CATEGORY, F::TYPES)
    }
    vec![
        of::<user::UserEvent>(),
        of::<audio::TrackEvent>(),
        of::<social::ChannelEvent>(),
        of::<social::MessageEvent>(),
        of::<commerce::ListingEvent>(),
        of::<commerce::OrderEvent>(),
        of::<commerce::EscrowEvent>(),
        of::<commerce::PaymentEvent>(),
        of::<analytics::PlayEvent>(),
        of::<command::CommandEvent>(),
        of::<saga::SagaEvent>(),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn file_of(category: &str, name: &str, version: u32) -> PathBuf {
    folder().join(category).join(format!("{name}.v{version}.json"))
}

/// The schema without its prose, which may be reworded at any time.
fn shape(schema: &Value) -> Value {
    match schema {
        Value::Object(parts) => {
            let kept = parts.iter().filter(|(key, part)| *key != "description" || part.is_object());
            Value::Object(kept.map(|(key, part)| (key.clone(), shape(part))).collect())
        }
        Value::Array(parts) => Value::Array(parts.iter().map(shape).collect()),
        plain => plain.clone(),
    }
}

/// What may change: words for people, and what is compared part by part.
const COMPARED_OTHERWISE: [&str; 6] =
    ["title", "description", "default", "required", "properties", "$defs"];

/// What of `new` data or readers of `old` would not bear; empty when the change is compatible. Data
/// of `old` may be without what became required; readers of `old`, such as processes that are not
/// updated yet, find no data where something is required no more. A keyword that
/// is not known here may forbid anything, so none may come, go or change.
fn incompatibilities(old: &Value, new: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let of = |schema: &Value| -> BTreeSet<String> {
        schema.as_object().into_iter().flatten().map(|(keyword, _)| keyword.clone()).collect()
    };
    for keyword in of(old).union(&of(new)) {
        let compared = !COMPARED_OTHERWISE.contains(&keyword.as_str());
        if compared && old.get(keyword) != new.get(keyword) {
            found.push(format!("{at}: `{keyword}` changed"));
        }
    }
    // `true` and `false` are schemas too.
    if !(old.is_object() && new.is_object()) && old != new {
        found.push(format!("{at}: changed"));
    }
    let required = |schema: &Value| -> BTreeSet<String> {
        let list = schema["required"].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    for name in required(new).difference(&required(old)) {
        found.push(format!("{at}.{name}: became required"));
    }
    for name in required(old).difference(&required(new)) {
        found.push(format!("{at}.{name}: is not required any more"));
    }
    for section in ["properties", "$defs"] {
        let Some(parts) = old[section].as_object() else {
            continue;
        };
        for (name, part) in parts {
            let place = format!("{at}.{name}");
            match new[section].get(name) {
                Some(now) => found.extend(incompatibilities(part, now, &place)),
                None => found.push(format!("{place}: is gone")),
            }
        }
    }
    found
}

#[test]
fn every_type_has_the_schema_that_is_checked_in() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (category, types) in families() {
        for info in types {
            let path = file_of(category, info.name, info.version);
            let current = serde_json::to_value((info.schema)()).expect("schemas are JSON");
            let text = format!("{current:#}\n");
            let checked_in = fs::read_to_string(&path).ok();
            if let Some(old) = &checked_in {
                let old: Value = serde_json::from_str(old).expect("checked-in schemas are JSON");
                let broken = incompatibilities(&shape(&old), &shape(&current), info.name);
                assert!(broken.is_empty(), "incompatible without a new version: {broken:?}");
            }
            if update {
                fs::create_dir_all(path.parent().expect("has a folder")).expect("writable");
                fs::write(&path, &text).expect("writable");
            } else {
                assert_eq!(checked_in.as_ref(), Some(&text), "run UPDATE_SCHEMAS=1 for {path:?}");
            }
        }
    }
}

#[test]
fn every_schema_that_was_ever_checked_in_is_still_read() {
    for (category, types) in families() {
        for entry in fs::read_dir(folder().join(category)).expect("the family has schemas") {
            let file = entry.expect("readable").file_name().into_string().expect("UTF-8");
            let (name, version) = file
                .strip_suffix(".json")
                .and_then(|stem| stem.rsplit_once(".v"))
                .unwrap_or_else(|| panic!("{file} is not named <Type>.v<version>.json"));
            let version: u32 = version.parse().expect("versions are numbers");
            let info = types.iter().find(|info| info.name == name);
            let info = info.unwrap_or_else(|| panic!("{name} is no longer in its family"));
            for from in version..info.version {
                let known = UPCASTERS.iter().any(|up| up.event_type == name && up.from == from);
                assert!(known, "nothing brings {name} from version {from} on");
            }
        }
    }
}

#[test]
fn type_names_are_unique_across_families() {
    let mut seen = BTreeSet::new();
    for (_, types) in families() {
        for info in types {
            assert!(seen.insert(info.name), "{} is in two families", info.name);
        }
    }
}

#[test]
fn incompatible_changes_are_found() {
    let old = json!({
        "properties": { "a": { "type": "string" }, "b": { "type": "integer" } },
        "required": ["a"],
    });
    let mut added = old.clone();
    added["properties"]["c"] = json!({ "type": "string" });
    added["title"] = json!("T");
    added["properties"]["a"]["description"] = json!("Better said.");
    assert!(incompatibilities(&old, &added, "T").is_empty());
    for (keyword, value) in [
        ("pattern", json!("^a$")),
        ("const", json!("a")),
        ("minimum", json!(1)),
        ("maximum", json!(1)),
        ("maxLength", json!(1)),
        ("allOf", json!([{ "minLength": 1 }])),
        ("prefixItems", json!([true])),
        ("additionalProperties", json!(false)),
    ] {
        let mut narrowed = old.clone();
        narrowed["properties"]["a"][keyword] = value;
        let (there, back) =
            (incompatibilities(&old, &narrowed, "T"), incompatibilities(&narrowed, &old, "T"));
        let told = [format!("T.a: `{keyword}` changed")];
        assert_eq!((there.as_slice(), back.as_slice()), (&told[..], &told[..]));
    }
    let changes = [
        json!({ "properties": { "a": { "type": "string" } }, "required": ["a"] }),
        json!({
            "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
            "required": ["a"],
        }),
        json!({
            "properties": { "a": { "type": "string" }, "b": { "type": "integer" } },
            "required": ["a", "b"],
        }),
        json!({
            "properties": { "a": { "type": "string" }, "b": { "type": "integer" } },
        }),
    ];
    for change in changes {
        assert!(!incompatibilities(&old, &change, "T").is_empty(), "{change} was let through");
    }
}
