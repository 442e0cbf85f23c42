//! Whether a process does what it is there for, as far as machines that route to it must know.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Problem, ProblemType};
use event_store::{
    AppendError, EmbeddedStore, EventStore, ExpectedRevision, StoreError, StreamName,
};
use metrics::gauge;
use projections::{
    Checkpoint, ModelId, WaitError, Watermarks, checkpoints, is_undefined, with_causes,
};
use sagas::orchestrator::Held;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::account_watch::AccountWatch;
use crate::console::say;
use crate::disk_reserve::DiskReserve;
use crate::engine_watch::EngineWatch;
use crate::log_guard::{LogGuard, WhoseLog};
use crate::personal;
use crate::saga_role::{Faring, SagaWatch};

/// How long a part may take to answer before it counts as out of reach.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an answer holds: whoever asks more often asks no part again.
const ANSWER_LIFE: Duration = Duration::from_millis(250);

/// The models in PostgreSQL, as a part.
const READ_MODELS: &str = "read_models";

/// What is said of a disk on which commands are refused.
const DISK_SHORT: &str = "below its reserve";

/// How long models may be built, or waited for, before that is worth a line.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// How often it is told how far they are.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How often a process that starts looks whether it is ready.
const POLL: Duration = Duration::from_millis(50);
/// The same once it has waited for long: an operator mends some things, and may take days.
const LONG_POLL: Duration = Duration::from_millis(500);
/// How often a process that serves looks whether it still is.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What is asked to know it.
pub struct Readiness {
    /// The store of events.
    pub store: Arc<dyn EventStore>,
    /// The same, where its log is written by this process.
    pub embedded: Option<Arc<EmbeddedStore>>,
    /// The keys of people, for roles that read about them.
    pub people: Option<personal::Watch>,
    /// PostgreSQL, for roles that need it.
    pub pool: Option<PgPool>,
    /// How far the models have come, where queries are answered.
    pub watermarks: Option<Watermarks>,
    /// The models that must have been built: those in PostgreSQL, where queries are answered.
    pub needed: Vec<ModelId>,
    /// Those whose absence degrades queries, and is told: engines outside PostgreSQL hold them.
    pub outside: Vec<ModelId>,
    /// All that has a checkpoint by the settings. What else has one is of other settings, and is
    /// told of only while somebody runs it.
    pub followers: Vec<ModelId>,
    /// The engines outside PostgreSQL that the process has to do with.
    pub engines: Option<EngineWatch>,
    /// Whether the log may be written, where commands are carried out: then the disks must have
    /// their reserve, too.
    pub log: Option<LogGuard>,
    /// Whether people have their accounts, where commands are carried out.
    pub accounts: Option<AccountWatch>,
    /// The sagas, where this process runs them or stands by.
    pub sagas: Option<SagaWatch>,
    /// The disks.
    pub reserve: DiskReserve,
    /// Cancelled when the process begins to drain.
    pub draining: CancellationToken,
    last: Mutex<Option<(Instant, Report)>>,
}

/// What was found.
#[derive(Clone, Debug)]
struct Report {
    /// Needed parts that do not serve, with a word why.
    missing: Vec<(&'static str, String)>,
    /// What they answered, for operators alone.
    causes: Vec<String>,
    /// Whether that is all because models are not there yet.
    is_starting: bool,
    parts: Value,
}

/// A part that does not answer as it should.
struct Away {
    /// What whoever asks is told.
    why: &'static str,
    /// What it answered, if anything.
    cause: Option<String>,
}

impl Away {
    const SILENT: Self = Self { why: "no answer", cause: None };

    fn out_of_reach(cause: &(dyn Error + 'static)) -> Self {
        Self { why: "out of reach", cause: Some(with_causes(cause)) }
    }
}

/// Why queries can't be answered from the models.
enum Unserved {
    /// They will be there by themselves.
    Starting(String),
    /// They are of another log.
    AnotherLog(String),
}

impl Readiness {
    /// To be asked of these parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        reserve: DiskReserve,
        draining: CancellationToken,
    ) -> Self {
        let (pool, accounts, sagas, last) = (None, None, None, Mutex::new(None));
        let (embedded, people, watermarks, log) = (None, None, None, None);
        let (needed, outside, followers, engines) = (Vec::new(), Vec::new(), Vec::new(), None);
        Self {
            store,
            embedded,
            people,
            pool,
            watermarks,
            needed,
            outside,
            followers,
            engines,
            log,
            accounts,
            sagas,
            reserve,
            draining,
            last,
        }
    }

    /// Looks at the parts for the metrics of them.
    pub async fn observe(&self) {
        self.fresh().await;
    }

