//! What restarts and kills leave: each event counted once, and each emitted once.

use event_store::{EventStore, ExpectedRevision, NewEvent};

use super::{COUNT, Place, event, stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_doubles_nothing_and_loses_nothing() {
    let mut place = Place::new().await;
    place.create("count", COUNT).await;
    let mut appended = 0;
    for round in 0..12 {
        place.append("s", "Add", appended..appended + 40).await;
        appended += 40;
        // Killed at once, in the midst of it, or when it has done a part.
        place.handled("count", round % 4 * 10).await;
        place = place.kill().await;
        let out = place.data("out").await;
        assert_eq!(out, told(out.len() as u64), "{round}");
    }
    let all = format!("{{\"n\":{appended}}}");
    let last = format!("s: {}", appended - 1);
    place.until("count", |told| told.position == last).await;
    place.projections.disable("count").await.unwrap();
    assert_eq!(place.state("count", "").await, all);
    assert_eq!(place.data("out").await, told(appended));
    assert_eq!(place.data("$projections-count-result").await.len() as u64, appended);
}

/// What is emitted for so many events.
fn told(events: u64) -> Vec<String> {
    (0..events).map(|of| format!("{{\"n\":{},\"of\":{of}}}", of + 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_goes_on_after_a_restart_and_what_stands_stays() {
    let place = Place::new().await;
    let count = "fromAll().when({$init: () => 0, Add: s => s + 1})";
    place.create("on", count).await;
    place.create("off", count).await;
    place.append("s", "Add", 0..3).await;
    place.handled("on", 3).await;
    place.handled("off", 3).await;
    place.projections.disable("off").await.unwrap();
    let place = place.restart().await;
    place.append("s", "Add", 3..5).await;
    place.handled("on", 2).await;
    assert_eq!(place.state("on", "").await, "5");
    let off = place.statistics("off").await;
    assert_eq!((&*off.status, off.version), ("Stopped", 1));
    assert_eq!(place.state("off", "").await, "3");
    place.projections.enable("off").await.unwrap();
    place.handled("off", 2).await;
    assert_eq!(place.state("off", "").await, "5");
    place.projections.restart().await.unwrap();
    assert_eq!(place.state("off", "").await, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_script_goes_on_where_the_old_one_was() {
    let place = Place::new().await;
    place.append("s", "Add", 0..3).await;
    place.create("sum", "fromStream('s').when({$init: () => 0, Add: s => s + 1})").await;
    place.handled("sum", 3).await;
    let faster = "fromStream('s').when({$init: () => 0, Add: s => s + 10})";
    place.projections.update("sum", faster.to_owned(), None).await.unwrap();
    place.append("s", "Add", 3..4).await;
    place.handled("sum", 1).await;
    assert_eq!(place.state("sum", "").await, "13");
    assert_eq!(place.statistics("sum").await.version, 1);
    // From elsewhere it can't go on; it begins anew when it is reset.
    let elsewhere = "fromAll().when({$init: () => 0, Add: s => s + 1})";
    place.projections.update("sum", elsewhere.to_owned(), None).await.unwrap();
    let told = place.until("sum", |told| told.status == "Faulted (Enabled)").await;
    assert!(told.state_reason.contains("reset it"), "{told:?}");
    place.projections.reset("sum").await.unwrap();
    place.handled("sum", 4).await;
    assert_eq!(place.state("sum", "").await, "4");
}

/// Given a projection of the whole log that handles everything, when nobody appends, then it comes
/// to rest: what it writes itself is not given to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_of_everything_comes_to_rest() {
    use event_store::EventStore;
    let place = Place::new().await;
    place.create("all", "fromAll().when({$init: () => 0, $any: s => s + 1}).outputState()").await;
    place.append("s", "Add", 0..5).await;
    place.handled("all", 5).await;
    place.projections.disable("all").await.unwrap();
    let head = place.store.head().await.unwrap();
    place.projections.enable("all").await.unwrap();
    place.until("all", |told| told.progress >= 100.0).await;
    place.projections.disable("all").await.unwrap();
    assert_eq!(place.state("all", "").await, "5");
    // Its definition, twice, and a checkpoint at most.
    let all = place.store.read_all(event_store::ReadAll::forward().from(head)).await.unwrap();
    let count = futures::StreamExt::count(all).await;
    assert!(count <= 5, "{count} events");
}

/// Given a script without a handler for an event nearly as large as any, then that becomes the
/// state, and is there after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_may_be_as_large_as_an_event() {
    const BYTES: usize = 15 << 20;
    let place = Place::new().await;
    let body = format!("{{\"told\":\"{}\"}}", "a".repeat(BYTES));
    let large = NewEvent { data: body.clone().into(), ..event(0) };
    place.store.append(&stream("s"), ExpectedRevision::Any, vec![large]).await.unwrap();
    place.create("whole", "fromStream('s').when({$init: () => 0})").await;
    place.handled("whole", 1).await;
    let place = place.restart().await;
    let told = place.statistics("whole").await;
    assert_eq!(told.status, "Running", "{told:?}");
    assert!(place.state("whole", "").await == body);
}
