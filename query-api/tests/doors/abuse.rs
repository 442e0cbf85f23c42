//! Documents and bodies that are made to hurt: each refused at once, by name, and nothing breaks.

use std::time::{Duration, Instant};

use access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

/// `getIntrospectionQuery()` of graphql-js 16, whose `TypeRef` nests nine times.
fn introspection(of_types: usize) -> String {
    let nested = |levels: usize| {
        let open = " ofType { kind name".repeat(levels);
        format!("kind name{open}{}", " }".repeat(levels))
    };
    format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }}
           subscriptionType {{ name }} types {{ ...FullType }}
           directives {{ name description locations args {{ ...InputValue }} }} }} }}
         fragment FullType on __Type {{ kind name description
           fields(includeDeprecated: true) {{ name description args {{ ...InputValue }}
             type {{ ...TypeRef }} isDeprecated deprecationReason }}
           inputFields {{ ...InputValue }} interfaces {{ ...TypeRef }}
           enumValues(includeDeprecated: true) {{ name description isDeprecated
             deprecationReason }} possibleTypes {{ ...TypeRef }} }}
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }}
           defaultValue }}
         fragment TypeRef on __Type {{ {} }}",
        nested(of_types)
    )
}

/// A query so many artists and tracks deep.
fn deep(levels: usize) -> String {
    let open = "tracks { nodes { artist { ".repeat(levels);
    format!("{{ tracks {{ nodes {{ artist {{ {open} id {} }} }} }} }}", "} } } ".repeat(levels))
}

/// Documents that are not even looked at by the rules of validation.
fn beyond_limits() -> Vec<(&'static str, String)> {
    let aliases: String = (0..1_000).map(|n| format!("a{n}: __typename ")).collect();
    let roots = "__typename ".repeat(200);
    let directives = "@a ".repeat(10_000);
    let doubling = |n: usize| {
        let next = n + 1;
        format!("fragment f{n} on Query {{ ...f{next} ...f{next} }} ")
    };
    let doubling: String = (0..30).map(doubling).collect();
    let circle = "fragment a on Query { ...b } fragment b on Query { ...a }";
    let (open, close) = ("fields { type { ".repeat(8), "} } ".repeat(8));
    let brackets = "[".repeat(9_000);
    vec![
        ("depth 100", deep(33)),
        ("depth 13", deep(3)),
        ("inline fragments", format!("{{ {} id {}", "... { ".repeat(90), "} ".repeat(91))),
        ("1,000 aliases", format!("{{ {aliases} }}")),
        ("200 fields at the root", format!("{{ {roots} }}")),
        ("10,000 directives", format!("{{ __typename {directives} }}")),
        ("directives of a query", format!("query {directives} {{ __typename }}")),
        (
            "directives of an unused fragment",
            format!("{{ __typename }} fragment f on Query {directives} {{ __typename }}"),
        ),
        ("fragments in a circle", format!("{{ ...a }} {circle}")),
        ("unused fragments in a circle", format!("{{ __typename }} {circle}")),
        (
            "fragments that double",
            format!("{{ ...f0 }} {doubling} fragment f30 on Query {{ __typename }}"),
        ),
        ("brackets", format!("{{ user(handle: {brackets}")),
        ("braces", "{ a ".repeat(7_000)),
        (
            "brackets behind quotes that do not match",
            format!("{{ user(handle: [\"\"\"a\" {brackets} \"\"]) {{ id }} }}"),
        ),
        ("a long document", format!("{{ __typename }} #{}", "a".repeat(40_000))),
        ("no document", String::new()),
        ("garbage", "}{".to_owned()),
        ("deep introspection", introspection(10)),
        (
            "introspection without end",
            format!("{{ __schema {{ types {{ {open} name {close} }} }} }}"),
        ),
    ]
}

