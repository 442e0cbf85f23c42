//! Masters: the buyer's once they are paid, not a moment before; and one that can't be streamed.

use std::cell::Cell;

use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::{list, order_by, publish, sign_up, tone};
use crate::platform::{Platform, eventually};

/// What the buyer of an order is given of it.
struct Given {
    order: Value,
    /// The status of the master's download, tried before the order was looked at.
    download: u16,
}

/// An order, paid by this method.
struct Bought<'a> {
    platform: &'a Platform,
    buyer: String,
    id: String,
}

impl<'a> Bought<'a> {
    async fn by(platform: &'a Platform, method: &str) -> Self {
        let nina = sign_up(platform, "nina", "artist").await;
        let buyer = sign_up(platform, "otis", "listener").await;
        let track = publish(platform, &nina).await;
        let listing = list(platform, &nina, &track, "instant").await;
        let (status, placed) = order_by(platform, &buyer, &listing, method).await;
        assert_eq!(status, 201, "{placed}");
        Self { platform, buyer, id: placed["id"].as_str().unwrap().to_owned() }
    }

    fn master(&self) -> String {
        format!("/media/orders/{}/master", self.id)
    }

    /// The buyer is content.
    async fn accept(&self) -> (u16, Value) {
        let path = format!("/api/v1/orders/{}/acceptance", self.id);
        self.platform.post(&path, Some(&self.buyer), Value::Null).await
    }

    async fn given(&self) -> Given {
        let download = self.platform.request(Method::GET, &self.master(), Some(&self.buyer));
        let download = download.send().await.unwrap().status().as_u16();
        let query = "query($id: UUID!) { order(id: $id) {
            status payment masterUrl history { what } } }";
        let asked = json!({ "query": query, "variables": { "id": self.id } });
        let (_, mut answer) = self.platform.post("/graphql", Some(&self.buyer), asked).await;
        Given { order: answer["data"]["order"].take(), download }
    }
}

#[tokio::test]
async fn a_master_is_given_out_once_its_price_was_taken() {
    let platform = Platform::start().await;
    let bought = Bought::by(&platform, "sandbox:slow:4000").await;
    let was_held_back = Cell::new(false);
    eventually("the price is taken", async || {
        let Given { order, download } = bought.given().await;
        if order["payment"] == "CAPTURED" {
            return true;
        }
        assert_eq!((&order["masterUrl"], download), (&Value::Null, 404), "{order}");
        if order["status"] == "DELIVERED" {
            was_held_back.set(true);
            // The price may be taken in between; the history tells which was first.
            let (status, answer) = bought.accept().await;
            assert!([200, 409].contains(&status), "{status} {answer}");
        }
        false
    })
    .await;
    assert!(was_held_back.get(), "it was never delivered and unpaid");
    let Given { order, download } = bought.given().await;
    assert_eq!((&order["masterUrl"], download), (&json!(bought.master()), 200));
    let master = platform.request(Method::GET, &bought.master(), Some(&bought.buyer));
    assert_eq!(master.send().await.unwrap().bytes().await.unwrap(), tone());
    assert_eq!(bought.accept().await.0, 200);
    eventually("it was accepted once the price was taken", async || {
        let Given { order, .. } = bought.given().await;
        let history = order["history"].as_array().unwrap();
        let at = |what: &str| history.iter().position(|entry| entry["what"] == what);
        let accepted = at("OrderAccepted");
        assert!(accepted.is_none_or(|accepted| at("PaymentCaptured").unwrap() < accepted));
        accepted.is_some()
    })
    .await;
    platform.stop().await;
}

#[tokio::test]
async fn whose_payment_is_not_taken_gets_no_master() {
    let platform = Platform::start().await;
    let bought = Bought::by(&platform, "sandbox:decline-capture").await;
    eventually("the order is cancelled", async || {
        let Given { order, download } = bought.given().await;
        assert_eq!((&order["masterUrl"], download), (&Value::Null, 404), "{order}");
        order["status"] == "CANCELLED"
    })
    .await;
    let Given { order, download } = bought.given().await;
    let history = order["history"].as_array().unwrap();
    assert!(history.iter().any(|entry| entry["what"] == "OrderDelivered"), "{order}");
    assert_eq!((&order["payment"], &order["masterUrl"]), (&json!("VOIDED"), &Value::Null));
    assert_eq!(download, 404);
    assert_eq!(platform.ledger(&bought.id), ["authorise", "capture", "void"]);
    let metrics = platform.request(Method::GET, "/metrics", None).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let steps = |way: &str| {
        let of_way = |line: &&str| line.starts_with("veza_saga_steps_total{") && line.contains(way);
        metrics.lines().filter(of_way).filter(|line| line.contains("outcome=\"done\"")).count()
    };
    let (forward, back) = (steps("way=\"forward\""), steps("way=\"back\""));
    assert!(back > 0 && forward > back, "{forward} forward, {back} back: {metrics}");
    platform.stop().await;
}

#[tokio::test]
async fn why_a_master_can_not_be_streamed_is_told_to_who_publishes_it() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let half = tone()[..tone().len() / 2].to_vec();
    let (status, upload) = platform.upload(&nina, half).await;
    assert_eq!(status, 201, "{upload}");
    let new = json!({ "upload_id": upload["id"], "title": "Half a tone" });
    let (status, track) = platform.post("/api/v1/tracks", Some(&nina), new).await;
    assert_eq!(status, 201, "{track}");
    let id = track["id"].as_str().unwrap();
    let query = "query($id: UUID!) { track(id: $id) { status failure } }";
    let asked = json!({ "query": query, "variables": { "id": id } });
    let failed = async || {
        let (_, mut answer) = platform.post("/graphql", Some(&nina), asked.clone()).await;
        answer["data"]["track"].take()
    };
    eventually("the track has failed", async || failed().await["status"] == "FAILED").await;
    let publication = format!("/api/v1/tracks/{id}/publication");
    let (status, problem) = platform.post(&publication, Some(&nina), Value::Null).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:veza:problem:conflict")));
    let reason = failed().await["failure"].as_str().unwrap().to_owned();
    assert!(reason.contains("cut short"), "{reason}");
    assert_eq!(problem["detail"], json!(format!("the track can't be streamed: {reason}")));
    platform.stop().await;
}
