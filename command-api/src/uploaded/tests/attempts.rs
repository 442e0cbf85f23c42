//! Attempts beside each other, and what is left where one was killed.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::*;

const UPLOAD: Uuid = Uuid::from_u128(7);

/// Begins an attempt, and stores its master.
async fn sent(objects: &dyn ObjectStorage, text: &'static str) -> (Attempt, Master) {
    let attempt = Attempt::begin(objects, NINA, UPLOAD).await.unwrap();
    let master = stored(objects, &attempt.master_key(), text).await;
    (attempt, master)
}

#[tokio::test]
async fn the_first_attempt_makes_the_upload_and_the_others_learn_of_it() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (first, master) = sent(&objects, "first").await;
    let (second, other) = sent(&objects, "second").await;
    assert_ne!(master.object_key, other.object_key, "neither replaces the other");
    let now = Utc::now();
    assert_eq!(first.claim(&objects, &master, now).await.unwrap(), Claim::Own);
    let claim = second.claim(&objects, &other, now).await.unwrap();
    assert_eq!(claim, Claim::Other(master.clone()));
    second.give_up(&objects).await.unwrap();
    first.forget(&objects).await.unwrap();
    assert!(is_there(&objects, &master).await && !is_there(&objects, &other).await);
    assert_eq!(recall(&objects, NINA, UPLOAD, now).await.unwrap(), Some(master));
    assert_eq!(count(&objects, RECEIVING).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_exactly_one_makes_the_upload() {
    for _ in 0..20 {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let barrier = Arc::new(Barrier::new(4));
        let attempts = (0..4).map(|_| {
            let (objects, barrier) = (objects.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let (attempt, master) = sent(&objects, "sound").await;
                barrier.wait().await;
                let claim = attempt.claim(&objects, &master, Utc::now()).await.unwrap();
                if claim != Claim::Own {
                    attempt.give_up(&objects).await.unwrap();
                }
                (master, claim)
            })
        });
        let mut ends = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            ends.push(attempt.await.unwrap());
        }
        let own: Vec<_> = ends.iter().filter(|(_, claim)| *claim == Claim::Own).collect();
        let [(master, _)] = &own[..] else {
            panic!("one is the first: {ends:?}");
        };
        for (_, claim) in &ends {
            assert!(*claim == Claim::Own || *claim == Claim::Other(master.clone()), "{ends:?}");
        }
        assert!(is_there(&objects, master).await);
        assert_eq!(count(&objects, "masters").await, 1, "the others removed theirs");
    }
}

#[tokio::test]
async fn an_attempt_that_was_killed_behind_its_claim_leaves_the_track_its_master() {
    for makes in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let (killed, master) = sent(&objects, "first").await;
        assert_eq!(killed.claim(&objects, &master, Utc::now()).await.unwrap(), Claim::Own);
        // One that was not the first was killed before it removed what it had.
        let (_, other) = sent(&objects, "second").await;
        if makes {
            make(&objects, UPLOAD, &master).await;
        }
        let later = Utc::now() + TimeDelta::hours(25);
        let gone = if makes { 1 } else { 2 };
        assert_eq!(swept(&objects, &[TRACK], later).await, gone);
        assert!(!is_there(&objects, &other).await);
        assert_eq!(is_there(&objects, &master).await, makes);
        assert_eq!((count(&objects, RECEIVING).await, count(&objects, RECEIVED).await), (0, 0));
    }
}

/// Who sweeps the attempt looks for the upload in the order in which it goes on, and not back.
#[tokio::test]
async fn an_upload_goes_back_only_when_its_attempt_is_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (killed, master) = sent(&objects, "first").await;
    assert_eq!(killed.claim(&objects, &master, Utc::now()).await.unwrap(), Claim::Own);
    let upload = (NINA, UPLOAD);
    let note = keep(&objects, upload, TRACK, &master, Utc::now()).await.unwrap();
    assert!(objects.head(&killed.note()).await.is_ok());
    let is_made = |_| Box::pin(async { Ok(false) }) as BoxFuture<'static, _>;
    settle(&objects, &note, upload, TRACK, &is_made).await.unwrap();
    assert!(objects.head(&killed.note()).await.is_err());
    assert!(!killed.sweep(&objects, Utc::now() + TimeDelta::hours(25)).await.unwrap());
    assert_eq!(recall(&objects, NINA, UPLOAD, Utc::now()).await.unwrap(), Some(master));
}

#[tokio::test]
async fn an_upload_that_has_gone_on_to_a_track_is_not_made_again() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (late, other) = sent(&objects, "second").await;
    let (first, master) = sent(&objects, "first").await;
    let now = Utc::now();
    assert_eq!(first.claim(&objects, &master, now).await.unwrap(), Claim::Own);
    let upload = (NINA, UPLOAD);
    let note = keep(&objects, upload, TRACK, &master, now).await.unwrap();
    assert_eq!(late.claim(&objects, &other, now).await.unwrap(), Claim::Other(master.clone()));
    made(&objects, upload, &note, &master).await.unwrap();
    assert_eq!(late.claim(&objects, &other, now).await.unwrap(), Claim::Other(master.clone()));
    // As it is for a moment, where one did not see the other.
    write(&objects, &received_key(NINA, UPLOAD), &other).await.unwrap();
    assert_eq!(recall(&objects, NINA, UPLOAD, now).await.unwrap(), Some(master));
}

#[tokio::test]
async fn what_was_not_used_in_time_is_not_replaced_before_it_is_swept() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    upload(&objects, UPLOAD).await;
    let (late, master) = sent(&objects, "second").await;
    // By the clock of this test it is as old as that, and the attempt is too.
    let now = Utc::now() + TimeDelta::hours(23);
    assert_eq!(recall(&objects, NINA, UPLOAD, now).await.unwrap(), None);
    assert!(is_spent(&objects, NINA, UPLOAD, now).await.unwrap());
    assert_eq!(late.claim(&objects, &master, now).await.unwrap(), Claim::Late);
    late.give_up(&objects).await.unwrap();
    assert_eq!(late.claim(&objects, &master, Utc::now()).await.unwrap(), Claim::Late);
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(2)).await, 1);
    assert!(!is_spent(&objects, NINA, UPLOAD, now).await.unwrap());
    assert_eq!(upload(&objects, UPLOAD).await.sha256, "sound");
}

/// As former versions leave it while they are sent the audio, or when they were killed.
#[tokio::test]
async fn an_empty_note_of_a_former_version_is_not_taken_for_an_upload() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let received = received_key(NINA, UPLOAD);
    objects.put(&received, Box::pin(stream::empty())).await.unwrap();
    let (attempt, master) = sent(&objects, "second").await;
    let now = Utc::now();
    assert_eq!(attempt.claim(&objects, &master, now).await.unwrap(), Claim::Spent);
    former(&objects, UPLOAD).await;
    let claim = attempt.claim(&objects, &master, now).await.unwrap();
    assert!(matches!(claim, Claim::Other(it) if it.object_key.ends_with(&UPLOAD.to_string())));
}
