//! Uploads of which no track is made: few at a time, and not for long; and of two that are sent at
//! once under one key, one is made.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::doors::silence;
use crate::process::{Process, eventually, folder};
use crate::roles::Shared;

/// The files below a folder of folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let inside = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    inside.map(|entry| entry.unwrap().path()).collect()
}

/// The notes of attempts.
fn attempts(objects: &Path) -> Vec<PathBuf> {
    let owners = fs::read_dir(objects.join("receiving")).into_iter().flatten();
    owners.flat_map(|owner| files(&owner.unwrap().path())).collect()
}

#[tokio::test]
async fn what_no_track_is_made_of_is_bounded_and_goes_after_a_day() {
    let folder = folder();
    let objects = folder.path().join("objects");
    let settings = [("VEZA_RATE_LIMITS", "off")];
    let platform = Process::platform(folder.path(), &settings).await;
    let nina = platform.member("nina", "artist").await;
    let upload = async || {
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
        let answer = request.body(silence()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let mut first = None;
    for _ in 0..20 {
        let (status, uploaded) = upload().await;
        assert_eq!(status, 201);
        first.get_or_insert(uploaded["id"].clone());
    }
    let (status, refusal) = upload().await;
    assert_eq!((status, &refusal["type"]), (409, &json!("urn:veza:problem:conflict")));
    let new = json!({ "upload_id": first, "title": "Silence" });
    assert_eq!(platform.post("/api/v1/tracks", Some(&nina), new).await.0, 201);
    assert_eq!(upload().await.0, 201, "the track made room");
    platform.stop().await;

    let now = SystemTime::now();
    let notes = files(&objects.join("received"));
    assert_eq!((notes.len(), files(&objects.join("masters")).len()), (20, 21));
    for note in &notes[1..] {
        let long_ago = now - Duration::from_secs(25 * 60 * 60);
        File::options().write(true).open(note).unwrap().set_modified(long_ago).unwrap();
    }
    let platform = Process::platform(folder.path(), &settings).await;
    eventually("the old ones are gone", async || files(&objects.join("received")).len() == 1).await;
    let kept = files(&objects.join("masters"));
    assert_eq!(kept.len(), 2, "the young one, and the track's");
    let used = files(&objects.join("uploads")).pop().expect("the track's note");
    let used: Value = serde_json::from_slice(&fs::read(used).unwrap()).unwrap();
    let of_track = objects.join(used["object_key"].as_str().unwrap());
    assert!(kept.contains(&of_track), "{of_track:?} of {kept:?}");
    platform.stop().await;
}

#[tokio::test]
async fn what_was_killed_half_way_goes_after_a_day() {
    let folder = folder();
    let data = folder.path();
    let objects = data.join("objects");
    let platform = Process::platform(data, &[]).await;
    let nina = platform.member("nina", "artist").await;
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(silence()[..1000].to_vec())]);
    let body = futures::StreamExt::chain(begun, futures::stream::pending());
    let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
    let upload = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    let scratch = objects.join(".scratch");
    // The note is made in the scratch folder too, before the upload is.
    eventually("the upload has begun", async || {
        let is_noted = !attempts(&objects).is_empty();
        is_noted && fs::read_dir(&scratch).unwrap().count() == 1
    })
    .await;
    platform.kill().await;
    upload.await.unwrap().unwrap_err();

    // As if it had been killed a moment later, between the master and its note.
    let note = attempts(&objects).pop().expect("it was noted that it began");
    let owner = note.ancestors().nth(2).unwrap().file_name().unwrap();
    let masters = objects.join("masters").join(owner);
    let master = masters.join(note.file_stem().unwrap());
    fs::create_dir_all(&masters).unwrap();
    fs::write(&master, silence()).unwrap();
    let young = masters.join(uuid::Uuid::nil().to_string());
    fs::write(&young, silence()).unwrap();
    fs::write(note.with_file_name(format!("{}.json", uuid::Uuid::nil())), "").unwrap();
    let transcode = data.join("scratch/killed");
    fs::create_dir(&transcode).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    File::options().write(true).open(&note).unwrap().set_modified(long_ago).unwrap();

    let platform = Process::platform(data, &[]).await;
    eventually("the old master is gone", async || !note.exists()).await;
    assert!(!master.exists() && young.exists() && !transcode.exists());
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    platform.stop().await;
}

