//! Holds every event to its checked-in JSON Schema: `schemas/<category>/<Type>.v<version>.json`.
//!
//! A type that changed in a way that old readers or old data can bear (a new optional property) is
//! written anew with `UPDATE_SCHEMAS=1`; any other change needs the next version and an upcaster.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use event_schemas::catalogue::FAMILIES;
use event_schemas::personal::KEYWORD;
use event_schemas::upcast::UPCASTERS;
use event_schemas::{EventFamily as _, user};
use serde_json::{Value, json};

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
        // What is personal may become so, and stays it: what was sealed is to be opened.
        let became = keyword == KEYWORD && old.get(keyword).is_none();
        if compared && !became && old.get(keyword) != new.get(keyword) {
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
    for (category, types) in FAMILIES {
        for info in *types {
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
    for (category, types) in FAMILIES {
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

/// Every mark is of a text of its schema, or of one that may be absent, and says whose it is by an
/// id that is always there; and the schema shows it.
#[test]
fn personal_fields_and_their_subjects_are_in_their_schemas() {
    let mut marked = Vec::new();
    for info in FAMILIES.iter().flat_map(|(_, types)| *types) {
        let schema = serde_json::to_value((info.schema)()).expect("schemas are JSON");
        for field in info.personal {
            let about = format!("{} of {}", field.name, info.name);
            let property = &schema["properties"][field.name];
            let is_text = [json!("string"), json!(["string", "null"])].contains(&property["type"]);
            assert!(is_text, "{about} is no text: {property}");
            assert_eq!(property[KEYWORD], field.subject, "{about}");
            let required = schema["required"].as_array().expect("something is required");
            assert!(required.contains(&json!(field.subject)), "{about} is nobody's");
            let subject = &schema["properties"][field.subject];
            assert_eq!(subject["$ref"], "#/$defs/UserId", "{about}");
            marked.push(format!("{}.{}", info.name, field.name));
        }
        let shown = schema["properties"].as_object().into_iter().flatten();
        let shown = shown.filter(|(_, property)| property.get(KEYWORD).is_some()).count();
        assert_eq!(shown, info.personal.len(), "{}", info.name);
    }
    for known in ["UserRegistered.handle", "UserProfileChanged.bio", "MessagePosted.text"] {
        assert!(marked.iter().any(|mark| mark == known), "{known} in {marked:?}");
    }
}

#[test]
fn stand_ins_of_handles_are_unique_and_nobodys() {
    let registered = user::UserEvent::TYPES.iter().find(|info| info.name == "UserRegistered");
    let handle = registered.expect("it is there").personal.iter().find(|it| it.name == "handle");
    let stand_in = handle.expect("it is marked").stand_in;
    let mut seen = BTreeSet::new();
    for number in 0..1000 {
        let stand_in = stand_in(&format!("018f0000-0000-7000-8000-{number:012}"));
        assert!(stand_in.contains('-') && stand_in.len() <= 30, "{stand_in}");
        assert!(seen.insert(stand_in));
    }
}

#[test]
fn every_family_is_in_the_catalogue() {
    let known: BTreeSet<_> = FAMILIES.iter().map(|(category, _)| (*category).to_owned()).collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let families: usize = fs::read_dir(sources)
        .expect("there are sources")
        .map(|file| fs::read_to_string(file.expect("readable").path()).expect("text"))
        .map(|text| text.lines().filter(|line| *line == "event_family! {").count())
        .sum();
    assert_eq!((known.len(), FAMILIES.len()), (families, families));
}

#[test]
fn type_names_are_unique_across_families() {
    let mut seen = BTreeSet::new();
    for (_, types) in FAMILIES {
        for info in *types {
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
    let mut personal = old.clone();
    personal["properties"]["a"][KEYWORD] = json!("b");
    assert!(incompatibilities(&old, &personal, "T").is_empty(), "it may become personal");
    assert!(!incompatibilities(&personal, &old, "T").is_empty(), "and stays so");
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
