//! Music: a track made, heard, found among others, and counted.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::names::{misspelled, word};
use super::people::Person;
use super::sound;
use super::stage::Stage;

/// How many other tracks there are.
const DECOYS: usize = 1_000;

/// After how many of them it is said how far it is.
const DECOYS_A_REMARK: usize = 250;

/// How many of them are worked on at once.
const DECOYS_AT_ONCE: usize = 16;

/// How far the decoded stream may be from the WAV: an encoder's padding, and what it loses.
const SECONDS_APART_MAX: f64 = 0.1;
const DB_APART_MAX: f64 = 0.5;

/// A published track.
pub struct Track {
    pub id: String,
    pub title: String,
    /// Of its publication.
    position: String,
}

/// Uploads the chords, makes a track of them, and publishes it.
pub async fn publish(stage: &Stage, musician: &Person) -> anyhow::Result<Track> {
    let wav = sound::wav(&sound::chords(sound::SECONDS))?;
    let size = wav.len();
    let upload = stage.upload(musician, wav).await?;
    stage.step("a WAV of chords is uploaded", format!("{size} bytes, {}", upload["media_type"]));
    let mut random = StdRng::from_os_rng();
    let title = format!("{} {}", word(&mut random), word(&mut random));
    let new = json!({ "upload_id": upload["id"], "title": title, "tags": ["chords", "demo"] });
    let track = stage.command(Some(musician), "/api/v1/tracks", &new).await?;
    stage.step("a track is made of it", format!("“{title}”, at position {}", track.position));

    let query = "query($id: UUID!) { track(id: $id) { status failure durationMs } }";
    let ready = stage
        .eventually("the track is transcoded", async || {
            let asked = json!({ "id": track.id });
            let seen = stage.query(Some(musician), Some(&track.position), query, asked).await?;
            ensure!(seen["track"]["failure"].is_null(), "transcoding failed: {seen}");
            Ok(seen["track"]["durationMs"].as_u64().map(|_| seen))
        })
        .await?;
    stage.step("it is probed and transcoded", &ready["track"]);
    let path = format!("/api/v1/tracks/{}/publication", track.id);
    let published = stage.command(Some(musician), &path, &Value::Null).await?;
    stage.step("it is published", format!("at position {}", published.position));
    Ok(Track { id: track.id, title, position: published.position })
}

/// Fetches the stream as a player does, decodes it, and compares it with what was uploaded.
pub async fn listen(stage: &Stage, track: &Track) -> anyhow::Result<()> {
    let query = "query($id: UUID!) { track(id: $id) { playlistUrl } }";
    let url = stage
        .eventually("the track can be streamed", async || {
            let seen = stage.query(None, None, query, json!({ "id": track.id })).await?;
            Ok(seen["track"]["playlistUrl"].as_str().map(str::to_owned))
        })
        .await?;
    let folder = tempfile::tempdir()?;
    let base = url.rsplit_once('/').map_or("", |(base, _)| base).to_owned();
    let files = download(stage, &base, "master.m3u8", folder.path()).await?;
    stage.step("playlists and segments are fetched", format!("{files} files from {base}"));

    let (sent, heard) =
        (sound::chords(sound::SECONDS), sound::decode(&folder.path().join("master.m3u8")).await?);
    let apart = (sound::seconds(&heard) - sound::seconds(&sent)).abs();
    ensure!(apart <= SECONDS_APART_MAX, "the stream is {apart:.3} s longer or shorter");
    let mut worst_db = (sound::rms_db(&heard) - sound::rms_db(&sent)).abs();
    for (sent, heard) in sound::each_second(&sent).zip(sound::each_second(&heard)) {
        worst_db = worst_db.max((sound::rms_db(heard) - sound::rms_db(sent)).abs());
    }
    ensure!(worst_db <= DB_APART_MAX, "a second of the stream is {worst_db:.2} dB off");
    stage.step(
        "decoded, they are the WAV",
        format!("{apart:.3} s and at most {worst_db:.2} dB a second apart"),
    );
    Ok(())
}

