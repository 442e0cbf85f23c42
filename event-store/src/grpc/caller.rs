//! Who calls, found out once for each request, and what they may do.
//!
//! A service asks `Caller::of(&request)?` and then [`Caller::may`] for what the node, groups,
//! projections and users are asked, and [`Caller::may_with`] for what is done with a stream. Over
//! HTTP/1.1 the same [`Caller`] is in the request's extensions.

use std::fmt;
use std::sync::Arc;

use ::http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::Status;
use tonic::body::Body;

use super::problem::of_store;
use crate::access::{AccessDenied, Operation, Principal, Rights, StreamAction};
use crate::error::StoreError;
use crate::persistent::Message;
use crate::port::EventStore;
use crate::stream::StreamName;
use crate::users::{Password, Users, UsersError};

/// How credentials begin that are a name and a password.
const BASIC: &str = "basic ";

/// The name of the user whose certificate the connection was opened with, beside its requests.
#[derive(Clone)]
pub(super) struct CertifiedUser(pub Arc<str>);

/// On whose behalf a request is made, with what it takes to know what they may do.
#[derive(Clone)]
pub(super) struct Caller {
    principal: Principal,
    rights: Rights,
}

/// Why it is not known who calls.
#[derive(Debug)]
pub(super) enum Unknown {
    /// What they say of themselves is not so.
    Unauthenticated,
    /// Too many others are being looked at.
    Busy,
    /// The store can't say who they are.
    Store(StoreError),
}

/// Finds out who calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Gate {
    /// The users who may call; none: everybody may, and nobody is asked.
    users: Option<Users>,
    rights: Rights,
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(formatter)
    }
}

impl Caller {
    /// Who makes this request; the router has found it out.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(denied)
    }

    /// Their login name; none where it is not known who it is.
    pub(super) fn login(&self) -> Option<&str> {
        self.principal.login()
    }

    /// Whether it is known who they are, or nobody is asked.
    pub(super) fn is_known(&self) -> bool {
        self.principal.is_known()
    }

    /// Whether they may do that.
    pub(super) fn may(&self, operation: Operation<'_>) -> Result<(), Status> {
        self.principal.may(operation).map_err(|AccessDenied| denied())
    }

    /// Whether they may do that with the stream; [`StoreError::AccessDenied`] where not. The log is
    /// the stream [`StreamName::all`].
    pub(super) async fn may_with(
        &self,
        stream: &StreamName,
        action: StreamAction,
    ) -> Result<(), StoreError> {
        self.rights.check(&self.principal, stream, action).await
    }

    /// Whether they may see what a link in the message led to, where one did.
    pub(super) async fn may_see(&self, message: &Message) -> Result<bool, StoreError> {
        let (Some(_), Some(target)) = (message.resolved_link(), message.content()) else {
            return Ok(true);
        };
        match self.may_with(&target.stream, StreamAction::Read).await {
            Ok(()) => Ok(true),
            Err(StoreError::AccessDenied) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Gate {
    /// Asks the users of the store who they are, or nobody.
    pub(super) fn new(store: Arc<dyn EventStore>, users: Option<Users>) -> Self {
        Self { users, rights: Rights::new(store) }
    }

    /// Who makes a request with these headers and extensions. A password goes before a certificate:
    /// it is what the request itself says.
    pub(super) async fn caller(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Caller, Unknown> {
        let rights = self.rights.clone();
        let Some(users) = &self.users else {
            return Ok(Caller { principal: Principal::Anybody, rights });
        };
        let certified = extensions.get::<CertifiedUser>();
        let principal = match (headers.get(header::AUTHORIZATION), certified) {
            (Some(value), _) => {
                let (login, password) = credentials(value).ok_or(Unknown::Unauthenticated)?;
                let password = Password::new(password).map_err(Unknown::from)?;
                users.log_in(&login, password).await?
            }
            (None, Some(CertifiedUser(login))) => users.vouched_for(login).await?,
            (None, None) => Principal::Anonymous,
        };
        Ok(Caller { principal, rights })
    }
}

/// The name and the password of `Basic …`.
fn credentials(value: &HeaderValue) -> Option<(String, String)> {
    let value = value.to_str().ok()?;
    let (scheme, encoded) = value.split_at_checked(BASIC.len())?;
    if !scheme.eq_ignore_ascii_case(BASIC) {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (login, password) = text.split_once(':')?;
    Some((login.to_owned(), password.to_owned()))
}

/// What is told to those who may not do that.
pub(super) fn denied() -> Status {
    of_store(&StoreError::AccessDenied)
}

impl From<UsersError> for Unknown {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Store(error) => Self::Store(error),
            UsersError::Busy => Self::Busy,
            _ => Self::Unauthenticated,
        }
    }
}

impl Unknown {
    /// As gRPC tells it.
    pub(super) fn into_status(self) -> Status {
        match self {
            Self::Unauthenticated => Status::unauthenticated("Unauthenticated"),
            Self::Busy => Status::unavailable("Server Is Too Busy"),
            Self::Store(error) => of_store(&error),
        }
    }

    /// As HTTP tells it.
    pub(super) fn into_http(self) -> Response<Body> {
        match self {
            Self::Unauthenticated => unauthorized(),
            Self::Busy | Self::Store(_) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        }
    }
}

/// The answer over HTTP to somebody who is to say who they are.
pub(super) fn unauthorized() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let basic = HeaderValue::from_static("Basic realm=\"EventStoreDB\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_a_name_and_a_password() {
        let read = |text: &str| credentials(&HeaderValue::from_str(text).unwrap());
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let some = |login: &str, password: &str| Some((login.to_owned(), password.to_owned()));
        assert_eq!(read(&basic("admin:changeit")), some("admin", "changeit"));
        assert_eq!(read(&basic("ann:a:b")), some("ann", "a:b"));
        assert_eq!(read(&basic("ann:")), some("ann", ""));
        assert_eq!(read(&format!("bAsIc {}", STANDARD.encode("a:b"))), some("a", "b"));
        for none in [&basic("admin"), "Basic", "Basic ", "Basic !!", "Bearer YTpi", "", "é"] {
            let value = HeaderValue::from_bytes(none.as_bytes()).unwrap();
            assert_eq!(credentials(&value), None, "{none}");
        }
    }
}
