//! Persistent subscriptions as the official Rust client has them, and what is refused of others.

use std::sync::Arc;
use std::time::Duration;

use event_store::limits::STREAM_NAME_BYTES_MAX;
use event_store::{EmbeddedOptions, EmbeddedStore};
use eventstore::{
    AppendToStreamOptions, Client, Error, EventData, NakAction, PersistentSubscription,
    PersistentSubscriptionEvent, PersistentSubscriptionInfo, PersistentSubscriptionOptions,
    PersistentSubscriptionToAllOptions, ProjectionClient, ReadStreamOptions,
    ReplayParkedMessagesOptions, ResolvedEvent, StreamPosition,
    SubscribeToPersistentSubscriptionOptions, SubscriptionFilter,
};
use tempfile::TempDir;
use tonic::Code;

use crate::raw::{PLAIN, call, connect, message};
use crate::server::{Server, offered};

/// No answer takes longer than this, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

const READ: &str = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read";

async fn append(client: &Client, stream: &str, count: u64) {
    let options = AppendToStreamOptions::default();
    let events = offered("Told", count);
    client.append_to_stream(stream, &options, events).await.expect("append");
}

fn from_start() -> PersistentSubscriptionOptions {
    let options = PersistentSubscriptionOptions::default();
    options.start_from(StreamPosition::Start).message_timeout(Duration::from_secs(60))
}

async fn created(client: &Client, stream: &str, options: PersistentSubscriptionOptions) {
    let made = client.create_persistent_subscription(stream, "group", &options);
    made.await.expect("a group");
}

async fn consumer(client: &Client, stream: &str) -> PersistentSubscription {
    let options = SubscribeToPersistentSubscriptionOptions::default();
    let joined = client.subscribe_to_persistent_subscription(stream, "group", &options);
    joined.await.expect("a consumer")
}

