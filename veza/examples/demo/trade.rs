//! Trade: a licence listed and bought, and what everybody has after every step.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::gateway::Books;
use super::music::{self, Track};
use super::people::Person;
use super::sound;
use super::stage::Stage;

const PRICE_MINOR: i64 = 2_500;

/// What a balance tells a buyer, and a seller.
const BUYERS: [&str; 2] = ["authorisedMinor", "chargedMinor"];
const SELLERS: [&str; 2] = ["heldMinor", "availableMinor"];

/// Who sells what to whom.
pub struct Deal<'a> {
    pub seller: &'a Person,
    pub buyer: &'a Person,
    pub listing: &'a str,
}

/// What should be seen of an order; amounts are in minor units.
struct Expected {
    order: &'static str,
    escrow: &'static str,
    payment: &'static str,
    authorised: i64,
    charged: i64,
    held: i64,
    available: i64,
    operations: &'static [&'static str],
}

/// Offers licences of the track; an order is delivered when the seller says so.
pub async fn list(stage: &Stage, musician: &Person, track: &Track) -> anyhow::Result<String> {
    let new = json!({
        "track_id": track.id, "kind": "non_exclusive", "delivery": "on_approval",
        "price": { "amount_minor": PRICE_MINOR, "currency": "EUR" },
    });
    let listing = stage.command(Some(musician), "/api/v1/listings", &new).await?;
    stage.step("the musician lists a licence", format!("25.00 EUR, at {}", listing.position));
    Ok(listing.id)
}

/// Buys, and looks at the order, its escrow, both balances and the gateway's ledger at every step.
pub async fn buy(stage: &Stage, deal: &Deal<'_>, track: &Track) -> anyhow::Result<String> {
    let order = place(stage, deal).await?;
    let held = Expected {
        order: "PLACED",
        escrow: "HELD",
        payment: "AUTHORISED",
        authorised: PRICE_MINOR,
        charged: 0,
        held: PRICE_MINOR,
        available: 0,
        operations: &["authorise"],
    };
    see(stage, deal, &order, "authorise, escrow", &held).await?;

    let approval = format!("/api/v1/orders/{order}/approval");
    stage.command(Some(deal.seller), &approval, &Value::Null).await?;
    let captured = Expected {
        order: "DELIVERED",
        payment: "CAPTURED",
        authorised: 0,
        charged: PRICE_MINOR,
        operations: &["authorise", "capture"],
        ..held
    };
    see(stage, deal, &order, "deliver, capture", &captured).await?;
    fetch_master(stage, deal, &order).await?;

    let acceptance = format!("/api/v1/orders/{order}/acceptance");
    stage.command(Some(deal.buyer), &acceptance, &Value::Null).await?;
    let released = Expected {
        order: "COMPLETED",
        escrow: "RELEASED",
        held: 0,
        available: PRICE_MINOR,
        operations: &["authorise", "capture", "pay_out"],
        ..captured
    };
    see(stage, deal, &order, "release", &released).await?;
    let paid = [("PaymentAuthorised", [PRICE_MINOR, 0]), ("PaymentCaptured", [0, PRICE_MINOR])];
    let earned = [("EscrowHeld", [PRICE_MINOR, 0]), ("EscrowReleased", [0, PRICE_MINOR])];
    see_statements(stage, deal, &order, paid, earned).await?;
    stage.step("a licence of", format!("“{}” is the listener's", track.title));
    Ok(order)
}

