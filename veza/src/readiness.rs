//! Whether a process does what it is there for, as far as machines that route to it must know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Problem, ProblemType};
use event_store::{
    AppendError, EmbeddedStore, EventStore, ExpectedRevision, StoreError, StreamName,
};
use metrics::gauge;
use projections::{Checkpoint, ModelId, checkpoints, is_undefined};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::console::say;
use crate::disk_reserve::DiskReserve;

/// How long a part may take to answer before it counts as out of reach.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an answer holds: whoever asks more often asks no part again.
const ANSWER_LIFE: Duration = Duration::from_millis(250);

/// What is said of a disk on which commands are refused.
const DISK_SHORT: &str = "below its reserve";

/// How long models may be built before that is worth a line.
const QUIET_TIME: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// What is asked to know it.
pub struct Readiness {
    /// The store of events.
    pub store: Arc<dyn EventStore>,
    /// The same, where its log is written by this process.
    pub embedded: Option<Arc<EmbeddedStore>>,
    /// PostgreSQL, for roles that need it.
    pub pool: Option<PgPool>,
    /// The models that must have been built: those in PostgreSQL, where queries are answered.
    pub needed: Vec<ModelId>,
    /// Those whose absence degrades queries, and is told: engines outside PostgreSQL hold them.
    pub outside: Vec<ModelId>,
    /// Whether commands are carried out here: then the disks must have their reserve.
    pub takes_commands: bool,
    /// The sagas, where they run here.
    pub sagas: Option<AbortHandle>,
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
    parts: Value,
}

impl Readiness {
    /// To be asked of these parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        reserve: DiskReserve,
        draining: CancellationToken,
    ) -> Self {
        let (pool, sagas, last) = (None, None, Mutex::new(None));
        let (embedded, takes_commands) = (None, false);
        let (needed, outside) = (Vec::new(), Vec::new());
        Self {
            store,
            embedded,
            pool,
            needed,
            outside,
            takes_commands,
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
        let named = report.missing.iter().map(|(part, why)| format!("{part}: {why}"));
        let detail = named.collect::<Vec<_>>().join("; ");
        let problem = Problem::new(ProblemType::Unavailable).with_detail(detail);
        Err(problem.with("parts", report.parts).with_retry_after(ANSWER_TIME_MAX))
    }

    /// Returns once every model that is needed was built, however long the log is; whoever asks
    /// meanwhile is told that it is not ready.
    pub async fn models_built(&self) {
        let began = Instant::now();
        let mut told = false;
        let all_built = |rows: Vec<Checkpoint>| unbuilt(&self.needed, &rows).is_empty();
        while !self.models().await.is_some_and(|rows| rows.is_ok_and(all_built)) {
            if began.elapsed() > QUIET_TIME && !std::mem::replace(&mut told, true) {
                say("read models  being built from the log; not ready yet");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last report while it holds; else a new one, for all who wait for it.
    async fn fresh(&self) -> Report {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, report)) if at.elapsed() < ANSWER_LIFE => report.clone(),
            _ => {
                let report = self.look().await;
                *last = Some((Instant::now(), report.clone()));
                report
            }
        }
    }

    async fn look(&self) -> Report {
        let (store, models) = tokio::join!(self.store(), self.models());
        let mut parts = BTreeMap::new();
        let mut missing = Vec::new();
        let mut needed = |part, answer: Result<(), String>| {
            part_up(part, answer.is_ok());
            parts.insert(part, json!(answer.as_ref().map_or_else(String::as_str, |()| "ok")));
            missing.extend(answer.err().map(|why| (part, why)));
        };
        needed("event_store", store);
        match models {
            None => {}
            Some(Err(why)) => needed("database", Err(why)),
            Some(Ok(rows)) => {
                needed("database", Ok(()));
                let missing = unbuilt(&self.needed, &rows);
                if !missing.is_empty() {
                    needed("read_models", Err(format!("not built yet: {}", missing.join(", "))));
                }
                let degraded = unbuilt(&self.outside, &rows);
                if !degraded.is_empty() {
                    let why = format!("not built yet: {}", degraded.join(", "));
                    parts.insert("degraded", json!(why));
                }
                rows.iter().for_each(measure);
                let states = rows.iter().map(|row| (name(row), row.faring()));
                parts.insert("projections", json!(states.collect::<BTreeMap<_, _>>()));
            }
        }
        if let Some(sagas) = &self.sagas {
            let state = if sagas.is_finished() { "ended" } else { "running" };
            parts.insert("sagas", json!(state));
        }
        let rot = self.embedded.as_ref().map(|store| store.rot()).unwrap_or_default();
        if let Some(first) = rot.first() {
            // What is whole is served, so this takes nobody out of service.
            let why = format!("degraded: {} segments have rotted; {}", rot.len(), first.what);
            parts.insert("event_log", json!(why));
        }
        let is_full = self.embedded.as_ref().is_some_and(|store| store.is_full());
        let disk = match (is_full, self.reserve.is_short()) {
            (true, _) => "full",
            (false, true) => DISK_SHORT,
            (false, false) => "ok",
        };
        parts.insert("disk", json!(disk));
        part_up("disk", disk == "ok");
        if disk != "ok" && self.takes_commands {
            missing.push(("disk", disk.to_owned()));
        }
        Report { missing, parts: json!(parts) }
    }

    async fn store(&self) -> Result<(), String> {
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
            Ok(Err(AppendError::Store(StoreError::Poisoned { reason }))) => {
                tracing::warn!(%reason, "not ready: the event store stopped writing");
                Err("it stopped writing after a failure; restart to recover".to_owned())
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the event store");
                Err("out of reach".to_owned())
            }
            Err(_) => {
                tracing::warn!("not ready: the event store does not answer");
                Err("no answer".to_owned())
            }
        }
    }

    /// How each projection fares; none for roles without a database.
    async fn models(&self) -> Option<Result<Vec<Checkpoint>, String>> {
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
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the database");
                Err("out of reach".to_owned())
            }
            Err(_) => {
                tracing::warn!("not ready: the database does not answer");
                Err("no answer".to_owned())
            }
        })
    }
}

fn part_up(part: &'static str, is_up: bool) {
    gauge!("veza_part_up", "part" => part).set(if is_up { 1.0 } else { 0.0 });
}

/// Which of the models nobody has built yet.
fn unbuilt(models: &[ModelId], rows: &[Checkpoint]) -> Vec<String> {
    let built: BTreeSet<String> = rows.iter().filter(|row| row.built).map(name).collect();
    models.iter().map(ModelId::to_string).filter(|model| !built.contains(model)).collect()
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
