//! Users, as administrators keep them through the official client.

use eventstore::operations::{Client as Operations, OperationalOptions, UserDetails};
use eventstore::{Credentials, Error, ReadStreamOptions};
use tonic::Code;

use super::secured::{ADMIN, Secured};

fn of(credentials: Option<(&str, &str)>) -> OperationalOptions {
    let options = OperationalOptions::default();
    match credentials {
        Some((name, password)) => {
            options.authenticated(Credentials::new(name.to_owned(), password.to_owned()))
        }
        None => options,
    }
}

fn code<T>(result: eventstore::Result<T>) -> Option<Code> {
    match result {
        Ok(_) => None,
        Err(Error::AccessDenied) => Some(Code::PermissionDenied),
        Err(Error::ResourceNotFound) => Some(Code::NotFound),
        // The client's is of another release of the same crate.
        Err(Error::Grpc { code, .. }) => Some(Code::from(code as i32)),
        Err(other) => panic!("{other:?}"),
    }
}

async fn details(operations: &Operations, name: &str) -> eventstore::Result<UserDetails> {
    let mut found = operations.user_details(name, &of(None)).await?;
    Ok(found.next().await?.expect("a user"))
}

#[tokio::test]
async fn users_are_made_changed_disabled_and_deleted() {
    let secured = Secured::start().await;
    let operations: Operations = secured.client(ADMIN).into();
    let create = async |password: &str| {
        let groups = vec!["players".to_owned()];
        operations.create_user("ann", password, "Ann", groups, &of(None)).await
    };
    create("one").await.expect("created");
    create("one").await.expect("it is the same again");
    assert_eq!(code(create("two").await), Some(Code::FailedPrecondition));
    let ann = details(&operations, "ann").await.expect("there");
    assert_eq!((ann.login.as_str(), ann.full_name.as_str(), ann.disabled), ("ann", "Ann", false));
    assert_eq!(ann.groups, ["players"]);

    let looks = async |password| {
        let own = of(Some(("ann", password)));
        let found = operations.user_details("ann", &own).await;
        code(match found {
            Ok(mut found) => found.next().await,
            Err(error) => Err(error),
        })
    };
    assert_eq!(looks("one").await, None, "one looks at oneself");
    let other = operations.user_details("admin", &of(Some(("ann", "one")))).await;
    let other = match other {
        Ok(mut found) => code(found.next().await),
        Err(error) => code::<()>(Err(error)),
    };
    assert_eq!(other, Some(Code::PermissionDenied));
    let as_ann = of(Some(("ann", "one")));
    let made = operations.create_user("bob", "b", "Bob", vec![], &as_ann).await;
    assert_eq!(code(made), Some(Code::PermissionDenied));

    operations
        .update_user("ann", "", "Anne", vec!["$ops".to_owned()], &of(None))
        .await
        .expect("updated");
    let ann = details(&operations, "ann").await.expect("there");
    assert_eq!((ann.full_name.as_str(), ann.groups), ("Anne", vec!["$ops".to_owned()]));
    assert_eq!(looks("one").await, None, "the password stays");

    operations.disable_user("ann", &of(None)).await.expect("disabled");
    assert_eq!(looks("one").await, Some(Code::PermissionDenied), "at once, though it was proved");
    assert!(details(&operations, "ann").await.expect("there").disabled);
    operations.enable_user("ann", &of(None)).await.expect("enabled");
    assert_eq!(looks("one").await, None);

    operations.delete_user("ann", &of(None)).await.expect("deleted");
    assert_eq!(looks("one").await, Some(Code::PermissionDenied));
    assert_eq!(code(operations.delete_user("ann", &of(None)).await), Some(Code::NotFound));
    assert_eq!(code(operations.enable_user("ann", &of(None)).await), Some(Code::NotFound));
    create("two").await.expect("there is room for another");
    assert_eq!(looks("two").await, None);
    assert_eq!(looks("one").await, Some(Code::PermissionDenied));
}

#[tokio::test]
async fn passwords_are_changed_by_who_knows_them_and_reset_by_administrators() {
    let secured = Secured::start().await;
    let client = secured.user("ann", &[]).await;
    let (own, operations): (Operations, Operations) = (client.into(), secured.client(ADMIN).into());
    let changed = own.change_user_password("ann", "wrong", "two", &of(None)).await;
    assert_eq!(code(changed), Some(Code::PermissionDenied));
    own.change_user_password("ann", "ann", "two", &of(None)).await.expect("changed");
    let changed = own.change_user_password("ann", "two", "three", &of(None)).await;
    assert_eq!(code(changed), Some(Code::PermissionDenied), "the client has the old one");
    let reset = own.reset_user_password("ann", "three", &of(Some(("ann", "two")))).await;
    assert_eq!(code(reset), Some(Code::PermissionDenied));
    operations.reset_user_password("ann", "three", &of(None)).await.expect("reset");
    details(&secured.client("ann:three@").into(), "ann").await.expect("it is that now");
    let empty = operations.reset_user_password("ann", "", &of(None)).await;
    assert_eq!(code(empty), Some(Code::InvalidArgument));
    let nobody = operations.reset_user_password("bob", "three", &of(None)).await;
    assert_eq!(code(nobody), Some(Code::NotFound));
}

/// Where users are kept is what the tools of the protocol look at; and all are listed.
#[tokio::test]
async fn users_are_kept_as_the_protocol_has_them() {
    let secured = Secured::start().await;
    secured.user("ann", &["players"]).await;
    let client = secured.client(ADMIN);
    let options = ReadStreamOptions::default();
    let mut names = Vec::new();
    let mut users = client.read_stream("$users", &options).await.expect("there");
    while let Some(event) = users.next().await.expect("read") {
        let event = event.get_original_event();
        assert_eq!(event.event_type, "$User");
        names.push(String::from_utf8(event.data.to_vec()).expect("a name"));
    }
    assert_eq!(names, ["admin", "ops", "ann"]);
    let mut ann = client.read_stream("$user-ann", &options).await.expect("there");
    let ann = ann.next().await.expect("read").expect("an event");
    let ann = ann.get_original_event();
    assert_eq!(ann.event_type, "$UserCreated");
    let kept: serde_json::Value = serde_json::from_slice(&ann.data).expect("json");
    assert_eq!(kept["loginName"], "ann");
    assert_eq!(kept["groups"], serde_json::json!(["players"]));
    assert!(kept["hash"].as_str().expect("a hash").starts_with("$argon2id$"));
    let all: Vec<String> =
        secured.users.all().await.expect("all").iter().map(|it| it.login.to_string()).collect();
    assert_eq!(all, ["admin", "ann", "ops"]);

    let ann = secured.client("ann:ann@");
    for stream in ["$user-ann", "$user-admin", "$$$user-admin"] {
        let read = ann.read_stream(stream, &options).await;
        assert!(matches!(read, Err(Error::AccessDenied)), "{stream}");
    }
}
