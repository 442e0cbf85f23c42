//! Documents and bodies that are made to hurt: each refused at once, by name, and nothing breaks.

use std::time::{Duration, Instant};

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

#[tokio::test]
async fn documents_beyond_a_limit_are_refused() {
    let stage = Stage::new().await;
    let aliases: String = (0..1_000).map(|n| format!("a{n}: __typename ")).collect();
    let roots = "__typename ".repeat(200);
    let directives = "@a ".repeat(10_000);
    let fragments: String = (0..30)
        .map(|n| format!("fragment f{n} on Query {{ ...f{} ...f{} }} ", n + 1, n + 1))
        .collect();
    let strings = format!("{{ user(handle: [\"\"\"a\" {} \"\"]) {{ id }} }}", "[".repeat(9_000));
    let cases = [
        ("depth 100", deep(33), "BAD_REQUEST"),
        ("depth 13", deep(3), "BAD_REQUEST"),
        ("inline fragments", format!("{{ {} id {}", "... { ".repeat(90), "} ".repeat(91)), "BAD_REQUEST"),
        ("1,000 aliases", format!("{{ {aliases} }}"), "BAD_REQUEST"),
        ("200 fields at the root", format!("{{ {roots} }}"), "BAD_REQUEST"),
        ("10,000 directives", format!("{{ __typename {directives} }}"), "BAD_REQUEST"),
        ("directives on a query", format!("query {directives} {{ __typename }}"), "BAD_REQUEST"),
        ("directives on an unused fragment", format!("{{ __typename }} fragment f on Query {directives} {{ __typename }}"), "BAD_REQUEST"),
        ("fragments in a circle", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }".to_owned(), "BAD_REQUEST"),
        ("a fragment in itself", "{ __typename } fragment a on Query { ...a }".to_owned(), "BAD_REQUEST"),
        ("fragments that double", format!("{{ ...f0 }} {fragments} fragment f30 on Query {{ __typename }}"), "BAD_REQUEST"),
        ("brackets", format!("{{ user(handle: {}", "[".repeat(20_000)), "BAD_REQUEST"),
        ("braces", "{ a ".repeat(7_000), "BAD_REQUEST"),
        ("brackets between quotes that do not match", strings, "BAD_REQUEST"),
        ("a long document", format!("{{ __typename }} #{}", "a".repeat(40_000)), "BAD_REQUEST"),
        ("no document", String::new(), "BAD_REQUEST"),
        ("garbage", "}{".to_owned(), "BAD_REQUEST"),
        ("deep introspection", introspection(10), "BAD_REQUEST"),
        ("circular introspection", format!("{{ __schema {{ types {{ {} name {} }} }} }}", "fields { type { ".repeat(8), "} } ".repeat(8)), "BAD_REQUEST"),
        ("pages of pages", "{ tracks(first: 100) { nodes { listings(first: 100) { nodes { id } } } } }".to_owned(), "VALIDATION"),
        ("no such field", "{ passwords }".to_owned(), "VALIDATION"),
        ("no such type of id", "{ track(id: \"7\") { id } }".to_owned(), "VALIDATION"),
        ("two operations", "query a { __typename } query b { __typename }".to_owned(), "VALIDATION"),
        ("a mutation", "mutation { __typename }".to_owned(), "VALIDATION"),
        ("a subscription", "subscription { orderChanged(orderId: \"00000000-0000-0000-0000-000000000001\") { id } }".to_owned(), "VALIDATION"),
        ("many errors", format!("{{ {} }}", (0..19).map(|n| format!("nothing{n} ")).collect::<String>()), "VALIDATION"),
    ];
    for (what, query, code) in cases {
        let began = Instant::now();
        let answer = stage.ask(None, &query, Value::Null).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{what}: {answer}");
        assert_eq!(answer["data"], Value::Null, "{what}");
        assert!(answer.to_string().len() < 16_000, "{what} is answered at length");
        assert!(began.elapsed() < Duration::from_secs(2), "{what} took {:?}", began.elapsed());
    }
    assert_eq!(stage.data(None, "{ __typename }", Value::Null).await["__typename"], "Query");
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
    let get = stage.get("/graphql?query={__typename}", None).send().await.unwrap();
    assert_eq!((get.status().as_u16(), &get.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let put = stage.client.put(format!("http://{}/graphql", stage.address)).send().await.unwrap();
    assert_eq!(put.status(), 405);
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
    for (query, status) in [("{ __typename }", 200), ("{ nothing }", 400), ("{", 400)] {
        let request = stage.post(None).header("accept", "application/graphql-response+json");
        let response = request.json(&json!({ "query": query })).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/graphql-response+json");
    }
    stage.end().await;
}