    /// The state of every part; a problem that names those which are needed and do not serve.
    pub async fn report(&self) -> Result<Value, Problem> {
        if self.draining.is_cancelled() {
            let problem = Problem::new(ProblemType::Unavailable).with_detail("it is stopping");
            return Err(problem.with("parts", json!({ "process": "draining" })));
        }
        let report = self.fresh().await;
        if report.missing.is_empty() {
            return Ok(json!({ "status": "ready", "parts": report.parts }));
        }
        let problem = Problem::new(ProblemType::Unavailable).with_detail(report.why());
        Err(problem.with("parts", report.parts).with_retry_after(ANSWER_TIME_MAX))
    }

    /// Says on the console that this process is ready, as `/readyz` does, and until then why it is
    /// not, and how far models are that are built. From then on it is logged whenever that ends,
    /// and when it is ready again: once an outage, however many requests meet it.
    pub async fn tell(&self, next_step: &str) {
        self.tell_start(next_step).await;
        let mut told = BTreeSet::new();
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            let report = self.fresh().await;
            let missing: BTreeSet<&str> = report.missing.iter().map(|(part, _)| *part).collect();
            if missing.is_empty() {
                if !std::mem::take(&mut told).is_empty() {
                    tracing::info!("ready again");
                }
            } else if !missing.is_subset(&told) {
                let cause = (!report.causes.is_empty()).then(|| report.causes.join("; "));
                tracing::warn!(cause, "not ready: {}", report.why());
            }
            told.extend(missing);
        }
    }

    async fn tell_start(&self, next_step: &str) {
        let began = Instant::now();
        let (mut told_why, mut told_progress) = (false, None::<Instant>);
        loop {
            let report = self.renewed().await;
            if report.missing.is_empty() {
                let now = if told_why || told_progress.is_some() { " now" } else { "" };
                return say(format_args!("ready{now}. {next_step}"));
            }
            if !report.is_starting && !std::mem::replace(&mut told_why, true) {
                say(format_args!("not ready. {}", report.why()));
            }
            let is_due = told_progress
                .map_or(began.elapsed() > QUIET_TIME, |told| told.elapsed() > TOLD_EVERY);
            if report.is_starting && is_due {
                told_progress = Some(Instant::now());
                say(format_args!("not ready yet. {}", report.why()));
            }
            let is_early = report.is_starting && began.elapsed() < QUIET_TIME;
            tokio::time::sleep(if is_early { POLL } else { LONG_POLL }).await;
        }
    }

    /// Whether the models that are needed can be read: all were built, and are of this log by what
    /// this process itself has seen, or whoever runs them; a row alone may tell what a process
    /// before it saw, which may have had another log.
    async fn read_models(&self, rows: &[Checkpoint]) -> Result<(), Unserved> {
        let missing = unbuilt(&self.needed, rows);
        if !missing.is_empty() {
            let built = self.needed.len() - missing.len();
            let all = self.needed.len();
            let missing = self.not_built(&missing);
            return Err(Unserved::Starting(format!("{missing} ({built} of {all} are)")));
        }
        let Some(watermarks) = &self.watermarks else { return Ok(()) };
        let (mut unseen, mut foreign) = (Vec::new(), Vec::new());
        for &model in &self.needed {
            let is_row_foreign = of(&[model], rows).any(Checkpoint::is_of_another_log);
            match watermarks.check_log(model, Duration::ZERO).await {
                Ok(()) if !is_row_foreign => {}
                Err(WaitError::AnotherLog { .. }) => foreign.push(model.name),
                _ => unseen.push(model.to_string()),
            }
        }
        if !unseen.is_empty() {
            return Err(Unserved::Starting(format!("not looked at yet: {}", unseen.join(", "))));
        }
        if !foreign.is_empty() {
            return Err(Unserved::AnotherLog(of_another_log(&foreign)));
        }
        Ok(())
    }

    /// Names models that were not built, and how far they are where this process builds them.
    fn not_built(&self, missing: &[ModelId]) -> String {
        let build = |model| self.watermarks.as_ref().and_then(|marks| marks.build(model));
        let named = missing.iter().map(|&model| match build(model) {
            Some(build) => format!("{model} at {:.0} %", build.share() * 100.0),
            None => model.to_string(),
        });
        format!("not built yet: {}", named.collect::<Vec<_>>().join(", "))
    }

