//! A projection's script in an engine of its own, within bounds of memory and time.
//!
//! The time is the processor's: what else the machine does is not the script's fault.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rquickjs::context::EvalOptions;
use rquickjs::{
    Array, CatchResultExt, CaughtError, Context, Ctx, Function, Object, Persistent, Runtime,
};
use rustix::time::{ClockId, clock_gettime};

use super::event::{Emitted, Incoming, Outcome};
use super::shape::{Shape, told_category};
use crate::event::ContentType;
use crate::limits::{
    EMITS_MAX, EMITTED_BYTES_MAX, PROJECTION_STATE_BYTES_MAX, SCRIPT_COMPILE_MILLIS_MAX,
    SCRIPT_MEMORY_BYTES_MAX, SCRIPT_STACK_BYTES_MAX, SCRIPT_STEP_MILLIS_MAX,
};

/// What the script is given, and how it is asked.
const PRELUDE: &str = include_str!("prelude.js");

/// Longest reason of a failure that is kept, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// A script that has described itself.
pub(super) struct Script {
    // In this order they are let go: what was made in an engine before the engine.
    calls: Calls,
    context: Context,
    _runtime: Runtime,
    clock: Clock,
    shape: Shape,
    /// The partition whose state the engine holds.
    loaded: Option<String>,
    shares: bool,
}

/// What a script's time is measured by.
struct Clock {
    /// When the engine is to be interrupted.
    deadline: Rc<Cell<Option<Duration>>>,
    /// When the present step began, for those who look on from other threads.
    step: Arc<AtomicU64>,
}

/// Between two steps.
pub(super) const IDLE: u64 = u64::MAX;

#[derive(Clone)]
struct Calls {
    partition: Persistent<Function<'static>>,
    load: Persistent<Function<'static>>,
    step: Persistent<Function<'static>>,
}

/// The state of a partition that an engine is to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub state: Option<Arc<str>>,
    pub result: Option<Arc<str>>,
}

impl Stored {
    /// The state that all partitions share, of which no result is made.
    pub(super) fn shared(state: Arc<str>) -> Self {
        Self { state: Some(state), result: None }
    }
}

impl Script {
    /// Runs the script once, so that it describes itself; the error says why it can't.
    pub(super) fn new(
        projection: &str,
        source: &str,
        step: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let engine = |error: rquickjs::Error| format!("no engine for the script: {error}");
        let runtime = Runtime::new().map_err(engine)?;
        runtime.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX);
        runtime.set_max_stack_size(SCRIPT_STACK_BYTES_MAX);
        let deadline = Rc::new(Cell::new(None));
        let watched = Rc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            watched.get().is_some_and(|deadline| thread_time() >= deadline)
        })));
        let context = Context::full(&runtime).map_err(engine)?;
        let limit = Duration::from_millis(SCRIPT_COMPILE_MILLIS_MAX);
        let clock = Clock { deadline, step };
        let (name, source) = (projection.to_owned(), source.as_bytes().to_vec());
        let described = timed(&context, &clock, limit, |ctx| describe(&ctx, name, source));
        let (calls, shape) = described?;
        let shape: Shape = serde_json::from_str(&shape).map_err(|error| error.to_string())?;
        if let Some(problem) = shape.problem() {
            return Err(problem.to_owned());
        }
        Ok(Self { calls, context, _runtime: runtime, clock, shape, loaded: None, shares: false })
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    fn call<T>(
        &self,
        call: impl for<'js> FnOnce(Ctx<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, String> {
        let limit = Duration::from_millis(SCRIPT_STEP_MILLIS_MAX);
        timed(&self.context, &self.clock, limit, call)
    }

    /// The partition that the script's own function puts an event in; none leaves it out.
    pub(super) fn partition(&self, incoming: &Incoming) -> Result<Option<String>, String> {
        let function = self.calls.partition.clone();
        let found = self.call(|ctx| {
            let event = object(&ctx, incoming, "")?;
            function.restore(&ctx)?.call::<_, Option<String>>((event,))
        })?;
        Ok(found.filter(|partition| !partition.is_empty()))
    }

    /// Loads what the engine does not hold yet.
    fn load(
        &mut self,
        partition: &str,
        stored: Option<&Stored>,
        shared: Option<&str>,
    ) -> Result<(), String> {
        let state = (self.loaded.as_deref() != Some(partition))
            .then(|| stored.and_then(|stored| stored.state.clone()));
        let shared = (self.shape.bi_state && !self.shares).then(|| shared.map(str::to_owned));
        if state.is_none() && shared.is_none() {
            return Ok(());
        }
        self.loaded = None;
        let function = self.calls.load.clone();
        self.call(|ctx| {
            let value = |given: Option<Option<&str>>| match given {
                None => Ok(rquickjs::Value::new_undefined(ctx.clone())),
                Some(None) => Ok(rquickjs::Value::new_null(ctx.clone())),
                Some(Some(text)) => {
                    rquickjs::String::from_str(ctx.clone(), text).map(|it| it.into_value())
                }
            };
            let state = value(state.as_ref().map(Option::as_deref))?;
            let shared = value(shared.as_ref().map(Option::as_deref))?;
            function.restore(&ctx)?.call::<_, ()>((state, shared))
        })?;
        self.loaded = Some(partition.to_owned());
        self.shares = true;
        Ok(())
    }

    /// Handles an event; a partition that nothing is stored of is new.
    pub(super) fn step(
        &mut self,
        incoming: &Incoming,
        partition: &str,
        stored: Option<&Stored>,
        shared: Option<&str>,
    ) -> Result<Outcome, String> {
        self.load(partition, stored, shared)?;
        let is_new = stored.is_none() && !partition.is_empty();
        let function = self.calls.step.clone();
        let deleted = incoming.deleted.is_some().then(|| partition.to_owned());
        let outcome = self.call(|ctx| {
            let event = object(&ctx, incoming, partition)?;
            let told: Array = function.restore(&ctx)?.call((event, deleted, is_new))?;
            let emitted: Array = told.get(3)?;
            Ok(Outcome {
                state: told.get::<Option<String>>(0)?.map(Into::into),
                shared: told.get::<Option<String>>(1)?.map(Into::into),
                result: told.get::<Option<String>>(2)?.map(Into::into),
                emitted: emitted.iter().map(|one| read_emitted(&one?)).collect::<Result<_, _>>()?,
            })
        });
        let mut outcome = outcome.inspect_err(|_| self.loaded = None)?;
        if !self.shape.transforms {
            outcome.result = outcome.state.clone();
        }
        check(&outcome)?;
        Ok(outcome)
    }
}

