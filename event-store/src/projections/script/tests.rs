//! Scripts: what they say of themselves, what becomes of events, and what they may not do.

use chrono::DateTime;
use uuid::Uuid;

use super::super::place::Place;
use super::super::shape::Partitioning;
use super::*;
use crate::event::{EventId, EventType, RecordedEvent};
use crate::position::Position;
use crate::stream::{Revision, StreamName};

fn incoming(number: u64, event_type: &str, data: &str) -> Incoming {
    let position = Position::new(number + 1);
    let event = RecordedEvent {
        id: EventId(Uuid::from_u128(u128::from(number))),
        stream: StreamName::new("cat-1").unwrap(),
        revision: Revision::new(number),
        position,
        event_type: EventType::new(event_type).unwrap(),
        content_type: ContentType::Json,
        data: data.to_owned().into(),
        metadata: "{\"by\":\"ann\"}".into(),
        recorded_at: DateTime::UNIX_EPOCH,
    };
    Incoming { event, link: None, place: Place::Log(position), position, deleted: None }
}

fn script(source: &str) -> Script {
    Script::new("test", source, Arc::default()).unwrap()
}

fn problem(source: &str) -> String {
    match Script::new("test", source, Arc::default()) {
        Ok(_) => panic!("it can be run"),
        Err(problem) => problem,
    }
}

/// Handles events of these types and bodies, and says what became of each.
fn run(script: &mut Script, events: &[(&str, &str)]) -> Vec<Outcome> {
    let (mut stored, mut shared) = (None, None);
    let mut outcomes = Vec::new();
    for (number, (event_type, data)) in (0..).zip(events) {
        let incoming = incoming(number, event_type, data);
        let outcome = script.step(&incoming, "", stored.as_ref(), shared).unwrap();
        stored = Some(Stored { state: outcome.state.clone(), result: outcome.result.clone() });
        shared = None;
        outcomes.push(outcome);
    }
    outcomes
}

fn state(outcome: &Outcome) -> &str {
    outcome.state.as_deref().unwrap_or("nothing")
}

#[test]
fn a_script_says_what_its_projection_is() {
    let said = script(
        "options({resultStreamName: 'r', $includeLinks: true}); \
        fromAll().partitionBy(e => e.data.who).when({A(s, e) {}, $init: () => ({})}) \
        .transformBy(s => s).filterBy(s => true).outputTo('all', 'one-{0}')",
    );
    let shape = said.shape();
    assert_eq!(shape.partition, Partitioning::Custom);
    assert!(shape.all && shape.output && shape.transforms && shape.include_links && !shape.any);
    assert_eq!(shape.types, ["A"]);
    assert_eq!(shape.result_stream.as_deref(), Some("all"));
    assert_eq!(shape.partition_result.as_deref(), Some("one-{0}"));
    for (source, streams, category) in [
        ("fromStream('a').when({$any() {}})", vec!["a"], None),
        ("fromStreams('a', 'b').when({$any() {}})", vec!["a", "b"], None),
        ("fromStreams(['a', 'b']).when({$any() {}})", vec!["a", "b"], None),
        ("fromCategory('cat').foreachStream().when({})", vec!["$ce-cat"], Some("cat")),
        ("fromCategories('x', 'y').when({})", vec!["$ce-x", "$ce-y"], None),
    ] {
        let said = script(source);
        assert_eq!(said.shape().streams, streams, "{source}");
        assert_eq!(said.shape().category.as_deref(), category, "{source}");
        assert!(said.shape().any, "{source}");
    }
}

#[test]
fn what_can_not_be_run_is_told() {
    for (source, told) in [
        ("", "no source"),
        ("fromAll().when({", "invalid property name (at script:1:17)"),
        ("fromAll(); fromStream('a')", "one source"),
        ("options({nothing: 1}); fromAll()", "no option nothing"),
        ("options({biState: 1}); fromAll()", "must be a boolean"),
        ("fromStream(5)", "must be a string"),
        ("fromStream('a').foreachStream()", "not a function"),
        ("fromAll().when({$deleted() {}})", "foreachStream"),
        ("fromAll().foreachStream().when({$deleted() {}, $initShared() {}})", "shared state"),
        ("emit('a', 'B', {})", "emit"),
        ("while (true) {}", "took more than 500 ms"),
        ("const all = []; while (true) all.push('x'.repeat(1 << 20) + all.length)", "memory"),
        ("(function deep() { deep(); })()", "stack"),
    ] {
        let problem = problem(source);
        assert!(problem.contains(told), "{source}: {problem}");
    }
}