/// Fetches a playlist and everything that it names, with the same paths.
async fn download(stage: &Stage, base: &str, path: &str, to: &Path) -> anyhow::Result<usize> {
    let mut waiting = vec![path.to_owned()];
    let mut files = 0;
    while let Some(path) = waiting.pop() {
        let bytes = stage.fetch(None, &format!("{base}/{path}")).await?;
        let file = to.join(&path);
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(file, &bytes)?;
        files += 1;
        if path.ends_with(".m3u8") {
            let text = String::from_utf8(bytes).context("a playlist is text")?;
            let folder = path.rsplit_once('/').map_or(String::new(), |(f, _)| format!("{f}/"));
            let named = text.lines().filter_map(named_in_playlist);
            waiting.extend(named.map(|name| format!("{folder}{name}")));
        }
    }
    Ok(files)
}

/// The file that a line of a playlist names.
fn named_in_playlist(line: &str) -> Option<&str> {
    match line.strip_prefix("#EXT-X-MAP:") {
        Some(attributes) => attributes.split_once("URI=\"")?.1.split('"').next(),
        None => Some(line).filter(|line| !line.is_empty() && !line.starts_with('#')),
    }
}

/// Sees to it that there are a thousand other tracks.
pub async fn make_decoys(stage: &Stage) -> anyhow::Result<()> {
    // One of them is the story's own.
    let missing = (DECOYS + 1).saturating_sub(count_published(stage).await?);
    if missing == 0 {
        stage.step("there are a thousand others already", "from an earlier telling");
        return Ok(());
    }
    let artist = Person::join(stage, "decoy", "artist").await?;
    let upload = stage.upload(&artist, sound::wav(&sound::chords(1))?).await?;
    let mut random = StdRng::from_os_rng();
    let titles: Vec<String> =
        (0..missing).map(|_| format!("{} {}", word(&mut random), word(&mut random))).collect();
    let make = |title: String| {
        let new = json!({ "upload_id": upload["id"], "title": title });
        let artist = &artist;
        async move { stage.command(Some(artist), "/api/v1/tracks", &new).await }
    };
    let made: Vec<_> =
        stream::iter(titles).map(make).buffer_unordered(DECOYS_AT_ONCE).try_collect().await?;
    stage.step(&format!("{missing} other tracks are made"), "now they are transcoded");

    let publish = |id: String| {
        let artist = &artist;
        async move {
            let track = format!("/api/v1/tracks/{id}/publication");
            stage
                .eventually("a decoy is published", async || {
                    let published = stage.command(Some(artist), &track, &Value::Null).await;
                    Ok(published.ok())
                })
                .await
        }
    };
    // The last ones wait longest, so they are asked for in their order.
    let ids = stream::iter(made.into_iter().map(|done| done.id));
    let mut published = ids.map(publish).buffered(2);
    let (mut last, mut count) = (None, 0);
    while let Some(done) = published.try_next().await? {
        last = Some(done.position);
        count += 1;
        if count % DECOYS_A_REMARK == 0 {
            stage.step("   published so far", count);
        }
    }
    let position = last.context("at least one was published")?;
    let seen =
        stage.query(None, Some(&position), "{ tracks(first: 1) { nodes { title } } }", Value::Null);
    ensure!(!seen.await?["tracks"]["nodes"][0].is_null(), "no track is there");
    stage.step("all of them are published", format!("at position {position}"));
    Ok(())
}

