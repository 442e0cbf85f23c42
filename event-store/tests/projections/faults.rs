//! What goes wrong with one projection, and is its own affair.

use event_store::projections::Which;
use event_store::{EventStore, ExpectedRevision};

use super::{COUNT, CreateProjection, Place, ProjectionError, continuous, stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_script_faults_alone() {
    let place = Place::new().await;
    place.create("good", COUNT).await;
    let handler = |body: &str| format!("fromStream('s').when({{Add(s, e) {{ {body} }}}})");
    let bad = [
        ("text", "fromStream('s').when({".to_owned(), "invalid property name"),
        ("empty", String::new(), "no source"),
        ("throws", handler("throw new Error('oh no')"), "oh no"),
        ("endless", handler("while (true);"), "250 ms"),
        (
            "greedy",
            handler("const a = []; while (true) a.push('x'.repeat(1 << 20) + a.length)"),
            "memory",
        ),
        ("names", handler("emit('x'.repeat(2000), 'A', {})"), "2000 bytes"),
    ];
    for (name, query, _) in &bad {
        place.create(name, query).await;
    }
    place.append("s", "Add", 0..3).await;
    for (name, _, reason) in &bad {
        let told = place.until(name, |told| told.status == "Faulted (Enabled)").await;
        assert!(told.state_reason.contains(reason), "{told:?}");
    }
    place.handled("good", 3).await;
    assert_eq!(place.state("good", "").await, "{\"n\":3}");
    // What has faulted can be mended.
    place.projections.update("throws", handler("return 1"), None).await.unwrap();
    place.handled("throws", 3).await;
    assert_eq!(place.state("throws", "").await, "1");
    let place = place.restart().await;
    let told = place.until("greedy", |told| told.status == "Faulted (Enabled)").await;
    assert!(told.state_reason.contains("memory"), "{told:?}");
    place.projections.disable("greedy").await.unwrap();
    assert_eq!(place.statistics("greedy").await.status, "Stopped");
}

/// Given scripts that are long in functions of the engine, where it asks nobody whether to go on,
/// then each faults, and nothing waits for it: neither others, nor who stops it, nor the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_interrupted_is_given_up() {
    const NEVER_ENDS: &str = "Array.prototype.reverse.call({length: Number.MAX_SAFE_INTEGER})";
    let place = Place::new().await;
    let handler = |body: &str| format!("fromStream('s').when({{Add(s, e) {{ {body} }}}})");
    let slow = "const a = new Array(100000).fill(1); for (let j = 0; j < 9000; j++) a.slice();";
    place.append("s", "Add", 0..3).await;
    place.create("endless", &handler(NEVER_ENDS)).await;
    place.create("slow", &handler(slow)).await;
    place.create("unmade", NEVER_ENDS).await;
    place.create("good", COUNT).await;
    place.handled("good", 3).await;
    for name in ["endless", "slow", "unmade"] {
        let told = place.until(name, |told| told.status == "Faulted (Enabled)").await;
        assert!(told.state_reason.contains("the script took more than"), "{told:?}");
        place.projections.disable(name).await.unwrap();
    }
    let place = place.restart().await;
    place.append("s", "Add", 3..5).await;
    place.handled("good", 2).await;
    assert_eq!(place.state("good", "").await, "{\"n\":5}");
}

/// Given a script that fails at its third event, then what it made of the first two is there, once,
/// however often it is tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_fault_stays_and_comes_once() {
    let place = Place::new().await;
    place.append("s", "Add", 0..5).await;
    let query = "fromStream('s').when({$init: () => 0, Add(s, e) { \
        if (e.data.number === 2) throw new Error('two'); emit('out', 'A', {}); return s + 1; }})";
    place.create("two", query).await;
    for _ in 0..3 {
        let told = place.until("two", |told| told.status == "Faulted (Enabled)").await;
        assert!(told.state_reason.contains("event 2@s, Add: two"), "{told:?}");
        assert_eq!(place.data("out").await.len(), 2);
        assert_eq!(place.state("two", "").await, "2");
        place.projections.enable("two").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_allowed_is_refused() {
    let place = Place::new().await;
    place.append("s", "Add", 0..1).await;
    let quiet = CreateProjection { emit_enabled: false, ..continuous("quiet", COUNT) };
    place.projections.create(quiet).await.unwrap();
    let told = place.until("quiet", |told| told.status == "Faulted (Enabled)").await;
    assert!(told.state_reason.contains("not enabled"), "{told:?}");
    assert_eq!(place.data("out").await, [""; 0]);
    let tracks = CreateProjection {
        emit_enabled: false,
        track_emitted_streams: true,
        ..continuous("tracks", COUNT)
    };
    let refused = place.projections.create(tracks).await;
    assert!(matches!(refused, Err(ProjectionError::TracksNothing)), "{refused:?}");
    for name in ["", " ", "$all", &"n".repeat(513)] {
        let refused = place.projections.create(continuous(name, COUNT)).await;
        assert!(matches!(refused, Err(ProjectionError::Refused(_))), "{refused:?}");
    }
    let long = continuous("long", &" ".repeat(513 * 1024));
    let refused = place.projections.create(long).await;
    assert!(matches!(refused, Err(ProjectionError::Refused(_))), "{refused:?}");
    for refused in [
        place.projections.enable("nobody").await,
        place.projections.disable("nobody").await,
        place.projections.abort("nobody").await,
        place.projections.reset("nobody").await,
        place.projections.update("nobody", String::new(), None).await,
        place.projections.delete("nobody", Default::default()).await,
        place.projections.statistics(&Which::Named("nobody".to_owned())).await.map(drop),
        place.projections.result("nobody", "").await.map(drop),
    ] {
        assert!(matches!(refused, Err(ProjectionError::NotFound(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_nothing_faults_who_emits_to_it() {
    let place = Place::new().await;
    place.append("out", "A", [100]).await;
    place.store.tombstone_stream(&stream("out"), ExpectedRevision::Any).await.unwrap();
    place.create("count", COUNT).await;
    place.append("s", "Add", 0..1).await;
    let told = place.until("count", |told| told.status == "Faulted (Enabled)").await;
    assert!(told.state_reason.contains("out"), "{told:?}");
}
