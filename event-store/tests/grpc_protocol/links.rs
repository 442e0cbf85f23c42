//! Categories and types through the client: read from links, as a server with the system's
//! projections has them.

use event_store::{
    AsOf, ClientStore, EventStore, EventType, ExpectedRevision, Index, IndexStart, NewEvent,
    Ordinal, ReadIndex,
};
use futures::TryStreamExt;

use crate::server::{Server, event, stream};

/// A link as the projections write it.
fn link(number: u64, target: &str) -> NewEvent {
    let event_type = EventType::new("$>").expect("type");
    NewEvent { event_type, data: target.to_owned().into(), ..event(1000 + number) }
}

async fn places(store: &ClientStore, read: ReadIndex) -> Vec<(u64, String)> {
    let read = store.read_index(read).await.expect("read");
    let place = |indexed: event_store::Indexed| {
        let event = indexed.event;
        (indexed.ordinal.get(), format!("{}@{}", event.revision, event.stream))
    };
    read.map_ok(place).try_collect().await.expect("events")
}

/// Given links to the events of a category, one of them to an event that is not there any more,
/// when the category is read, then the events are there with the numbers of their links.
#[tokio::test]
async fn a_category_is_read_from_its_links() {
    let server = Server::start().await;
    let store = ClientStore::new(&server.connection_string()).expect("connection string");
    let any = ExpectedRevision::Any;
    let mut positions = Vec::new();
    for (number, name) in (0..).zip(["tale-1", "tale-2", "tale-1"]) {
        let appended = store.append(&stream(name), any, vec![event(number)]).await.expect("append");
        positions.push(appended.position.expect("position"));
    }
    let targets = ["0@tale-1", "0@tale-2", "7@tale-3", "1@tale-1"];
    let links = (0..).zip(targets).map(|(number, target)| link(number, target)).collect();
    store.append(&stream("$ce-tale"), any, links).await.expect("links");
    let place = |ordinal: u64| (ordinal, targets[usize::try_from(ordinal).unwrap()].to_owned());
    let forward = ReadIndex::forward(Index::category("tale"));
    let backward = ReadIndex::backward(Index::category("tale"));
    let last = ReadIndex { start: IndexStart::End, ..forward.clone() };
    let then = AsOf::Position(positions[1]);
    for (read, expected) in [
        (forward.clone(), vec![0, 1, 3]),
        (backward.clone(), vec![3, 1, 0]),
        (forward.clone().from(Ordinal::new(1)).limit(2), vec![1, 3]),
        (backward.clone().from(Ordinal::new(1)), vec![1, 0]),
        (last, vec![3]),
        (forward.as_of(then), vec![0, 1]),
        (backward.as_of(then), vec![1, 0]),
    ] {
        let told = format!("{read:?}");
        let expected: Vec<_> = expected.into_iter().map(place).collect();
        assert_eq!(places(&store, read).await, expected, "{told}");
    }
}
