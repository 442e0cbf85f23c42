//! Users, as administrators keep them with `curl`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_store::grpc::ServeOptions;
use event_store::users::DefaultPasswords;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, Users};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::over_http::{Answer, ask};
use crate::server::Server;

const ADMIN: &str = "admin:changeit";
const JSON: &str = "Content-Type: application/json";

/// A server that asks who calls, and encrypts nothing.
async fn asking() -> Server {
    let folder = TempDir::new().expect("folder");
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    let store: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(options).await.expect("store"));
    let users = Users::new(Arc::clone(&store));
    users.make_defaults(DefaultPasswords::new(None, None).expect("passwords")).await.expect("made");
    let options = ServeOptions { users: Some(users), ..ServeOptions::default() };
    let mut server = Server::serving(store, "127.0.0.1:0", options).await;
    server.folder = Some(folder);
    server
}

/// Asks that on behalf of somebody, with a body unless it is null.
async fn on_behalf(server: &Server, who: &str, request: &str, body: Value) -> Answer {
    let authorization = format!("Authorization: Basic {}", STANDARD.encode(who));
    if body.is_null() {
        return ask(server, request, &[&authorization], b"").await;
    }
    ask(server, request, &[&authorization, JSON], body.to_string().as_bytes()).await
}

#[tokio::test]
async fn users_are_made_changed_disabled_and_deleted_over_http() {
    let server = asking().await;
    let admin = async |request: &str, body: Value| on_behalf(&server, ADMIN, request, body).await;
    let ann = json!({
        "loginName": "ann", "fullName": "Ann", "groups": ["players"], "password": "one",
    });
    let made = admin("POST /users/", ann.clone()).await;
    let done = json!({ "loginName": "ann", "success": true, "error": "Success" });
    assert_eq!((made.code, made.json()), (201, done.clone()), "{}", made.head);
    assert!(made.header("location").ends_with("/users/ann"), "{}", made.head);
    assert_eq!(admin("POST /users", ann).await.code, 201, "it is the same again");
    let other = admin("POST /users", json!({ "LoginName": "ann", "Password": "two" })).await;
    let refused = json!({ "loginName": "ann", "success": false, "error": "Conflict" });
    assert_eq!((other.code, other.json()), (409, refused));

    let told = async || {
        let told = admin("GET /users/ann", Value::Null).await.json()["data"].clone();
        (told["fullName"].clone(), told["groups"].clone(), told["disabled"].clone())
    };
    assert_eq!(told().await, (json!("Ann"), json!(["players"]), json!(false)));
    let updated = json!({ "fullName": "Anne", "groups": ["$ops"] });
    let updated = admin("PUT /users/ann", updated).await;
    assert_eq!((updated.code, updated.json()), (200, done));
    assert_eq!(told().await, (json!("Anne"), json!(["$ops"]), json!(false)));

    let looks = async |password: &str| {
        let ann = format!("ann:{password}");
        let own = on_behalf(&server, &ann, "GET /users/$current", Value::Null).await;
        assert!(own.code == 401 || own.json()["data"]["loginName"] == "ann", "{}", own.body);
        own.code
    };
    assert_eq!(looks("one").await, 200, "the password stays");
    assert_eq!(admin("POST /users/ann/command/disable", Value::Null).await.code, 200);
    assert_eq!((looks("one").await, told().await.2), (401, json!(true)));
    assert_eq!(admin("POST /users/ann/command/enable", Value::Null).await.code, 200);
    assert_eq!(looks("one").await, 200);

    assert_eq!(admin("DELETE /users/ann", Value::Null).await.code, 200);
    assert_eq!(looks("one").await, 401);
    let missing = json!({ "loginName": "ann", "success": false, "error": "NotFound" });
    for (request, body) in [
        ("DELETE /users/ann", Value::Null),
        ("POST /users/ann/command/enable", Value::Null),
        ("PUT /users/ann", json!({ "fullName": "Ann", "groups": [] })),
        ("POST /users/ann/command/reset-password", json!({ "newPassword": "one" })),
    ] {
        let answer = admin(request, body).await;
        assert_eq!((answer.code, answer.json()), (404, missing.clone()), "{request}");
    }
}

