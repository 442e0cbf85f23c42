//! `inspect`: what is in the folder of a store, and what opening it would do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event_store::WrappingKeys;
use event_store::inspect::{
    IndexState, Inspected, InspectedCheckpoint, InspectedScavenge, InspectedScrub,
    InspectedSegment, Largest, RecoveryStep, inspect as look,
};
use event_store::log::{Disk as _, Folder, Rot};
use serde_json::{Value, json};

use crate::command::{ReplayError, Verdict};
use crate::output::{Output, time};

/// What to look at.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// The folder with the log, or the data folder it is in (by default that of --data)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Looks at every byte of a folder and changes nothing; `data` is looked at when none is named.
/// What is encrypted is looked into with these keys.
pub async fn inspect(
    args: &InspectArgs,
    data: &Path,
    keys: Option<Arc<WrappingKeys>>,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    let named = args.folder.as_deref().unwrap_or(data);
    let folder = log_folder(named)?;
    // As others have it: the log of a restore up to before its first event has no segment either.
    let holds_log = folder != named;
    let work = move || look(&Folder::read_only(folder), keys);
    let found = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    if !holds_log && found.recovery == [RecoveryStep::BeginLog] {
        return Err(ReplayError::NoStore(named.to_owned()));
    }
    for segment in &found.segments {
        output.result_of_lines(&segment_document(segment), &segment_lines(segment))?;
    }
    output.result_of_lines(&document(&found), &lines(&found))?;
    Ok(match found.is_good() {
        false => Verdict::Bad,
        true if locked(&found) > 0 => Verdict::Locked,
        true => Verdict::Good,
    })
}

/// The folder itself where there are segments in it, else the one with the log inside of it.
fn log_folder(named: &Path) -> Result<PathBuf, ReplayError> {
    let inside = named.join("events");
    let has_segments = |folder: &Path| {
        let names = Folder::read_only(folder).list();
        names.is_ok_and(|names| names.iter().any(|name| name.ends_with(".log")))
    };
    match () {
        () if has_segments(named) => Ok(named.to_owned()),
        () if inside.exists() && !inside.is_dir() => Err(ReplayError::IsNoFolder(inside)),
        () if inside.is_dir() => Ok(inside),
        () if named.is_dir() => Ok(named.to_owned()),
        () => Err(ReplayError::NoSuchFolder(named.to_owned())),
    }
}

fn segment_document(segment: &InspectedSegment) -> Value {
    let index = segment.index.as_ref().map(|index| match index {
        IndexState::Missing => json!({ "state": "missing" }),
        IndexState::Fits { version, bytes, streams, ids } => json!({
            "state": "fits", "version": version, "bytes": bytes, "streams": streams, "ids": ids,
        }),
        IndexState::OtherVersion(version) => json!({ "state": "old", "version": version }),
        IndexState::OfAnother => json!({ "state": "of_another_file" }),
        IndexState::Damaged | IndexState::DamagedWithin { .. } => json!({ "state": "damaged" }),
    });
    json!({
        "segment": segment.name,
        "first": segment.first.to_string(),
        "last": segment.last.map(|last| last.to_string()),
        "events": events(segment),
        "reclaimed": segment.reclaimed,
        "bytes": segment.bytes,
        "room_bytes": segment.room_bytes,
        "torn_bytes": segment.torn_bytes,
        "version": segment.header.map(|header| header.version),
        "salt": segment.header.map(|header| format!("{:08x}", header.salt)),
        "created": segment.header.map(|header| time(header.created)),
        "encrypted": segment.header.map(|header| header.encrypted),
        "locked": segment.locked,
        "recorded_from": segment.recorded.map(|(from, _)| time(from)),
        "recorded_until": segment.recorded.map(|(_, until)| time(until)),
        "sealed": segment.sealed,
        "index": index,
        "wrong": segment.wrong,
    })
}

fn segment_lines(segment: &InspectedSegment) -> Vec<String> {
    let index = match &segment.index {
        None if segment.sealed => "index not looked at".to_owned(),
        None => "active".to_owned(),
        Some(IndexState::Missing) => "no index".to_owned(),
        Some(IndexState::Fits { version, .. }) => format!("index {version}"),
        Some(IndexState::OtherVersion(version)) => format!("index {version}, old"),
        Some(IndexState::OfAnother) => "index of another file".to_owned(),
        Some(IndexState::Damaged) => "index damaged".to_owned(),
        Some(IndexState::DamagedWithin { .. }) => {
            "index damaged, which whoever reads there makes again".to_owned()
        }
    };
    let version = segment.header.map_or("?".to_owned(), |header| header.version.to_string());
    let until = segment.recorded.map_or("-".to_owned(), |(_, until)| time(until));
    let mut line = format!(
        "{}  {:>10} events  {:>11} bytes  {:>9} room  version {version}  until {until}  {index}",
        segment.name,
        events(segment),
        segment.bytes,
        segment.room_bytes,
    );
    if segment.header.is_some_and(|header| header.encrypted) {
        line.push_str("  encrypted");
    }
    if segment.reclaimed > 0 {
        line.push_str(&format!("  {} reclaimed", segment.reclaimed));
    }
    let locked = segment.locked.as_ref().map(|why| format!("  records not checked: {why}"));
    let wrong = segment.wrong.as_ref().map(|wrong| format!("  bad: {wrong}"));
    [Some(line), locked, wrong].into_iter().flatten().collect()
}

/// How many positions a segment has, those of reclaimed events included.
fn events(segment: &InspectedSegment) -> u64 {
    segment.last.map_or(0, |last| last.get() + 1 - segment.first.get())
}

