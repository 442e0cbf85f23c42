//! `/users`: who may log in, looked at and changed by who has no client at hand.

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tonic::body::Body;

use super::super::arriving::Reception;
use super::super::caller::Caller;
use super::asked::{decoded, escaped};
use super::received::receive;
use super::refusal::Refusal;
use super::{Door, document};
use crate::access::Operation;
use crate::error::StoreError;
use crate::users::{Login, Password, User, UsersError};

/// The name that stands for who asks; no user may be called so.
const CURRENT: &str = "$current";

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All users.
    All,
    /// Who asks.
    Current,
    /// The user of this name.
    One(String),
    /// That something is done with the user of this name.
    Command(String, Command),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Enable,
    Disable,
    ResetPassword,
    ChangePassword,
}

/// The bodies of requests; older tools begin the names with a capital.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    #[serde(alias = "LoginName")]
    login_name: String,
    #[serde(alias = "FullName", default)]
    full_name: String,
    #[serde(alias = "Groups", default)]
    groups: Vec<String>,
    #[serde(alias = "Password")]
    password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    #[serde(alias = "FullName")]
    full_name: String,
    #[serde(alias = "Groups")]
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reset {
    #[serde(alias = "NewPassword")]
    new_password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    #[serde(alias = "CurrentPassword")]
    current_password: String,
    #[serde(alias = "NewPassword")]
    new_password: String,
}

impl Asked {
    /// What the path means behind `/users`.
    fn read(path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [""] => Ok(Self::All),
            [name] => match decoded(name)? {
                name if name == CURRENT => Ok(Self::Current),
                name => Ok(Self::One(name)),
            },
            [name, "command", command] => {
                let command = match *command {
                    "enable" => Command::Enable,
                    "disable" => Command::Disable,
                    "reset-password" => Command::ResetPassword,
                    "change-password" => Command::ChangePassword,
                    _ => return Err(Refusal::not_found()),
                };
                Ok(Self::Command(decoded(name)?, command))
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::All => "GET, HEAD, POST",
            Self::Current => "GET, HEAD",
            Self::One(_) => "GET, HEAD, PUT, DELETE",
            Self::Command(..) => "POST",
        }
    }

    /// What it takes to ask that in this manner.
    fn operation(&self, method: &Method) -> Operation<'_> {
        match self {
            Self::One(name) if is_read(method) => Operation::LookAtUser(name),
            Self::Current => Operation::Discover,
            Self::Command(_, Command::ChangePassword) => Operation::ChangePassword,
            Self::All | Self::One(_) | Self::Command(..) => Operation::ManageUsers,
        }
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Answers a request about users, as EventStoreDB does.
pub(super) async fn answer(
    door: &Door,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path();
    let asked = Asked::read(path.strip_prefix("/users").unwrap_or_default())?;
    let (parts, body) = request.into_parts();
    let (method, headers) = (&parts.method, &parts.headers);
    if !asked.methods().split(", ").any(|it| it == method.as_str()) {
        return Err(Refusal::method(asked.methods()));
    }
    let caller = parts.extensions.get::<Caller>().ok_or(StoreError::AccessDenied)?;
    caller.may(asked.operation(method)).map_err(|_| StoreError::AccessDenied)?;
    let sent = Sent { body, headers, reception: &door.reception };
    match asked {
        Asked::All if is_read(method) => {
            let all = door.users.all().await?;
            Ok(found(all.into_iter().map(|user| told(door, headers, user)).collect()))
        }
        Asked::All => create(door, sent).await,
        Asked::Current => {
            let name = caller.login().ok_or_else(Refusal::not_found)?;
            details(door, headers, name).await
        }
        Asked::One(name) if is_read(method) => details(door, headers, &name).await,
        Asked::One(name) if *method == Method::PUT => {
            let (login, asked) = (login(&name)?, sent.read::<Updated>().await?);
            let updated = door.users.update(&login, &asked.full_name, &asked.groups).await;
            changed(&login, updated)
        }
        Asked::One(name) => {
            let login = login(&name)?;
            changed(&login, door.users.delete(&login).await)
        }
        Asked::Command(name, command) => obey(door, &login(&name)?, command, sent).await,
    }
}

async fn details(door: &Door, headers: &HeaderMap, name: &str) -> Result<Response<Body>, Refusal> {
    let user = door.users.details(&login(name)?).await?;
    Ok(found(told(door, headers, user)))
}

async fn create(door: &Door, sent: Sent<'_>) -> Result<Response<Body>, Refusal> {
    let headers = sent.headers;
    let asked: Created = sent.read().await?;
    let login = login(&asked.login_name)?;
    let password = Password::chosen(asked.password)?;
    let created = door.users.create(&login, &asked.full_name, &asked.groups, password).await;
    let mut response = changed(&login, created)?;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::CREATED;
        // A host that is advertised may be anything.
        if let Ok(place) = HeaderValue::from_str(&place(door, headers, &login)) {
            response.headers_mut().insert(header::LOCATION, place);
        }
    }
    Ok(response)
}