    /// The last report while it holds; else a new one, for all who wait for it.
    async fn fresh(&self) -> Report {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, report)) if at.elapsed() < ANSWER_LIFE => report.clone(),
            _ => self.look_anew(&mut last).await,
        }
    }

    /// A new report, which others are given while it holds.
    async fn renewed(&self) -> Report {
        self.look_anew(&mut *self.last.lock().await).await
    }

    async fn look_anew(&self, last: &mut Option<(Instant, Report)>) -> Report {
        let report = self.look().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn look(&self) -> Report {
        let (store, models) = tokio::join!(self.store(), self.models());
        let mut parts = BTreeMap::new();
        let (mut missing, mut degraded) = (Vec::new(), self.held_up());
        let away = store.as_ref().err().into_iter();
        let away = away.chain(models.as_ref().and_then(|models| models.as_ref().err()));
        let causes = away.filter_map(|away| away.cause.clone()).collect();
        let read_models = match (&store, &models) {
            (Ok(()), Some(Ok(rows))) => self.read_models(rows).await,
            _ => Ok(()),
        };
        let are_starting = matches!(read_models, Err(Unserved::Starting(_)));
        degraded.extend(self.rotten());
        degraded.extend(self.unreadable());
        degraded.extend(self.engines.iter().flat_map(EngineWatch::told));
        degraded.extend(self.accounts.as_ref().and_then(AccountWatch::told));
        let mut needed = |part, answer: Result<(), String>| {
            part_up(part, answer.is_ok());
            parts.insert(part, json!(answer.as_ref().map_or_else(String::as_str, |()| "ok")));
            missing.extend(answer.err().map(|why| (part, why)));
        };
        needed("event_store", store.map_err(|away| away.why.to_owned()));
        if let Some(people) = &self.people {
            needed("keys_of_people", people.are_there());
        }
        if let Some(log) = &self.log {
            needed("log", theirs(&log.whose()));
        }
        match models {
            None => {}
            Some(Err(away)) => needed("database", Err(away.why.to_owned())),
            Some(Ok(rows)) => {
                needed("database", Ok(()));
                match read_models {
                    Ok(()) if self.needed.is_empty() => {}
                    Ok(()) => needed(READ_MODELS, Ok(())),
                    Err(Unserved::Starting(why) | Unserved::AnotherLog(why)) => {
                        needed(READ_MODELS, Err(why));
                    }
                }
                let foreign = of(&self.outside, &rows).filter(|row| row.is_of_another_log());
                let foreign: Vec<&str> = foreign.map(|row| row.name.as_str()).collect();
                if !foreign.is_empty() {
                    degraded.push(of_another_log(&foreign));
                }
                let missing = unbuilt(&self.outside, &rows);
                if !missing.is_empty() {
                    degraded.push(self.not_built(&missing));
                }
                rows.iter().for_each(measure);
                let states = rows.iter().map(|row| (name(row), row.faring()));
                parts.insert("projections", json!(states.collect::<BTreeMap<_, _>>()));
            }
        }
        if let Some(sagas) = &self.sagas {
            parts.insert("sagas", json!(sagas.told()));
        }
        if !degraded.is_empty() {
            parts.insert("degraded", json!(degraded.join("; ")));
        }
        let disk = self.disk();
        parts.insert("disk", json!(disk));
        part_up("disk", disk == "ok");
        if disk != "ok" && self.log.is_some() {
            missing.push(("disk", disk.to_owned()));
        }
        let is_starting = are_starting && missing.iter().all(|(part, _)| *part == READ_MODELS);
        Report { missing, causes, is_starting, parts: json!(parts) }
    }

    fn disk(&self) -> &'static str {
        let is_full = self.embedded.as_ref().is_some_and(|store| store.is_full());
        match (is_full, self.reserve.is_short()) {
            (true, _) => "full",
            (false, true) => DISK_SHORT,
            (false, false) => "ok",
        }
    }

    /// What sagas can't go on with by themselves.
    fn held_up(&self) -> Vec<String> {
        let mut degraded = Vec::new();
        let Some(sagas) = &self.sagas else { return degraded };
        let Held { paused, outside } = match sagas.faring() {
            Some(Faring::Running(held)) => *held.borrow(),
            Some(Faring::Waiting | Faring::StandingBy) => Held::default(),
            None => {
                degraded.push("no sagas are run: the log says why".to_owned());
                return degraded;
            }
        };
        if paused > 0 {
            degraded.push(format!(
                "{paused} runs of sagas wait for an operator: `veza-replay sagas --status paused`"
            ));
        }
        if outside > 0 {
            degraded.push(format!("{outside} runs of sagas wait for somebody who is away"));
        }
        degraded
    }

    /// What is damaged in sealed segments of the log; all else of it is served.
    fn rotten(&self) -> Option<String> {
        let rot = self.embedded.as_ref()?.rot();
        let first = rot.first()?;
        let count = match rot.len() {
            1 => "a segment of the log has".to_owned(),
            several => format!("{several} segments of the log have"),
        };
        Some(format!("{count} rotted: {}", first.what))
    }

    /// What of people no key opens any more; the models park it, and all else is served.
    fn unreadable(&self) -> Option<String> {
        let people = self.people.as_ref()?;
        gauge!("veza_unreadable_personal_fields").set(people.unreadable() as f64);
        people.told()
    }

    async fn store(&self) -> Result<(), Away> {
        let asked = async {
            if self.embedded.is_some() {
                // Reads may go on when its writer has stopped, so the writer is asked: an append
                // of no events waits for its turn like others, and writes nothing.
                let nothing = StreamName::new("$readiness").expect("it is a name");
                let asked = self.store.append(&nothing, ExpectedRevision::Any, Vec::new());
                asked.await?;
            }
            self.store.head().await.map_err(AppendError::from)
        };
        match timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Ok(head)) => {
                gauge!("veza_log_head_position").set(head.get() as f64);
                Ok(())
            }
            Ok(Err(AppendError::Store(StoreError::Poisoned { reason }))) => Err(Away {
                why: "it stopped writing after a failure; restart to recover",
                cause: Some(reason.to_string()),
            }),
            Ok(Err(error)) => Err(Away::out_of_reach(&error)),
            Err(_) => Err(Away::SILENT),
        }
    }

    /// How each projection fares; none for roles without a database.
    async fn models(&self) -> Option<Result<Vec<Checkpoint>, Away>> {
        let pool = self.pool.as_ref()?;
        let asked = async {
            sqlx::query("SELECT 1").execute(pool).await?;
            match checkpoints(pool).await {
                // The projector has never run: then there are no models either.
                Err(error) if is_undefined(&error) => Ok(Vec::new()),
                rows => rows,
            }
        };
        Some(match timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Ok(mut rows)) => {
                rows.retain(|row| row.is_run() || of(&self.followers, [row]).next().is_some());
                Ok(rows)
            }
            Ok(Err(error)) => Err(Away::out_of_reach(&error)),
            Err(_) => Err(Away::SILENT),
        })
    }
}

