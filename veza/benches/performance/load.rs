//! Load: callers that ask as fast as they are answered, or at a pace that waits for nobody.
//!
//! At a pace, a call's latency counts from the moment when it was due, not from when a caller was
//! free to make it: a server that stalls does not hide the calls that waited for it. Loads run on
//! one thread of their own, so that they cost the machine little and cost it always the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::scale::Span;

/// How often the pace looks at the clock: by so much may a call be late, which its latency tells.
pub const PACE_STEP: Duration = Duration::from_micros(200);

/// How much longer than planned a paced load may take before it is given up.
const OVERTIME_MAX: Duration = Duration::from_secs(20);

/// Latencies beyond this count as this.
const LATENCY_MAX: Duration = Duration::from_secs(100);

/// One call that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number among all calls of the load.
    pub number: u64,
    /// When it was due.
    pub due: Instant,
}

/// Who makes calls, one after the other.
pub trait Caller: Send + 'static {
    /// Makes one and checks its answer.
    fn call(&mut self, call: Call) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Latencies, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).expect("some seconds");
        Self(Histogram::new_with_bounds(1, max, 3).expect("the bounds are in order"))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in what others recorded.
    pub fn add(&mut self, others: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&others.0)?)
    }

    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// This part of all calls took no longer, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// What a load has shown.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Calls a second.
    pub rate: f64,
    pub latencies: Latencies,
}

/// Runs the work on a thread that does nothing else.
pub async fn on_a_thread<T, F>(work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (sender, done) = oneshot::channel();
    thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(work()),
            Err(error) => Err(error.into()),
        };
        // Whoever waited may have been interrupted.
        drop(sender.send(outcome));
    })?;
    done.await.context("the load broke off")?
}

/// Every caller makes its next call as soon as the last is answered.
pub async fn closed_loop<C: Caller>(callers: Vec<C>, span: Span) -> anyhow::Result<Measured> {
    let numbers = Arc::new(AtomicU64::new(0));
    let counted_from = Instant::now() + span.warm_up;
    let until = counted_from + span.measured;
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let numbers = Arc::clone(&numbers);
        tasks.spawn(async move {
            let mut latencies = Latencies::new();
            loop {
                let due = Instant::now();
                if due >= until {
                    return anyhow::Ok(latencies);
                }
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                caller.call(Call { number, due }).await?;
                let answered = Instant::now();
                if answered >= counted_from && answered <= until {
                    latencies.record(answered - due);
                }
            }
        });
    }
    let latencies = joined(tasks).await?;
    ensure!(latencies.len() > 0, "no call was answered in {:?}", span.measured);
    Ok(Measured { rate: latencies.len() as f64 / span.measured.as_secs_f64(), latencies })
}

/// So many calls become due each second, whether callers are free or not.
pub async fn paced<C: Caller>(callers: Vec<C>, rate: f64, span: Span) -> anyhow::Result<Measured> {
    let (unmeasured, total) = span.calls(rate);
    let numbers = Arc::new(AtomicU64::new(0));
    let due_calls = Arc::new(Semaphore::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let (numbers, due_calls) = (Arc::clone(&numbers), Arc::clone(&due_calls));
        tasks.spawn(async move {
            let mut latencies = Latencies::new();
            loop {
                // Permits are given in the order in which they were asked for, as are numbers.
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return anyhow::Ok(latencies);
                }
                due_calls.acquire().await?.forget();
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                caller.call(Call { number, due }).await?;
                if number >= unmeasured {
                    latencies.record(due.elapsed());
                }
            }
        });
    }
    let clock = Arc::clone(&due_calls);
    thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || pace(began, rate, total, &clock))?;
    let limit = span.warm_up + span.measured + OVERTIME_MAX;
    let latencies = tokio::time::timeout(limit, joined(tasks)).await;
    due_calls.close();
    let latencies =
        latencies.with_context(|| format!("{rate:.0} calls a second are too many"))??;
    ensure!(latencies.len() == total - unmeasured, "every call is counted");
    Ok(Measured { rate, latencies })
}

/// Lets calls go as they become due. It polls the clock, as timers of the runtime are too coarse.
fn pace(began: Instant, rate: f64, total: u64, due_calls: &Semaphore) {
    let mut released = 0;
    while released < total && !due_calls.is_closed() {
        let due = (began.elapsed().as_secs_f64() * rate) as u64 + 1;
        let due = due.min(total);
        if due > released {
            due_calls.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
            released = due;
        }
        thread::sleep(PACE_STEP); // poll
    }
}

async fn joined(mut tasks: JoinSet<anyhow::Result<Latencies>>) -> anyhow::Result<Latencies> {
    let mut all = Latencies::new();
    while let Some(done) = tasks.join_next().await {
        all.add(&done.context("a caller broke")??)?;
    }
    Ok(all)
}