async fn obey(
    door: &Door,
    login: &Login,
    command: Command,
    sent: Sent<'_>,
) -> Result<Response<Body>, Refusal> {
    let users = &door.users;
    let done = match command {
        Command::Enable => users.set_disabled(login, false).await,
        Command::Disable => users.set_disabled(login, true).await,
        Command::ResetPassword => {
            let new = Password::chosen(sent.read::<Reset>().await?.new_password)?;
            users.reset_password(login, new).await
        }
        Command::ChangePassword => {
            let Changed { current_password, new_password } = sent.read().await?;
            let new = Password::chosen(new_password)?;
            users.change_password(login, Password::new(current_password)?, new).await
        }
    };
    changed(login, done)
}

/// The body of a request, not received yet.
struct Sent<'a> {
    body: Incoming,
    headers: &'a HeaderMap,
    reception: &'a Reception,
}

impl Sent<'_> {
    /// What is sent as JSON. Nothing else is taken: pages of others could make a browser send it.
    async fn read<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let reason = "users are told as application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let received = receive(self.body, self.reception).await?;
        // Without what the parser says, which may have a part of a password.
        let bad = |_| Refusal::bad("the body is not the JSON that it should be");
        serde_json::from_slice(&received.bytes).map_err(bad)
    }
}

fn login(name: &str) -> Result<Login, Refusal> {
    Login::new(name).map_err(|error| Refusal::bad(error.to_string()))
}

fn found(data: Value) -> Response<Body> {
    document(&json!({ "data": data, "success": true, "error": "Success" }))
}

/// What came of a change.
fn changed(login: &Login, done: Result<(), UsersError>) -> Result<Response<Body>, Refusal> {
    let (code, error) = match done {
        Ok(()) => (StatusCode::OK, "Success"),
        Err(UsersError::NotFound(_)) => (StatusCode::NOT_FOUND, "NotFound"),
        Err(UsersError::Conflict(_)) => (StatusCode::CONFLICT, "Conflict"),
        Err(UsersError::WrongPassword) => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(error) => return Err(error.into()),
    };
    let success = code == StatusCode::OK;
    let said = json!({ "loginName": login.as_str(), "success": success, "error": error });
    let mut response = document(&said);
    *response.status_mut() = code;
    Ok(response)
}

fn place(door: &Door, headers: &HeaderMap, login: &Login) -> String {
    format!("{}/users/{}", door.base(headers), escaped(login.as_str()))
}

fn told(door: &Door, headers: &HeaderMap, user: User) -> Value {
    json!({
        "loginName": user.login.as_str(),
        "fullName": user.full_name,
        "groups": user.groups,
        "dateLastUpdated": user.last_updated.to_rfc3339(),
        "disabled": user.disabled,
        "links": [{ "href": place(door, headers, &user.login), "rel": "self" }],
    })
}

impl From<UsersError> for Refusal {
    fn from(error: UsersError) -> Self {
        let code = match error {
            UsersError::NotFound(_) => return Self::not_found(),
            UsersError::Store(error) => return error.into(),
            UsersError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            UsersError::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
            UsersError::Conflict(_) => StatusCode::CONFLICT,
            UsersError::WrongPassword => StatusCode::UNAUTHORIZED,
            UsersError::InvalidLogin(_)
            | UsersError::TooLong { .. }
            | UsersError::EmptyPassword => StatusCode::BAD_REQUEST,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_users_and_what_is_done_with_them() {
        let read = |path: &str| Asked::read(path).unwrap();
        assert_eq!((read(""), read("/")), (Asked::All, Asked::All));
        assert_eq!(read("/ann%40here/"), Asked::One("ann@here".to_owned()));
        assert_eq!((read("/$current"), read("/%24current")), (Asked::Current, Asked::Current));
        for (text, command) in [
            ("enable", Command::Enable),
            ("disable", Command::Disable),
            ("reset-password", Command::ResetPassword),
            ("change-password", Command::ChangePassword),
        ] {
            let asked = read(&format!("/ann/command/{text}"));
            assert_eq!(asked, Asked::Command("ann".to_owned(), command));
        }
        for path in ["/ann/command", "/ann/command/obey", "/ann/bob", "/a/command/enable/b"] {
            assert!(Asked::read(path).is_err(), "{path}");
        }
    }
}
