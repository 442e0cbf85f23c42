//! Engines outside PostgreSQL that lose what they held, or take long, while the runner goes on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_schemas::UserId;
use event_schemas::user::{UserEvent, UserRegistered};
use event_store::Position;
use projections::postgres::profiles::{self, ProfilesProjection};
use projections::search::{SearchChange, SearchFeed, SearchIndex, SearchQuery, Subject};
use projections::{ApplyError, ModelId, QueryError, Target, parked_events};
use sqlx::PgConnection;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, start, until};

const MODEL: ModelId = ModelId { name: "forgetful", version: 1 };

/// An index that makes a live copy by itself where a write finds none, as Meilisearch does.
#[derive(Default)]
struct Forgetful {
    live: Mutex<Option<HashSet<Subject>>>,
    shadow: Mutex<HashSet<Subject>>,
    /// Swaps wait for one of these, where there are any.
    swaps: Option<Semaphore>,
    swapping: AtomicBool,
}

impl Forgetful {
    fn found(&self) -> usize {
        self.live.lock().expect("no test panics with it").as_ref().map_or(0, HashSet::len)
    }

    fn forget(&self) {
        *self.live.lock().expect("no test panics with it") = None;
    }
}

#[async_trait]
impl SearchIndex for Forgetful {
    async fn write(
        &self,
        target: Target,
        _: &mut PgConnection,
        changes: &[SearchChange],
    ) -> Result<(), ApplyError> {
        let puts = changes.iter().filter_map(|change| match change {
            SearchChange::Put(document) => Some(document.subject),
            SearchChange::Remove(_) => None,
        });
        match target {
            Target::Live => {
                let mut live = self.live.lock().expect("no test panics with it");
                live.get_or_insert_default().extend(puts);
            }
            Target::Shadow => self.shadow.lock().expect("no test panics with it").extend(puts),
        }
        Ok(())
    }

    async fn search(&self, _: &SearchQuery) -> Result<Vec<Subject>, QueryError> {
        Ok(Vec::new())
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        Ok(self.live.lock().expect("no test panics with it").is_some())
    }

    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        self.shadow.lock().expect("no test panics with it").clear();
        Ok(())
    }

    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        if let Some(swaps) = &self.swaps {
            self.swapping.store(true, Ordering::SeqCst);
            swaps.acquire().await.expect("it is open").forget();
        }
        let built = std::mem::take(&mut *self.shadow.lock().expect("no test panics with it"));
        *self.live.lock().expect("no test panics with it") = Some(built);
        Ok(())
    }
}

fn register(store: &MemoryStore, handle: &str) -> Position {
    let user_id = UserId(Uuid::new_v4());
    let (handle, display_name) = (handle.to_owned(), String::new());
    store.put::<UserEvent>(user_id, UserRegistered { user_id, handle, display_name })
}

#[tokio::test]
async fn an_index_that_was_lost_while_nobody_wrote_is_filled_anew() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let index = Arc::new(Forgetful::default());
    let feed = Arc::new(SearchFeed::new(MODEL, Arc::clone(&index) as Arc<dyn SearchIndex>));
    let runner = start(&pool, &store, vec![feed]);
    register(&store, "one");
    reached(&runner, &[MODEL], register(&store, "two")).await;
    assert_eq!(index.found(), 2);
    index.forget();
    reached(&runner, &[MODEL], register(&store, "three")).await;
    assert_eq!(index.found(), 3, "what was written before the loss is missing");
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_swap_that_takes_long_holds_up_its_own_model_only() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let index = Arc::new(Forgetful { swaps: Some(Semaphore::new(0)), ..Forgetful::default() });
    let feed = Arc::new(SearchFeed::new(MODEL, Arc::clone(&index) as Arc<dyn SearchIndex>));
    let swapping = start(&pool, &store, vec![feed]);
    let first = register(&store, "one");
    until(|| async { index.swapping.load(Ordering::SeqCst) }).await;
    // Another model is built, swapped in and followed meanwhile, and others may come and go.
    let others = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&others, &[profiles::MODEL], register(&store, "two")).await;
    assert!(others.drain(LIMIT).await);
    assert_eq!(index.found(), 0, "the swap was to be under way");
    index.swaps.as_ref().expect("it has them").add_permits(1);
    reached(&swapping, &[MODEL], first).await;
    assert!(swapping.drain(LIMIT).await);
}
