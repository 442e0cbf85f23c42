//! Notes of uploads, alone and while others are at work.

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

async fn upload(objects: &dyn ObjectStorage, id: Uuid) -> Master {
    let key = master_key(NINA, id);
    let stored = objects.put(&key, Box::pin(stream::iter([Ok(Bytes::from("sound"))]))).await;
    let stored = stored.unwrap();
    let master = Master {
        object_key: key.as_str().to_owned(),
        sha256: stored.sha256.to_string(),
        size_bytes: stored.size_bytes,
        media_type: "audio/wav".to_owned(),
    };
    remember(objects, NINA, id, &master).await.unwrap();
    master
}

/// Keeps it for a track, and for good.
async fn make(objects: &FileStorage, id: Uuid, master: &Master) {
    let note = keep(objects, (NINA, id), TRACK, master, Utc::now()).await.unwrap();
    made(objects, (NINA, id), &note, master).await.unwrap();
}

#[tokio::test]
async fn a_master_of_long_ago_goes_although_its_upload_was_begun_again_and_broken_off() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let id = Uuid::from_u128(7);
    upload(&objects, id).await;
    begin(&objects, NINA, id).await.unwrap();
    forget(&objects, NINA, id).await.unwrap();
    assert_eq!(swept(&objects, &[], Utc::now() + TimeDelta::hours(25)).await, 1);
    assert!(objects.head(&master_key(NINA, id)).await.is_err(), "nobody looks for it any more");
    begin(&objects, NINA, id).await.unwrap();
    forget(&objects, NINA, id).await.unwrap();
    assert_eq!(swept(&objects, &[], Utc::now() + TimeDelta::hours(25)).await, 0);
}

#[tokio::test]
async fn what_no_track_was_made_of_goes_after_a_day() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (used, unused) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let master = upload(&objects, used).await;
    upload(&objects, unused).await;
    let now = Utc::now();
    let recall = async |id, hours| {
        super::recall(&objects, NINA, id, now + TimeDelta::hours(hours)).await.unwrap()
    };
    assert_eq!(recall(used, 0).await.as_ref(), Some(&master));
    make(&objects, used, &master).await;
    assert!(recall(unused, 22).await.is_some());
    assert!(recall(unused, 23).await.is_none(), "it is about to be swept");
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
    assert!(objects.head(&master_key(NINA, unused)).await.is_ok());
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
    assert!(objects.head(&master_key(NINA, unused)).await.is_err());
    assert!(recall(unused, 0).await.is_none());
    assert_eq!(recall(used, 10_000).await, Some(master));
    assert!(objects.head(&master_key(NINA, used)).await.is_ok());
}

#[tokio::test]
async fn a_master_whose_upload_was_cut_short_goes_after_a_day() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let (cut, again) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let now = Utc::now();
    for id in [cut, again] {
        begin(&objects, NINA, id).await.unwrap();
        let sound = Box::pin(stream::iter([Ok(Bytes::from("sound"))]));
        objects.put(&master_key(NINA, id), sound).await.unwrap();
        assert_eq!(recall(&objects, NINA, id, now).await.unwrap(), None);
    }
    let master = upload(&objects, again).await;
    make(&objects, again, &master).await;
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
    assert!(objects.head(&master_key(NINA, cut)).await.is_ok());
    assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
    assert!(objects.head(&master_key(NINA, cut)).await.is_err());
    assert!(objects.head(&master_key(NINA, again)).await.is_ok());
    assert!(objects.head(&received_key(NINA, cut)).await.is_err());
}

#[tokio::test]
async fn what_was_broken_off_takes_nobodys_place_but_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    for id in 0..BROKEN_UPLOADS_MAX {
        assert!(!has_too_many(&objects, NINA).await.unwrap(), "{id}");
        begin(&objects, NINA, Uuid::from_u128(id as u128)).await.unwrap();
    }
    assert!(has_too_many(&objects, NINA).await.unwrap());
    forget(&objects, NINA, Uuid::nil()).await.unwrap();
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
    assert!(objects.head(&master_key(NINA, id)).await.is_err());
    for folder in [MAKING, RECEIVED, "uploads"] {
        let left = objects.list(&super::folder(folder.to_owned()), None, 10).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
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
    assert!(objects.head(&master_key(NINA, id)).await.is_ok());
    let left = objects.list(&folder(MAKING.to_owned()), None, 10).await.unwrap();
    assert!(left.is_empty() && !has_too_many(&objects, NINA).await.unwrap(), "{left:?}");
}

/// As it was left by the process that was killed behind it.
#[tokio::test]
async fn a_master_of_which_there_is_a_track_is_kept_though_its_upload_looks_unused() {
    let home = tempfile::tempdir().unwrap();
    let objects = FileStorage::open(home.path()).unwrap();
    let id = Uuid::from_u128(7);
    let master = upload(&objects, id).await;
    make(&objects, id, &master).await;
    remember(&objects, NINA, id, &master).await.unwrap();
    let later = Utc::now() + TimeDelta::hours(25);
    assert_eq!(swept(&objects, &[TRACK], later).await, 0);
    assert!(objects.head(&received_key(NINA, id)).await.is_err());
    assert!(objects.head(&master_key(NINA, id)).await.is_ok());
    assert_eq!(recall(&objects, NINA, id, later).await.unwrap(), Some(master));
}
