//! The purchase: what it leaves behind when it goes through, when it does not, and when the
//! process dies in the midst of it.

use std::path::PathBuf;

use aggregates::CommandContext;
use aggregates::commerce::{
    Escrow, EscrowStatus, ExclusiveLicence, Listing, ListingCommand, Order, OrderCommand,
    OrderStatus, Payment, PaymentStatus,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_schemas::audio::{Master, TrackCreated, TrackEvent, TrackMasterTakenDown};
use event_schemas::commerce::LicenceKind;
use event_schemas::saga::SagaEvent;
use event_schemas::{Actor, Currency, ListingId, Metadata, Money, TrackId, UserId};
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, Position,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::activities::SandboxGateway;
use crate::activities::payment::{Authorise, GatewayError, Outcome, PayOut, Receipt, Settle};
use crate::activities::sandbox::{Account, Request};
use crate::harness::memory_store::MemoryStore;
use crate::harness::{self, Running, Scenario, SkippingClock, until};
use crate::orchestrator::checkpoint::Checkpoint;
use crate::orchestrator::{Clock, End, IdempotencyKey, Run};

const SELLER: UserId = UserId(Uuid::from_u128(10));
const BUYER: UserId = UserId(Uuid::from_u128(11));
const LISTING: ListingId = ListingId(Uuid::from_u128(20));
const TRACK: TrackId = TrackId(Uuid::from_u128(30));
const ORDER: OrderId = OrderId(Uuid::from_u128(40));
const PRICE: Money = Money::new(2_500, Currency::EUR);

struct Purchase {
    gateway: SandboxGateway,
    method: &'static str,
    delivery: DeliveryMode,
    folder: TempDir,
    on_disk: bool,
    /// Its gateway is never heard of an authorisation.
    silent: bool,
}

fn purchase(method: &'static str, delivery: DeliveryMode) -> Purchase {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("ledger.jsonl");
    Purchase {
        gateway: SandboxGateway::open(&path).unwrap(),
        method,
        delivery,
        folder,
        on_disk: false,
        silent: false,
    }
}

fn ordinary() -> Purchase {
    purchase("sandbox:ok", DeliveryMode::Instant)
}

fn by(user: UserId) -> CommandContext {
    let id = Uuid::new_v4();
    CommandContext::first(id, "test", Actor::User(user), DateTime::UNIX_EPOCH)
}

async fn record_track(store: &dyn EventStore, event: TrackEvent) {
    let encoded = event.encode();
    let metadata = Metadata {
        schema_version: encoded.version,
        correlation_id: Uuid::from_u128(1),
        causation_id: Uuid::from_u128(1),
        actor: Actor::User(SELLER),
        occurred_at: Utc::now(),
        traceparent: None,
        command: None,
    };
    let new = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(encoded.event_type).unwrap(),
        content_type: ContentType::Json,
        data: encoded.data.to_string().into(),
        metadata: serde_json::to_vec(&metadata).unwrap().into(),
    };
    let stream = StreamName::new(format!("track-{TRACK}")).unwrap();
    store.append(&stream, ExpectedRevision::Any, vec![new]).await.unwrap();
}

async fn take_down(store: &dyn EventStore) {
    let taken_down = TrackMasterTakenDown {
        track_id: TRACK,
        by: SELLER,
        reason: "a sample was not cleared".to_owned(),
    };
    record_track(store, taken_down.into()).await;
}

async fn reserve(store: Arc<dyn EventStore>, order_id: OrderId, method: &str) {
    let command =
        ListingCommand::Reserve { order_id, buyer_id: BUYER, payment_method: method.to_owned() };
    let commands = CommandHandler::new(store);
    commands.execute::<Listing>(LISTING, command, &by(BUYER)).await.unwrap();
}

