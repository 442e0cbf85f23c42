//! Events come back from their encoding as they were, and what is not theirs is told apart.

use event_schemas::commerce::{DeliveryMode, LicenceKind, LicenceListed, ListingEvent};
use event_schemas::family::DecodeError;
use event_schemas::user::UserEvent;
use event_schemas::{Currency, EventFamily, ListingId, Money, TrackId, UserId};
use serde_json::json;
use uuid::Uuid;

fn listed() -> ListingEvent {
    ListingEvent::from(LicenceListed {
        listing_id: ListingId(Uuid::from_u128(1)),
        track_id: TrackId(Uuid::from_u128(2)),
        seller_id: UserId(Uuid::from_u128(3)),
        kind: LicenceKind::Exclusive,
        price: Money::new(2500, Currency::EUR),
        delivery: DeliveryMode::OnApproval,
    })
}

#[test]
fn an_event_is_stored_as_plain_data_and_read_back() {
    let encoded = listed().encode();
    assert_eq!((encoded.event_type, encoded.version), ("LicenceListed", 1));
    assert_eq!(
        encoded.data,
        json!({
            "listing_id": "00000000-0000-0000-0000-000000000001",
            "track_id": "00000000-0000-0000-0000-000000000002",
            "seller_id": "00000000-0000-0000-0000-000000000003",
            "kind": "exclusive",
            "price": { "amount_minor": 2500, "currency": "EUR" },
            "delivery": "on_approval",
        })
    );
    let decoded = ListingEvent::decode(encoded.event_type, encoded.version, encoded.data);
    assert_eq!(decoded.expect("its own encoding"), listed());
}

#[test]
fn unknown_later_and_broken_data_are_told_apart() {
    let data = listed().encode().data;
    let unknown = ListingEvent::decode("LicenceFramed", 1, data.clone());
    assert!(matches!(unknown, Err(DecodeError::UnknownType(name)) if name == "LicenceFramed"));
    assert!(matches!(ListingEvent::decode("LicenceListed", 2, data), Err(DecodeError::Upcast(_))));
    assert!(matches!(
        ListingEvent::decode("LicenceListed", 1, json!({})),
        Err(DecodeError::Undecodable { event_type: "LicenceListed", .. })
    ));
}

#[test]
fn properties_of_a_later_minor_change_are_borne() {
    let mut encoded = listed().encode();
    encoded.data["note"] = json!("added later");
    let decoded = ListingEvent::decode(encoded.event_type, 1, encoded.data);
    assert_eq!(decoded.expect("unknown properties are borne"), listed());
}

#[test]
fn a_personal_field_that_is_sealed_still_is_told_and_not_taken_for_a_value() {
    let data = |bio: serde_json::Value| {
        let user_id = "00000000-0000-0000-0000-000000000001";
        json!({ "user_id": user_id, "display_name": "Nina", "bio": bio })
    };
    let decode = |bio| UserEvent::decode("UserProfileChanged", 1, data(bio));
    assert!(decode(json!("$sealed")).is_ok());
    let sealed = decode(json!({ "$sealed": "AQ" })).expect_err("it is sealed");
    assert!(matches!(sealed, DecodeError::Sealed { field: "bio", .. }), "{sealed}");
}
