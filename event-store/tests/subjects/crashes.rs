//! Power cuts, kills and failures in the midst of making keys, forgetting and wrapping.

use std::sync::Arc;

use event_store::SubjectKeys;
use event_store::log::{Fault, SimDisk};

use crate::cuts::{SEEDS, cut};
use crate::people::{
    append, keys, log, named, names, options, over, subject, unreadable, wrapping,
};

/// How many changes of the disk had been made when something became true of somebody.
#[derive(Debug)]
struct Person {
    who: String,
    known: usize,
    forgetting: usize,
    forgotten: usize,
}

/// Given people who get keys, some of whom are forgotten, and keys that are wrapped by others in
/// between, when the power is cut after any step, then whoever's key was used has it or is
/// forgotten; who was being forgotten is either; and who was forgotten is so for good.
#[tokio::test]
async fn a_power_cut_after_any_step_leaves_the_old_or_the_new() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    disk.remember();
    let held = keys(&disk);
    let store = over(&log, &held);
    let mut people = Vec::new();
    for number in 0..6 {
        let who = format!("person {number}");
        append(&store, named(number, &who, &who)).await.unwrap();
        let known = disk.changes();
        match number {
            1 => drop(SubjectKeys::open(options(&disk).encryption(wrapping(&["1"]))).unwrap()),
            3 => drop(SubjectKeys::open(options(&disk).encryption(wrapping(&["2", "1"]))).unwrap()),
            _ => {}
        }
        let (mut forgetting, mut forgotten) = (usize::MAX, usize::MAX);
        if number % 2 == 0 {
            forgetting = disk.changes();
            held.forget(subject(&who)).await.unwrap();
            forgotten = disk.changes();
        }
        people.push(Person { who, known, forgetting, forgotten });
    }
    let states = disk.remembered();
    assert!(states.len() > 40, "{}", states.len());
    for (step, state) in states.iter().enumerate() {
        for seed in 0..SEEDS {
            let after = cut(state, step, seed);
            look_at(&log, &after, step + 1, &people).await;
        }
    }
}

async fn look_at(
    log: &Arc<event_store::EmbeddedStore>,
    disk: &SimDisk,
    changes: usize,
    people: &[Person],
) {
    let keys = SubjectKeys::open(options(disk).decryption(wrapping(&["2", "1"])));
    let keys = keys.unwrap_or_else(|error| panic!("after {changes} changes: {error}"));
    let told = over(log, &keys).showing_sealed();
    let names = names(&told).await;
    for (person, name) in people.iter().zip(&names) {
        let (who, stand_in) = (&person.who, format!("once {}", person.who));
        let about = format!("{person:?} is {name} after {changes} changes");
        if changes >= person.forgotten {
            assert_eq!(*name, stand_in, "{about}");
        } else if changes > person.forgetting {
            assert!(name == who || *name == stand_in, "{about}");
        } else if changes >= person.known {
            assert_eq!(name, who, "{about}");
        } else {
            assert!(name == "sealed" || name == who, "{about}");
        }
    }
    // Whoever was at it goes on.
    let scratch = self::log(&SimDisk::new()).await;
    for (number, person) in (0..).zip(people) {
        append(&over(&scratch, &keys), named(number, &person.who, "again")).await.unwrap();
        keys.forget(subject(&person.who)).await.unwrap();
    }
    assert_eq!(keys.forgotten().await.unwrap().len(), people.len());
}

/// When any write or sync fails once, then that is told, a repetition does it, and what it did
/// survives a power cut.
#[tokio::test]
async fn what_failed_is_told_and_a_repetition_of_it_is_durable() {
    for fails in 1..=4 {
        for fault in [Fault::Write(fails), Fault::Sync(fails)] {
            let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
            disk.remember();
            let held = keys(&disk);
            let store = over(&log, &held);
            disk.fail(fault);
            let mut failed = 0;
            while let Err(error) = append(&store, named(0, "ada", "Ada")).await {
                assert!(error.to_string().contains("input or output"), "{fault:?}: {error}");
                failed += 1;
            }
            let after = keys(&cut(disk.remembered().last().unwrap(), 0, 1));
            assert_eq!(names(&over(&log, &after)).await, ["Ada"], "{fault:?}");
            while held.forget(subject("ada")).await.is_err() {
                // Read as before or as forgotten; or, where half was written, told as damaged.
                if let Some(why) = unreadable(&store).await {
                    assert!(why.to_string().contains("its checksum"), "{fault:?}: {why}");
                }
                failed += 1;
            }
            // There is no fourth sync.
            let expected = u32::from(fault != Fault::Sync(4));
            assert_eq!(failed, expected, "{fault:?}");
            let after = keys(&cut(&disk, 0, 1));
            assert_eq!(names(&over(&log, &after)).await, ["once ada"], "{fault:?}");
        }
    }
}
