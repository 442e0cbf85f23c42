//! Figures of the server at work, under the names that EventStoreDB has for them.
//!
//! Only what is true here is told: what that server counts of its runtime and of its queues there
//! is none of. What only the system knows is left out where it does not say it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::machine::{self, Sampled};
use crate::error::StoreError;
use crate::port::EventStore;

/// A figure: the parts of its name, and its value.
pub(super) type Figure = (Vec<String>, Value);

/// How many connections are open.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<AtomicUsize>);

/// An open connection.
pub(super) struct Open(Connections);

impl Connections {
    /// One more, until it is dropped.
    pub(super) fn open(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What there is to be told of the server.
pub(super) struct Statistics {
    store: Arc<dyn EventStore>,
    folder: Option<PathBuf>,
    connections: Connections,
    sampled: Arc<Mutex<Sampled>>,
}

impl Statistics {
    /// Those of this store, whose log is in the folder, if it is in one.
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        folder: Option<PathBuf>,
        connections: Connections,
    ) -> Self {
        Self { store, folder, connections, sampled: Arc::default() }
    }

    /// The figures as they are now.
    pub(super) async fn take(&self) -> Result<Vec<Figure>, StoreError> {
        let head = self.store.head().await?.get();
        let (folder, sampled) = (self.folder.clone(), Arc::clone(&self.sampled));
        let look = move || {
            let mut sampled = sampled.lock().unwrap_or_else(PoisonError::into_inner);
            machine::look(folder.as_deref(), &mut sampled)
        };
        let mut figures = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let mut tell = |name: &[&str], value: Value| {
            figures.push((name.iter().map(ToString::to_string).collect(), value));
        };
        tell(&["proc", "tcp", "connections"], json!(self.connections.count()));
        // Nothing is told that is not on the disk.
        tell(&["es", "checksum"], json!(head));
        tell(&["es", "checksumNonFlushed"], json!(head));
        Ok(figures)
    }
}

/// A value as a text.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The figures as a tree, by the parts of their names.
pub(super) fn grouped(figures: Vec<Figure>) -> Value {
    let mut root = Map::new();
    for (name, value) in figures {
        insert(&mut root, &name, value);
    }
    Value::Object(root)
}

fn insert(group: &mut Map<String, Value>, name: &[String], value: Value) {
    match name {
        [] => {}
        [last] => {
            group.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = group.entry(first.clone()).or_insert_with(|| json!({}));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// The figures by their whole names.
pub(super) fn flat(figures: Vec<Figure>) -> Value {
    Value::Object(figures.into_iter().map(|(name, value)| (name.join("-"), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_as_a_tree_and_flat() {
        let name = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let figures = vec![
            (name(&["proc", "id"]), json!(7)),
            (name(&["proc", "diskIo", "readOps"]), json!(8)),
            (name(&["sys", "drive", "/data-1", "usage"]), json!("9%")),
        ];
        let tree = json!({
            "proc": {"id": 7, "diskIo": {"readOps": 8}},
            "sys": {"drive": {"/data-1": {"usage": "9%"}}},
        });
        assert_eq!(grouped(figures.clone()), tree);
        let line = json!({
            "proc-id": 7, "proc-diskIo-readOps": 8, "sys-drive-/data-1-usage": "9%",
        });
        assert_eq!(flat(figures), line);
    }
}
