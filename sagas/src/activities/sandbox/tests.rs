//! The sandbox keeps the port's promises, its modes do as they say, and its file survives.

use std::io::Write;
use std::time::Instant;

use event_schemas::{Money, UserId};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::activities::payment::conformance;

fn sandbox() -> (TempDir, SandboxGateway) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = SandboxGateway::open(&folder.path().join("ledger.jsonl")).unwrap();
    (folder, gateway)
}

fn authorise(key: u128, method: &str) -> Authorise {
    Authorise {
        key: IdempotencyKey(Uuid::from_u128(key)),
        order_id: OrderId(Uuid::from_u128(10)),
        buyer_id: UserId(Uuid::from_u128(20)),
        amount: Money::new(1_999, Currency::EUR),
        payment_method: method.to_owned(),
    }
}

fn settle(key: u128, receipt: &Receipt) -> Settle {
    Settle { key: IdempotencyKey(Uuid::from_u128(key)), reference: receipt.reference.clone() }
}

const BUYER: Account = Account::Buyer(UserId(Uuid::from_u128(20)));
const HOLD: Account = Account::AuthorisedHold(OrderId(Uuid::from_u128(10)));

#[tokio::test]
async fn it_conforms_to_the_port() {
    for method in ["sandbox:ok", "sandbox:slow:1", "sandbox:duplicate"] {
        let (_folder, gateway) = sandbox();
        conformance::run(&gateway, method, "sandbox:decline").await;
        assert!(gateway.ledger().totals().values().all(|total| *total == 0));
    }
}

#[tokio::test]
async fn what_is_delivered_twice_is_booked_once() {
    let (_folder, gateway) = sandbox();
    let receipt = gateway.authorise(authorise(1, "sandbox:duplicate")).await.unwrap();
    gateway.capture(settle(2, &receipt)).await.unwrap();
    assert_eq!(gateway.ledger().entries().len(), 2);
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for() {
    let (_folder, gateway) = sandbox();
    let request = authorise(1, "sandbox:charged-then-timeout");
    let lost = gateway.authorise(request.clone()).await;
    assert_eq!(lost, Err(GatewayError::Timeout));
    let found = gateway.find(request.key).await.unwrap();
    let Some(Outcome::Done(receipt)) = found else {
        panic!("it was charged, but says {found:?}");
    };
    assert_eq!(gateway.authorise(request).await, Ok(receipt));
    assert_eq!(gateway.balance(HOLD, Currency::EUR), 1_999);
    assert_eq!(gateway.balance(BUYER, Currency::EUR), -1_999);
}

#[tokio::test]
async fn a_capture_that_is_declined_leaves_what_was_authorised_to_be_voided() {
    let (_folder, gateway) = sandbox();
    let receipt = gateway.authorise(authorise(1, "sandbox:decline-capture")).await.unwrap();
    let declined = gateway.capture(settle(2, &receipt)).await;
    assert!(matches!(declined, Err(GatewayError::Declined { .. })), "{declined:?}");
    assert_eq!(gateway.capture(settle(2, &receipt)).await, declined);
    assert_eq!(gateway.balance(HOLD, Currency::EUR), 1_999);
    gateway.void(settle(3, &receipt)).await.unwrap();
    assert_eq!(gateway.balance(BUYER, Currency::EUR), 0);
    let late = gateway.capture(settle(4, &receipt)).await;
    assert!(matches!(late, Err(GatewayError::NotPossible { .. })), "{late:?}");
}

#[tokio::test]
async fn a_slow_one_takes_its_time() {
    let (_folder, gateway) = sandbox();
    let begin = Instant::now();
    gateway.authorise(authorise(1, "sandbox:slow:30")).await.unwrap();
    assert!(begin.elapsed().as_millis() >= 30);
}

#[tokio::test]
async fn an_unknown_method_is_declined() {
    let (_folder, gateway) = sandbox();
    let declined = gateway.authorise(authorise(1, "card:visa")).await;
    assert!(matches!(declined, Err(GatewayError::Declined { .. })), "{declined:?}");
}

#[tokio::test]
async fn the_file_is_read_again_and_its_torn_end_cut() {
    let (folder, gateway) = sandbox();
    let path = folder.path().join("ledger.jsonl");
    let receipt = gateway.authorise(authorise(1, "sandbox:ok")).await.unwrap();
    assert!(matches!(SandboxGateway::open(&path), Err(OpenError::InUse(_))));
    drop(gateway);
    let whole = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    let gateway = SandboxGateway::open(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(gateway.authorise(authorise(1, "sandbox:ok")).await, Ok(receipt.clone()));
    gateway.void(settle(2, &receipt)).await.unwrap();
    drop(gateway);
    let ledger = SandboxGateway::audit(&path).unwrap();
    assert_eq!(ledger.entries().len(), 2);
    assert_eq!(ledger.balance(BUYER, Currency::EUR), 0);
}

#[tokio::test]
async fn a_last_line_with_a_hole_is_cut_and_one_of_another_kind_is_not() {
    let (folder, gateway) = sandbox();
    let path = folder.path().join("ledger.jsonl");
    gateway.authorise(authorise(1, "sandbox:ok")).await.unwrap();
    drop(gateway);
    let whole = std::fs::read(&path).unwrap();
    let mut holed = whole.clone();
    holed[10..40].fill(0);
    std::fs::write(&path, [&whole[..], &holed].concat()).unwrap();
    assert_eq!(SandboxGateway::audit(&path).unwrap().entries().len(), 1);
    drop(SandboxGateway::open(&path).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), whole);

    std::fs::write(&path, [&whole[..], b"{}\n"].concat()).unwrap();
    let opened = SandboxGateway::open(&path);
    assert!(matches!(opened, Err(OpenError::Corrupt { line: 2, .. })));
}

/// A torn write leaves a line without its end, or zeros in it: any other byte that is not what was
/// written is damage, and the charge of that line is not to be forgotten.
#[tokio::test]
async fn a_last_line_with_a_changed_byte_is_refused_and_kept() {
    let (folder, gateway) = sandbox();
    let path = folder.path().join("ledger.jsonl");
    gateway.authorise(authorise(1, "sandbox:ok")).await.unwrap();
    drop(gateway);
    let whole = std::fs::read(&path).unwrap();
    let braces = whole.iter().enumerate().filter(|(_, byte)| **byte == b'{').map(|(at, _)| at);
    for at in braces {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let opened = SandboxGateway::open(&path);
        assert!(matches!(opened, Err(OpenError::Corrupt { line: 1, .. })), "byte {at}");
        assert_eq!(std::fs::read(&path).unwrap(), flipped, "byte {at}");
    }
}

#[tokio::test]
async fn a_broken_line_in_the_middle_is_refused() {
    let (folder, gateway) = sandbox();
    let path = folder.path().join("ledger.jsonl");
    gateway.authorise(authorise(1, "sandbox:ok")).await.unwrap();
    drop(gateway);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [b"{}\n", &whole[..]].concat()).unwrap();
    let opened = SandboxGateway::open(&path);
    assert!(matches!(opened, Err(OpenError::Corrupt { line: 1, .. })));
}
