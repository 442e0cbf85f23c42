//! Who gets in, and what the refusal of everybody else looks like.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;
use crate::key_ring::KeyRing;
use crate::roles::Role;
use crate::token::{TokenGrant, TokenIssuer, TokenScope};

fn noon() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn listener(email_verified: bool) -> Principal {
    Principal {
        user_id: Uuid::from_u128(1),
        session: SessionId(Uuid::from_u128(2)),
        roles: Role::Listener.into(),
        email_verified,
        expires_at: noon(),
    }
}

/// A router with a closed and an open route, and a good token for it.
fn router() -> (Router, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let ring = Arc::new(KeyRing::load_or_create(folder.path(), noon()).unwrap());
    let scope = TokenScope { issuer: "i".to_owned(), audience: "a".to_owned() };
    let verifier = Arc::new(TokenVerifier::new(Arc::clone(&ring), &scope, Arc::new(noon)));
    let issuer = TokenIssuer::new(ring, scope);
    let grant = TokenGrant {
        user_id: Uuid::from_u128(1),
        session: SessionId(Uuid::from_u128(2)),
        roles: Role::Listener.into(),
        email_verified: true,
    };
    let good = issuer.issue(&grant, Uuid::nil(), noon());
    let old = issuer.issue(&grant, Uuid::nil(), noon() - chrono::TimeDelta::hours(1));
    let closed = |Authenticated(who): Authenticated| async move { who.user_id.to_string() };
    let open = |who: Option<Authenticated>| async move {
        who.map_or_else(|| "nobody".to_owned(), |Authenticated(who)| who.user_id.to_string())
    };
    let router =
        Router::new().route("/closed", get(closed)).route("/open", get(open)).with_state(verifier);
    (router, good.as_str().to_owned(), old.as_str().to_owned())
}

async fn ask(router: &Router, path: &str, authorization: &[&str]) -> (StatusCode, HeaderMap) {
    let mut request = Request::get(path);
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn only_a_single_valid_bearer_token_gets_in() {
    let (router, good, old) = router();
    let bearer = format!("Bearer {good}");
    let lower = format!("bearer {good}");
    let basic = format!("Basic {good}");
    let expired = format!("Bearer {old}");
    let invalid = "Bearer error=\"invalid_token\"";
    let over = "Bearer error=\"invalid_token\", error_description=\"the token has expired\"";
    let cases: [(&[&str], Option<&str>); 8] = [
        (&[&bearer], None),
        (&[&lower], None),
        (&[], Some("Bearer")),
        (&[&good], Some(invalid)),
        (&[&basic], Some(invalid)),
        (&["Bearer "], Some(invalid)),
        (&[&bearer, &bearer], Some(invalid)),
        (&[&expired], Some(over)),
    ];
    for (authorization, challenge) in cases {
        let (status, headers) = ask(&router, "/closed", authorization).await;
        let expected = if challenge.is_none() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(status, expected, "{authorization:?}");
        let answered = headers.get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
        assert_eq!(answered, challenge, "{authorization:?}");
        if challenge.is_some() {
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}

#[tokio::test]
async fn an_open_route_takes_nobody_but_no_bad_token() {
    let (router, good, old) = router();
    assert_eq!(ask(&router, "/open", &[]).await.0, StatusCode::OK);
    assert_eq!(ask(&router, "/open", &[&format!("Bearer {good}")]).await.0, StatusCode::OK);
    let refused = ask(&router, "/open", &[&format!("Bearer {old}")]).await.0;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_missing_confirmation_is_told_apart_from_a_missing_role() {
    let kind = |principal: Principal, permission| {
        principal.require(permission).map_err(|problem| problem.kind())
    };
    assert_eq!(kind(listener(true), Permission::BuyLicence), Ok(()));
    let unconfirmed = kind(listener(false), Permission::BuyLicence);
    assert_eq!(unconfirmed, Err(ProblemType::EmailNotConfirmed));
    assert_eq!(kind(listener(false), Permission::PostMessage), Ok(()));
    assert_eq!(kind(listener(false), Permission::SellLicence), Err(ProblemType::Forbidden));
    assert_eq!(kind(listener(true), Permission::GrantRole), Err(ProblemType::Forbidden));
}

#[test]
fn of_several_permissions_one_is_enough_and_all_that_grant_one_are_named() {
    let those = [Permission::TakeDownOwnTrack, Permission::TakeDownAnyTrack];
    let of = |role: Role, email_verified| {
        let principal = Principal { roles: role.into(), ..listener(email_verified) };
        principal.require_one_of(&those)
    };
    assert_eq!(of(Role::Artist, false), Ok(()));
    assert_eq!(of(Role::Moderator, true), Ok(()));
    let unconfirmed = of(Role::Moderator, false).unwrap_err();
    assert_eq!(unconfirmed.kind(), ProblemType::EmailNotConfirmed);
    let todo = unconfirmed.detail().unwrap();
    assert!(todo.contains("POST /api/v1/email-confirmations, then log in anew"), "{todo}");
    let refused = of(Role::Listener, true).unwrap_err();
    assert_eq!(refused.kind(), ProblemType::Forbidden);
    let detail = refused.detail().unwrap();
    assert!(detail.contains("roles: artist, label, moderator, administrator;"), "{detail}");
    assert!(detail.contains("log in anew"), "{detail}");
}

#[test]
fn require_self_refuses_other_accounts() {
    assert!(listener(true).require_self(Uuid::from_u128(1)).is_ok());
    let refused = listener(true).require_self(Uuid::from_u128(3)).unwrap_err();
    assert_eq!(refused.kind(), ProblemType::Forbidden);
}

proptest! {
    /// `require` passes exactly when the table allows and the e-mail is confirmed where needed.
    #[test]
    fn require_follows_the_table(
        role in prop::sample::select(Role::ALL.to_vec()),
        permission in prop::sample::select(Permission::ALL.to_vec()),
        email_verified in any::<bool>(),
    ) {
        let principal = Principal { roles: role.into(), ..listener(email_verified) };
        let expected = allows(role.into(), permission)
            && (email_verified || !permission.needs_confirmed_email());
        prop_assert_eq!(principal.may(permission), expected);
    }
}
