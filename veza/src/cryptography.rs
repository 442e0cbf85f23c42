//! Which implementation of cryptography TLS takes where a library does not say, of those linked.

use std::time::Duration;

use event_store::ClientStore;
use rustls::crypto::CryptoProvider;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::time::{sleep, timeout};

/// How long it may take to choose: certificates of the system are read for it.
const TIME_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// Where nothing is dialled.
const NOWHERE: &str = "esdb://127.0.0.1:1?tls=false";

/// Sees that one is chosen where PostgreSQL's driver needs that: it checks a certificate without
/// its name by whichever was chosen, and panics where none was. EventStoreDB's client chooses as
/// its first connection is prepared, and panics where somebody else has; so that is left to it.
pub async fn chosen_for(options: &PgConnectOptions) {
    if !matches!(options.get_ssl_mode(), PgSslMode::VerifyCa) {
        return;
    }
    let chosen = async {
        let _prepared = ClientStore::new(NOWHERE);
        while CryptoProvider::get_default().is_none() {
            sleep(POLL).await;
        }
    };
    // Else the driver tells.
    let _ = timeout(TIME_MAX, chosen).await;
}
