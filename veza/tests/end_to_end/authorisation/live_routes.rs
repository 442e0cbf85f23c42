//! The routes that routers have, read from what they tell of themselves: axum has no other way to
//! ask. Where that text changes, reading it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// What a route without a handler for a single method has: one for all.
const ANY: &str = "ANY";

const METHODS: &[&str] =
    &["get", "head", "delete", "options", "patch", "post", "put", "trace", "connect"];

/// Every route of the commands and the queries, as `METHOD /path`.
pub fn all() -> BTreeSet<String> {
    let commands = command_api::routes::groups().into_iter();
    let commands = commands.flat_map(|group| routes(&group.routes.split_for_parts().0));
    commands.chain(routes(&query_api::routes::routes())).collect()
}

/// The routes of a router.
fn routes(router: &impl Debug) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let (endpoints, rest) = text.split_once("node: Node { paths: {").expect("it has paths");
    let paths = paths(rest);
    let mut routes = BTreeSet::new();
    for endpoint in endpoints.split("RouteId(").skip(1) {
        let (id, endpoint) = endpoint.split_once("): ").expect("a route's number");
        let path = paths[id];
        let is_handled = |method: &&&str| {
            let field = format!(" {method}: ");
            let (_, handler) = endpoint.split_once(&field).expect("each method is told");
            !handler.starts_with("None")
        };
        let methods: Vec<&&str> = METHODS.iter().filter(is_handled).collect();
        if methods.is_empty() {
            routes.insert(format!("{ANY} {path}"));
        }
        routes.extend(methods.iter().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    assert_eq!(endpoints.matches("RouteId(").count(), paths.len(), "{text}");
    routes
}

/// Paths by the numbers of their routes.
fn paths(mut text: &str) -> BTreeMap<&str, &str> {
    let mut paths = BTreeMap::new();
    while let Some(entry) = text.trim_start_matches(", ").strip_prefix("RouteId(") {
        let (id, entry) = entry.split_once("): \"").expect("a number before a path");
        let (path, rest) = entry.split_once('"').expect("a path ends");
        paths.insert(id, path);
        text = rest;
    }
    paths
}

#[test]
fn every_way_to_add_a_route_is_seen() {
    use axum::Router;
    use axum::routing::{any, get};
    let router: Router = Router::new()
        .route("/a/{b}", get(async || "read").delete(async || "gone"))
        .route("/c/{*rest}", any(async || "all"))
        .merge(Router::new().nest("/d", Router::new().route("/e", get(async || "nested"))));
    let seen = routes(&router);
    let expected = ["ANY /c/{*rest}", "DELETE /a/{b}", "GET /a/{b}", "GET /d/e"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
