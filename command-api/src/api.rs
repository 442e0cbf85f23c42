//! The parts that endpoints work with, and the router that offers them.

use std::io;
use std::sync::Arc;

use access::rate::limit_rate;
use access::token::Clock;
use access::{DigestKey, Problem, ProblemType, RateGate, TokenIssuer, TokenVerifier};
use aggregates::CommandHandler;
use aggregates::audio::Track;
use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use chrono::{DateTime, Utc};
use event_schemas::TrackId;
use event_store::password_hash::PasswordHasher;
use futures::FutureExt as _;
use media::{ObjectStorage, StorageError, Uploads};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::identity::{Accounts, KnownPeople};
use crate::in_progress::InProgress;
use crate::mail::Mailer;
use crate::openapi;
use crate::routes::{Group, groups};
use crate::uploaded;

/// What the endpoints are made of; chosen by whoever wires them.
pub struct CommandApiParts {
    /// Carries commands out.
    pub handler: Arc<CommandHandler>,
    /// Who people are.
    pub accounts: Accounts,
    /// Who they are by the log.
    pub people: Arc<dyn KnownPeople>,
    /// Hashes and compares passwords.
    pub passwords: PasswordHasher,
    /// Makes access tokens.
    pub issuer: TokenIssuer,
    /// Makes digests of what must not be read in the log.
    pub digests: DigestKey,
    /// Checks access tokens.
    pub verifier: Arc<TokenVerifier>,
    /// Receives masters.
    pub uploads: Uploads,
    /// Keeps objects.
    pub objects: Arc<dyn ObjectStorage>,
    /// Writes to people.
    pub mailer: Arc<dyn Mailer>,
    /// Counts requests.
    pub rates: RateGate,
    /// Tells the time.
    pub clock: Clock,
}

/// The command endpoints. Cheap to clone.
#[derive(Clone)]
pub struct CommandApi {
    parts: Arc<CommandApiParts>,
    in_progress: InProgress,
}

impl CommandApi {
    /// Endpoints made of these parts.
    pub fn new(parts: CommandApiParts) -> Self {
        Self { parts: Arc::new(parts), in_progress: InProgress::default() }
    }

    /// The router with every endpoint, and the document that describes exactly those.
    pub fn router(&self) -> (Router, OpenApi) {
        let mut all = OpenApiRouter::with_openapi(openapi::document());
        for Group { class, limit, routes } in groups() {
            let rate = from_fn_with_state(self.parts.rates.state(class), limit_rate);
            all = all.merge(routes.layer(limit).layer(rate));
        }
        let (router, mut document) = all.split_for_parts();
        openapi::complete(&mut document);
        let router = router
            .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
            .with_state(self.clone());
        (router, document)
    }

    /// Removes uploads of which no track was made in time; how many there were. Any number of
    /// processes may do so.
    ///
    /// # Errors
    /// As the storage or the event store fails; what is left is removed the next time.
    pub async fn sweep_uploads(&self) -> Result<usize, StorageError> {
        let handler = Arc::clone(&self.parts.handler);
        let is_made = move |track_id: TrackId| {
            let handler = Arc::clone(&handler);
            let looking = async move {
                let made = handler.inspect(track_id, |track: &Track| track.created.is_some()).await;
                made.map_err(|error| StorageError::Io(io::Error::other(error)))
            };
            looking.boxed()
        };
        uploaded::sweep(&*self.parts.objects, &is_made, self.now()).await
    }

    /// The parts.
    pub(crate) fn parts(&self) -> &CommandApiParts {
        &self.parts
    }

    /// The time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.parts.clock)()
    }

    /// The commands under way.
    pub(crate) fn in_progress(&self) -> &InProgress {
        &self.in_progress
    }
}

impl FromRef<CommandApi> for Arc<TokenVerifier> {
    fn from_ref(api: &CommandApi) -> Self {
        Arc::clone(&api.parts.verifier)
    }
}
