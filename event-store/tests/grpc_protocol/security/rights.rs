//! What the lists of streams let users do, through the official client.

use std::time::Duration;

use eventstore::{
    Acl, AppendToStreamOptions, BatchAppendOptions, Client, DeleteStreamOptions, Error, EventData,
    PersistentSubscriptionOptions, ReadAllOptions, ReadStreamOptions, StreamAclBuilder,
    StreamMetadataBuilder, StreamPosition, SubscribeToPersistentSubscriptionOptions,
    SubscribeToStreamOptions, TombstoneStreamOptions,
};

use super::secured::{ADMIN, Secured, one};

const PATIENCE: Duration = Duration::from_secs(20);

/// Whether it was done; nothing but a refusal may keep it from that.
fn may<T>(result: eventstore::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::AccessDenied) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn reads(client: &Client, stream: &str) -> bool {
    may(client.read_stream(stream, &ReadStreamOptions::default()).await)
}

async fn follows(client: &Client, stream: &str) -> bool {
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut followed = client.subscribe_to_stream(stream, &options).await;
    may(tokio::time::timeout(PATIENCE, followed.next()).await.expect("in time"))
}

async fn appends(client: &Client, stream: &str) -> bool {
    may(client.append_to_stream(stream, &AppendToStreamOptions::default(), one()).await)
}

async fn batches(client: &Client, stream: &str) -> bool {
    let batch = client.batch_append(&BatchAppendOptions::default()).await.expect("a batch");
    let any = eventstore::ExpectedRevision::Any;
    match batch.append_to_stream(stream, any, one()).await {
        Ok(_) => true,
        Err(error) => {
            assert!(format!("{error:?}").contains("AccessDenied"), "{error:?}");
            false
        }
    }
}

async fn set_list(client: &Client, stream: &str, list: StreamAclBuilder) -> bool {
    let metadata = StreamMetadataBuilder::new().acl(Acl::Stream(list.build())).build();
    let options = AppendToStreamOptions::default();
    may(client.set_stream_metadata(stream, &options, &metadata).await)
}

/// What this client may do with a stream: read, follow, append, append in a batch.
async fn all(client: &Client, stream: &str) -> [bool; 4] {
    let (appends, batches) = (appends(client, stream).await, batches(client, stream).await);
    [reads(client, stream).await, follows(client, stream).await, appends, batches]
}

#[tokio::test]
async fn streams_of_users_are_open_until_their_list_says_otherwise() {
    let secured = Secured::start().await;
    let (ann, bob) = (secured.user("ann", &[]).await, secured.user("bob", &["players"]).await);
    let admin = secured.client(ADMIN);
    assert_eq!(all(&ann, "tale-1").await, [true; 4]);
    assert_eq!(all(&bob, "tale-1").await, [true; 4]);

    let list = || {
        let list = StreamAclBuilder::new().add_read_roles("ann").add_write_roles("players");
        list.add_meta_write_roles("$admins").add_delete_roles("bob")
    };
    assert!(set_list(&ann, "tale-1", list()).await, "metadata are open too");
    assert_eq!(all(&ann, "tale-1").await, [true, true, false, false], "from then on");
    assert_eq!(all(&bob, "tale-1").await, [false, false, true, true]);
    assert_eq!(all(&admin, "tale-1").await, [true; 4]);
    assert!(!set_list(&ann, "tale-1", StreamAclBuilder::new()).await);
    assert!(!set_list(&bob, "tale-1", StreamAclBuilder::new()).await);
    let delete = DeleteStreamOptions::default();
    let tombstone = TombstoneStreamOptions::default();
    assert!(!may(ann.delete_stream("tale-1", &delete).await));
    assert!(!may(ann.tombstone_stream("tale-1", &tombstone).await));
    assert!(may(bob.delete_stream("tale-1", &delete).await));

    assert!(set_list(&admin, "tale-2", list()).await);
    assert!(may(bob.tombstone_stream("tale-2", &tombstone).await));
}

