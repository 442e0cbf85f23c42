//! What projections make of events: states, results, partitions, and events of their own.

use event_store::projections::{DeleteStreams, Which};
use event_store::{EventStore, ExpectedRevision};

use super::{COUNT, CreateProjection, Place, ProjectionError, ProjectionMode, continuous, stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_counted_and_told_once_each() {
    let place = Place::new().await;
    place.append("s", "Add", 0..3).await;
    place.append("s", "Other", 3..5).await;
    place.create("count", COUNT).await;
    place.append("s", "Add", 5..6).await;
    place.handled("count", 4).await;
    assert_eq!(place.state("count", "").await, "{\"n\":4}");
    let told =
        ["{\"n\":1,\"of\":0}", "{\"n\":2,\"of\":1}", "{\"n\":3,\"of\":2}", "{\"n\":4,\"of\":5}"];
    assert_eq!(place.data("out").await, told);
    let results = place.data("$projections-count-result").await;
    assert_eq!(results, ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]);
    let statistics = place.until("count", |told| told.progress >= 100.0).await;
    assert_eq!((&*statistics.status, &*statistics.position), ("Running", "s: 5"));
    assert_eq!((statistics.version, statistics.epoch), (0, -1));
    let caused: serde_json::Value =
        serde_json::from_slice(&place.read("out").await[3].metadata).unwrap();
    let last = place.read("s").await.pop().unwrap();
    assert_eq!(caused["$causedBy"], last.id.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_has_its_state_and_its_results() {
    let place = Place::new().await;
    for number in 0..300 {
        place.append(&format!("cat-{}", number % 150), "Add", [number]).await;
    }
    place
        .create(
            "each",
            "fromAll().foreachStream().when({$init: () => 0, Add: s => s + 1}).outputState()",
        )
        .await;
    place
        .create(
            "odd",
            "fromAll().partitionBy(e => 'p' + e.data.number % 2) \
        .when({$init: () => 0, Add: s => s + 1})",
        )
        .await;
    place.handled("each", 300).await;
    place.handled("odd", 300).await;
    for partition in ["cat-0", "cat-149"] {
        assert_eq!(place.state("each", partition).await, "2", "{partition}");
        let results = format!("$projections-each-{partition}-result");
        assert_eq!(place.data(&results).await, ["1", "2"]);
    }
    let links = place.data("$projections-each-result").await;
    assert_eq!(links.len(), 300);
    assert_eq!(
        (&*links[0], &*links[150]),
        ("0@$projections-each-cat-0-result", "1@$projections-each-cat-0-result",)
    );
    assert_eq!(place.state("odd", "p0").await, "150");
    assert_eq!(place.state("odd", "nobody").await, "nothing");
    let place = place.restart().await;
    for (name, partition, state) in [("each", "cat-7", "2"), ("odd", "p1", "150")] {
        assert_eq!(place.state(name, partition).await, state);
    }
    place.append("cat-7", "Add", [300]).await;
    place.until("each", |told| told.events_processed_after_restart == 1).await;
    assert_eq!(place.state("each", "cat-7").await, "3");
    assert_eq!(
        place.data("$projections-each-result").await[300],
        "2@$projections-each-cat-7-result"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_partitions_share_is_the_state_of_the_whole() {
    let place = Place::new().await;
    let query = "options({biState: true}); fromAll().foreachStream().when({$init: () => ({n: 0}), \
        $initShared: () => ({t: 0}), Add(s) { s[0].n += 1; s[1].t += 1; return s; }})";
    place.create("shared", query).await;
    place.append("a-1", "Add", 0..2).await;
    place.append("a-2", "Add", 2..5).await;
    place.handled("shared", 5).await;
    assert_eq!(place.state("shared", "").await, "{\"t\":5}");
    let place = place.restart().await;
    assert_eq!(place.state("shared", "").await, "{\"t\":5}");
    assert_eq!(place.state("shared", "a-2").await, "{\"n\":3}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_followed_and_categories_are_of_links_too() {
    let place = Place::new().await;
    place.projections.enable("$by_category").await.unwrap();
    let link = "fromStream('all').when({$any(s, e) { linkTo('cat-' + e.data.number % 2, e); }})";
    place.create("link", link).await;
    let count = "fromCategory('cat').foreachStream().when({$init: () => 0, Add: s => s + 1})";
    place.create("count", count).await;
    place.append("all", "Add", 0..5).await;
    place.handled("count", 5).await;
    assert_eq!(place.state("count", "cat-0").await, "3");
    assert_eq!(place.state("count", "cat-1").await, "2");
    let statistics = place.until("count", |told| !told.last_checkpoint.is_empty()).await;
    assert_eq!(statistics.position, "$ce-cat: 4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_streams_come_in_the_order_of_the_log() {
    let place = Place::new().await;
    for number in 0..10 {
        place.append(["a", "b", "ab"][number % 3], "Add", [number as u64]).await;
    }
    let listed =
        "fromStreams('a', 'b').when({$init: () => [], Add(s, e) { s.push(e.data.number); }})";
    place.create("list", listed).await;
    place.handled("list", 7).await;
    assert_eq!(place.state("list", "").await, "[0,1,3,4,6,7,9]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_streams_are_told() {
    let place = Place::new().await;
    place.append("cat-1", "Add", [0]).await;
    place.append("cat-2", "Add", [1]).await;
    let script = "fromCategory('cat').foreachStream().when({$init: () => ({n: 0}), \
        Add(s) { s.n += 1; }, $deleted(s) { s.gone = true; }})";
    place.create("gone", script).await;
    place.store.delete_stream(&stream("cat-1"), ExpectedRevision::Any).await.unwrap();
    place.store.tombstone_stream(&stream("cat-2"), ExpectedRevision::Any).await.unwrap();
    place.handled("gone", 4).await;
    for partition in ["cat-1", "cat-2"] {
        assert_eq!(place.state("gone", partition).await, "{\"n\":1,\"gone\":true}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_begins_anew_and_hides_what_was_made() {
    let place = Place::new().await;
    place.append("s", "Add", 0..2).await;
    place.create("count", COUNT).await;
    for round in 1..=2 {
        place.handled("count", 2).await;
        place.projections.disable("count").await.unwrap();
        assert_eq!(place.statistics("count").await.status, "Stopped");
        assert_eq!(place.state("count", "").await, "{\"n\":2}");
        place.projections.reset("count").await.unwrap();
        let told = place.statistics("count").await;
        assert_eq!((&*told.status, told.events_processed_after_restart), ("Stopped", 0));
        assert_eq!(place.state("count", "").await, "nothing");
        place.projections.enable("count").await.unwrap();
        place.handled("count", 2).await;
        let out = place.read("out").await;
        let revisions: Vec<u64> = out.iter().map(|event| event.revision.get()).collect();
        assert_eq!(revisions, [round * 2, round * 2 + 1]);
        assert_eq!(place.data("$projections-count-result").await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_deleted_begins_anew_under_its_name() {
    let place = Place::new().await;
    place.append("s", "Add", 0..2).await;
    let tracked = CreateProjection { track_emitted_streams: true, ..continuous("count", COUNT) };
    place.projections.create(tracked).await.unwrap();
    place.handled("count", 2).await;
    assert_eq!(place.data("$projections-count-emittedstreams").await, ["out"]);
    let everything = DeleteStreams { emitted: true, states: true, checkpoint: true };
    let running = place.projections.delete("count", everything).await;
    assert!(matches!(running, Err(ProjectionError::Refused(_))), "{running:?}");
    place.projections.abort("count").await.unwrap();
    assert_eq!(place.statistics("count").await.status, "Aborted/Stopped");
    place.projections.delete("count", everything).await.unwrap();
    for stream in ["out", "$projections-count-emittedstreams", "$projections-count-checkpoint"] {
        assert_eq!(place.data(stream).await, [""; 0], "{stream}");
    }
    let gone = place.projections.state("count", "").await;
    assert!(matches!(gone, Err(ProjectionError::NotFound(_))), "{gone:?}");
    place.create("count", COUNT).await;
    place.handled("count", 2).await;
    assert_eq!(place.data("out").await.len(), 2);
    let again = place.projections.create(continuous("count", COUNT)).await;
    assert!(matches!(again, Err(ProjectionError::Exists(_))), "{again:?}");
    let place = place.restart().await;
    assert_eq!(place.state("count", "").await, "{\"n\":2}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_do_not_live_on_end_and_write_nothing() {
    let place = Place::new().await;
    place.append("s", "Add", 0..3).await;
    let query = "fromStream('s').when({$init: () => 0, Add: s => s + 1})".to_owned();
    let create = |name: Option<&str>, mode| CreateProjection {
        name: name.map(str::to_owned),
        mode,
        emit_enabled: false,
        ..continuous("", &query)
    };
    let name = place.projections.create(create(None, ProjectionMode::OneTime)).await.unwrap();
    place.until(&name, |told| told.status == "Completed").await;
    assert_eq!(place.state(&name, "").await, "3");
    let head = place.store.head().await.unwrap();
    let transient = create(Some("now"), ProjectionMode::Transient);
    place.projections.create(transient).await.unwrap();
    place.handled("now", 3).await;
    assert_eq!(place.state("now", "").await, "3");
    place.projections.disable("now").await.unwrap();
    assert_eq!(place.store.head().await.unwrap(), head, "it has written something");
    let of = |mode| Which::Mode(mode);
    for (which, count) in [
        (of(ProjectionMode::Transient), 1),
        (of(ProjectionMode::OneTime), 1),
        (of(ProjectionMode::Continuous), 5),
        (Which::All, 7),
    ] {
        assert_eq!(place.projections.statistics(&which).await.unwrap().len(), count, "{which:?}");
    }
}