async fn count_published(stage: &Stage) -> anyhow::Result<usize> {
    let query = "query($after: String) {
        tracks(first: 100, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }";
    let (mut count, mut after) = (0, Value::Null);
    loop {
        let page = stage.query(None, None, query, json!({ "after": after })).await?;
        let page = &page["tracks"];
        count += page["nodes"].as_array().map_or(0, Vec::len);
        if page["pageInfo"]["hasNextPage"] != true || count > DECOYS {
            return Ok(count);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

const SEARCH: &str = "query($text: String!) { search(text: $text, kind: TRACK, first: 5) {
    nodes { ... on Track { id title } } } }";

/// Searches for the track with a slip of the pen.
pub async fn find(stage: &Stage, listener: &Person, track: &Track) -> anyhow::Result<()> {
    let (first, second) = track.title.split_once(' ').context("a title of two words")?;
    let typed = format!("{} {}", misspelled(first), second.to_lowercase());
    let asked = json!({ "text": typed });
    let hits = stage.query(Some(listener), Some(&track.position), SEARCH, asked).await?;
    let best = &hits["search"]["nodes"][0];
    ensure!(best["id"] == track.id.as_str(), "“{typed}” does not find “{}”: {hits}", track.title);
    stage.step(
        &format!("the listener searches for “{typed}”"),
        format!("finds “{}” first", best["title"].as_str().unwrap_or_default()),
    );
    Ok(())
}

/// Searches for a track by its title, which others may have given to theirs as well.
pub async fn find_again(stage: &Stage, (id, title): (&str, &str)) -> anyhow::Result<()> {
    let hits = stage.query(None, None, SEARCH, json!({ "text": title })).await?;
    let nodes = hits["search"]["nodes"].as_array().context("no hits")?;
    // More of the same title than are asked for: then it need not be among them.
    let is_found = nodes.iter().any(|hit| hit["id"] == id)
        || !nodes.is_empty() && nodes.iter().all(|hit| hit["title"] == title);
    ensure!(is_found, "“{title}” is not found: {hits}");
    Ok(())
}

/// Searches for a track whose master was taken down at this position.
pub async fn find_no_more(stage: &Stage, track: &Track, position: &str) -> anyhow::Result<()> {
    let asked = json!({ "text": track.title });
    let hits = stage.query(None, Some(position), SEARCH, asked).await?;
    let nodes = hits["search"]["nodes"].as_array().context("no hits")?;
    let is_found = nodes.iter().any(|hit| hit["id"] == track.id.as_str());
    ensure!(!is_found, "“{}” is still found: {hits}", track.title);
    stage.step("who searches for the track", "does not find it any more");
    Ok(())
}

/// The id and the title of the track that was published last and can be heard.
pub async fn newest(stage: &Stage) -> anyhow::Result<(String, String)> {
    let query = "{ tracks(first: 1) { nodes { id title } } }";
    let seen = stage.query(None, None, query, Value::Null).await?;
    let newest = &seen["tracks"]["nodes"][0];
    let text = |field| newest[field].as_str().map(str::to_owned);
    text("id").zip(text("title")).with_context(|| format!("no track is there: {seen}"))
}

/// Plays the track, and asks how often it was played.
pub async fn count_plays(
    stage: &Stage,
    musician: &Person,
    listener: &Person,
    track: &Track,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/tracks/{}/plays", track.id);
    let played = json!({ "listened_ms": sound::SECONDS * 1_000 });
    let done = stage.command(Some(listener), &path, &played).await?;
    let again = stage.command(Some(listener), &path, &played).await;
    ensure!(again.is_err(), "a minute was counted of which no second passed");
    let too_short = json!({ "listened_ms": 500 });
    let refused = stage.command(Some(listener), &path, &too_short).await;
    ensure!(refused.is_err(), "half a second was counted as a play");
    let query = "query($id: UUID!) { track(id: $id) {
        plays statistics { plays listeners listenedMs days { day plays } } } }";
    let asked = json!({ "id": track.id });
    let seen = stage.query(Some(musician), Some(&done.position), query, asked).await?;
    let statistics = &seen["track"]["statistics"];
    ensure!(statistics["plays"] == 1 && statistics["listeners"] == 1, "miscounted: {seen}");
    ensure!(seen["track"]["plays"] == 1, "miscounted: {seen}");
    stage.step("a play; one more at once, and half a second, are none", statistics);
    Ok(())
}