/// Documents that could be looked at, and are not as the schema wants them.
fn invalid() -> Vec<(&'static str, String)> {
    let unknown: String = (0..19).map(|n| format!("nothing{n} ")).collect();
    let pages = "{ tracks(first: 100) { nodes { listings(first: 100) { nodes { id } } } } }";
    let subscription = "subscription { orderChanged(orderId: \"a\") { id } }";
    vec![
        ("pages of pages", pages.to_owned()),
        ("no such field", "{ passwords }".to_owned()),
        ("no such id", "{ track(id: \"7\") { id } }".to_owned()),
        ("two operations", "query a { __typename } query b { __typename }".to_owned()),
        ("a mutation", "mutation { __typename }".to_owned()),
        ("a subscription", subscription.to_owned()),
        ("many errors", format!("{{ {unknown} }}")),
    ]
}

#[tokio::test]
async fn documents_beyond_a_limit_are_refused() {
    let stage = Stage::new().await;
    let beyond = beyond_limits().into_iter().map(|case| (case, "BAD_REQUEST"));
    let invalid = invalid().into_iter().map(|case| (case, "VALIDATION"));
    for ((what, query), code) in beyond.chain(invalid) {
        let began = Instant::now();
        let answer = stage.ask(None, &query, Value::Null).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{what}: {answer}");
        assert_eq!(answer.get("data"), None, "{what} is not carried out, so it has no data");
        assert!(answer.to_string().len() < 16_000, "{what} is answered at length");
        assert!(began.elapsed() < Duration::from_secs(2), "{what} took {:?}", began.elapsed());
    }
    assert_eq!(stage.data(None, "{ __typename }", Value::Null).await["__typename"], "Query");
    stage.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_once() {
    let stage = Stage::new().await;
    for (query, errors) in [
        ("mutation { __typename }", 1),
        ("mutation { follow(id: 1) { id } }", 1),
        ("mutation a { b } mutation c { d }", 2),
        ("{ passwords secrets }", 2),
        ("{ a: passwords b: passwords }", 2),
    ] {
        let answer = stage.ask(None, query, Value::Null).await;
        assert_eq!(answer["errors"].as_array().map(Vec::len), Some(errors), "{query}: {answer}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_nul_in_a_text_is_refused_wherever_it_is() {
    let stage = Stage::new().await;
    stage.user("nina", Role::Artist).await;
    stage.caught_up().await;
    let user = "query($handle: String) { user(handle: $handle) { id } }";
    let default = r#"query($handle: String = "a\u0000") { user(handle: $handle) { id } }"#;
    let fragment = r#"{ ...found } fragment found on Query { user(handle: "\u0000") { id } }"#;
    for (query, variables) in [
        (user, json!({ "handle": "nina\0" })),
        (user, json!({ "handle": ["\0"], "unused": { "a": "b" } })),
        (r#"{ user(handle: "ni\u0000na") { id } }"#, Value::Null),
        ("{ user(handle: \"\"\"\0\"\"\") { id } }", Value::Null),
        (r#"{ search(text: "\u0000") { nodes { __typename } } }"#, Value::Null),
        (r#"{ tracks(after: "\u0000") { nodes { id } } }"#, Value::Null),
        (r#"{ sagas(subject: "a\u0000b") { nodes { stream } } }"#, Value::Null),
        (default, Value::Null),
        (fragment, Value::Null),
    ] {
        let answer = stage.ask(None, query, variables).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "VALIDATION", "{query}: {answer}");
        assert_eq!(answer.get("data"), None, "{query} is not carried out");
    }
    // What only looks like one is a text like any other.
    let looks_so = json!({ "handle": "\\u0000" });
    assert_eq!(stage.data(None, user, looks_so).await["user"], Value::Null);
    stage.end().await;
}

#[tokio::test]
async fn bodies_that_are_no_query_are_problems() {
    let stage = Stage::new().await;
    let json_type = Some("application/json");
    let query = r#"{"query":"{ __typename }"}"#;
    let batch = format!("[{}]", vec![query; 500].join(","));
    let deep = format!("{{\"query\":\"{{ __typename }}\",\"variables\":{}", "[".repeat(60_000));
    let huge = format!("{{\"query\":\"{}\"}}", " ".repeat(4 << 20));
    let cases = [
        ("a batch", json_type, batch, 400, "malformed"),
        ("an empty batch", json_type, "  []".to_owned(), 400, "malformed"),
        ("garbage", json_type, "query { a }".to_owned(), 400, "malformed"),
        ("nothing", json_type, String::new(), 400, "malformed"),
        ("half", json_type, r#"{"query":"{ a"#.to_owned(), 400, "malformed"),
        ("no query", json_type, r#"{"variables":{}}"#.to_owned(), 400, "malformed"),
        ("a number", json_type, r#"{"query":7}"#.to_owned(), 400, "malformed"),
        (
            "variables in a list",
            json_type,
            r#"{"query":"{ a }","variables":[]}"#.to_owned(),
            400,
            "malformed",
        ),
        ("deep variables", json_type, deep, 400, "malformed"),
        ("a huge body", json_type, huge, 413, "payload-too-large"),
        ("no type", None, query.to_owned(), 415, "unsupported-media-type"),
        ("text", Some("text/plain"), query.to_owned(), 415, "unsupported-media-type"),
        (
            "a form",
            Some("multipart/form-data; boundary=a"),
            query.to_owned(),
            415,
            "unsupported-media-type",
        ),
        (
            "GraphQL",
            Some("application/graphql"),
            "{ __typename }".to_owned(),
            415,
            "unsupported-media-type",
        ),
    ];
    for (what, content_type, body, status, kind) in cases {
        let request = stage.post(None).body(body);
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{what}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["type"], format!("urn:veza:problem:{kind}"), "{what}");
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let url = format!("http://{}/graphql?query={{__typename}}", stage.address);
        let response = stage.client.request(method.clone(), url).send().await.unwrap();
        let allow = response.headers()["allow"].to_str().unwrap();
        assert_eq!((response.status().as_u16(), allow), (405, "POST, GET"), "{method}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_schema_is_told_to_who_asks_as_tools_do() {
    let stage = Stage::new().await;
    let told = stage.data(None, &introspection(9), Value::Null).await;
    assert_eq!(told["__schema"]["queryType"]["name"], "Query");
    assert!(told["__schema"]["types"].as_array().unwrap().len() > 20);
    let one = "{ __type(name: \"Track\") { name fields { name } } }";
    assert_eq!(stage.data(None, one, Value::Null).await["__type"]["name"], "Track");
    stage.end().await;

    let closed = Stage::with(crate::stage::every_projection, |parts| parts.introspection = false);
    let closed = closed.await;
    for query in [
        introspection(9).as_str(),
        one,
        "{ ...a } fragment a on Query { __schema { types { name } } }",
    ] {
        assert_eq!(closed.code(None, query, Value::Null).await, "BAD_REQUEST");
    }
    let answer = closed.ask(None, "{ trakcs { nodes { id } } }", Value::Null).await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(!message.contains("tracks"), "it suggests what the schema has: {message}");
    assert_eq!(closed.data(None, "{ __typename }", Value::Null).await["__typename"], "Query");
    closed.end().await;
}

#[tokio::test]
async fn a_client_may_ask_for_statuses() {
    let stage = Stage::new().await;
    let carried_out = "{ me { roles } }";
    for (query, status, data) in [
        ("{ __typename }", 200, Some(json!({ "__typename": "Query" }))),
        (carried_out, 200, Some(Value::Null)),
        ("{ nothing }", 400, None),
        ("{", 400, None),
    ] {
        let request = stage.post(None).header("accept", "application/graphql-response+json");
        let response = request.json(&json!({ "query": query })).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/graphql-response+json");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer.get("data"), data.as_ref(), "{query}");
    }
    stage.end().await;
}