async fn statuses(
    store: Arc<dyn EventStore>,
    id: OrderId,
) -> (OrderStatus, EscrowStatus, PaymentStatus) {
    let commands = CommandHandler::new(store);
    (
        commands.inspect::<Order, _>(id, |order| order.status).await.unwrap(),
        commands.inspect::<Escrow, _>(id, |escrow| escrow.status).await.unwrap(),
        commands.inspect::<Payment, _>(id, |payment| payment.status).await.unwrap(),
    )
}

#[async_trait]
impl Scenario for Purchase {
    async fn store(&self) -> Arc<dyn EventStore> {
        if !self.on_disk {
            return Arc::new(MemoryStore::new());
        }
        let options = EmbeddedOptions::folder(self.folder.path().join("events"));
        Arc::new(EmbeddedStore::open(options).await.unwrap())
    }

    fn saga(&self, store: Arc<dyn EventStore>) -> SagaDefinition {
        let commands = Arc::new(CommandHandler::new(store));
        let gateway = self.gateway.clone();
        let gateway: Arc<dyn PaymentGateway> = match self.silent {
            true => Arc::new(Silent { gateway, at_all: false }),
            false => Arc::new(gateway),
        };
        checkout(commands, gateway, CheckoutSettings::default())
    }

    fn end(&self) -> End {
        if self.silent { End::Compensated } else { End::Completed }
    }

    async fn begin(&self, store: Arc<dyn EventStore>) {
        let master = Master {
            object_key: "masters/one".to_owned(),
            sha256: "00".to_owned(),
            size_bytes: 1,
            media_type: "audio/wav".to_owned(),
        };
        let created = TrackCreated {
            track_id: TRACK,
            artist_id: SELLER,
            title: "One".to_owned(),
            tags: vec![],
            master,
        };
        record_track(&*store, created.into()).await;
        let list = ListingCommand::List {
            listing_id: LISTING,
            track_id: TRACK,
            seller_id: SELLER,
            kind: LicenceKind::NonExclusive,
            price: PRICE,
            delivery: self.delivery,
        };
        let commands = CommandHandler::new(store.clone());
        commands.execute::<Listing>(LISTING, list, &by(SELLER)).await.unwrap();
        reserve(store, ORDER, self.method).await;
    }

    fn stream(&self) -> StreamName {
        checkout_stream(ORDER)
    }

    async fn is_done(&self, store: Arc<dyn EventStore>) {
        let (order, escrow, payment) = statuses(store.clone(), ORDER).await;
        assert_eq!(order, OrderStatus::Completed);
        assert_eq!(escrow, EscrowStatus::Released);
        assert_eq!(payment, PaymentStatus::Captured);
        let sold = |listing: &Listing| listing.sold.contains_key(&ORDER);
        let commands = CommandHandler::new(store);
        assert!(commands.inspect::<Listing, _>(LISTING, sold).await.unwrap());
        let asked = self.gateway.entries(ORDER);
        let asked: Vec<_> = asked.iter().map(|entry| name(&entry.request)).collect();
        assert_eq!(asked, ["authorise", "capture", "pay out"], "each exactly once");
        let price = i128::from(PRICE.amount_minor);
        assert_eq!(self.gateway.balance(Account::Buyer(BUYER), Currency::EUR), -price);
        assert_eq!(self.gateway.balance(Account::Seller(SELLER), Currency::EUR), price);
    }

    async fn is_clean(&self, store: Arc<dyn EventStore>) {
        let (order, escrow, payment) = statuses(store.clone(), ORDER).await;
        let commands = CommandHandler::new(store);
        let placed = commands.inspect::<Order, _>(ORDER, |order| order.terms.is_some()).await;
        assert!(order == OrderStatus::Cancelled || !placed.unwrap(), "the order is {order}");
        assert!(matches!(escrow, EscrowStatus::Empty | EscrowStatus::Refunded), "{escrow:?}");
        let settled = matches!(
            payment,
            PaymentStatus::Unknown | PaymentStatus::Voided | PaymentStatus::Declined
        );
        assert!(settled, "{payment:?}");
        let ledger = self.gateway.ledger();
        for account in [
            Account::Buyer(BUYER),
            Account::Seller(SELLER),
            Account::AuthorisedHold(ORDER),
            Account::PlatformHeld(ORDER),
        ] {
            assert_eq!(ledger.balance(account, Currency::EUR), 0, "{account:?}");
        }
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Authorise { .. } => "authorise",
        Request::Capture { .. } => "capture",
        Request::Void { .. } => "void",
        Request::PayOut { .. } => "pay out",
        Request::GiveUp { .. } => "give up",
    }
}