#[test]
fn events_make_states() {
    let mut count = script(
        "fromAll().when({$init: () => ({n: 0}), Add(s, e) { s.n += e.data.by; }, \
        $any(s, e) { s.other = e.eventType; }})",
    );
    let outcomes = run(&mut count, &[("Add", "{\"by\":2}"), ("Add", "{\"by\":3}"), ("Odd", "{}")]);
    let states: Vec<_> = outcomes.iter().map(state).collect();
    assert_eq!(states, ["{\"n\":2}", "{\"n\":5}", "{\"n\":5,\"other\":\"Odd\"}"]);
    assert_eq!(outcomes[2].result, outcomes[2].state);

    let mut number = script("fromAll().when({$init: () => 0, Add: (s) => s + 1})");
    assert_eq!(run(&mut number, &[("Add", "{}"), ("Add", "{}")]).last().map(state), Some("2"));

    // Without a handler the last event is the state.
    let mut bare = script("fromAll().when({$init: () => ({})})");
    assert_eq!(run(&mut bare, &[("A", "{\"last\": 1}")]).last().map(state), Some("{\"last\":1}"));
}

#[test]
fn a_script_sees_all_of_an_event() {
    let mut seen = script(
        "fromAll().when({$any: (s, e) => [e.body.a, e.data === e.body, e.bodyRaw, \
        e.metadata.by, e.metadataRaw, e.linkMetadata, e.streamId, e.eventType, e.sequenceNumber, \
        e.category, e.partition, e.isJson, e.eventId, e.created, Object.keys({...e}).length]})",
    );
    let told = run(&mut seen, &[("Seen", "{\"a\": 1}")]);
    let expected = "[1,true,\"{\\\"a\\\": 1}\",\"ann\",\"{\\\"by\\\":\\\"ann\\\"}\",null,\"cat-1\",\
        \"Seen\",0,\"cat\",\"\",true,\"00000000-0000-0000-0000-000000000000\",\
        \"1970-01-01T00:00:00+00:00\",14]";
    assert_eq!(state(&told[0]), expected);
}

#[test]
fn events_are_emitted() {
    let mut emits = script(
        "fromAll().when({$any(s, e) { emit('out', 'Seen', {n: 1}, {why: 'so'}); \
        linkTo('links', e); linkStreamTo('streams', 'cat-1', {}); }})",
    );
    let told = run(&mut emits, &[("A", "{}")]);
    let of = |stream: &str, kind: &str, data: &str, metadata: Option<&str>, is_json| Emitted {
        stream: stream.to_owned(),
        event_type: kind.to_owned(),
        data: data.to_owned(),
        metadata: metadata.map(str::to_owned),
        is_json,
    };
    assert_eq!(
        told[0].emitted,
        [
            of("out", "Seen", "{\"n\":1}", Some("{\"why\":\"so\"}"), true),
            of("links", "$>", "0@cat-1", None, false),
            of("streams", "$@", "cat-1", Some("{}"), false),
        ]
    );
}

#[test]
fn results_are_made_of_states() {
    let mut doubled = script(
        "fromAll().when({$init: () => 0, A: (s) => s + 1}) \
        .filterBy(s => s > 1).transformBy(s => ({twice: s * 2}))",
    );
    let told = run(&mut doubled, &[("A", "{}"), ("A", "{}")]);
    assert_eq!(told[0].result, None);
    assert_eq!(told[1].result.as_deref(), Some("{\"twice\":4}"));
    assert_eq!(state(&told[1]), "2");
}

