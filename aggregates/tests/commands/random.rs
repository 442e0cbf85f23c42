//! Whatever is asked, however often and of whichever handler: the log holds each command once, and
//! every handler sees what folding the log from its beginning gives.

use std::collections::HashMap;
use std::sync::Arc;

use aggregates::commerce::{Listing, ListingCommand};
use aggregates::{CommandError, CommandHandler, fold, stream_of};
use event_schemas::commerce::LicenceKind;
use event_schemas::{Metadata, OrderId};
use event_store::log::SimDisk;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{LISTING, context, list, recorded, reserve};

/// One request: which handler, which command identity, what.
type Request = (usize, u128, ListingCommand);

fn any_request() -> impl Strategy<Value = Request> {
    let command = (0..5_u8, 1..4_u128).prop_map(|(what, number)| {
        let order_id = OrderId(Uuid::from_u128(100 + number));
        match what {
            0 => list(LicenceKind::Exclusive),
            1 | 2 => reserve(number),
            3 => ListingCommand::ReleaseReservation { order_id, reason: "no".to_owned() },
            _ => ListingCommand::MarkSold { order_id },
        }
    });
    (0..3_usize, 1..12_u128, command)
}

async fn ask(requests: Vec<Request>) -> Result<(), TestCaseError> {
    let options = EmbeddedOptions::disk(Arc::new(SimDisk::new()));
    let store: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let handlers: Vec<_> = (0..3).map(|_| CommandHandler::new(store.clone())).collect();
    let mut done = HashMap::new();
    for (handler, identity, command) in requests {
        let mut context = context(identity);
        context.digest = format!("{command:?}");
        let outcome = handlers[handler].execute::<Listing>(LISTING, command, &context).await;
        match (outcome, done.get(&identity)) {
            (Ok(outcome), Some((digest, first))) => {
                prop_assert_eq!(&context.digest, digest);
                prop_assert_eq!(&(outcome.events, outcome.position), first);
            }
            (Err(CommandError::DigestMismatch), Some((digest, _))) => {
                prop_assert_ne!(&context.digest, digest);
            }
            (Ok(outcome), None) => {
                prop_assert!(!outcome.repeated);
                if !outcome.events.is_empty() {
                    let first = (outcome.events, outcome.position);
                    done.insert(identity, (context.digest, first));
                }
            }
            (Err(CommandError::Rejected(_)), None) => {}
            (other, _) => prop_assert!(false, "{:?}", other),
        }
    }
    let records = recorded(&*store).await;
    let mut identities: Vec<_> = records
        .iter()
        .filter_map(|event| serde_json::from_slice::<Metadata>(&event.metadata).unwrap().command)
        .map(|command| command.id)
        .collect();
    identities.sort();
    identities.dedup();
    prop_assert_eq!(identities.len(), done.len());
    prop_assert_eq!(records.len(), done.len(), "each of these commands makes one event");
    let folded =
        fold::load::<Listing>(&*store, &stream_of::<Listing>(LISTING), None).await.unwrap();
    for handler in handlers {
        let state = handler.inspect::<Listing, _>(LISTING, Clone::clone).await.unwrap();
        prop_assert_eq!(&state, &folded.state);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_command_is_in_the_log_once_and_every_handler_agrees(
        requests in prop::collection::vec(any_request(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(ask(requests))?;
    }
}
