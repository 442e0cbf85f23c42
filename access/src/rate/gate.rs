//! The middleware that counts requests and answers 429.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Caller, Limited, RATE_KEYS_MAX, RateLimiter, RateLimits, RouteClass};
use crate::client_address::{ClientAddress, TrustedProxies};
use crate::principal;
use crate::problem::Problem;
use crate::token::TokenVerifier;

/// Where the moments come from that requests are counted at; passed in by who wires it.
pub type Ticks = Arc<dyn Fn() -> Instant + Send + Sync>;

/// All that counting a request takes. One gate serves every route; clones share it.
#[derive(Clone)]
pub struct RateGate {
    /// `None` where limits are switched off.
    limiter: Option<Arc<RateLimiter>>,
    verifier: Arc<TokenVerifier>,
    proxies: Arc<TrustedProxies>,
    ticks: Ticks,
    start: Instant,
}

/// The state of [`limit_rate`]: the gate, and which limit the routes below it share.
#[derive(Clone)]
pub struct RateState {
    gate: RateGate,
    class: RouteClass,
}

impl RateGate {
    /// A gate that counts by `limits`, or lets everything pass where there are none.
    #[must_use]
    pub fn new(
        limits: Option<RateLimits>,
        verifier: Arc<TokenVerifier>,
        proxies: TrustedProxies,
        ticks: Ticks,
    ) -> Self {
        let limiter = limits.map(|limits| Arc::new(RateLimiter::new(limits, RATE_KEYS_MAX)));
        let start = ticks();
        Self { limiter, verifier, proxies: Arc::new(proxies), ticks, start }
    }

    /// The state for routes of this class:
    /// `router.layer(from_fn_with_state(gate.state(class), limit_rate))`.
    #[must_use]
    pub fn state(&self, class: RouteClass) -> RateState {
        RateState { gate: self.clone(), class }
    }

    /// Counts one request of this caller, for doors that are not HTTP routes, such as messages on
    /// a socket.
    ///
    /// # Errors
    /// When the caller must wait.
    pub fn count(&self, caller: Caller, class: RouteClass) -> Result<(), Limited> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let now = (self.ticks)().saturating_duration_since(self.start);
        limiter.take(caller, class, now).inspect_err(|_| {
            metrics::counter!("veza_rate_limited_total", "class" => class.name()).increment(1);
        })
    }

    /// Whom a request counts for: its account, or its address while no valid token names one. At
    /// credentials it is always the address, so that guessing for many accounts is one caller's.
    fn caller(&self, request: &Request, class: RouteClass) -> Caller {
        let headers = request.headers();
        let known = match class {
            RouteClass::Credential => None,
            _ => principal::principal(headers, &self.verifier).ok().flatten(),
        };
        known.map_or_else(
            || {
                let address = ClientAddress::of(request.extensions(), headers, &self.proxies);
                Caller::Address(address.network())
            },
            |principal| Caller::Principal(principal.user_id),
        )
    }
}

