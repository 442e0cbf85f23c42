//! How fresh an answer must be: each field waits for the model it reads, and all together no longer
//! than a bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use access::Consistency;
use event_store::Position;
use projections::{ModelId, WaitError, Watermarks};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::limits::{FRESHNESS_TIME_MAX, LOOK_TIME_MAX};

/// What one request's answer must have seen, and what it surely has.
pub struct Freshness {
    watermarks: Watermarks,
    min_position: Option<Position>,
    allow_stale: bool,
    deadline: Instant,
    /// How far each model had come before it was read first; for who takes an older answer.
    seen: Mutex<HashMap<ModelId, Position>>,
    was_late: AtomicBool,
}

impl Freshness {
    /// What a request's headers ask for.
    ///
    /// # Errors
    /// When the position is none that a command answered.
    pub fn asked(watermarks: Watermarks, consistency: &Consistency) -> Result<Self, Failure> {
        let unreadable = |_| Failure::BadRequest("the position can't be read".to_owned());
        let given = consistency.min_position.as_ref();
        let min_position =
            given.map(|text| text.as_str().parse().map_err(unreadable)).transpose()?;
        let freshness = Self::any(watermarks);
        Ok(Self { min_position, allow_stale: consistency.allow_stale, ..freshness })
    }

    /// Whatever the models have is fresh enough.
    pub fn any(watermarks: Watermarks) -> Self {
        Self {
            watermarks,
            min_position: None,
            allow_stale: false,
            deadline: Instant::now() + FRESHNESS_TIME_MAX,
            seen: Mutex::default(),
            was_late: AtomicBool::new(false),
        }
    }

    /// Returns when the model is fresh enough to be read.
    ///
    /// # Errors
    /// When it does not get there in time, unless an older answer is welcome; whatever is welcome,
    /// at once when it is of another log, and soon when nobody comes to look at that.
    pub async fn reach(&self, model: ModelId) -> Result<(), Failure> {
        self.watermarks.check_log(model, LOOK_TIME_MAX).await?;
        if let Some(position) = self.min_position {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.watermarks.wait_for(&[model], position, left).await {
                Ok(()) => {}
                Err(WaitError::NotYetVisible { .. }) if self.allow_stale => {}
                Err(error) => {
                    let was_late = matches!(error, WaitError::NotYetVisible { .. });
                    self.was_late.fetch_or(was_late, Ordering::Relaxed);
                    return Err(error.into());
                }
            }
        }
        if self.allow_stale && !self.seen().contains_key(&model) {
            // Now, and not when all is read: a model goes on while others are read.
            let position = self.watermarks.position(model).await.map_err(WaitError::from)?;
            let mut seen = self.seen();
            let least = seen.entry(model).or_insert(position);
            *least = position.min(*least);
        }
        Ok(())
    }

    /// Whether a model did not get there in time.
    pub fn was_late(&self) -> bool {
        self.was_late.load(Ordering::Relaxed)
    }

    /// How far all the models had come before they were read: the answer has everything up to
    /// here. Only for who takes an older answer.
    pub fn model_position(&self) -> Option<Position> {
        self.seen().values().min().copied()
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<ModelId, Position>> {
        self.seen.lock().expect("nobody panics while holding it")
    }
}
