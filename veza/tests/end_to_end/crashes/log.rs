//! The log as an official client reads it, opened with the platform's keys of people, and what it
//! adds up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::{
    ClientStore, EventStore as _, PersonalStore, ReadAll, SubjectKeys, SubjectKeysOptions,
};
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::platform::Platform;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub position: u64,
    pub stream: String,
    pub event_type: String,
    pub data: Value,
}

/// All events, in their order.
#[derive(Default)]
pub struct Log(pub Vec<Event>);

/// How an order stands.
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub status: String,
    pub placed: usize,
    pub buyer: String,
    pub seller: String,
    pub amount: i64,
    pub authorised: bool,
    pub captured: bool,
    pub voided: bool,
    pub held: bool,
    pub released: bool,
    pub refunded: bool,
}

impl Log {
    pub async fn read(platform: &Platform) -> Self {
        let address = platform.run_file()["event_store"].as_str().unwrap().to_owned();
        let store = ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap();
        let keys = SubjectKeysOptions::folder(platform.data().join("keys/subjects"));
        let keys = SubjectKeys::open(keys).unwrap();
        let store = PersonalStore::over(Arc::new(store), keys, veza::personal::marks);
        let events = store.read_all(ReadAll::forward()).await.unwrap();
        let events: Vec<_> = events.try_collect().await.unwrap();
        assert!(store.unreadable().first().is_none(), "every key that was used is there");
        Self(
            events
                .into_iter()
                .map(|event| Event {
                    id: event.id.to_string(),
                    position: event.position.get(),
                    stream: event.stream.to_string(),
                    event_type: event.event_type.to_string(),
                    data: serde_json::from_slice(&event.data).unwrap_or(Value::Null),
                })
                .collect(),
        )
    }

    pub fn head(&self) -> u64 {
        self.0.last().map_or(0, |last| last.position)
    }

    pub fn at(&self, position: u64) -> Option<&Event> {
        let found = self.0.binary_search_by_key(&position, |event| event.position);
        found.ok().map(|index| &self.0[index])
    }

    pub fn of_type(&self, event_type: &str) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(move |event| event.event_type == event_type)
    }

    /// Every order by its id, with its payment and its escrow.
    pub fn orders(&self) -> BTreeMap<String, Order> {
        let mut orders: BTreeMap<String, Order> = BTreeMap::new();
        for event in &self.0 {
            let Some((category, id)) = event.stream.split_once('-') else {
                continue;
            };
            if !["order", "payment", "escrow"].contains(&category) {
                continue;
            }
            let order = orders.entry(id.to_owned()).or_default();
            match event.event_type.as_str() {
                "OrderPlaced" => {
                    order.placed += 1;
                    order.status = "placed".to_owned();
                    order.buyer = event.data["buyer_id"].as_str().unwrap().to_owned();
                    order.seller = event.data["seller_id"].as_str().unwrap().to_owned();
                    order.amount = event.data["price"]["amount_minor"].as_i64().unwrap();
                }
                "PaymentAuthorised" => order.authorised = true,
                "PaymentCaptured" => order.captured = true,
                "PaymentVoided" => order.voided = true,
                "PaymentDeclined" => {}
                "EscrowHeld" => order.held = true,
                "EscrowReleased" => order.released = true,
                "EscrowRefunded" => order.refunded = true,
                other => {
                    let status = other.strip_prefix("Order").unwrap();
                    order.status = status.to_lowercase();
                }
            }
        }
        orders
    }

    /// The runs of sagas that are not over.
    pub fn unfinished_sagas(&self) -> Vec<String> {
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for event in self.0.iter().filter(|event| event.stream.starts_with("saga-")) {
            last.insert(&event.stream, &event.event_type);
        }
        let over = |kind: &str| ["SagaCompleted", "SagaCompensated"].contains(&kind);
        let unfinished = last.into_iter().filter(|(_, kind)| !over(kind));
        unfinished.map(|(stream, kind)| format!("{stream} at {kind}")).collect()
    }
}
