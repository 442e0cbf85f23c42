//! One event: what is sealed of it and comes back, and where it opens.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use event_store::log::SimDisk;
use event_store::{
    AppendError, ContentType, EmbeddedStore, EventType, PersonalError, PersonalStore,
    RecordedEvent, StoreError, SubjectKeys, UnreadableField,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::people::{
    append, append_to, data_of, event_with, everything, keys, log, marks, named, over, subject,
};

/// A log, the keys, and both together.
async fn parts() -> (Arc<EmbeddedStore>, SubjectKeys, PersonalStore) {
    let (log, keys) = (log(&SimDisk::new()).await, keys(&SimDisk::new()));
    let store = over(&log, &keys);
    (log, keys, store)
}

fn sealed_bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value["$sealed"].as_str().unwrap()).unwrap()
}

fn names_of(event: &RecordedEvent) -> Value {
    serde_json::from_slice::<Value>(&event.data).unwrap()["name"].clone()
}

fn unsealable(error: &AppendError) -> bool {
    matches!(error, AppendError::Store(StoreError::Personal(PersonalError::Unsealable { .. })))
}

#[tokio::test]
async fn only_personal_fields_are_sealed_and_every_byte_comes_back() {
    let (log, keys, store) = parts().await;
    let text = " { \"who\":\"ada\", \"number\" : 1e3,\"name\" : \"A\\u0064a\" , \
                \"bio\":null,\n\"friend\":\"bea\", \"friend_name\":{\"first\": \"Bea\"} } ";
    let mut new = event_with(0, "Named", &json!({}));
    new.data = Bytes::from(text);
    append(&store, new.clone()).await.unwrap();
    append(&store, event_with(1, "Unmarked", &json!({ "name": "Ada" }))).await.unwrap();
    assert_eq!(everything(&store).await.unwrap()[0].data, text);
    let raw = everything(&*log).await.unwrap();
    assert_eq!(raw[1].data, r#"{"name":"Ada"}"#);
    let raw = std::str::from_utf8(&raw[0].data).unwrap();
    assert!(raw.starts_with(" { \"who\":\"ada\", \"number\" : 1e3,\"name\" : {\"$sealed\":"));
    assert!(raw.contains("\"bio\":null,\n") && !raw.contains("first"), "{raw}");
    keys.forget(subject("bea")).await.unwrap();
    let data = &data_of(&store).await[0];
    assert_eq!((&data["name"], &data["friend_name"]), (&json!("Ada"), &json!("a friend")));
}

#[tokio::test]
async fn events_from_before_they_were_sealed_pass_as_they_are() {
    let (log, keys, store) = parts().await;
    let old = [
        named(0, "ada", "Ada"),
        event_with(1, "Named", &json!({ "name": "nobody's" })),
        event_with(2, "Named", &json!({ "who": "ada", "name": { "$sealed": "", "x": 1 } })),
        event_with(3, "Named", &json!([1])),
        event_with(4, "Named", &json!({ "who": 7, "name": "Ada" })),
    ];
    for event in &old {
        append(&*log, event.clone()).await.unwrap();
    }
    append(&store, named(5, "ada", "Ada")).await.unwrap();
    keys.forget(subject("ada")).await.unwrap();
    let read = everything(&store).await.unwrap();
    for (event, old) in read.iter().zip(&old) {
        assert_eq!(event.data, old.data);
    }
    assert_eq!(names_of(&read[5]), "once ada");
    let is_sealed = |event| PersonalStore::is_sealed(event, marks);
    assert!(!read.iter().any(is_sealed), "they are opened");
    let raw = everything(&*log).await.unwrap();
    assert_eq!(
        raw.iter().map(is_sealed).collect::<Vec<_>>(),
        [false, false, false, false, false, true]
    );
}

#[tokio::test]
async fn what_can_not_be_sealed_is_refused_and_not_kept() {
    let (log, _, store) = parts().await;
    let nobody = |data: Value| event_with(0, "Named", &data);
    let mut binary = named(0, "ada", "Ada");
    binary.content_type = ContentType::Binary;
    let mut twice = named(0, "ada", "Ada");
    twice.data = Bytes::from(r#"{"who":"ada","name":"Ada","name":"Bea"}"#);
    let mut two = named(0, "ada", "Ada");
    two.data = Bytes::from(r#"{"who":"ada","who":"bea","name":"Ada"}"#);
    for event in [
        nobody(json!({ "name": "Ada" })),
        nobody(json!({ "who": 7, "name": "Ada" })),
        nobody(json!("Ada")),
        binary,
        twice,
        two,
    ] {
        let error = append(&store, event).await.unwrap_err();
        assert!(unsealable(&error) && !error.to_string().contains("Ada"), "{error}");
    }
    let without = PersonalStore::without_keys(Arc::clone(&log) as _, marks);
    let error = append(&without, named(0, "ada", "Ada")).await.unwrap_err();
    let no_keys = StoreError::Personal(PersonalError::NoKeys);
    assert_eq!(error.to_string(), no_keys.to_string());
    assert!(everything(&*log).await.unwrap().is_empty());
}

/// Given two sealed values, when one stands where the other was, whatever differs between the two
/// places, then it does not open.
#[tokio::test]
async fn a_sealed_value_opens_in_its_own_place_only() {
    let (log, _, store) = parts().await;
    let data = |who: &str| json!({ "who": who, "name": "Ada", "bio": "Ada", "friend": who });
    let one = event_with(0, "Named", &data("ada"));
    append_to(&store, "person-1", one.clone()).await.unwrap();
    let raw = &everything(&*log).await.unwrap()[0];
    let sealed: Value = serde_json::from_slice(&raw.data).unwrap();
    append_to(&store, "person-2", event_with(8, "Named", &data("bea"))).await.unwrap();

    let with = |change: &dyn Fn(&mut Value)| {
        let mut data = sealed.clone();
        change(&mut data);
        event_with(0, "Named", &data)
    };
    let mut another_id = with(&|_| {});
    another_id.id = event_with(9, "Named", &json!({})).id;
    let mut another_type = with(&|_| {});
    another_type.event_type = EventType::new("NamedToo").unwrap();
    let base64 = sealed["name"]["$sealed"].as_str().unwrap();
    let cut = base64[..base64.len() - 4].to_owned();
    let places = [
        ("the same", "person-1", with(&|_| {}), true),
        ("another stream", "person-3", with(&|_| {}), false),
        ("another event", "person-1", another_id, false),
        ("another type", "person-1", another_type, false),
        ("another field", "person-1", with(&|data| data["bio"] = data["name"].clone()), false),
        ("another person", "person-1", with(&|data| data["who"] = json!("bea")), false),
        ("no person", "person-1", with(&|data| data["who"] = json!(null)), false),
        ("cut", "person-1", with(&|data| data["name"]["$sealed"] = json!(cut)), false),
        ("no base64", "person-1", with(&|data| data["name"]["$sealed"] = json!("=")), false),
    ];
    for (what, stream, event, opens) in places {
        assert_eq!(reads_in_another_log(&store, stream, event).await, opens, "{what}");
    }
    // Any bit of it.
    for at in 0..sealed_bytes(&sealed["name"]).len() {
        let mut bytes = sealed_bytes(&sealed["name"]);
        bytes[at] ^= 1;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        let event = with(&|data| data["name"]["$sealed"] = json!(text));
        assert!(!reads_in_another_log(&store, "person-1", event).await, "byte {at}");
    }
}

/// Whether the event, appended as it is to a log with the same keys, is read; what is said when it
/// is not has a type of its own.
async fn reads_in_another_log(
    keys_of: &PersonalStore,
    stream: &str,
    event: event_store::NewEvent,
) -> bool {
    let other = log(&SimDisk::new()).await;
    append_to(&*other, stream, event).await.unwrap();
    let store = keys_of.with_inner(Arc::clone(&other) as _);
    let mut event = everything(&*other).await.unwrap().remove(0);
    let unreadable = store.open(&mut event).await.unwrap();
    if unreadable.is_empty() {
        assert!(event.data.windows(5).any(|part| part == b"\"Ada\""));
        return true;
    }
    let is_refused = |told: &UnreadableField| {
        matches!(told.why, PersonalError::Refused { .. }) && !told.key_is_lost
    };
    assert!(unreadable.iter().all(is_refused), "{unreadable:?}");
    assert!(PersonalStore::is_sealed(&event, marks));
    false
}

#[tokio::test]
async fn an_event_that_is_sealed_again_has_the_same_bytes() {
    let (log, keys, store) = parts().await;
    append(&store, named(0, "ada", "Ada")).await.unwrap();
    let another = self::log(&SimDisk::new()).await;
    append(&over(&another, &keys), named(0, "ada", "Ada")).await.unwrap();
    let data = |events: Vec<RecordedEvent>| events[0].data.clone();
    let (once, twice) = (everything(&*log).await.unwrap(), everything(&*another).await.unwrap());
    assert_eq!(data(once), data(twice));
    // And the store takes it for the retry that it is.
    append(&store, named(0, "ada", "Ada")).await.unwrap();
    assert_eq!(everything(&store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn lengths_tell_little() {
    let (log, _, store) = parts().await;
    let lengths = [1, 10, 30, 31, 60];
    for (number, length) in (0..).zip(lengths) {
        append(&store, named(number, "ada", &"a".repeat(length))).await.unwrap();
    }
    let sealed = data_of(&*log).await;
    let sizes: Vec<_> = sealed.iter().map(|data| sealed_bytes(&data["name"]).len()).collect();
    assert_eq!(sizes, [61, 61, 61, 93, 93]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever values people have, they come back byte for byte, nothing of them is in the log,
    /// and no two values of a person have one nonce.
    #[test]
    fn values_come_back_and_no_nonce_serves_two(
        values in prop::collection::vec((0_u8..3, "\\PC{0,80}", any::<bool>()), 1..40),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(round_trip(&values));
    }
}

async fn round_trip(values: &[(u8, String, bool)]) {
    let (log, _, store) = parts().await;
    for (number, (who, text, too)) in (0..).zip(values) {
        let event_type = if *too { "NamedToo" } else { "Named" };
        let data = json!({ "who": who.to_string(), "name": text, "bio": text });
        append(&store, event_with(number, event_type, &data)).await.unwrap();
    }
    let mut nonces: HashMap<(Value, Vec<u8>), usize> = HashMap::new();
    let (opened, sealed) = (data_of(&store).await, data_of(&*log).await);
    for ((opened, sealed), (_, text, _)) in opened.iter().zip(&sealed).zip(values) {
        assert_eq!((&opened["name"], &opened["bio"]), (&json!(text), &json!(text)));
        for field in ["name", "bio"] {
            let nonce = sealed_bytes(&sealed[field])[1..13].to_vec();
            *nonces.entry((sealed["who"].clone(), nonce)).or_default() += 1;
        }
    }
    assert_eq!(nonces.len(), 2 * values.len(), "each nonce is there once");
}