/// How long this thread has had a processor.
fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Calls the engine, which is interrupted when that takes too long.
fn timed<T>(
    context: &Context,
    clock: &Clock,
    limit: Duration,
    call: impl for<'js> FnOnce(Ctx<'js>) -> rquickjs::Result<T>,
) -> Result<T, String> {
    let begun = thread_time();
    let until = begun + limit;
    clock.deadline.set(Some(until));
    clock.step.store(u64::try_from(begun.as_nanos()).unwrap_or(IDLE), Ordering::Relaxed);
    let told = context.with(|ctx| {
        let called = call(ctx.clone());
        called.catch(&ctx).map_err(|error| reason(&error))
    });
    clock.step.store(IDLE, Ordering::Relaxed);
    clock.deadline.set(None);
    told.map_err(|reason| match thread_time() >= until {
        true => format!("the script took more than {} ms: {reason}", limit.as_millis()),
        false => reason,
    })
}

fn describe(
    ctx: &Ctx<'_>,
    projection: String,
    source: Vec<u8>,
) -> rquickjs::Result<(Calls, String)> {
    let prelude: Function = ctx.eval(PRELUDE)?;
    let log = Function::new(ctx.clone(), move |said: String| {
        let said: String = said.chars().take(REASON_CHARS_MAX).collect();
        tracing::debug!(projection.name = projection, said, "a projection's script says");
    })?;
    let emits_max = u32::try_from(EMITS_MAX).unwrap_or(u32::MAX);
    let calls: Object = prelude.call((log, emits_max))?;
    // Scripts were written for engines that are not strict.
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some("script".to_owned());
    ctx.eval_with_options::<(), _>(source, options)?;
    let shape: String = calls.get::<_, Function>("seal")?.call(())?;
    let function =
        |name: &str| calls.get::<_, Function>(name).map(|function| Persistent::save(ctx, function));
    let calls = Calls {
        partition: function("partition")?,
        load: function("load")?,
        step: function("step")?,
    };
    Ok((calls, shape))
}

/// The event as scripts know it.
fn object<'js>(
    ctx: &Ctx<'js>,
    incoming: &Incoming,
    partition: &str,
) -> rquickjs::Result<Object<'js>> {
    let event = &incoming.event;
    let told = Object::new(ctx.clone())?;
    told.set("streamId", event.stream.as_str())?;
    #[expect(clippy::cast_precision_loss, reason = "the script's numbers are no others")]
    told.set("sequenceNumber", event.revision.get() as f64)?;
    told.set("eventType", event.event_type.as_str())?;
    told.set("eventId", event.id.to_string())?;
    told.set("isJson", event.content_type == ContentType::Json)?;
    told.set("bodyRaw", &*String::from_utf8_lossy(&event.data))?;
    told.set("metadataRaw", &*String::from_utf8_lossy(&event.metadata))?;
    if let Some(link) = &incoming.link {
        told.set("linkMetadataRaw", &*String::from_utf8_lossy(&link.metadata))?;
    }
    told.set("category", told_category(incoming.original().stream.as_str()))?;
    told.set("partition", partition)?;
    told.set("created", event.recorded_at.to_rfc3339())?;
    Ok(told)
}

fn read_emitted(told: &Array<'_>) -> rquickjs::Result<Emitted> {
    Ok(Emitted {
        stream: told.get(0)?,
        event_type: told.get(1)?,
        data: told.get(2)?,
        metadata: told.get(3)?,
        is_json: told.get(4)?,
    })
}

fn check(outcome: &Outcome) -> Result<(), String> {
    let size = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let largest = size(&outcome.state).max(size(&outcome.shared)).max(size(&outcome.result));
    if largest > PROJECTION_STATE_BYTES_MAX {
        return Err(format!(
            "a state of {largest} bytes is larger than {PROJECTION_STATE_BYTES_MAX}"
        ));
    }
    let emitted: usize = outcome.emitted.iter().map(Emitted::size).sum();
    if emitted > EMITTED_BYTES_MAX {
        return Err(format!("more than {EMITTED_BYTES_MAX} bytes are emitted for one event"));
    }
    Ok(())
}

/// What went wrong, in words, with the place in the script.
fn reason(error: &CaughtError<'_>) -> String {
    let told = match error {
        CaughtError::Error(error) => error.to_string(),
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            let stack = exception.stack().unwrap_or_default();
            match stack.lines().map(str::trim).find(|line| !line.is_empty()) {
                Some(place) => format!("{message} ({place})"),
                None => message,
            }
        }
        CaughtError::Value(value) => match value.as_string().map(rquickjs::String::to_string) {
            Some(Ok(text)) => text,
            _ => format!("the script threw {}", value.type_name()),
        },
    };
    told.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
