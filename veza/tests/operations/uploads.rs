//! Uploads of which no track is made: few at a time, and not for long.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};

use crate::doors::silence;
use crate::process::{Process, eventually, folder};

/// The files below a folder of folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let inside = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    inside.map(|entry| entry.unwrap().path()).collect()
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
    let of_track = first.as_ref().and_then(Value::as_str).unwrap();
    assert!(kept.iter().any(|master| master.ends_with(of_track)), "{kept:?}");
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
        files(&objects.join("received")).len() == 1 && fs::read_dir(&scratch).unwrap().count() == 1
    })
    .await;
    platform.kill().await;
    upload.await.unwrap().unwrap_err();

    // As if it had been killed a moment later, between the master and its note.
    let note = files(&objects.join("received")).pop().expect("it was noted that it began");
    let owner = note.parent().unwrap().file_name().unwrap();
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