/// Middleware: lets the request pass, or answers 429 with `Retry-After`.
pub async fn limit_rate(State(state): State<RateState>, request: Request, next: Next) -> Response {
    let RateState { gate, class } = state;
    if gate.limiter.is_some() {
        let caller = gate.caller(&request, class);
        if let Err(limited) = gate.count(caller, class) {
            return Problem::rate_limited(limited.retry_after).into_response();
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::header;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::key_ring::KeyRing;
    use crate::principal::SessionId;
    use crate::rate::Rate;
    use crate::roles::Role;
    use crate::token::{TokenGrant, TokenIssuer, TokenScope};

    /// A gate of two requests a second whose time stands still, and tokens for it.
    fn gate(limits: bool) -> (RateGate, impl Fn(u128) -> String) {
        let folder = tempfile::tempdir().unwrap();
        let now: chrono::DateTime<chrono::Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
        let ring = Arc::new(KeyRing::load_or_create(folder.path(), now).unwrap());
        let scope = TokenScope { issuer: "i".to_owned(), audience: "a".to_owned() };
        let clock = Arc::new(move || now);
        let verifier = Arc::new(TokenVerifier::new(Arc::clone(&ring), &scope, clock));
        let issuer = TokenIssuer::new(ring, scope);
        let token = move |user: u128| {
            let grant = TokenGrant {
                user_id: Uuid::from_u128(user),
                session: SessionId(Uuid::nil()),
                roles: Role::Listener.into(),
                email_verified: true,
            };
            issuer.issue(&grant, Uuid::nil(), now).as_str().to_owned()
        };
        let rate = Rate::new(2, Duration::from_millis(1500));
        let rates = RateLimits { read: rate, write: rate, upload: rate, credential: rate };
        let start = Instant::now();
        let proxies = "10.0.0.0/8".parse().unwrap();
        let gate =
            RateGate::new(limits.then_some(rates), verifier, proxies, Arc::new(move || start));
        (gate, token)
    }

    fn router(gate: &RateGate, class: RouteClass) -> Router {
        Router::new()
            .route("/", get(|| async {}))
            .layer(from_fn_with_state(gate.state(class), limit_rate))
    }

    async fn ask(router: &Router, peer: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        let request = request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    async fn statuses(router: &Router, peer: &str, headers: &[(&str, &str)]) -> [u16; 3] {
        let mut statuses = [0; 3];
        for status in &mut statuses {
            *status = ask(router, peer, headers).await.status().as_u16();
        }
        statuses
    }

    #[tokio::test]
    async fn the_third_of_two_is_told_when_to_come_back() {
        let (gate, _) = gate(true);
        let router = router(&gate, RouteClass::Read);
        assert_eq!(statuses(&router, "1.1.1.1", &[]).await, [200, 200, 429]);
        let refused = ask(&router, "1.1.1.1", &[]).await;
        assert_eq!(refused.headers()[header::RETRY_AFTER], "2");
        assert_eq!(refused.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(statuses(&router, "2.2.2.2", &[]).await, [200, 200, 429]);
    }

    #[tokio::test]
    async fn accounts_are_counted_wherever_they_call_from() {
        let (gate, token) = gate(true);
        let router = router(&gate, RouteClass::Write);
        let one = format!("Bearer {}", token(1));
        let two = format!("Bearer {}", token(2));
        assert_eq!(statuses(&router, "1.1.1.1", &[("authorization", &one)]).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "2.2.2.2", &[("authorization", &one)]).await, [429; 3]);
        assert_eq!(statuses(&router, "1.1.1.1", &[("authorization", &two)]).await, [200, 200, 429]);
        // A bad token buys no bucket of its own.
        let bad = [("authorization", "Bearer a.b.c")];
        assert_eq!(statuses(&router, "1.1.1.1", &bad).await, [200, 200, 429]);
        let worse = [("authorization", "Bearer a.b.d")];
        assert_eq!(statuses(&router, "1.1.1.1", &worse).await, [429; 3]);
    }

    #[tokio::test]
    async fn credentials_are_counted_by_address() {
        let (gate, token) = gate(true);
        let router = router(&gate, RouteClass::Credential);
        let one = format!("Bearer {}", token(1));
        let two = format!("Bearer {}", token(2));
        assert_eq!(statuses(&router, "1.1.1.1", &[("authorization", &one)]).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "1.1.1.1", &[("authorization", &two)]).await, [429; 3]);
    }

    #[tokio::test]
    async fn the_address_behind_a_proxy_counts_only_if_it_is_ours() {
        let (gate, _) = gate(true);
        let router = router(&gate, RouteClass::Read);
        let client = |address| [("x-forwarded-for", address)];
        assert_eq!(statuses(&router, "10.0.0.1", &client("1.1.1.1")).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "10.0.0.1", &client("2.2.2.2")).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "9.9.9.9", &client("3.3.3.3")).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "9.9.9.9", &client("4.4.4.4")).await, [429; 3]);
    }

    #[tokio::test]
    async fn an_ipv6_host_cannot_walk_through_its_own_network() {
        let (gate, _) = gate(true);
        let router = router(&gate, RouteClass::Read);
        assert_eq!(statuses(&router, "2001:db8::1", &[]).await, [200, 200, 429]);
        assert_eq!(statuses(&router, "2001:db8::2", &[]).await, [429; 3]);
        assert_eq!(statuses(&router, "2001:db8:0:1::1", &[]).await, [200, 200, 429]);
    }

    #[tokio::test]
    async fn classes_of_routes_are_counted_apart() {
        let (gate, _) = gate(true);
        for class in [RouteClass::Read, RouteClass::Write, RouteClass::Upload] {
            let router = router(&gate, class);
            assert_eq!(statuses(&router, "1.1.1.1", &[]).await, [200, 200, 429], "{class:?}");
        }
    }

    #[tokio::test]
    async fn switched_off_it_counts_nothing() {
        let (gate, _) = gate(false);
        let router = router(&gate, RouteClass::Credential);
        assert_eq!(statuses(&router, "1.1.1.1", &[]).await, [200; 3]);
        assert_eq!(statuses(&router, "1.1.1.1", &[]).await, [200; 3]);
    }
}
