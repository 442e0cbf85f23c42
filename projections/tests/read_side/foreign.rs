//! Events of others in streams that are named as the platform's: none of them is parked.

use std::sync::Arc;

use event_schemas::UserId;
use event_schemas::user::{UserEvent, UserProfileChanged};
use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::postgres::{Models, projections};
use projections::*;
use tokio_util::sync::CancellationToken;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, register, start};

fn renamed(user_id: UserId, name: &str) -> UserEvent {
    let (display_name, bio) = (name.to_owned(), String::new());
    UserProfileChanged { user_id, display_name, bio }.into()
}

#[tokio::test]
async fn they_are_passed_over_and_what_comes_behind_them_is_taken() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (nina, _) = register(&store, "nina");
    for category in ["user", "track", "order", "channel"] {
        for number in 0..20 {
            store.put_foreign(category, "abc", "foo");
            store.put_foreign(category, &format!("{number}"), "foo");
        }
    }
    // In a stream of the platform's own, and of a type that another family has.
    store.put_foreign("user", &nina.to_string(), "foo");
    store.put_foreign("user", &nina.to_string(), "TrackPublished");
    let last = store.put::<UserEvent>(nina, renamed(nina, "Nina S."));
    let all = projections();
    let models: Vec<ModelId> = all.iter().map(|projection| projection.id()).collect();
    let runner = start(&pool, &store, all);
    reached(&runner, &models, last).await;
    let name = async || {
        let profile = Models::new(&pool).profiles.by_id(nina).await.expect("it is read");
        profile.expect("it is there").display_name
    };
    assert_eq!(name().await, "Nina S.");

    // The same while it runs, and where nothing at all may be parked.
    store.put_foreign("user", &nina.to_string(), "foo");
    let last = store.put::<UserEvent>(nina, renamed(nina, "Nina"));
    reached(&runner, &models, last).await;
    assert_eq!(name().await, "Nina");
    for model in models {
        assert_eq!(parked_events(&pool, model).await.expect("they are read"), [], "{model}");
    }
    let rebuild = Rebuild {
        pool: pool.clone(),
        store: store.clone(),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    rebuild.run(Box::new(|_| {})).await.expect("nothing stops it");
    assert_eq!(name().await, "Nina");
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn what_another_release_may_read_is_parked_as_it_was() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let (nina, _) = register(&store, "nina");
    // Of a later release, and one of this one that somebody else made up.
    let later = store.put_raw("user", "later", "UserTeleported", b"{}".to_vec());
    let made_up = store.put_foreign("user", &nina.to_string(), "UserProfileChanged");
    let behind = store.put::<UserEvent>(nina, renamed(nina, "Nina S."));
    // Not even behind what is parked.
    let last = store.put_foreign("user", &nina.to_string(), "foo");
    let runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&runner, &[MODEL], last).await;
    let parked = parked_events(&pool, MODEL).await.expect("they are read");
    let parked: Vec<_> = parked.iter().map(|event| event.position).collect();
    assert_eq!(parked, [later, made_up, behind]);
    assert!(runner.drain(LIMIT).await);
}
