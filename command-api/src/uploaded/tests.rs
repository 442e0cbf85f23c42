//! Notes of uploads, alone and while others are at work.

mod attempts;
mod beside;

use media::FileStorage;

use super::*;

const NINA: UserId = UserId(Uuid::from_u128(1));
const TRACK: TrackId = TrackId(Uuid::from_u128(70));
const OTHER: TrackId = TrackId(Uuid::from_u128(71));

/// Sweeps, while the store has these tracks.
async fn swept(objects: &FileStorage, tracks: &[TrackId], now: DateTime<Utc>) -> usize {
    let tracks = tracks.to_vec();
    let is_made = move |track| {
        let is_made = tracks.contains(&track);
        Box::pin(async move { Ok(is_made) }) as BoxFuture<'static, _>
    };
    sweep(objects, &is_made, now).await.unwrap()
}

fn sound(text: &'static str) -> ByteStream {
    Box::pin(stream::iter([Ok(Bytes::from(text))]))
}

/// Stores this as the master of an attempt.
async fn stored(objects: &dyn ObjectStorage, key: &ObjectKey, text: &'static str) -> Master {
    let stored = objects.put(key, sound(text)).await.unwrap();
    Master {
        object_key: key.as_str().to_owned(),
        sha256: text.to_owned(),
        size_bytes: stored.size_bytes,
        media_type: "audio/wav".to_owned(),
    }
}

/// An upload as the door makes one.
async fn upload(objects: &dyn ObjectStorage, id: Uuid) -> Master {
    let attempt = Attempt::begin(objects, NINA, id).await.unwrap();
    let master = stored(objects, &attempt.master_key(), "sound").await;
    let claim = attempt.claim(objects, &master, Utc::now()).await.unwrap();
    assert_eq!(claim, Claim::Own);
    attempt.forget(objects).await.unwrap();
    master
}

/// An upload as former versions left it.
async fn former(objects: &dyn ObjectStorage, id: Uuid) -> Master {
    let master = stored(objects, &master_key(NINA, id), "sound").await;
    write(objects, &received_key(NINA, id), &master).await.unwrap();
    master
}

/// Whether the master is there.
async fn is_there(objects: &dyn ObjectStorage, master: &Master) -> bool {
    let key = ObjectKey::new(master.object_key.clone()).unwrap();
    objects.head(&key).await.is_ok()
}

/// How much is in a folder.
async fn count(objects: &dyn ObjectStorage, name: &str) -> usize {
    objects.list(&folder(name.to_owned()), None, 1000).await.unwrap().len()
}

/// Keeps it for a track, and for good.
async fn make(objects: &FileStorage, id: Uuid, master: &Master) {
    let note = keep(objects, (NINA, id), TRACK, master, Utc::now()).await.unwrap();
    made(objects, (NINA, id), &note, master).await.unwrap();
}

#[tokio::test]
async fn what_no_track_was_made_of_goes_after_a_day() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let ids = [7, 8, 9, 10].map(Uuid::from_u128);
    let [used, unused, former_used, former_unused] = ids;
    let masters = [
        upload(&objects, used).await,
        upload(&objects, unused).await,
        former(&objects, former_used).await,
        former(&objects, former_unused).await,
    ];
    let now = Utc::now();
    let recall = async |id, hours| {
        super::recall(&objects, NINA, id, now + TimeDelta::hours(hours)).await.unwrap()
    };
    for nth in [0, 2] {
        assert_eq!(recall(ids[nth], 0).await.as_ref(), Some(&masters[nth]));
        make(&objects, ids[nth], &masters[nth]).await;
    }
    for id in [unused, former_unused] {
        assert!(recall(id, 22).await.is_some());
        assert!(recall(id, 23).await.is_none(), "it is about to be swept");
    }
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
    assert!(is_there(&objects, &masters[1]).await && is_there(&objects, &masters[3]).await);
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 2);
    assert!(!is_there(&objects, &masters[1]).await && !is_there(&objects, &masters[3]).await);
    assert!(recall(unused, 0).await.is_none() && recall(former_unused, 0).await.is_none());
    for nth in [0, 2] {
        assert_eq!(recall(ids[nth], 10_000).await.as_ref(), Some(&masters[nth]));
        assert!(is_there(&objects, &masters[nth]).await);
    }
}

#[tokio::test]
async fn a_master_whose_upload_was_cut_short_goes_after_a_day() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (cut, again, before) = (Uuid::from_u128(7), Uuid::from_u128(8), Uuid::from_u128(9));
    let now = Utc::now();
    let mut masters = Vec::new();
    for id in [cut, again] {
        let attempt = Attempt::begin(&objects, NINA, id).await.unwrap();
        masters.push(stored(&objects, &attempt.master_key(), "cut").await);
        assert_eq!(recall(&objects, NINA, id, now).await.unwrap(), None);
    }
    // As former versions were cut short.
    objects.put(&received_key(NINA, before), Box::pin(stream::empty())).await.unwrap();
    masters.push(stored(&objects, &master_key(NINA, before), "cut").await);
    assert_eq!(recall(&objects, NINA, before, now).await.unwrap(), None);
    assert!(is_spent(&objects, NINA, before, now).await.unwrap());
    let master = upload(&objects, again).await;
    make(&objects, again, &master).await;
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
    assert_eq!((count(&objects, "masters").await, count(&objects, RECEIVING).await), (4, 2));
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 3);
    for cut in &masters {
        assert!(!is_there(&objects, cut).await, "{cut:?}");
    }
    assert!(is_there(&objects, &master).await);
    assert_eq!((count(&objects, RECEIVED).await, count(&objects, RECEIVING).await), (0, 0));
}

