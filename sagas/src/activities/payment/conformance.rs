//! What every payment gateway has to do; one suite for all adapters.

use event_schemas::Currency;
use uuid::Uuid;

use super::*;

/// Holds a gateway to the port's promises, by a method that works and one that is declined.
pub(crate) async fn run(gateway: &dyn PaymentGateway, works: &str, declined: &str) {
    captures_and_pays_out(gateway, works).await;
    voids_what_was_not_captured(gateway, works).await;
    declines_for_good(gateway, declined).await;
    finds_what_it_did(gateway, works).await;
    never_does_what_was_given_up(gateway, works).await;
}

fn key() -> IdempotencyKey {
    IdempotencyKey(Uuid::new_v4())
}

fn authorise(method: &str) -> Authorise {
    Authorise {
        key: key(),
        order_id: OrderId(Uuid::new_v4()),
        buyer_id: UserId(Uuid::new_v4()),
        amount: Money::new(4_200, Currency::EUR),
        payment_method: method.to_owned(),
    }
}

fn settle(receipt: &Receipt) -> Settle {
    let reference = receipt.reference.clone();
    let key = key();
    Settle { key, reference }
}

async fn captures_and_pays_out(gateway: &dyn PaymentGateway, method: &str) {
    let request = authorise(method);
    let receipt = gateway.authorise(request.clone()).await.unwrap();
    assert_eq!(receipt.amount, request.amount);
    assert_eq!(gateway.authorise(request.clone()).await.unwrap(), receipt, "it is idempotent");
    let other = Authorise { amount: Money::new(1, Currency::EUR), ..request };
    assert_eq!(gateway.authorise(other).await, Err(GatewayError::KeyReused));
    let pay_out = |key| PayOut {
        key,
        reference: receipt.reference.clone(),
        seller_id: UserId(Uuid::from_u128(5)),
    };
    let early = gateway.pay_out(pay_out(key())).await;
    assert!(matches!(early, Err(GatewayError::NotPossible { .. })), "{early:?}");
    let capture = settle(&receipt);
    let captured = gateway.capture(capture.clone()).await.unwrap();
    assert_eq!(gateway.capture(capture).await.unwrap(), captured);
    let again = gateway.capture(settle(&receipt)).await;
    assert!(matches!(again, Err(GatewayError::NotPossible { .. })), "{again:?}");
    let key = key();
    let paid = gateway.pay_out(pay_out(key)).await.unwrap();
    assert_eq!(gateway.pay_out(pay_out(key)).await.unwrap(), paid);
}

async fn voids_what_was_not_captured(gateway: &dyn PaymentGateway, method: &str) {
    let receipt = gateway.authorise(authorise(method)).await.unwrap();
    let void = settle(&receipt);
    gateway.void(void.clone()).await.unwrap();
    gateway.void(void).await.unwrap();
    let captured = gateway.capture(settle(&receipt)).await;
    assert!(matches!(captured, Err(GatewayError::NotPossible { .. })), "{captured:?}");
}

async fn declines_for_good(gateway: &dyn PaymentGateway, method: &str) {
    let request = authorise(method);
    let first = gateway.authorise(request.clone()).await;
    assert!(matches!(first, Err(GatewayError::Declined { .. })), "{first:?}");
    assert_eq!(gateway.authorise(request.clone()).await, first);
    let found = gateway.find(request.key).await.unwrap();
    assert!(matches!(found, Some(Outcome::Declined(_))), "{found:?}");
}

async fn finds_what_it_did(gateway: &dyn PaymentGateway, method: &str) {
    let request = authorise(method);
    assert_eq!(gateway.find(request.key).await, Ok(None));
    let receipt = gateway.authorise(request.clone()).await.unwrap();
    assert_eq!(gateway.find(request.key).await, Ok(Some(Outcome::Done(receipt))));
}

async fn never_does_what_was_given_up(gateway: &dyn PaymentGateway, method: &str) {
    let late = authorise(method);
    for _ in 0..2 {
        assert_eq!(gateway.give_up(late.key, late.order_id).await, Ok(None));
        let declined = gateway.authorise(late.clone()).await;
        assert!(matches!(declined, Err(GatewayError::Declined { .. })), "{declined:?}");
    }
    let early = authorise(method);
    let receipt = gateway.authorise(early.clone()).await.unwrap();
    let found = gateway.give_up(early.key, early.order_id).await;
    assert_eq!(found, Ok(Some(Outcome::Done(receipt.clone()))));
    let capture = settle(&receipt);
    assert_eq!(gateway.give_up(capture.key, early.order_id).await, Ok(None));
    let declined = gateway.capture(capture).await;
    assert!(matches!(declined, Err(GatewayError::Declined { .. })), "{declined:?}");
    gateway.void(settle(&receipt)).await.unwrap();
}
