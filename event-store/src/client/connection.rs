//! One official client for all questions, replaced when it has given up.
//!
//! The official client stops for good once it could not find its server, so a server that was away
//! for a while would be away for ever.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use eventstore::{Client, ClientSettings, ClientSettingsParseError, Error};

use super::InvalidConnectionString;

/// A client, and how many there were before it.
pub(super) struct Connection {
    settings: ClientSettings,
    current: Mutex<(u64, Client)>,
}

/// What is wrong with a connection string, without the string, which may hold a password.
fn reason(error: &ClientSettingsParseError, connection_string: &str) -> String {
    let said = error.message();
    let repeats = connection_string.contains(said) || said.contains(connection_string);
    match error.error() {
        Some(error) => error.to_string(),
        None if repeats => "it is not as esdb://host:port?tls=false is".to_owned(),
        None => said.to_owned(),
    }
}

impl Connection {
    pub(super) fn new(connection_string: &str) -> Result<Self, InvalidConnectionString> {
        let unusable = |reason: String| InvalidConnectionString { reason };
        let settings: ClientSettings =
            connection_string.parse().map_err(|error: ClientSettingsParseError| {
                unusable(reason(&error, connection_string))
            })?;
        Self::to(settings).map_err(|error| unusable(error.to_string()))
    }

    fn to(settings: ClientSettings) -> eventstore::Result<Self> {
        let client = Client::new(settings.clone())?;
        Ok(Self { settings, current: Mutex::new((0, client)) })
    }

    /// Another connection to the same, which shares nothing with this one.
    pub(super) fn another(&self) -> eventstore::Result<Self> {
        Self::to(self.settings.clone())
    }

    /// The hosts and ports of the settings; none where the DNS is asked for them.
    pub(super) fn addresses(&self) -> Vec<(String, u16)> {
        if self.settings.is_dns_discovery_enabled() {
            return Vec::new();
        }
        let hosts = self.settings.hosts().iter();
        hosts.filter_map(|at| Some((at.host.clone(), u16::try_from(at.port).ok()?))).collect()
    }

    /// Asks a question, once more if the client turns out to have given up before it was sent.
    pub(super) async fn ask<T, F, A>(&self, question: F) -> eventstore::Result<T>
    where
        F: Fn(Client) -> A,
        A: Future<Output = eventstore::Result<T>>,
    {
        let (generation, client) = self.client();
        let answer = question(client).await;
        if !matches!(answer, Err(Error::ConnectionClosed)) {
            if matches!(answer, Err(Error::GrpcConnectionError(_))) {
                self.renew(generation);
            }
            return answer;
        }
        self.renew(generation);
        let (generation, client) = self.client();
        let answer = question(client).await;
        if let Err(error) = &answer {
            self.failed(generation, error);
        }
        answer
    }

    /// The client in use and its generation.
    pub(super) fn client(&self) -> (u64, Client) {
        self.lock().clone()
    }

    /// Takes note of an error seen with the client of this generation.
    pub(super) fn failed(&self, generation: u64, error: &Error) {
        if matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_)) {
            self.renew(generation);
        }
    }

    fn renew(&self, failed: u64) {
        let mut current = self.lock();
        if current.0 != failed {
            return;
        }
        match Client::new(self.settings.clone()) {
            Ok(client) => *current = (failed + 1, client),
            Err(error) => tracing::error!(%error, "the event store's client can't be replaced"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Client)> {
        // What it guards is whole at every moment, so a panic elsewhere spoils nothing.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