/// The rows of these models.
fn of<'r>(
    models: &[ModelId],
    rows: impl IntoIterator<Item = &'r Checkpoint>,
) -> impl Iterator<Item = &'r Checkpoint> {
    let names: BTreeSet<String> = models.iter().map(ModelId::to_string).collect();
    rows.into_iter().filter(move |row| names.contains(&name(row)))
}

impl Report {
    /// What does not serve, and why.
    fn why(&self) -> String {
        let named = self.missing.iter().map(|(part, why)| format!("{part}: {why}"));
        named.collect::<Vec<_>>().join("; ")
    }
}

/// That these models can't be served because the log is not theirs, and what to do.
fn of_another_log(foreign: &[&str]) -> String {
    let foreign = foreign.join(" ");
    format!(
        "of another log than this one: put theirs back, or have them made anew by `veza-replay \
         rebuild {foreign}`"
    )
}

/// The same, where commands alone are concerned.
fn theirs(log: &WhoseLog) -> Result<(), String> {
    let why = match log {
        WhoseLog::Theirs => return Ok(()),
        WhoseLog::Another(_) => {
            "not the one that the read models were made from: put that one back, or have them made \
             anew by `veza-replay rebuild --all`"
        }
        WhoseLog::Exchanged => {
            "not the one that was there, whose last event it lacks: put that one back, or restart \
             this process if this is the right one"
        }
        WhoseLog::Unknown => "not looked at yet",
    };
    Err(why.to_owned())
}

fn part_up(part: &'static str, is_up: bool) {
    gauge!("veza_part_up", "part" => part).set(if is_up { 1.0 } else { 0.0 });
}

/// Which of the models nobody has built yet.
fn unbuilt(models: &[ModelId], rows: &[Checkpoint]) -> Vec<ModelId> {
    let built: BTreeSet<String> = rows.iter().filter(|row| row.built).map(name).collect();
    models.iter().copied().filter(|model| !built.contains(&model.to_string())).collect()
}

/// Counts how far a projection is, and what it could not take.
fn measure(row: &Checkpoint) {
    let model = name(row);
    gauge!("veza_parked_events", "model" => model.clone()).set(row.parked_events as f64);
    gauge!("veza_model_position", "model" => model).set(row.position.get() as f64);
}

fn name(row: &Checkpoint) -> String {
    format!("{}_v{}", row.name, row.version)
}