#[tokio::test]
async fn a_track_that_is_refused_leaves_its_upload_as_it_was() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = platform.member("nina", "artist").await;
    let received = folder.path().join("objects/received");
    let mut uploads = Vec::new();
    for nth in 1..=25 {
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
        let answer = request.body(silence()).send().await.unwrap();
        assert_eq!(answer.status(), if nth <= 20 { 201 } else { 409 }, "upload {nth}");
        let uploaded: Value = answer.json().await.unwrap();
        if nth > 20 {
            continue;
        }
        let refused = json!({ "upload_id": uploaded["id"], "title": "" });
        assert_eq!(platform.post("/api/v1/tracks", Some(&nina), refused).await.0, 422);
        uploads.push(uploaded["id"].clone());
    }
    assert_eq!(files(&received).len(), 20, "all are swept in a day");
    for upload_id in &uploads[..2] {
        let new = json!({ "upload_id": upload_id, "title": "Silence" });
        assert_eq!(platform.post("/api/v1/tracks", Some(&nina), new).await.0, 201);
    }
    assert_eq!(files(&received).len(), 18);
    platform.stop().await;
}

/// Sends what is told apart by its samples, under a key.
async fn send(door: &Process, nina: &str, key: &str, sample: u8) -> (u16, Value) {
    let mut wav = silence();
    wav[44..].fill(sample);
    let request = door.request(Method::POST, "/api/v1/uploads", Some(nina));
    let answer = request.header("idempotency-key", key).body(wav).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Publishes a track of the upload, sells it, and downloads what the buyer is given.
async fn sold(doors: [&Process; 2], nina: &str, otis: &str, upload: &Value) -> Vec<u8> {
    let [commands, queries] = doors;
    let new = json!({ "upload_id": upload["id"], "title": "Silence" });
    let (status, track) = commands.post("/api/v1/tracks", Some(nina), new).await;
    assert_eq!(status, 201, "{track}");
    let publication = format!("/api/v1/tracks/{}/publication", track["id"].as_str().unwrap());
    eventually("the track is published", async || {
        commands.post(&publication, Some(nina), Value::Null).await.0 == 200
    })
    .await;
    let price = json!({ "amount_minor": 2500, "currency": "EUR" });
    let offer = json!({
        "track_id": track["id"], "kind": "exclusive", "delivery": "instant", "price": price,
    });
    let (status, listing) = commands.post("/api/v1/listings", Some(nina), offer).await;
    assert_eq!(status, 201, "{listing}");
    let order = json!({ "listing_id": listing["id"], "payment_method": "sandbox:ok" });
    let (status, order) = commands.post("/api/v1/orders", Some(otis), order).await;
    assert_eq!(status, 201, "{order}");
    let master = format!("/media/orders/{}/master", order["id"].as_str().unwrap());
    eventually("the master is given out", async || {
        let download = queries.request(Method::GET, &master, Some(otis));
        download.send().await.unwrap().status() == 200
    })
    .await;
    let download = queries.request(Method::GET, &master, Some(otis)).send().await.unwrap();
    download.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn of_different_bodies_sent_at_once_to_two_processes_one_is_the_upload() {
    let folder = folder();
    let data = folder.path();
    let mut shared = Shared::new(data).await;
    shared.set("VEZA_RATE_LIMITS", "off");
    let store = shared.start(data, "event-store").await;
    let (projector, saga, queries, first) = tokio::join!(
        shared.start(data, "projector"),
        shared.start(data, "saga"),
        shared.start(data, "query-api"),
        shared.start(data, "command-api"),
    );
    let second = shared.start(data, "command-api").await;
    for process in [&queries, &first, &second] {
        eventually("it is ready", async || process.get("/readyz").await.status() == 200).await;
    }
    let nina = first.member("nina", "artist").await;
    let otis = first.member("otis", "listener").await;

    let mut uploads = Vec::new();
    for round in 0..12 {
        let key = format!("round-{round}");
        let (one, other) =
            tokio::join!(send(&first, &nina, &key, 1), send(&second, &nina, &key, 2));
        let is_first = one.0 == 201;
        let ((made, upload), (refused, problem)) =
            if is_first { (one, other) } else { (other, one) };
        assert_eq!((made, refused), (201, 422), "{upload} {problem}");
        assert_eq!(problem["type"], "urn:veza:problem:idempotency-key-reused");
        // The same again, to either.
        let sample = if is_first { 1 } else { 2 };
        for door in [&first, &second] {
            assert_eq!(send(door, &nina, &key, sample).await, (201, upload.clone()));
            assert_eq!(send(door, &nina, &key, 3 - sample).await.0, 422);
        }
        uploads.push(upload);
    }
    let key = "same-bytes";
    let (one, other) = tokio::join!(send(&first, &nina, key, 3), send(&second, &nina, key, 3));
    assert_eq!((one.0, &one), (201, &other));
    let objects = data.join("objects");
    assert_eq!(files(&objects.join("masters")).len(), 13, "the others are removed");
    assert!(attempts(&objects).is_empty());
    for upload in &uploads[..2] {
        let master = sold([&second, &queries], &nina, &otis, upload).await;
        assert_eq!(format!("{:x}", Sha256::digest(&master)), upload["sha256"].as_str().unwrap());
    }
    for process in [second, first, queries, saga, projector, store] {
        process.stop().await;
    }
}