/// Buys again, but the master is taken down before it is delivered.
pub async fn buy_in_vain(stage: &Stage, deal: &Deal<'_>, track: &Track) -> anyhow::Result<()> {
    let order = place(stage, deal).await?;
    let before = Expected {
        order: "PLACED",
        escrow: "HELD",
        payment: "AUTHORISED",
        authorised: PRICE_MINOR,
        charged: PRICE_MINOR,
        held: PRICE_MINOR,
        available: PRICE_MINOR,
        operations: &["authorise"],
    };
    see(stage, deal, &order, "authorise, escrow", &before).await?;
    let reason = json!({ "reason": "a sample in it was not cleared" });
    let take_down = format!("/api/v1/tracks/{}/take-down", track.id);
    let down = stage.command(Some(deal.seller), &take_down, &reason).await?;
    stage.step("the master is taken down", &reason["reason"]);
    music::find_no_more(stage, track, &down.position).await?;
    let approval = format!("/api/v1/orders/{order}/approval");
    stage.command(Some(deal.seller), &approval, &Value::Null).await?;
    let undone = Expected {
        order: "CANCELLED",
        escrow: "REFUNDED",
        payment: "VOIDED",
        authorised: 0,
        held: 0,
        operations: &["authorise", "void"],
        ..before
    };
    see(stage, deal, &order, "undone in reverse", &undone).await?;
    // What the two have from the purchase before stays as it is.
    let pending = [PRICE_MINOR, PRICE_MINOR];
    let not_paid = [("PaymentAuthorised", pending), ("PaymentVoided", [0, PRICE_MINOR])];
    let not_earned = [("EscrowHeld", pending), ("EscrowRefunded", [0, PRICE_MINOR])];
    see_statements(stage, deal, &order, not_paid, not_earned).await?;

    let query = "query($id: UUID!) { order(id: $id) { reason history { what reason } } }";
    let seen = stage.query(Some(deal.buyer), None, query, json!({ "id": order })).await?;
    let history = seen["order"]["history"].as_array().context("an order has a history")?;
    let happened: Vec<&str> = history.iter().filter_map(|entry| entry["what"].as_str()).collect();
    let expected = [
        "OrderPlaced",
        "PaymentAuthorised",
        "EscrowHeld",
        "OrderApproved",
        "EscrowRefunded",
        "PaymentVoided",
        "OrderCancelled",
    ];
    ensure!(happened == expected, "not undone in reverse: {happened:?}");
    let why = seen["order"]["reason"].as_str().unwrap_or_default();
    ensure!(why.contains("taken down"), "the history does not tell why: {seen}");
    for entry in history {
        let reason = entry["reason"].as_str().unwrap_or_default();
        stage.step(entry["what"].as_str().unwrap_or_default(), reason);
    }
    let buyer = Books::of_order(stage, &order)?.balance("buyer", &deal.buyer.id);
    ensure!(buyer == 0, "the gateway still has {buyer} of the buyer's");
    stage.step("by the gateway's ledger the buyer paid", "0.00 EUR");
    Ok(())
}

async fn place(stage: &Stage, deal: &Deal<'_>) -> anyhow::Result<String> {
    let new = json!({ "listing_id": deal.listing, "payment_method": "sandbox:ok" });
    let order = stage.command(Some(deal.buyer), "/api/v1/orders", &new).await?;
    stage.step("the listener orders it", format!("{}, at {}", order.id, order.position));
    Ok(order.id)
}

/// Waits until the order is as expected, and checks that everybody's books agree.
async fn see(
    stage: &Stage,
    deal: &Deal<'_>,
    order: &str,
    what: &str,
    expected: &Expected,
) -> anyhow::Result<()> {
    let query = "query($id: UUID!) { order(id: $id) { status escrow payment } }";
    let wanted = json!({
        "status": expected.order, "escrow": expected.escrow, "payment": expected.payment,
    });
    stage
        .eventually(&format!("the order is {wanted}"), async || {
            let seen = stage.query(Some(deal.buyer), None, query, json!({ "id": order })).await?;
            Ok((seen["order"] == wanted).then_some(()))
        })
        .await?;
    let buyer = [expected.authorised, expected.charged];
    see_balance(stage, deal.buyer, BUYERS, buyer).await?;
    let seller = [expected.held, expected.available];
    see_balance(stage, deal.seller, SELLERS, seller).await?;
    let books = Books::of_order(stage, order)?;
    ensure!(
        books.operations() == expected.operations,
        "the gateway did {:?}, not {:?}",
        books.operations(),
        expected.operations,
    );
    agree(&books, deal, order, expected)?;
    let (authorised, charged) = (expected.authorised, expected.charged);
    let (held, available) = (expected.held, expected.available);
    stage.step(
        &format!("{what}: order, escrow, payment"),
        format!("{}, {}, {}", expected.order, expected.escrow, expected.payment),
    );
    stage.step(
        "   buyer and seller, as the gateway has it",
        format!("authorised {authorised}, charged {charged}; held {held}, available {available}"),
    );
    Ok(())
}

