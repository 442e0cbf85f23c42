//! The gateway's ledger, beside the log and the read models: does the money add up?

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use sqlx::PgPool;

use super::log::{Log, Order};
use crate::platform::Platform;

/// What the gateway did for one order.
#[derive(Default)]
struct Done {
    operations: Vec<String>,
    declined: bool,
}

/// How many orders ended in which way.
#[derive(Debug, Default)]
pub struct Went {
    /// Paid once, and handed out.
    pub completed: usize,
    /// No money was held.
    pub declined: usize,
    /// Money was held, the order was delivered, and then the money was not to be had.
    pub not_captured: usize,
    /// Money was held, and there was nothing to deliver.
    pub not_delivered: usize,
}

/// Every order is either paid once and handed out, or costs nothing; by the log, by the gateway,
/// and by the models.
pub async fn add_up(platform: &Platform, log: &Log, pool: &PgPool) -> Went {
    let orders = log.orders();
    let (mut by_order, accounts) = ledger(platform);
    let mut went = Went::default();
    for (id, order) in &orders {
        let done = by_order.remove(id).unwrap_or_default();
        one_order(id, order, &done, &mut went);
    }
    assert!(by_order.is_empty(), "the gateway worked for orders that nobody placed");

    let (mut charged, mut paid) = (BTreeMap::new(), BTreeMap::new());
    for order in orders.values().filter(|order| order.status == "completed") {
        *charged.entry(order.buyer.clone()).or_insert(0) += order.amount;
        *paid.entry(order.seller.clone()).or_insert(0) += order.amount;
    }
    for (account, balance) in &accounts {
        let (kind, who) = account.split_once(' ').unwrap();
        let expected = match kind {
            "buyer" => -charged.get(who).copied().unwrap_or(0),
            "seller" => paid.get(who).copied().unwrap_or(0),
            // What is kept ready for an order, or held for it.
            _ => 0,
        };
        assert_eq!(*balance, expected, "{account} in the gateway's ledger");
    }
    assert_eq!(accounts.values().sum::<i64>(), 0);
    balances_agree(pool, &charged, &paid).await;
    orders_agree(pool, &orders).await;
    went
}

fn one_order(id: &str, order: &Order, done: &Done, went: &mut Went) {
    assert_eq!(order.placed, 1, "order {id} was placed {} times", order.placed);
    let operations: Vec<&str> = done.operations.iter().map(String::as_str).collect();
    let money = (order.authorised, order.captured, order.voided);
    let escrow = (order.held, order.released, order.refunded);
    match order.status.as_str() {
        "completed" => {
            assert_eq!(operations, ["authorise", "capture", "pay_out"], "order {id}");
            assert_eq!(money, (true, true, false), "order {id}");
            assert_eq!(escrow, (true, true, false), "order {id}");
            went.completed += 1;
        }
        "cancelled" if !order.authorised => {
            assert!(done.declined, "order {id}: {operations:?}");
            assert_eq!(operations, ["authorise"], "order {id}");
            assert_eq!(money, (false, false, false), "order {id}");
            assert_eq!(escrow, (false, false, false), "order {id}");
            went.declined += 1;
        }
        // What was held is given back, once.
        "cancelled" => {
            assert_eq!(money, (true, false, true), "order {id}");
            assert_eq!(escrow, (true, false, true), "order {id}");
            if done.declined {
                assert_eq!(operations, ["authorise", "capture", "void"], "order {id}");
                went.not_captured += 1;
            } else {
                assert_eq!(operations, ["authorise", "void"], "order {id}");
                went.not_delivered += 1;
            }
        }
        other => panic!("order {id} was left {other}: {order:?}"),
    }
}

/// What was done for each order, and what is on each account.
fn ledger(platform: &Platform) -> (BTreeMap<String, Done>, BTreeMap<String, i64>) {
    let text = fs::read_to_string(platform.data().join("sandbox-gateway/ledger.jsonl")).unwrap();
    let (mut by_order, mut accounts): (BTreeMap<String, Done>, BTreeMap<String, i64>) =
        (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let done = by_order.entry(entry["order_id"].as_str().unwrap().to_owned()).or_default();
        done.operations.push(entry["request"]["operation"].as_str().unwrap().to_owned());
        done.declined |= entry["outcome"].get("declined").is_some();
        for posting in entry["postings"].as_array().unwrap() {
            let (kind, who) = posting["account"].as_object().unwrap().iter().next().unwrap();
            let account = format!("{kind} {}", who.as_str().unwrap());
            *accounts.entry(account).or_default() += posting["amount_minor"].as_i64().unwrap();
        }
    }
    (by_order, accounts)
}

async fn balances_agree(
    pool: &PgPool,
    charged: &BTreeMap<String, i64>,
    paid: &BTreeMap<String, i64>,
) {
    type Row = (String, i64, i64, i64, i64);
    let sql = "SELECT user_id::text, authorised, charged, held, available
               FROM balances_v2.balances";
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(pool).await.unwrap();
    let (mut charges, mut payments) = (BTreeMap::new(), BTreeMap::new());
    for (user, authorised, charge, held, available) in rows {
        assert_eq!((authorised, held), (0, 0), "something is still under way for {user}");
        charges.insert(user.clone(), charge);
        payments.insert(user, available);
    }
    charges.retain(|_, amount| *amount != 0);
    payments.retain(|_, amount| *amount != 0);
    assert_eq!((&charges, &payments), (charged, paid), "the balances' model");
}

async fn orders_agree(pool: &PgPool, orders: &BTreeMap<String, Order>) {
    type Row = (String, String, String, String);
    let sql = "SELECT order_id::text, status, escrow, payment FROM orders_v2.orders
               ORDER BY order_id::text";
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(pool).await.unwrap();
    let expected = orders.iter().map(|(id, order)| {
        let escrow = match (order.held, order.released, order.refunded) {
            (_, true, _) => "released",
            (_, _, true) => "refunded",
            (true, ..) => "held",
            _ => "none",
        };
        let payment = match (order.authorised, order.captured, order.voided) {
            (_, true, _) => "captured",
            (_, _, true) => "voided",
            (true, ..) => "authorised",
            _ => "declined",
        };
        (id.clone(), order.status.clone(), escrow.to_owned(), payment.to_owned())
    });
    assert_eq!(rows, expected.collect::<Vec<_>>(), "the orders' model");
}