#[tokio::test]
async fn streams_of_the_system_are_closed_until_somebody_opens_them() {
    let secured = Secured::start().await;
    let (ann, ops) = (secured.user("ann", &[]).await, secured.client("ops:changeit@"));
    let admin = secured.client(ADMIN);
    for client in [&ann, &ops] {
        assert_eq!(all(client, "$tale").await, [false; 4]);
        assert!(!may(client.read_all(&ReadAllOptions::default()).await));
        assert!(!set_list(client, "$tale", StreamAclBuilder::new()).await);
    }
    let list = StreamAclBuilder::new().add_read_roles("$all").add_write_roles("ann");
    assert!(set_list(&admin, "$tale", list).await);
    assert_eq!(all(&ann, "$tale").await, [true; 4]);
    assert_eq!(all(&ops, "$tale").await, [true, true, false, false]);
    let readers = StreamAclBuilder::new().add_read_roles("ann");
    assert!(set_list(&admin, "$all", readers).await);
    assert!(may(ann.read_all(&ReadAllOptions::default()).await));
    assert!(!may(ops.read_all(&ReadAllOptions::default()).await));
}

#[tokio::test]
async fn the_settings_say_what_holds_without_a_list() {
    let secured = Secured::start().await;
    let (ann, admin) = (secured.user("ann", &[]).await, secured.client(ADMIN));
    assert!(!appends(&ann, "$settings").await);
    let settings = serde_json::json!({
        "$userStreamAcl": {"$r": ["$all"], "$w": "$admins"},
        "$systemStreamAcl": {"$r": "ann"},
    });
    let event = EventData::json("update-default-acl", &settings).expect("json");
    let options = AppendToStreamOptions::default();
    admin.append_to_stream("$settings", &options, event).await.expect("appended");
    assert!(appends(&admin, "tale-1").await);
    assert_eq!(all(&ann, "tale-1").await, [true, true, false, false]);
    assert_eq!(all(&ann, "$settings").await, [true, true, false, false]);
    let own = StreamAclBuilder::new().add_write_roles("ann");
    assert!(set_list(&admin, "tale-1", own).await);
    assert_eq!(all(&ann, "tale-1").await, [true; 4], "its own list goes before");
}

/// Given a link of one's own to what one may not read, then it leads nowhere.
#[tokio::test]
async fn a_link_is_no_way_around_a_list() {
    let secured = Secured::start().await;
    let ann = secured.user("ann", &[]).await;
    let link = EventData::binary("$>", "0@$user-admin".into());
    ann.append_to_stream("links", &AppendToStreamOptions::default(), link).await.expect("appended");
    let options = ReadStreamOptions::default().resolve_link_tos();
    let led = async |client: &Client| {
        let mut read = client.read_stream("links", &options).await.expect("read");
        read.next().await.expect("read").expect("an event").event.is_some()
    };
    assert!(!led(&ann).await);
    assert!(led(&secured.client(ADMIN)).await);
}

#[tokio::test]
async fn groups_are_kept_by_operators_and_consumed_by_readers() {
    let secured = Secured::start().await;
    let (ann, ops) = (secured.user("ann", &[]).await, secured.client("ops:changeit@"));
    assert!(appends(&ann, "tale-1").await);
    let settings = PersistentSubscriptionOptions::default();
    let create = async |client: &Client| {
        may(client.create_persistent_subscription("tale-1", "group", &settings).await)
    };
    assert!(!create(&ann).await);
    assert!(create(&ops).await);
    assert!(!may(ann.delete_persistent_subscription("tale-1", "group", &Default::default()).await));
    let consume = async |client: &Client| {
        let options = SubscribeToPersistentSubscriptionOptions::default();
        may(client.subscribe_to_persistent_subscription("tale-1", "group", &options).await)
    };
    assert!(consume(&ann).await);
    let list = StreamAclBuilder::new().add_read_roles("bob");
    assert!(set_list(&secured.client(ADMIN), "tale-1", list).await);
    assert!(!consume(&ann).await);
    assert!(!consume(&ops).await, "who keeps a group need not be one of its readers");
    assert!(!consume(&secured.client("")).await);
}