/// Starts the saga with a clock that skips this long at most.
async fn begin(
    scenario: &Purchase,
    skip_max: TimeDelta,
) -> (Arc<MemoryStore>, Arc<dyn EventStore>, Running) {
    let memory = Arc::new(MemoryStore::new());
    let store: Arc<dyn EventStore> = memory.clone();
    scenario.begin(store.clone()).await;
    let clock: Arc<dyn Clock> = SkippingClock::new(skip_max);
    let running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    (memory, store, running)
}

/// The types of an order's and its saga's events, as they were recorded.
fn history(memory: &MemoryStore, types: &[&str]) -> Vec<String> {
    let events = memory.events();
    let names = events.iter().map(|event| event.event_type.as_str());
    names.filter(|name| types.contains(name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_step_can_fail() {
    harness::every_step_can_fail(ordinary).await;
}

#[tokio::test]
async fn every_step_can_repeat() {
    harness::every_step_can_repeat(ordinary).await;
}

#[tokio::test]
async fn undo_is_idempotent() {
    harness::undo_is_idempotent(ordinary).await;
}

#[tokio::test]
async fn it_survives_every_crash_on_the_way() {
    let places = harness::survives_every_crash(ordinary, None).await;
    assert!(places > 60, "only {places} places were tried");
}

#[tokio::test]
async fn it_survives_every_crash_on_the_way_back() {
    let places = harness::survives_every_crash(ordinary, Some("deliver")).await;
    assert!(places > 50, "only {places} places were tried");
}

#[tokio::test]
async fn it_survives_every_crash_with_a_gateway_that_loses_answers() {
    let world = || purchase("sandbox:charged-then-timeout", DeliveryMode::Instant);
    harness::survives_every_crash(world, None).await;
}

#[tokio::test]
async fn it_survives_every_crash_while_a_payment_is_given_up() {
    let world = || Purchase { silent: true, ..ordinary() };
    let places = harness::survives_every_crash(world, None).await;
    assert!(places > 70, "only {places} places were tried");
}

#[tokio::test]
async fn it_survives_every_crash_on_the_embedded_store() {
    let world = || Purchase { on_disk: true, ..ordinary() };
    let places = harness::survives_every_crash(world, None).await;
    assert!(places > 60, "only {places} places were tried");
}

#[tokio::test]
async fn whatever_the_gateway_does_the_buyer_pays_once() {
    let methods =
        ["sandbox:ok", "sandbox:slow:5", "sandbox:duplicate", "sandbox:charged-then-timeout"];
    for method in methods {
        let scenario = purchase(method, DeliveryMode::Instant);
        let (_, store, _running) = begin(&scenario, TimeDelta::days(30)).await;
        until(&store, &scenario.stream(), |run| run.state.end == Some(End::Completed)).await;
        scenario.is_done(store).await;
    }
}

#[tokio::test]
async fn a_declined_payment_cancels_the_order() {
    let scenario = purchase("sandbox:decline", DeliveryMode::Instant);
    let (_, store, _running) = begin(&scenario, TimeDelta::days(30)).await;
    until(&store, &scenario.stream(), |run| run.state.end == Some(End::Compensated)).await;
    scenario.is_clean(store.clone()).await;
    let commands = CommandHandler::new(store);
    let why = |order: &Order| order.cancelled_because.clone().unwrap();
    let why = commands.inspect::<Order, _>(ORDER, why).await.unwrap();
    assert_eq!(why, "the payment was declined: the card was declined");
    let reserved = |listing: &Listing| listing.reserved.contains_key(&ORDER);
    assert!(!commands.inspect::<Listing, _>(LISTING, reserved).await.unwrap());
}

/// Given other licences of a track that were reserved before and after the exclusive one, since the
/// door had not yet seen that go, then what came after is cancelled before anybody is charged, and
/// the rest goes through, however late the purchases begin.
#[tokio::test]
async fn what_is_reserved_after_the_exclusive_licence_is_given_back() {
    const EXCLUSIVE: OrderId = OrderId(Uuid::from_u128(41));
    const LATE: OrderId = OrderId(Uuid::from_u128(42));
    let scenario = ordinary();
    let store = scenario.store().await;
    scenario.begin(store.clone()).await;
    let commands = CommandHandler::new(store.clone());
    let licence = ExclusiveLicence::of(&commands, TRACK).await.unwrap();
    let ExclusiveLicence::NotOffered { next } = licence else { panic!("{licence:?}") };
    let list = ListingCommand::List {
        listing_id: next,
        track_id: TRACK,
        seller_id: SELLER,
        kind: LicenceKind::Exclusive,
        price: PRICE,
        delivery: DeliveryMode::Instant,
    };
    commands.execute::<Listing>(next, list, &by(SELLER)).await.unwrap();
    let (buyer_id, payment_method) = (UserId(Uuid::from_u128(12)), "sandbox:ok".to_owned());
    let exclusive = ListingCommand::Reserve { order_id: EXCLUSIVE, buyer_id, payment_method };
    commands.execute::<Listing>(next, exclusive, &by(buyer_id)).await.unwrap();
    reserve(store.clone(), LATE, "sandbox:ok").await;

    let clock = SkippingClock::new(TimeDelta::days(30));
    let _running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    let late = until(&store, &checkout_stream(LATE), |run| run.state.end.is_some()).await;
    assert_eq!(late.state.end, Some(End::Compensated));
    let why = "the exclusive licence of the track was bought first";
    assert_eq!(late.state.refusal.unwrap().reason, why);
    assert_eq!(statuses(store.clone(), LATE).await.0, OrderStatus::Cancelled);
    assert_eq!(scenario.gateway.entries(LATE).len(), 0, "nobody was charged");
    let reserved = |listing: &Listing| listing.reserved.contains_key(&LATE);
    assert!(!commands.inspect::<Listing, _>(LISTING, reserved).await.unwrap());
    for order in [ORDER, EXCLUSIVE] {
        let run = until(&store, &checkout_stream(order), |run| run.state.end.is_some()).await;
        assert_eq!(run.state.end, Some(End::Completed), "{order}");
    }
}

#[tokio::test]
async fn a_master_taken_down_undoes_everything_in_reverse() {
    let scenario = purchase("sandbox:ok", DeliveryMode::OnApproval);
    let (memory, store, _running) = begin(&scenario, TimeDelta::hours(1)).await;
    let stream = scenario.stream();
    until(&store, &stream, |run| run.state.timer.is_some()).await;
    take_down(&*store).await;
    approve(&store).await;
    let run = until(&store, &stream, |run| run.state.end == Some(End::Compensated)).await;
    let why = "the track's master was taken down: a sample was not cleared";
    assert_eq!(run.state.refusal.unwrap().reason, why);
    scenario.is_clean(store).await;
    let undone =
        ["EscrowRefunded", "PaymentVoided", "OrderCancelled", "LicenceReservationReleased"];
    assert_eq!(history(&memory, &undone), undone);
}

/// A gateway that is never heard of an authorisation; it may not be heard of anything else either.
struct Silent {
    gateway: SandboxGateway,
    at_all: bool,
}

#[async_trait]
impl PaymentGateway for Silent {
    async fn authorise(&self, _: Authorise) -> Result<Receipt, GatewayError> {
        Err(GatewayError::Timeout)
    }

    async fn capture(&self, request: Settle) -> Result<Receipt, GatewayError> {
        self.gateway.capture(request).await
    }

    async fn void(&self, request: Settle) -> Result<Receipt, GatewayError> {
        self.gateway.void(request).await
    }

    async fn pay_out(&self, request: PayOut) -> Result<Receipt, GatewayError> {
        self.gateway.pay_out(request).await
    }

    async fn find(&self, key: IdempotencyKey) -> Result<Option<Outcome>, GatewayError> {
        self.gateway.find(key).await
    }

    async fn give_up(
        &self,
        key: IdempotencyKey,
        order_id: OrderId,
    ) -> Result<Option<Outcome>, GatewayError> {
        if self.at_all {
            return Err(GatewayError::Timeout);
        }
        self.gateway.give_up(key, order_id).await
    }
}

async fn with_silent_gateway(at_all: bool) -> (Purchase, Arc<dyn EventStore>, Run) {
    let scenario = ordinary();
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    scenario.begin(store.clone()).await;
    let gateway = Silent { gateway: scenario.gateway.clone(), at_all };
    let commands = Arc::new(CommandHandler::new(store.clone()));
    let saga = checkout(commands, Arc::new(gateway), CheckoutSettings::default());
    let clock = SkippingClock::new(TimeDelta::days(30));
    let _running = Running::start(store.clone(), vec![saga], clock);
    let stopped = |run: &Run| run.state.end.is_some() || run.state.pause.is_some();
    let run = until(&store, &scenario.stream(), stopped).await;
    (scenario, store, run)
}

#[tokio::test]
async fn a_payment_that_never_comes_to_pass_sets_the_licence_free() {
    let (scenario, store, run) = with_silent_gateway(false).await;
    assert_eq!(run.state.end, Some(End::Compensated), "{:?}", run.state);
    scenario.is_clean(store.clone()).await;
    let reserved = |listing: &Listing| listing.reserved.contains_key(&ORDER);
    let commands = CommandHandler::new(store);
    assert!(!commands.inspect::<Listing, _>(LISTING, reserved).await.unwrap());
    // What was on its way to the gateway all the time comes too late.
    let entries = scenario.gateway.entries(ORDER);
    let late = Authorise {
        key: entries[0].key,
        order_id: ORDER,
        buyer_id: BUYER,
        amount: PRICE,
        payment_method: "sandbox:ok".to_owned(),
    };
    let late = scenario.gateway.authorise(late).await;
    assert!(matches!(late, Err(GatewayError::Declined { .. })), "{late:?}");
}

#[tokio::test]
async fn a_payment_of_which_nothing_can_be_known_waits_for_an_operator() {
    let (scenario, _, run) = with_silent_gateway(true).await;
    assert_eq!(run.state.pause.map(|pause| pause.step), Some("authorise".to_owned()));
    assert!(scenario.gateway.entries(ORDER).is_empty());
}

async fn approve(store: &Arc<dyn EventStore>) {
    let commands = CommandHandler::new(store.clone());
    let approve = OrderCommand::Approve { by: SELLER };
    commands.execute::<Order>(ORDER, approve, &by(SELLER)).await.unwrap();
}

#[tokio::test]
async fn an_order_on_approval_waits_for_the_seller() {
    let scenario = purchase("sandbox:ok", DeliveryMode::OnApproval);
    let (_, store, _running) = begin(&scenario, TimeDelta::hours(1)).await;
    let stream = scenario.stream();
    let run = until(&store, &stream, |run| run.state.timer.is_some()).await;
    let held = (OrderStatus::Placed, EscrowStatus::Held, PaymentStatus::Authorised);
    assert_eq!(statuses(store.clone(), ORDER).await, held);
    assert_eq!(run.state.timer.unwrap().step, AWAIT_APPROVAL);
    approve(&store).await;
    let waits = |run: &crate::orchestrator::Run| {
        run.state.timer.as_ref().is_some_and(|timer| timer.step == AWAIT_ACCEPTANCE)
    };
    until(&store, &stream, waits).await;
    let held = (OrderStatus::Delivered, EscrowStatus::Held, PaymentStatus::Captured);
    assert_eq!(statuses(store.clone(), ORDER).await, held);
    let commands = CommandHandler::new(store.clone());
    let accept = OrderCommand::Accept { by: BUYER };
    commands.execute::<Order>(ORDER, accept, &by(BUYER)).await.unwrap();
    let run = until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    assert_eq!(run.state.output(AWAIT_ACCEPTANCE).unwrap()["came"], "signal");
    scenario.is_done(store).await;
}

#[tokio::test]
async fn an_order_that_nobody_approves_is_cancelled_after_three_days() {
    let scenario = purchase("sandbox:ok", DeliveryMode::OnApproval);
    let (_, store, _running) = begin(&scenario, TimeDelta::days(4)).await;
    let run = until(&store, &scenario.stream(), |run| run.state.end.is_some()).await;
    assert_eq!(run.state.end, Some(End::Compensated));
    assert_eq!(run.state.refusal.unwrap().step, AWAIT_APPROVAL);
    scenario.is_clean(store).await;
}

#[tokio::test]
async fn silence_is_consent_after_the_hold_period() {
    let scenario = ordinary();
    let (memory, store, _running) = begin(&scenario, TimeDelta::days(30)).await;
    let stream = scenario.stream();
    let run = until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    assert_eq!(run.state.output(AWAIT_ACCEPTANCE).unwrap()["came"], "time");
    let events = memory.events();
    let due = events.iter().find(|event| event.event_type.as_str() == "SagaTimerSet").unwrap();
    let (SagaEvent::SagaTimerSet(set), metadata) = decode::<SagaEvent>(due).unwrap() else {
        panic!("it is named otherwise");
    };
    assert_eq!(set.due_at - metadata.occurred_at, TimeDelta::days(14));
}

#[tokio::test]
async fn a_start_goes_on_from_the_checkpoint() {
    let scenario = ordinary();
    let (_, store, running) = begin(&scenario, TimeDelta::hours(1)).await;
    let stream = scenario.stream();
    until(&store, &stream, |run| run.state.timer.is_some()).await;
    running.drain().await;
    let checkpoints = StreamName::new("sagacheckpoint-platform").unwrap();
    let checkpoint = Checkpoint::load(&*store, &checkpoints).await.unwrap();
    assert!(checkpoint.position > Position::START);
    assert_eq!(checkpoint.unfinished.into_iter().collect::<Vec<_>>(), [stream.as_str()]);
    let commands = CommandHandler::new(store.clone());
    let accept = OrderCommand::Accept { by: BUYER };
    commands.execute::<Order>(ORDER, accept, &by(BUYER)).await.unwrap();
    let clock = SkippingClock::new(TimeDelta::hours(1));
    let running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    running.drain().await;
    let checkpoint = Checkpoint::load(&*store, &checkpoints).await.unwrap();
    assert!(checkpoint.unfinished.is_empty(), "{checkpoint:?}");
}

#[tokio::test]
async fn many_purchases_go_through_at_once() {
    let scenario = ordinary();
    let (_, store, _running) = begin(&scenario, TimeDelta::days(30)).await;
    let orders: Vec<_> = (1_000..1_100).map(|id| OrderId(Uuid::from_u128(id))).collect();
    for order in &orders {
        reserve(store.clone(), *order, "sandbox:ok").await;
    }
    for order in orders {
        let over = |run: &crate::orchestrator::Run| run.state.end == Some(End::Completed);
        until(&store, &checkout_stream(order), over).await;
        assert_eq!(scenario.gateway.entries(order).len(), 3);
    }
    let totals = scenario.gateway.ledger().totals();
    assert!(totals.values().all(|total| *total == 0), "{totals:?}");
}