#[tokio::test]
async fn what_was_broken_off_takes_nobodys_place_but_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let mut attempts = Vec::new();
    for id in 0..BROKEN_UPLOADS_MAX {
        assert!(!has_too_many(&objects, NINA).await.unwrap(), "{id}");
        // A few of one upload.
        let id = Uuid::from_u128(id as u128 / 3);
        attempts.push(Attempt::begin(&objects, NINA, id).await.unwrap());
    }
    assert!(has_too_many(&objects, NINA).await.unwrap());
    attempts[0].give_up(&objects).await.unwrap();
    assert!(!has_too_many(&objects, NINA).await.unwrap());
}

#[tokio::test]
async fn a_track_frees_the_place_of_its_upload() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let mut masters = Vec::new();
    for id in 0..UNUSED_UPLOADS_MAX {
        assert!(!has_too_many(&objects, NINA).await.unwrap(), "{id}");
        masters.push(upload(&objects, Uuid::from_u128(id as u128)).await);
    }
    assert!(has_too_many(&objects, NINA).await.unwrap());
    assert!(!has_too_many(&objects, UserId(Uuid::from_u128(2))).await.unwrap());
    let upload = (NINA, Uuid::nil());
    let note = keep(&objects, upload, TRACK, &masters[0], Utc::now()).await.unwrap();
    assert!(has_too_many(&objects, NINA).await.unwrap(), "there is no track yet");
    made(&objects, upload, &note, &masters[0]).await.unwrap();
    assert!(!has_too_many(&objects, NINA).await.unwrap());
}

#[tokio::test]
async fn what_was_kept_for_a_track_that_failed_can_be_used_again_and_goes_at_last() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let id = Uuid::from_u128(7);
    let master = upload(&objects, id).await;
    let note = keep(&objects, (NINA, id), TRACK, &master, Utc::now()).await.unwrap();
    let now = Utc::now();
    let there = async || recall(&objects, NINA, id, now).await.unwrap().as_ref() == Some(&master);
    assert!(there().await, "the same command may come again");
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
    assert!(objects.head(&note).await.is_ok());
    // It is put back, and by the clock of this test that was a day before.
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
    for folder in [MAKING, RECEIVED, "uploads", "masters"] {
        assert_eq!(count(&objects, folder).await, 0, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_is_there_at_every_moment_while_a_track_is_made_of_it() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    for id in (0..100).map(Uuid::from_u128) {
        let master = upload(&objects, id).await;
        let (writer, note) = (objects.clone(), master.clone());
        let making = tokio::spawn(async move { make(&writer, id, &note).await });
        while !making.is_finished() {
            let recalled = recall(&objects, NINA, id, Utc::now()).await.unwrap();
            assert_eq!(recalled.as_ref(), Some(&master));
        }
        making.await.unwrap();
    }
}

/// The process may have died behind the append, and another track of the upload have failed.
#[tokio::test]
async fn what_a_track_was_made_of_is_kept_whatever_became_of_others() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let id = Uuid::from_u128(7);
    let master = upload(&objects, id).await;
    for track in [OTHER, TRACK] {
        keep(&objects, (NINA, id), track, &master, Utc::now()).await.unwrap();
    }
    for hours in [25, 50, 75] {
        let now = Utc::now() + TimeDelta::hours(hours);
        assert_eq!(swept(&objects, &[OTHER], now).await, 0, "after {hours} hours");
        assert_eq!(recall(&objects, NINA, id, now).await.unwrap().as_ref(), Some(&master));
    }
    assert!(is_there(&objects, &master).await);
    assert_eq!(count(&objects, MAKING).await, 0);
    assert!(!has_too_many(&objects, NINA).await.unwrap());
}

/// As it was left by the process that was killed behind it.
#[tokio::test]
async fn a_master_of_which_there_is_a_track_is_kept_though_its_upload_looks_unused() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let id = Uuid::from_u128(7);
    let master = upload(&objects, id).await;
    make(&objects, id, &master).await;
    write(&objects, &received_key(NINA, id), &master).await.unwrap();
    let later = Utc::now() + TimeDelta::hours(25);
    assert_eq!(swept(&objects, &[TRACK], later).await, 0);
    assert!(objects.head(&received_key(NINA, id)).await.is_err());
    assert!(is_there(&objects, &master).await);
    assert_eq!(recall(&objects, NINA, id, later).await.unwrap(), Some(master));
}