fn document(found: &Inspected) -> Value {
    let statistics = &found.statistics;
    let clean = found
        .clean
        .map(|clean| json!({ "segment": clean.segment.to_string(), "length": clean.length }));
    json!({
        // Nobody knows of what is locked.
        "good": (!found.is_good() || locked(found) == 0).then_some(found.is_good()),
        "segments": found.segments.len(),
        "segments_locked": locked(found),
        "events": statistics.events,
        "reclaimed": statistics.reclaimed,
        "record_bytes": statistics.bytes,
        "streams": statistics.streams,
        "all_streams_counted": statistics.all_streams_counted,
        "largest_streams": statistics.largest_streams.iter().map(share).collect::<Vec<_>>(),
        "largest_categories": statistics.largest_categories.iter().map(share).collect::<Vec<_>>(),
        "clean": clean,
        "chain": found.head.map(|head| head.to_string()),
        "checkpoints": found.checkpoints.iter().map(checkpoint_document).collect::<Vec<_>>(),
        "scavenge": found.scavenge.map(|scavenge| json!({
            "began": time(scavenge.began),
            "next": scavenge.next.to_string(),
            "segments_done": scavenge.segments_done,
            "segments": sealed(found),
        })),
        "scrub": found.scrub.as_ref().map(|scrub| json!({
            "at": scrub.at.map(time),
            "ended": scrub.at.is_some() && scrub.next.is_none(),
            "next": scrub.next.map(|next| next.to_string()),
            "segments_done": scrub.segments_done,
            "segments": sealed(found),
            "damaged": scrub.damaged.iter().map(rot_document).collect::<Vec<_>>(),
        })),
        "recovery": found.recovery.iter().map(RecoveryStep::to_string).collect::<Vec<_>>(),
    })
}

fn lines(found: &Inspected) -> Vec<String> {
    let statistics = &found.statistics;
    let at_least = if statistics.all_streams_counted { "" } else { "at least " };
    let mut lines = vec![format!(
        "{} segments, {} events ({} more reclaimed) in {at_least}{} streams, {} bytes of records",
        found.segments.len(),
        statistics.events,
        statistics.reclaimed,
        statistics.streams,
        statistics.bytes,
    )];
    for (what, largest) in
        [("stream", &statistics.largest_streams), ("category", &statistics.largest_categories)]
    {
        for Largest { name, events, bytes } in largest {
            lines.push(format!("  {what} {name}: {events} events, {bytes} bytes"));
        }
    }
    if let Some(head) = found.head {
        lines.push(format!("the head of its hash chain is {head}"));
    }
    if locked(found) > 0 {
        lines.push(format!(
            "{} segments are locked: their events are not in these numbers, and neither their \
             records nor the hash chain could be checked",
            locked(found)
        ));
    }
    let is_no_log = matches!(
        found.recovery[..],
        [RecoveryStep::RefuseBackup | RecoveryStep::RefuseBadBackup(_) | RecoveryStep::BeginLog]
    );
    if !is_no_log {
        let closed =
            if found.clean.is_some() { "was closed" } else { "is open, or was not closed" };
        lines.push(format!("its store {closed} in peace"));
        lines.extend(progress_lines(found));
    }
    if found.recovery.is_empty() {
        lines.push("opening it has nothing to mend".to_owned());
    }
    lines.extend(found.recovery.iter().map(|step| format!("opening it would {step}")));
    lines
}

/// How far those are who work on the log, and what they found.
fn progress_lines(found: &Inspected) -> Vec<String> {
    let all = sealed(found);
    let mut lines: Vec<String> = found
        .checkpoints
        .iter()
        .map(|InspectedCheckpoint { group, place, at }| {
            format!("the group {group} has its checkpoint at {place}, kept {}", time(*at))
        })
        .collect();
    lines.extend(found.scavenge.map(|InspectedScavenge { began, segments_done, .. }| {
        let began = time(began);
        format!("a scavenge that began {began} has done {segments_done} of {all} sealed segments")
    }));
    let scrub = found.scrub.as_ref();
    lines.push(match scrub.and_then(|scrub| scrub.at.map(|at| (scrub, time(at)))) {
        None => "no scrub is known".to_owned(),
        Some((InspectedScrub { next: None, .. }, at)) => format!("the last scrub ended {at}"),
        Some((InspectedScrub { segments_done, .. }, at)) => {
            format!("a scrub has read {segments_done} of {all} sealed segments until {at}")
        }
    });
    let damaged = scrub.map_or(&[][..], |scrub| &scrub.damaged);
    lines.extend(damaged.iter().map(|Rot { segment, what }| {
        format!("the segment that begins at position {segment} was found damaged: {what}")
    }));
    lines
}

/// How many segments are sealed.
fn sealed(found: &Inspected) -> usize {
    found.segments.iter().filter(|segment| segment.sealed).count()
}

fn checkpoint_document(checkpoint: &InspectedCheckpoint) -> Value {
    let InspectedCheckpoint { group, place, at } = checkpoint;
    json!({ "group": group, "place": place, "at": time(*at) })
}

fn rot_document(rot: &Rot) -> Value {
    json!({ "first": rot.segment.to_string(), "what": &*rot.what })
}

/// Of how many segments the records can't be read.
fn locked(found: &Inspected) -> usize {
    found.segments.iter().filter(|segment| segment.locked.is_some()).count()
}

fn share(share: &Largest) -> Value {
    json!({ "name": share.name, "events": share.events, "bytes": share.bytes })
}
