//! What one answer tells of one thing is of one moment, whatever happens while it is read.

use access::Role;
use event_schemas::commerce::{
    EscrowEvent, EscrowHeld, OrderAccepted, OrderApproved, OrderEvent, PaymentAuthorised,
    PaymentEvent,
};
use event_schemas::{Currency, Money, OrderId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::socket::Socket;
use crate::stage::Stage;

/// How many changes are made while answers are read.
const CHANGES: u64 = 150;

/// Whether the last entry of the history tells how the order stands.
fn assert_agrees(order: &Value) {
    let last = order["history"].as_array().unwrap().last().unwrap();
    let expected = match last["what"].as_str().unwrap() {
        "OrderPlaced" => "PLACED",
        "OrderApproved" => "APPROVED",
        "OrderAccepted" => "ACCEPTED",
        other => panic!("{other} did not happen"),
    };
    assert_eq!(order["status"], expected, "{order}");
}

/// One of two changes, by turns.
fn turn(order_id: OrderId, number: u64) -> OrderEvent {
    if number.is_multiple_of(2) {
        OrderApproved { order_id }.into()
    } else {
        OrderAccepted { order_id }.into()
    }
}

/// Asks again and again until all changes are made, and once more.
async fn while_it_changes(
    changes: impl Future<Output = ()>,
    ask: impl AsyncFn() -> Value,
    check: impl Fn(&Value),
) {
    let mut changes = std::pin::pin!(changes);
    let mut is_over = false;
    while !is_over {
        let mut asking = std::pin::pin!(ask());
        let data = loop {
            tokio::select! {
                data = &mut asking => break data,
                () = &mut changes, if !is_over => is_over = true,
            }
        };
        check(&data);
    }
    check(&ask().await);
}

#[tokio::test]
async fn an_order_and_its_history_are_of_one_moment() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let otis = stage.user("otis", Role::Listener).await;
    let order_id = stage.order(otis, nina).await;
    stage.caught_up().await;
    let buyer = stage.token(otis, Role::Listener);
    let query = "query($id: UUID!) { a: order(id: $id) { status history { what } }
        me { purchases { nodes { status history { what } } } }
        b: order(id: $id) { status history { what } } }";
    let changes = async {
        for number in 0..CHANGES {
            stage.put::<OrderEvent>(order_id, turn(order_id, number)).await;
        }
    };
    let ask = async || stage.data(Some(&buyer), query, json!({ "id": order_id })).await;
    while_it_changes(changes, ask, |data| {
        for order in [&data["a"], &data["b"], &data["me"]["purchases"]["nodes"][0]] {
            assert_agrees(order);
        }
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn an_order_that_changed_is_told_with_the_history_up_to_that_change() {
    let stage = Stage::new().await;
    let (nina, otis) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let order_id = stage.order(otis, nina).await;
    let mut socket = Socket::of(&stage, &stage.token(otis, Role::Listener)).await;
    let query = "subscription($id: UUID!) {
        orderChanged(orderId: $id) { status history { what } } }";
    socket.subscribe("a", query, json!({ "id": order_id })).await;
    let order = socket.next().await["payload"]["data"]["orderChanged"].take();
    assert_agrees(&order);
    // Many are there before the first of them is told.
    for number in 0..20 {
        stage.put::<OrderEvent>(order_id, turn(order_id, number)).await;
    }
    stage.caught_up().await;
    for number in 0..20 {
        let order = socket.next().await["payload"]["data"]["orderChanged"].take();
        assert_eq!(order["history"].as_array().unwrap().len(), number + 2, "{order}");
        assert_agrees(&order);
    }
    stage.end().await;
}

#[tokio::test]
async fn balances_and_their_statement_are_of_one_moment() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let otis = stage.user("otis", Role::Artist).await;
    stage.caught_up().await;
    let seller = stage.token(nina, Role::Artist);
    let query = "{ me { statement(first: 1) { nodes { balance { authorisedMinor heldMinor } } }
        balances { authorisedMinor heldMinor } }
        late: me { statement(first: 1) { nodes { balance { authorisedMinor heldMinor } } } } }";
    let nothing = stage.data(Some(&seller), query, Value::Null).await;
    assert_eq!(nothing["me"], json!({ "balances": [], "statement": { "nodes": [] } }));
    let changes = async {
        let (amount, gateway_reference) = (Money::new(100, Currency::EUR), "g".to_owned());
        for number in 0..CHANGES {
            let order_id = OrderId(Uuid::new_v4());
            if number.is_multiple_of(2) {
                let held = EscrowHeld { order_id, buyer_id: otis, seller_id: nina, amount };
                stage.put::<EscrowEvent>(order_id, held.into()).await;
            } else {
                let gateway_reference = gateway_reference.clone();
                let paid =
                    PaymentAuthorised { order_id, buyer_id: nina, amount, gateway_reference };
                stage.put::<PaymentEvent>(order_id, paid.into()).await;
            }
        }
    };
    let ask = async || stage.data(Some(&seller), query, Value::Null).await;
    while_it_changes(changes, ask, |data| {
        for told in [&data["me"], &data["late"]] {
            let newest = &told["statement"]["nodes"][0]["balance"];
            assert_eq!(newest, &data["me"]["balances"][0], "{data}");
        }
    })
    .await;
    stage.end().await;
}
