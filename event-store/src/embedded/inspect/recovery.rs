//! What the next opening of a folder would do.

use std::fmt;

use super::{IndexState, InspectedSegment};
use crate::embedded::backup::Unfit;
use crate::error::StoreError;
use crate::limits::RECENT_IDS_MAX;
use crate::log::{CleanMark, is_unfinished};

/// One thing that opening a store would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Remove a file that was not finished.
    RemoveUnfinished(String),
    /// Remove a last segment that was cut off while it was made; no event is in it.
    RemoveUnborn(String),
    /// Make the index of this segment again.
    MakeIndex(String),
    /// Cut off what was not written whole at the end.
    CutTornWrite {
        /// Of which segment.
        segment: String,
        /// How many bytes.
        bytes: u64,
    },
    /// Write the last frame once more: the store was not closed in peace, so it may not be durable.
    WriteLastFrameAgain,
    /// Begin a new log.
    BeginLog,
    /// Refuse, because the folder is a whole backup.
    RefuseBackup,
    /// Refuse, because the folder is a backup, which can't be put back for this reason.
    RefuseBadBackup(String),
    /// Refuse, unless it is opened with other keys than it was looked at with.
    RefuseLocked(String),
    /// Refuse, for this reason.
    Refuse(String),
}

impl fmt::Display for RecoveryStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveUnfinished(name) => write!(formatter, "remove {name}, not finished"),
            Self::RemoveUnborn(name) => write!(formatter, "remove {name}, cut off at its creation"),
            Self::MakeIndex(name) => write!(formatter, "make the index of {name} again"),
            Self::CutTornWrite { segment, bytes } => {
                write!(formatter, "cut {bytes} bytes off {segment} that were not written whole")
            }
            Self::WriteLastFrameAgain => formatter.write_str("write the last frame once more"),
            Self::BeginLog => formatter.write_str("begin a new log"),
            Self::RefuseBackup => write!(formatter, "refuse to open: {}", Unfit::Backup),
            Self::RefuseBadBackup(reason) | Self::RefuseLocked(reason) | Self::Refuse(reason) => {
                write!(formatter, "refuse to open: {reason}")
            }
        }
    }
}

/// The steps of opening a folder with these files, `backup` being what is wrong with its manifest,
/// where it is a backup, and `lost` what is said where the newest segment is missing.
pub(super) fn steps(
    names: &[String],
    backup: Option<String>,
    segments: &[InspectedSegment],
    (clean, lost): (Option<CleanMark>, Option<StoreError>),
) -> Vec<RecoveryStep> {
    match Unfit::of(names) {
        Some(Unfit::Backup) => {
            let bad = backup.map(RecoveryStep::RefuseBadBackup);
            return vec![bad.unwrap_or(RecoveryStep::RefuseBackup)];
        }
        Some(unfit) => return vec![RecoveryStep::Refuse(unfit.to_string())],
        None => {}
    }
    if let Some(lost) = lost {
        return vec![RecoveryStep::Refuse(lost.to_string())];
    }
    let unfinished = names.iter().filter(|name| is_unfinished(name)).cloned();
    let mut steps: Vec<_> = unfinished.map(RecoveryStep::RemoveUnfinished).collect();
    let (unborn, segments) = match segments.split_last() {
        Some((last, older)) if last.is_unborn() => (Some(last), older),
        _ => (None, segments),
    };
    steps.extend(unborn.map(|last| RecoveryStep::RemoveUnborn(last.name.clone())));
    // The ids from here on are read when a store is opened.
    let active_first = segments.last().map_or(1, |active| active.first.get());
    let ids_from = active_first.saturating_sub(RECENT_IDS_MAX as u64);
    for (number, segment) in segments.iter().enumerate() {
        if let Some(locked) = segment.locked.clone() {
            let is_wrong = segment.wrong.is_some();
            let refuse = if is_wrong { RecoveryStep::Refuse } else { RecoveryStep::RefuseLocked };
            steps.push(refuse(locked));
            return steps;
        }
        // Damage in a sealed segment that has its index is met by whoever reads there.
        let is_found = match segment.index {
            Some(IndexState::Fits { .. }) => true,
            Some(IndexState::DamagedWithin { ids_until }) => {
                ids_until.is_none_or(|until| until.get() < ids_from)
            }
            _ => false,
        };
        let can_be_opened = (is_found || segment.breaks_chain)
            && segment.header.is_some()
            && !segment.is_behind_a_gap;
        if let Some(wrong) = segment.wrong.as_ref().filter(|_| !can_be_opened) {
            steps.push(RecoveryStep::Refuse(wrong.clone()));
            return steps;
        }
        let is_active = number + 1 == segments.len();
        if !is_active && !is_found {
            steps.push(RecoveryStep::MakeIndex(segment.name.clone()));
        }
    }
    let Some(active) = segments.last() else {
        steps.push(match clean {
            Some(mark) => RecoveryStep::Refuse(format!("the segment {} is missing", mark.segment)),
            None => RecoveryStep::BeginLog,
        });
        return steps;
    };
    if active.torn_bytes > 0 {
        let (segment, bytes) = (active.name.clone(), active.torn_bytes);
        steps.push(RecoveryStep::CutTornWrite { segment, bytes });
    }
    if clean.is_none() && active.last.is_some() {
        steps.push(RecoveryStep::WriteLastFrameAgain);
    }
    steps
}

impl InspectedSegment {
    /// Whether it was cut off while it was made: then it is not part of the log.
    pub(super) fn is_unborn(&self) -> bool {
        !self.sealed && self.header.is_none() && self.wrong.is_none()
    }
}