/// The next event, and how often it was delivered before.
async fn next(consumer: &mut PersistentSubscription) -> (ResolvedEvent, usize) {
    let next = async {
        loop {
            match consumer.next_subscription_event().await.expect("an event") {
                PersistentSubscriptionEvent::EventAppeared { event, retry_count } => {
                    return (event, retry_count);
                }
                PersistentSubscriptionEvent::Confirmed(id) => assert!(id.ends_with("::group")),
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("in time")
}

fn revision(event: &ResolvedEvent) -> u64 {
    event.get_original_event().revision
}

async fn info(client: &Client, stream: &str) -> PersistentSubscriptionInfo<u64> {
    let options = Default::default();
    client.get_persistent_subscription_info(stream, "group", &options).await.expect("info")
}

async fn until(client: &Client, what: &str, is: impl Fn(&PersistentSubscriptionInfo<u64>) -> bool) {
    let polling = async {
        while !is(&info(client, "tale").await) {
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test]
async fn groups_are_made_looked_at_changed_and_deleted() {
    let server = Server::start().await;
    let client = server.client();
    let missing =
        client.get_persistent_subscription_info("tale", "group", &Default::default()).await;
    assert!(matches!(missing, Err(Error::ResourceNotFound)), "{missing:?}");
    let all = client.list_all_persistent_subscriptions(&Default::default()).await;
    assert!(all.expect("a list").is_empty());
    created(&client, "tale", from_start().max_retry_count(3)).await;
    let again = client.create_persistent_subscription("tale", "group", &from_start()).await;
    assert!(matches!(again, Err(Error::ResourceAlreadyExists)), "{again:?}");
    let told = info(&client, "tale").await;
    let settings = told.settings.expect("settings");
    assert_eq!((told.event_source.as_str(), told.group_name.as_str()), ("tale", "group"));
    assert_eq!(settings.max_retry_count, 3);
    assert_eq!(settings.start_from, StreamPosition::Start);
    assert_eq!(settings.message_timeout, Duration::from_secs(60));
    let changed = from_start().max_retry_count(7).checkpoint_lower_bound(1);
    client.update_persistent_subscription("tale", "group", &changed).await.expect("an update");
    let settings = info(&client, "tale").await.settings.expect("settings");
    assert_eq!((settings.max_retry_count, settings.checkpoint_lower_bound), (7, 1));
    let wrong = from_start().read_batch_size(20).history_buffer_size(20);
    let wrong = client.update_persistent_subscription("tale", "group", &wrong).await;
    let Err(Error::ServerError(reason)) = wrong else { panic!("{wrong:?}") };
    assert!(reason.contains("read batch size must be less"), "{reason}");
    let listed = client.list_persistent_subscriptions_for_stream("tale", &Default::default()).await;
    assert_eq!(listed.expect("a list").len(), 1);
    let other = client.list_persistent_subscriptions_for_stream("other", &Default::default()).await;
    assert!(matches!(other, Err(Error::ResourceNotFound)), "{other:?}");
    client
        .delete_persistent_subscription("tale", "group", &Default::default())
        .await
        .expect("a deletion");
    let gone = client.delete_persistent_subscription("tale", "group", &Default::default()).await;
    assert!(matches!(gone, Err(Error::ResourceNotFound)), "{gone:?}");
}

#[tokio::test]
async fn what_was_acknowledged_is_behind_the_group_for_good() {
    let folder = TempDir::new().expect("folder");
    let open = async || {
        let options = EmbeddedOptions::folder(folder.path().join("events"));
        Arc::new(EmbeddedStore::open(options).await.expect("store"))
    };
    let store = open().await;
    let server = Server::over(store.clone(), "127.0.0.1:0").await;
    let client = server.client();
    append(&client, "tale", 5).await;
    created(&client, "tale", from_start()).await;
    let mut first = consumer(&client, "tale").await;
    for expected in 0..3 {
        let (event, retries) = next(&mut first).await;
        assert_eq!((revision(&event), retries), (expected, 0));
        first.ack(event).await.expect("acknowledged");
    }
    until(&client, "three are processed", |info| info.stats.total_items == 3).await;
    server.shutdown.cancel();
    let ended = loop {
        match first.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, Error::ServerError(_)), "{ended:?}");
    server.serving.finished().await;
    store.close().await.expect("closed");

    let server = Server::over(open().await, "127.0.0.1:0").await;
    let client = server.client();
    let mut second = consumer(&client, "tale").await;
    assert_eq!(revision(&next(&mut second).await.0), 3);
    assert_eq!(revision(&next(&mut second).await.0), 4);
}

#[tokio::test]
async fn what_is_refused_is_retried_parked_or_skipped_as_the_consumer_says() {
    let server = Server::start().await;
    let client = server.client();
    append(&client, "tale", 3).await;
    created(&client, "tale", from_start().max_retry_count(2)).await;
    let mut consumer = consumer(&client, "tale").await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(next(&mut consumer).await.0);
    }
    let [retried, parked, skipped] = events.try_into().expect("three");
    consumer.nack(skipped, NakAction::Skip, "dull").await.expect("told");
    consumer.nack(parked, NakAction::Park, "odd").await.expect("told");
    until(&client, "parked", |info| info.stats.parked_message_count == 1).await;
    consumer.nack(retried, NakAction::Retry, "again").await.expect("told");
    let (again, retries) = next(&mut consumer).await;
    assert_eq!((revision(&again), retries), (0, 1));
    consumer.ack(again).await.expect("told");
    let all = ReplayParkedMessagesOptions::default();
    client.replay_parked_messages("tale", "group", &all).await.expect("replayed");
    let (replayed, _) = next(&mut consumer).await;
    // It comes through the link that keeps it, by whose id it is acknowledged.
    assert_eq!(replayed.event.as_ref().expect("what was parked").revision, 1);
    assert_eq!(replayed.get_original_stream_id(), "$persistentsubscription-tale::group-parked");
    consumer.ack(replayed).await.expect("told");
    until(&client, "all finished", |info| {
        info.stats.parked_message_count == 0 && info.stats.total_in_flight_messages == 0
    })
    .await;
}

#[tokio::test]
async fn consumers_share_the_events_and_what_one_leaves_behind() {
    let server = Server::start().await;
    let client = server.client();
    created(&client, "tale", from_start().max_subscriber_count(2)).await;
    let (mut one, mut two) = (consumer(&client, "tale").await, consumer(&client, "tale").await);
    let options = SubscribeToPersistentSubscriptionOptions::default();
    let third = client.subscribe_to_persistent_subscription("tale", "group", &options).await;
    let Err(Error::Grpc { code, message }) = third else { panic!("a third has joined") };
    assert_eq!(code as i32, Code::FailedPrecondition as i32);
    assert!(message.contains("Maximum subscriptions reached"), "{message}");
    append(&client, "tale", 2).await;
    let (first, _) = next(&mut one).await;
    let (second, _) = next(&mut two).await;
    assert_ne!(revision(&first), revision(&second));
    until(&client, "two consumers", |info| info.connections.len() == 2).await;
    drop(two);
    let (left, retries) = next(&mut one).await;
    assert_eq!((revision(&left), retries), (revision(&second), 1));
}

#[tokio::test]
async fn consumers_are_told_why_their_group_lets_them_go() {
    let server = Server::start().await;
    let client = server.client();
    created(&client, "tale", from_start()).await;
    let end = async |consumer: &mut PersistentSubscription| loop {
        match tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time") {
            Ok(_) => {}
            Err(error) => return error,
        }
    };
    let mut member = consumer(&client, "tale").await;
    client.update_persistent_subscription("tale", "group", &from_start()).await.expect("update");
    let dropped = end(&mut member).await;
    assert!(matches!(dropped, Error::IllegalStateError(_)), "{dropped:?}");
    let mut member = consumer(&client, "tale").await;
    client.restart_persistent_subscription_subsystem(&Default::default()).await.expect("restart");
    let dropped = end(&mut member).await;
    assert!(matches!(dropped, Error::IllegalStateError(_)), "{dropped:?}");
    let mut member = consumer(&client, "tale").await;
    client
        .delete_persistent_subscription("tale", "group", &Default::default())
        .await
        .expect("deletion");
    let gone = end(&mut member).await;
    assert!(matches!(gone, Error::ResourceNotFound), "{gone:?}");
}

#[tokio::test]
async fn a_group_of_the_log_gets_what_its_filter_keeps_and_what_links_point_to() {
    let server = Server::start().await;
    let client = server.client();
    append(&client, "other", 2).await;
    append(&client, "tale", 1).await;
    let link = EventData::binary("$>", "0@tale".into());
    let options = AppendToStreamOptions::default();
    client.append_to_stream("links", &options, link).await.expect("a link");
    let filter = SubscriptionFilter::on_stream_name().add_prefix("links");
    let options = PersistentSubscriptionToAllOptions::default();
    let options = options.start_from(StreamPosition::Start).resolve_link_tos(true).filter(filter);
    let made = client.create_persistent_subscription_to_all("group", &options).await;
    made.expect("a group");
    let joined = SubscribeToPersistentSubscriptionOptions::default();
    let joined = client.subscribe_to_persistent_subscription_to_all("group", &joined).await;
    let mut consumer = joined.expect("a consumer");
    let (event, _) = next(&mut consumer).await;
    assert_eq!(event.event.as_ref().expect("what it points to").stream_id, "tale");
    assert_eq!(event.link.as_ref().expect("the link").stream_id, "links");
    consumer.ack(event).await.expect("acknowledged");
    let polling = async {
        loop {
            let options = Default::default();
            let asked = client.get_persistent_subscription_info_to_all("group", &options);
            let info = asked.await.expect("info");
            assert_eq!(info.event_source, "$all");
            if info.stats.total_items == 1 && info.stats.total_in_flight_messages == 0 {
                break;
            }
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.expect("by the link's id");
}

/// Given events that were just appended, when a group begins at the end of the links to their type,
/// then it gets them: the original's links come after its events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_the_end_of_links_gets_what_was_just_appended() {
    let server = Server::start().await;
    let client = server.client();
    let projections = ProjectionClient::new(server.connection_string().parse().expect("settings"));
    projections.enable("$by_event_type", &Default::default()).await.expect("enable");
    append(&client, "s", 3).await;
    let options = PersistentSubscriptionOptions::default().start_from(StreamPosition::End);
    created(&client, "$et-Told", options.resolve_link_tos(true)).await;
    let mut consumer = consumer(&client, "$et-Told").await;
    for number in 0..3 {
        let (event, _) = next(&mut consumer).await;
        assert_eq!(event.event.expect("what the link points to").revision, number);
    }
}

/// Given the longest category that there can be, then its links have groups as any stream has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_links_have_groups() {
    let server = Server::start().await;
    let client = server.client();
    let projections = ProjectionClient::new(server.connection_string().parse().expect("settings"));
    projections.enable("$by_category", &Default::default()).await.expect("enable");
    let category = "c".repeat(STREAM_NAME_BYTES_MAX - 1);
    let links = format!("$ce-{category}");
    append(&client, &format!("{category}-"), 2).await;
    let options = from_start().resolve_link_tos(true);
    let options = options.checkpoint_lower_bound(1).checkpoint_upper_bound(1);
    created(&client, &links, options).await;
    let mut consumer = consumer(&client, &links).await;
    for _ in 0..2 {
        let (event, _) = next(&mut consumer).await;
        consumer.nack(event, NakAction::Park, "odd").await.expect("told");
    }
    let parked = async {
        while info(&client, &links).await.stats.parked_message_count < 2 {
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, parked).await.expect("they are parked");
    client.replay_parked_messages(&links, "group", &Default::default()).await.expect("replay");
    for number in 0..2 {
        let (event, _) = next(&mut consumer).await;
        assert_eq!(event.event.as_ref().expect("what the link points to").revision, number);
        consumer.ack(event).await.expect("told");
    }
    let kept = format!("$persistentsubscription-{links}::group-checkpoint");
    let checkpoint = async {
        loop {
            let options = ReadStreamOptions::default().backwards().position(StreamPosition::End);
            if let Ok(mut read) = client.read_stream(&*kept, &options.max_count(1)).await
                && let Ok(Some(last)) = read.next().await
                && &*last.get_original_event().data == b"\"1\""
            {
                return;
            }
            tokio::time::sleep(POLL).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, checkpoint).await.expect("it is kept");
}

#[tokio::test]
async fn a_consumer_that_makes_no_sense_is_refused_and_harms_nobody() {
    let server = Server::start().await;
    let client = server.client();
    append(&client, "tale", 1).await;
    created(&client, "tale", from_start()).await;
    let channel = connect(&server).await;
    // Fields by their numbers: a stream's name (3), options (1), an acknowledgement (2).
    let field = |number: u8, bytes: &[u8]| {
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("small")], bytes].concat()
    };
    let number = |number: u8, value: u8| vec![number << 3, value];
    let options = |buffer: u8| {
        let of = [
            field(1, &field(3, b"tale")),
            field(2, b"group"),
            number(3, buffer),
            field(4, &field(2, b"")),
        ];
        field(1, &of.concat())
    };
    let ack = |id: &[u8]| field(2, &field(2, &field(2, id)));
    let joined = options(10);
    let cases: [(&str, Vec<Vec<u8>>); 6] = [
        ("nothing", vec![]),
        ("no options", vec![ack(b"x")]),
        ("no buffer", vec![options(0)]),
        ("options twice", vec![joined.clone(), joined.clone()]),
        ("an id that is none", vec![joined.clone(), ack(b"x")]),
        ("no content", vec![joined, vec![]]),
    ];
    for (what, messages) in cases {
        let bytes = messages.iter().flat_map(|it| message(PLAIN, it)).collect();
        let (requests, ended) = call(&channel, READ, bytes);
        let requests = (what != "nothing").then_some(requests);
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let ended = ended.unwrap_or_else(|_| panic!("{what}: no end")).expect("no panic");
        assert_eq!(ended.code(), Code::InvalidArgument, "{what}: {ended:?}");
        drop(requests);
    }
    let mut consumer = consumer(&client, "tale").await;
    assert_eq!(revision(&next(&mut consumer).await.0), 0);
}

#[tokio::test]
async fn parked_events_are_let_go_before_a_revision_and_all_of_them() {
    const TRUNCATE: &str =
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/TruncateParked";
    let server = Server::start().await;
    let client = server.client();
    append(&client, "tale", 4).await;
    created(&client, "tale", from_start()).await;
    let mut consumer = consumer(&client, "tale").await;
    for _ in 0..4 {
        let (event, _) = next(&mut consumer).await;
        consumer.nack(event, NakAction::Park, "odd").await.expect("told");
    }
    until(&client, "parked", |info| info.stats.parked_message_count == 4).await;
    let channel = connect(&server).await;
    let truncate = async |group: &[u8], stop: &[u8]| {
        let field = |number: u8, bytes: &[u8]| {
            [&[(number << 3) | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
        };
        let options = [field(1, group), field(2, &field(3, b"tale")), stop.to_vec()].concat();
        let (sender, answer) = call(&channel, TRUNCATE, message(PLAIN, &field(1, &options)));
        drop(sender);
        crate::raw::ended(answer).await
    };
    let parked = async || info(&client, "tale").await.stats.parked_message_count;
    let (before_3, no_limit) = ([4 << 3, 3], [(5 << 3) | 2, 0]);
    assert_eq!(truncate(b"group", &before_3).await.code(), Code::Ok);
    assert_eq!(parked().await, 1);
    assert_eq!(truncate(b"group", &before_3).await.code(), Code::Ok, "nothing more to do");
    assert_eq!(parked().await, 1);
    assert_eq!(truncate(b"group", b"").await.code(), Code::InvalidArgument, "how many?");
    let missing = truncate(b"other", &no_limit).await;
    assert_eq!(missing.code(), Code::NotFound);
    let exception = missing.metadata().get("exception").expect("a trailer");
    assert_eq!(exception, "persistent-subscription-does-not-exist");
    assert_eq!(truncate(b"group", &no_limit).await.code(), Code::Ok);
    assert_eq!(parked().await, 0);
    client.replay_parked_messages("tale", "group", &Default::default()).await.expect("of none");
    append(&client, "tale", 1).await;
    assert_eq!(revision(&next(&mut consumer).await.0), 4, "none comes back");
}
