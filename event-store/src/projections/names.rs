//! What the streams of a projection are called; facts of the protocol.

use super::shape::Shape;
use crate::error::InvalidName;
use crate::limits::PROJECTION_NAME_BYTES_MAX;
use crate::stream::StreamName;

/// How the names of all streams begin that hold what projections keep.
pub(super) const PREFIX: &str = "$projections-";

/// The stream that lists all projections.
pub(super) const REGISTRY: &str = "$projections-$all";

/// The streams of one projection.
#[derive(Clone, Debug)]
pub(super) struct Names {
    name: String,
    result: Option<String>,
    partition_result: Option<String>,
}

impl Names {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), result: None, partition_result: None }
    }

    /// The same, with results where the script wants them.
    pub(super) fn of_shape(name: &str, shape: &Shape) -> Self {
        Self {
            name: name.to_owned(),
            result: shape.result_stream.clone(),
            partition_result: shape.partition_result.clone(),
        }
    }

    pub(super) fn projection(&self) -> &str {
        &self.name
    }

    fn of(&self, rest: &str) -> StreamName {
        StreamName::recorded(&format!("{PREFIX}{}{rest}", self.name))
    }

    pub(super) fn definition(&self) -> StreamName {
        self.of("")
    }

    pub(super) fn checkpoint(&self) -> StreamName {
        self.of("-checkpoint")
    }

    /// The names of all partitions.
    pub(super) fn catalog(&self) -> StreamName {
        self.of("-partitions")
    }

    pub(super) fn emitted_streams(&self) -> StreamName {
        self.of("-emittedstreams")
    }

    pub(super) fn result(&self) -> Result<StreamName, InvalidName> {
        match &self.result {
            Some(name) => StreamName::new(name),
            None => Ok(self.of("-result")),
        }
    }

    pub(super) fn partition_result(&self, partition: &str) -> Result<StreamName, InvalidName> {
        match &self.partition_result {
            _ if partition.is_empty() => self.result(),
            Some(pattern) => StreamName::new(pattern.replace("{0}", partition)),
            None => StreamName::new(format!("{PREFIX}{}-{partition}-result", self.name)),
        }
    }

    pub(super) fn partition_checkpoint(&self, partition: &str) -> Result<StreamName, InvalidName> {
        match partition {
            "" => Ok(self.checkpoint()),
            _ => StreamName::new(format!("{PREFIX}{}-{partition}-checkpoint", self.name)),
        }
    }
}

/// Whether a stream, or one that its metadata is of, holds what projections keep.
pub(super) fn is_kept_by_projections(stream: &str) -> bool {
    let name = stream.strip_prefix("$$").filter(|it| it.starts_with('$')).unwrap_or(stream);
    name.starts_with(PREFIX)
}

/// Why there can be no projection of this name.
pub(super) fn problem_of_name(name: &str) -> Option<String> {
    if name.trim().is_empty() {
        return Some("the projection has no name".to_owned());
    }
    if name.len() > PROJECTION_NAME_BYTES_MAX {
        return Some(format!("the name is longer than {PROJECTION_NAME_BYTES_MAX} bytes"));
    }
    (name == "$all").then(|| "the name is that of the list of projections".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_projections_keep_is_known_by_its_name() {
        for name in ["$projections-x", "$projections-$all", "$$$projections-x-result"] {
            assert!(is_kept_by_projections(name), "{name}");
        }
        for name in ["$$projections-x", "projections-x", "$ce-x", "$$$ce-x"] {
            assert!(!is_kept_by_projections(name), "{name}");
        }
    }

    #[test]
    fn partitions_have_streams_of_their_own() {
        let names = Names::new("count");
        let [result, checkpoint] = [
            names.partition_result("cat-1").unwrap(),
            names.partition_checkpoint("cat-1").unwrap(),
        ];
        assert_eq!(result.as_str(), "$projections-count-cat-1-result");
        assert_eq!(checkpoint.as_str(), "$projections-count-cat-1-checkpoint");
        assert_eq!(names.partition_result("").unwrap().as_str(), "$projections-count-result");
        assert!(names.partition_result(&"p".repeat(1024)).is_err());
    }
}
