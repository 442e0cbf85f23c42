//! Streams that are named as those of runs are, and are none: anybody may append to the store.

/// Those that were met since the runtime began. They are told once, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    count: u64,
    first: Option<String>,
    is_told: bool,
}

impl Foreign {
    /// Such a stream was met, and is left alone.
    pub(crate) fn found(&mut self, stream: &str) {
        metrics::counter!("veza_saga_streams_foreign_total").increment(1);
        self.count += 1;
        self.first.get_or_insert_with(|| stream.to_owned());
    }

    /// Says how many there are, unless it was said, or there are none.
    pub(crate) fn tell(&mut self) {
        if let Some(first) = &self.first
            && !std::mem::replace(&mut self.is_told, true)
        {
            let count = self.count;
            tracing::warn!(count, first, "streams that are named as runs of sagas are none");
        }
    }
}