#[test]
fn partitions_have_states_of_their_own_and_may_share_one() {
    let mut both = script(
        "fromAll().partitionBy(e => e.data.who).when({$init: () => 0, \
        $initShared: () => ({all: 0}), $any(s, e) { s[0] += 1; s[1].all += 1; return s; }})",
    );
    let event = |who: &str| incoming(0, "A", &format!("{{\"who\":\"{who}\"}}"));
    assert_eq!(both.partition(&event("ann")).unwrap().as_deref(), Some("ann"));
    assert_eq!(both.partition(&event("")).unwrap(), None);
    assert_eq!(both.partition(&incoming(0, "A", "{\"who\":7}")).unwrap().as_deref(), Some("7"));
    let first = both.step(&event("ann"), "ann", None, None).unwrap();
    let second = both.step(&event("bob"), "bob", None, None).unwrap();
    let stored = Stored { state: first.state.clone(), result: None };
    let third = both.step(&event("ann"), "ann", Some(&stored), None).unwrap();
    let told = [&first, &second, &third].map(|it| (state(it).to_owned(), it.shared.clone()));
    let shared = |all: u8| Some(format!("{{\"all\":{all}}}").into());
    let expected = [("1", shared(1)), ("1", shared(2)), ("2", shared(3))];
    assert_eq!(told, expected.map(|(state, shared)| (state.to_owned(), shared)));
}

#[test]
fn new_and_deleted_partitions_are_told() {
    let mut told = script(
        "fromAll().foreachStream().when({$init: () => ({}), \
        $created(s, e) { emit('log', 'New', {of: e.streamId}); }, A(s) { s.a = 1; }, \
        $deleted(s, e, partition) { s.deleted = partition; }})",
    );
    let first = told.step(&incoming(0, "A", "{}"), "cat-1", None, None).unwrap();
    assert_eq!(first.emitted[0].data, "{\"of\":\"cat-1\"}");
    let stored = Stored { state: first.state.clone(), result: None };
    let deleted =
        Incoming { deleted: Some("cat-1".to_owned()), ..incoming(1, "$streamDeleted", "") };
    let last = told.step(&deleted, "cat-1", Some(&stored), None).unwrap();
    assert_eq!((state(&last), last.emitted.len()), ("{\"a\":1,\"deleted\":\"cat-1\"}", 0));
}

/// Given events nearly as large as any, when there is no handler for them, then each becomes the
/// state after the other.
#[test]
fn a_large_event_without_a_handler_becomes_the_state() {
    const BYTES: usize = 15 << 20;
    let mut script = script("fromAll().when({$init: () => 0})");
    let mut stored = None;
    for (number, letter) in (0..).zip(["a", "b", "ж"]) {
        let body = format!("{{\"told\":\"{}\"}}", letter.repeat(BYTES / letter.len()));
        let told = script.step(&incoming(number, "A", &body), "", stored.as_ref(), None).unwrap();
        assert!(state(&told) == body, "{letter}");
        stored = Some(Stored { state: told.state, result: None });
    }
}

#[test]
fn a_step_that_fails_is_told_and_bounds_hold() {
    for (source, told) in [
        ("fromAll().when({$any() { throw new Error('no'); }})", "no ("),
        ("fromAll().when({$any() { throw 'text'; }})", "text"),
        ("fromAll().when({$any() { nobody(); }})", "nobody"),
        ("fromAll().when({$any() { while (true); }})", "took more than 250 ms"),
        ("fromAll().when({$any() { for (;;) emit('a', 'B', {}); }})", "more than 512 events"),
        ("fromAll().when({$any() { emit('a', 'B', 5); }})", "must be an object"),
        ("fromAll().when({$any() { emit(' ', 'B', {}); }})", "streamId"),
        ("fromAll().when({$any() { copyTo('a', {}); }})", "not supported"),
        ("fromAll().when({$any() { fromAll(); }})", "fromAll"),
        ("fromAll().when({$any: () => 'x'.repeat(17 << 20)})", "larger than"),
        (
            "fromAll().when({$any() { const a = []; \
                for (;;) a.push('x'.repeat(1 << 20) + a.length); }})",
            "memory",
        ),
        ("fromAll().when({$any: () => { const a = {}; a.a = a; return a; }})", "circular"),
    ] {
        let problem = script(source).step(&incoming(0, "A", "{}"), "", None, None).unwrap_err();
        assert!(problem.contains(told), "{source}: {problem}");
    }
}
