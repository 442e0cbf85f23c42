//! `/users`: who may log in, for who has no client at hand. They are changed over gRPC alone.

use ::http::{HeaderMap, Request};
use serde_json::{Value, json};

use super::super::caller::Caller;
use super::Door;
use super::asked::{decoded, escaped};
use super::refusal::Refusal;
use crate::access::Operation;
use crate::error::StoreError;
use crate::users::{Login, User, UsersError};

/// All users, or the one that the path names, as EventStoreDB tells them.
pub(super) async fn answer<B>(door: &Door, request: &Request<B>) -> Result<Value, Refusal> {
    let caller = request.extensions().get::<Caller>().ok_or(StoreError::AccessDenied)?;
    let path = request.uri().path().trim_start_matches("/users").trim_matches('/');
    let headers = request.headers();
    let may =
        |operation| caller.may(operation).map_err(|_| Refusal::from(StoreError::AccessDenied));
    let data = if path.is_empty() {
        may(Operation::ManageUsers)?;
        let all = door.users.all().await?;
        all.into_iter().map(|user| told(door, headers, user)).collect()
    } else {
        let name = decoded(path)?;
        may(Operation::LookAtUser(&name))?;
        let login = Login::new(&name).map_err(|error| Refusal::bad(error.to_string()))?;
        told(door, headers, door.users.details(&login).await?)
    };
    Ok(json!({ "data": data, "success": true, "error": "Success" }))
}

fn told(door: &Door, headers: &HeaderMap, user: User) -> Value {
    let place = format!("{}/users/{}", door.base(headers), escaped(&user.login.to_string()));
    json!({
        "loginName": user.login.to_string(),
        "fullName": user.full_name,
        "groups": user.groups,
        "dateLastUpdated": user.last_updated.to_rfc3339(),
        "disabled": user.disabled,
        "links": [{ "href": place, "rel": "self" }],
    })
}

impl From<UsersError> for Refusal {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::NotFound(_) => Self::not_found(),
            UsersError::Store(error) => error.into(),
            error => Self::bad(error.to_string()),
        }
    }
}
