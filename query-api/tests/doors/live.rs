//! What subscribers are given, whatever comes first: the past, the present, or too much of it.

use std::sync::Arc;

use access::Role;
use event_schemas::{ChannelId, UserId};
use event_store::Position;
use futures::future::join_all;
use futures::{Stream, StreamExt as _};
use projections::PageSize;
use projections::postgres::Message;
use query_api::failure::Failure;
use query_api::live::Hub;
use query_api::live::messages::messages;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage};

async fn listen(
    stage: &Stage,
    hub: &Arc<Hub>,
    whose: (ChannelId, UserId),
    after: Option<Position>,
) -> std::pin::Pin<Box<impl Stream<Item = Result<Message, Failure>> + use<>>> {
    let (models, watermarks) = (stage.models.clone(), stage.watermarks.clone());
    Box::pin(messages(Arc::clone(hub), models, watermarks, whose, after).await.unwrap())
}

/// The positions of as many messages.
async fn heard(
    stream: &mut (impl Stream<Item = Result<Message, Failure>> + Unpin),
    count: usize,
) -> Vec<Position> {
    let listening = stream.take(count).map(|message| message.unwrap().position).collect();
    timeout(PATIENCE, listening).await.expect("they come in time")
}

#[tokio::test]
async fn a_slow_subscriber_loses_nothing_and_gets_nothing_twice() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let (channel, other) = (stage.channel(nina).await, stage.channel(nina).await);
    let hub = Hub::start(Arc::clone(&stage.store), stage.stop.clone());
    let whose = (channel, nina);
    let mut slow = listen(&stage, &hub, whose, None).await;
    let mut quick = listen(&stage, &hub, whose, None).await;
    // Far more than waits for who does not take it; the quick one takes it all the while.
    let saying = async {
        let mut said = Vec::new();
        for round in 0..10 {
            let say = |n| {
                let stage = &stage;
                async move { stage.say(channel, nina, &format!("{round}.{n}")).await }
            };
            said.extend(join_all((0..50).map(say)).await);
            stage.say(other, nina, "elsewhere").await;
        }
        said.sort();
        said
    };
    let (said, by_quick) = tokio::join!(saying, heard(&mut quick, 500));
    assert_eq!(by_quick, said);
    assert_eq!(heard(&mut slow, 500).await, said);
    let one_more = stage.say(channel, nina, "one more").await;
    assert_eq!(heard(&mut slow, 1).await, [one_more]);

    // From the middle on, while more is said.
    let middle = said[249];
    let mut late = listen(&stage, &hub, whose, Some(middle)).await;
    let more = async {
        let mut more = Vec::new();
        for n in 0..100 {
            more.push(stage.say(channel, nina, &format!("more {n}")).await);
        }
        more
    };
    let (more, by_late) = tokio::join!(more, heard(&mut late, 351));
    let expected: Vec<_> = said[250..].iter().chain([&one_more]).chain(&more).copied().collect();
    assert_eq!(by_late, expected);
    stage.end().await;
}

#[tokio::test]
async fn a_message_has_the_same_time_while_it_is_heard_and_when_it_is_read_later() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let hub = Hub::start(Arc::clone(&stage.store), stage.stop.clone());
    let mut stream = listen(&stage, &hub, (channel, nina), None).await;
    let said = stage.say(channel, nina, "hello").await;
    let heard = timeout(PATIENCE, stream.next()).await.expect("it comes").unwrap().unwrap();
    stage.caught_up().await;
    let (channels, size) = (&stage.models.channels, PageSize::clamped(10));
    let read = channels.messages_between(channel, Position::START, said, size).await.unwrap();
    assert_eq!(read, [heard]);
    stage.end().await;
}

#[tokio::test]
async fn who_falls_behind_after_they_heard_something_does_not_hear_it_again() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let hub = Hub::start(Arc::clone(&stage.store), stage.stop.clone());
    let mut stream = listen(&stage, &hub, (channel, nina), None).await;
    let say = async |count: usize| {
        let mut said = Vec::new();
        for n in 0..count {
            said.push(stage.say(channel, nina, &n.to_string()).await);
        }
        said
    };
    for _ in 0..2 {
        let said = say(3).await;
        assert_eq!(heard(&mut stream, 3).await, said);
        // Far more than waits for who does not take it.
        let said = say(200).await;
        assert_eq!(heard(&mut stream, 200).await, said);
    }
    stage.end().await;
}

#[tokio::test]
async fn random_interleavings_of_saying_and_listening_agree() {
    let stage = Stage::new().await;
    let nina = stage.user("nina", Role::Artist).await;
    let channel = stage.channel(nina).await;
    let hub = Hub::start(Arc::clone(&stage.store), stage.stop.clone());
    let saying = async {
        let mut said = Vec::new();
        for n in 0..300 {
            said.push(stage.say(channel, nina, &n.to_string()).await);
        }
        said
    };
    // Each begins at another moment, from the start of the log.
    let listening = join_all((0..20).map(|number| {
        let (stage, hub) = (&stage, &hub);
        async move {
            for _ in 0..number * 30 {
                tokio::task::yield_now().await;
            }
            let mut stream = listen(stage, hub, (channel, nina), Some(Position::START)).await;
            heard(&mut stream, 300).await
        }
    }));
    let (said, heard) = tokio::join!(saying, listening);
    for by_one in heard {
        assert_eq!(by_one, said);
    }
    stage.end().await;
}