#[tokio::test]
async fn passwords_are_changed_and_reset_over_http() {
    let server = asking().await;
    let ann = json!({ "loginName": "ann", "password": "one" });
    assert_eq!(on_behalf(&server, ADMIN, "POST /users", ann).await.code, 201);
    let change = async |current: &str, new: &str| {
        let body = json!({ "currentPassword": current, "newPassword": new });
        let request = "POST /users/ann/command/change-password";
        on_behalf(&server, "ann:one", request, body).await
    };
    let wrong = change("other", "two").await;
    assert_eq!((wrong.code, &wrong.json()["error"]), (401, &json!("Unauthorized")));
    assert_eq!(change("one", "").await.code, 400);
    assert_eq!(change("one", "two").await.code, 200);
    assert_eq!(change("two", "three").await.code, 401, "that was asked with the old one");
    let reset = "POST /users/ann/command/reset-password";
    let three = json!({ "newPassword": "three" });
    assert_eq!(on_behalf(&server, "ann:two", reset, three.clone()).await.code, 401);
    assert_eq!(on_behalf(&server, ADMIN, reset, three).await.code, 200);
    assert_eq!(on_behalf(&server, "ann:three", "GET /users/ann", Value::Null).await.code, 200);
}

/// What an administrator may do nobody else may; and what makes no sense changes nothing.
#[tokio::test]
async fn users_are_changed_by_administrators_alone_and_by_what_makes_sense() {
    let server = asking().await;
    let bob = json!({ "loginName": "bob", "password": "one" });
    for (request, body) in [
        ("GET /users", Value::Null),
        ("GET /users/admin", Value::Null),
        ("POST /users", bob.clone()),
        ("PUT /users/admin", json!({ "fullName": "", "groups": [] })),
        ("DELETE /users/admin", Value::Null),
        ("POST /users/admin/command/disable", Value::Null),
        ("POST /users/admin/command/enable", Value::Null),
        ("POST /users/admin/command/reset-password", json!({ "newPassword": "one" })),
    ] {
        assert_eq!(on_behalf(&server, "ops:changeit", request, body.clone()).await.code, 401);
        let body = body.to_string();
        let headers = if body == "null" { vec![] } else { vec![JSON] };
        let nobody = ask(&server, request, &headers, body.as_bytes()).await;
        assert_eq!(nobody.code, 401, "{request}");
    }
    let admin = async |request: &str, body: Value| on_behalf(&server, ADMIN, request, body).await;
    for (request, body, code) in [
        ("POST /users", json!({ "loginName": "bob" }), 400),
        ("POST /users", json!({ "loginName": "bob", "password": "" }), 400),
        ("POST /users", json!({ "loginName": "$bob", "password": "one" }), 400),
        ("POST /users", json!([]), 400),
        ("PUT /users/ops", json!({ "fullName": "without its groups" }), 400),
        ("PUT /users", bob.clone(), 405),
        ("POST /users/ops", bob.clone(), 405),
        ("DELETE /users/$current", Value::Null, 405),
        ("GET /users/ops/command/enable", Value::Null, 405),
        ("POST /users/ops/command/obey", Value::Null, 404),
        ("POST /users/ops/command", Value::Null, 404),
    ] {
        let answer = admin(request, body).await;
        assert_eq!(answer.code, code, "{request}: {}", answer.body);
    }
    let authorization = format!("Authorization: Basic {}", STANDARD.encode(ADMIN));
    let form = [authorization.as_str(), "Content-Type: text/plain"];
    let form = ask(&server, "POST /users", &form, bob.to_string().as_bytes()).await;
    assert_eq!(form.code, 415, "a page of others can't have a browser do it");
    let all = admin("GET /users", Value::Null).await.json();
    let names: Vec<_> = all["data"].as_array().expect("a list").iter().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(admin("GET /users/ops", Value::Null).await.json()["data"]["groups"][0], "$ops");
}

/// Where nobody is asked who they are, everybody may.
#[tokio::test]
async fn whoever_reaches_an_open_port_may_change_users() {
    let server = Server::start().await;
    let body = json!({ "loginName": "ann", "password": "one" }).to_string();
    assert_eq!(ask(&server, "POST /users", &[JSON], body.as_bytes()).await.code, 201);
    assert_eq!(ask(&server, "GET /users/ann", &[], b"").await.code, 200);
    assert_eq!(ask(&server, "GET /users/$current", &[], b"").await.code, 404, "it is nobody");
}
