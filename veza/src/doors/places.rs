//! Places for connections: bounded in all, by what the process may have open, and by client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use access::{ClientAddress, TrustedProxies};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Peer;

/// Most connections at once; more wait to be accepted.
const CONNECTIONS_MAX: u64 = 20_000;
/// Files that a connection may keep open: its socket, and what is streamed on it.
const FILES_PER_CONNECTION: u64 = 2;
/// Files that are open beside the connections: the log, databases, what is uploaded or transcoded.
const OTHER_FILES: u64 = 512;
/// So few are worth a warning.
const FEW_CONNECTIONS: u64 = 1_000;
/// One client may have a part of all connections, this one of so many.
const CLIENT_SHARE: usize = 4;

/// How many connections each client has.
type Taken = Mutex<HashMap<IpAddr, usize>>;

/// The places. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Taken>,
    client_max: usize,
    proxies: Arc<TrustedProxies>,
}

/// Keeps a connection's place until it is dropped.
#[derive(Debug)]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_client: Option<ClientPlace>,
}

#[derive(Debug)]
struct ClientPlace {
    taken: Arc<Taken>,
    client: IpAddr,
}

impl Places {
    /// As many as so many open files allow. Proxies that are trusted bring many clients each, and
    /// are not counted by client.
    pub fn new(open_files: u64, proxies: TrustedProxies) -> Self {
        let fit = open_files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
        let max = fit.clamp(1, CONNECTIONS_MAX);
        if max < FEW_CONNECTIONS {
            tracing::warn!(open_files, connections = max, "few files may be open: few connections");
        }
        let max = usize::try_from(max).expect("it is at most CONNECTIONS_MAX");
        Self {
            free: Arc::new(Semaphore::new(max)),
            taken: Arc::default(),
            client_max: max.div_ceil(CLIENT_SHARE),
            proxies: Arc::new(proxies),
        }
    }

    /// Waits for a place, whoever comes.
    pub async fn any(&self) -> Place {
        let of_all = Arc::clone(&self.free).acquire_owned().await.expect("never closed");
        Place { _of_all: of_all, _of_client: None }
    }

    /// Gives the place to this client; none when it has its share already.
    pub fn give(&self, place: Place, peer: Peer) -> Option<Place> {
        if self.proxies.trusts(peer.ip()) {
            return Some(place);
        }
        let client = ClientAddress(peer.ip().to_canonical()).network();
        let mut taken = lock(&self.taken);
        let count = taken.entry(client).or_default();
        if *count == self.client_max {
            return None;
        }
        *count += 1;
        let of_client = ClientPlace { taken: Arc::clone(&self.taken), client };
        Some(Place { _of_client: Some(of_client), ..place })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

/// Counts are whole after every step, whoever panicked beside them.
fn lock(taken: &Taken) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::new(address.parse().unwrap(), 4711)
    }

    #[tokio::test]
    async fn a_client_has_its_share_and_a_proxy_what_its_clients_need() {
        // Sixteen connections, four a client.
        let places = Places::new(OTHER_FILES + 32, "10.0.0.0/8".parse().unwrap());
        let take = async |address| places.give(places.any().await, peer(address));
        let mut kept = Vec::new();
        for address in ["1.1.1.1", "::ffff:1.1.1.1", "1.1.1.1", "1.1.1.1"] {
            kept.push(take(address).await.expect("its share"));
        }
        assert!(take("1.1.1.1").await.is_none());
        kept.push(take("2.2.2.2").await.expect("another's"));
        kept.pop();
        kept.pop();
        kept.push(take("1.1.1.1").await.expect("one ended"));
        for _ in 0..10 {
            kept.push(take("10.0.0.1").await.expect("of many clients"));
        }
        assert_eq!(places.free.available_permits(), 2);
        drop(kept);
        assert_eq!(places.free.available_permits(), 16);
        assert!(lock(&places.taken).is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn there_is_a_place_however_few_files_may_be_open() {
        for (open_files, connections) in [(0, 1), (1_024, 256), (u64::MAX, 20_000)] {
            let places = Places::new(open_files, TrustedProxies::default());
            assert_eq!(places.free.available_permits(), connections, "{open_files}");
        }
    }
}