/// The gateway's accounts of this order must say the same as the order's escrow and payment.
fn agree(books: &Books, deal: &Deal<'_>, order: &str, expected: &Expected) -> anyhow::Result<()> {
    let (hold, platform) =
        (books.balance("authorised_hold", order), books.balance("platform_held", order));
    let (buyer, seller) =
        (books.balance("buyer", &deal.buyer.id), books.balance("seller", &deal.seller.id));
    let wanted = match (expected.payment, expected.escrow) {
        ("AUTHORISED", _) => [-PRICE_MINOR, PRICE_MINOR, 0, 0],
        ("CAPTURED", "HELD") => [-PRICE_MINOR, 0, PRICE_MINOR, 0],
        ("CAPTURED", _) => [-PRICE_MINOR, 0, 0, PRICE_MINOR],
        _ => [0; 4],
    };
    let found = [buyer, hold, platform, seller];
    ensure!(found == wanted, "buyer, hold, platform, seller have {found:?}, not {wanted:?}");
    Ok(())
}

/// Waits until two amounts of somebody's balance are as expected.
async fn see_balance(
    stage: &Stage,
    who: &Person,
    fields: [&str; 2],
    expected: [i64; 2],
) -> anyhow::Result<()> {
    let what = format!("{} has {fields:?} of {expected:?}", who.handle);
    let look = async || {
        let found = balance(stage, who, fields).await?;
        Ok((found == expected).then_some(()))
    };
    stage.eventually(&what, look).await
}

/// Two amounts of somebody's balance in euros; zeros where there is none yet.
async fn balance(stage: &Stage, who: &Person, fields: [&str; 2]) -> anyhow::Result<[i64; 2]> {
    let query = "{ me { balances {
        currency authorisedMinor chargedMinor heldMinor availableMinor } } }";
    let seen = stage.query(Some(who), None, query, Value::Null).await?;
    let balances = seen["me"]["balances"].as_array().context("a person has balances")?;
    let euros = balances.iter().find(|balance| balance["currency"] == "EUR");
    Ok(fields.map(|field| euros.and_then(|balance| balance[field].as_i64()).unwrap_or(0)))
}

/// Both parties' statements must tell every step of the order, each with the balance as it was
/// then.
async fn see_statements(
    stage: &Stage,
    deal: &Deal<'_>,
    order: &str,
    buyers: [(&str, [i64; 2]); 2],
    sellers: [(&str, [i64; 2]); 2],
) -> anyhow::Result<()> {
    let query = "{ me { statement { nodes { what orderId balance {
        authorisedMinor chargedMinor heldMinor availableMinor } } } } }";
    for (who, fields, expected) in [(deal.buyer, BUYERS, buyers), (deal.seller, SELLERS, sellers)] {
        let seen = stage.query(Some(who), None, query, Value::Null).await?;
        let changes = seen["me"]["statement"]["nodes"].as_array().context("a statement")?;
        // The newest comes first.
        let of_order = changes.iter().rev().filter(|change| change["orderId"] == order);
        let told: Vec<_> = of_order
            .map(|change| (&change["what"], fields.map(|field| &change["balance"][field])))
            .collect();
        let same = told.len() == expected.len()
            && told.iter().zip(expected).all(|((what, amounts), (wanted, were))| {
                *what == wanted && amounts.iter().zip(were).all(|(amount, was)| **amount == was)
            });
        ensure!(same, "{}'s statement says {told:?}, not {expected:?}", who.handle);
        let [pending, there] = fields.map(|field| field.trim_end_matches("Minor"));
        let steps = expected.map(|(what, [first, second])| format!("{what} {first}, {second}"));
        stage.step(
            &format!("   {}'s statement", who.handle),
            format!("{pending} and {there} with {}", steps.join("; with ")),
        );
    }
    Ok(())
}

/// The buyer fetches what was delivered: the very file that was uploaded. Nobody else can.
async fn fetch_master(stage: &Stage, deal: &Deal<'_>, order: &str) -> anyhow::Result<()> {
    let query = "query($id: UUID!) { order(id: $id) { masterUrl } }";
    let seen = stage.query(Some(deal.buyer), None, query, json!({ "id": order })).await?;
    let url = seen["order"]["masterUrl"].as_str().context("a delivered order has a master")?;
    let master = stage.fetch(Some(deal.buyer), url).await?;
    ensure!(master == sound::wav(&sound::chords(sound::SECONDS))?, "another file was delivered");
    ensure!(stage.fetch(None, url).await.is_err(), "a stranger could fetch the master");
    stage.step("the listener fetches the master", format!("{} bytes, as uploaded", master.len()));
    Ok(())
}
