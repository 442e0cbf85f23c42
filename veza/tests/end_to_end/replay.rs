//! `veza-replay` as an operator uses it: beside a running platform, and on its folder at rest.

mod backups;
mod locked;
mod meddling;
mod models;
mod moments;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use models::Dump;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::acts;
use crate::crowd::Crowd;
use crate::platform::{Platform, eventually};

const PEOPLE: usize = 4;

/// What a command ended with, and said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    async fn by(mut command: Command) -> Self {
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code(), out, err }
    }

    /// Its documents, when it went well.
    fn documents(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What it says is wrong, when it found something bad.
    fn wrong(&self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        let document: Value = serde_json::from_str(&self.out).unwrap();
        assert_eq!(document["sound"], false, "{self:?}");
        document["wrong"].as_str().unwrap().to_owned()
    }
}

/// The keys of people go their own way: no backup of the log has them.
fn put_keys_back(platform: &Platform, data: &str) {
    let (from, to) = (platform.data().join("keys/subjects"), Path::new(data).join("keys/subjects"));
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn replay(platform: &Platform, args: &[&str]) -> Said {
    let mut command = platform.replay_command(args);
    command.arg("--json");
    Said::by(command).await
}

async fn busy_platform() -> (Platform, Crowd) {
    busy_platform_with(&[]).await
}

/// The same with more settings.
async fn busy_platform_with(more: &[(&'static str, &'static str)]) -> (Platform, Crowd) {
    let settings = [&[("VEZA_RATE_LIMITS", "off"), ("VEZA_LOG", "warn")], more].concat();
    let platform = Platform::start_with(&settings).await;
    let crowd = Crowd::gather(&platform, PEOPLE, 7).await;
    crowd.begin();
    eventually("something has happened", async || crowd.answered() > 200).await;
    (platform, crowd)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilt_models_equal_the_live_ones_while_commands_flow() {
    let (platform, crowd) = busy_platform().await;
    crowd.pause().await;
    models::at_rest(&platform).await;
    let live = Dump::of(&platform).await;
    assert!(live.rows() > 200, "there is too little to compare");
    let names: Vec<String> = live.models().map(str::to_owned).collect();
    assert_eq!(names.len(), 9, "{names:?}");

    let rebuilt = replay(&platform, &["rebuild", "--all"]).await.documents();
    assert_eq!(rebuilt.len(), names.len());
    assert!(rebuilt.iter().all(|one| one["events_per_second"].as_f64() > Some(0.0)));
    assert_eq!(Dump::of(&platform).await, live, "rebuilt at rest");

    // A model that was spoilt is healed; the others are left alone, while commands flow.
    let pool = models::pool(&platform).await;
    let spoil = "UPDATE profiles_v1.profiles SET display_name = 'spoilt'";
    sqlx::query(spoil).execute(&pool).await.unwrap();
    crowd.begin();
    let answered = crowd.answered();
    let mut rounds = 0;
    while rounds < 2 || crowd.answered() <= answered + 100 {
        assert!(rounds < 20, "commands do not flow");
        for name in &names {
            replay(&platform, &["rebuild", name]).await.documents();
        }
        rounds += 1;
    }
    crowd.pause().await;
    models::at_rest(&platform).await;
    let flowed = Dump::of(&platform).await;
    assert_ne!(flowed, live);
    replay(&platform, &["rebuild", "--all"]).await.documents();
    assert_eq!(Dump::of(&platform).await, flowed, "rebuilt while commands flowed");

    let listed = replay(&platform, &["projections"]).await.documents();
    assert_eq!(listed.len(), names.len());
    for model in listed {
        assert_eq!((&model["status"], &model["lag_events"]), (&"running".into(), &0.into()));
    }
    assert_eq!(replay(&platform, &["parked"]).await.documents(), Vec::<Value>::new());
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_given_up_or_killed_leaves_the_live_model() {
    let (platform, crowd) = busy_platform().await;
    crowd.pause().await;
    models::at_rest(&platform).await;
    let live = Dump::of(&platform).await;
    let pool = models::pool(&platform).await;

    // Whoever holds the checkpoint keeps the shadow, whole by then, from being swapped in.
    let mut holder = pool.acquire().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM projection.checkpoints WHERE name = 'orders' FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    for signal in ["-INT", "-KILL"] {
        let mut command = platform.replay_command(&["rebuild", "orders"]);
        let mut under_way = command.stderr(Stdio::piped()).spawn().unwrap();
        eventually("it is under way", async || models::shadows(&pool).await == 1).await;
        let second = replay(&platform, &["rebuild", "orders"]).await;
        assert_eq!(second.code, Some(1), "{second:?}");
        assert_eq!(second.err, "veza-replay: orders_v2 is being rebuilt already\n");

        let pid = under_way.id().unwrap().to_string();
        Command::new("kill").args([signal, &pid]).status().await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), under_way.wait()).await;
        let code = ended.expect("it ends").unwrap().code();
        if signal == "-INT" {
            assert_eq!(code, Some(1));
            let mut said = String::new();
            under_way.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
            assert!(said.ends_with("veza-replay: the rebuild was cancelled\n"), "{said}");
            assert_eq!(models::shadows(&pool).await, 0, "what was built is dropped");
        }
        assert_eq!(Dump::of(&platform).await, live, "after {signal}");
    }
    held.rollback().await.unwrap();
    drop(holder);
    // The server may take a moment to see that the killed one is gone.
    eventually("a rerun works", async || {
        replay(&platform, &["rebuild", "orders"]).await.code == Some(0)
    })
    .await;
    assert_eq!((Dump::of(&platform).await, models::shadows(&pool).await), (live, 0));
    pool.close().await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_is_told_as_it_was_running_and_at_rest() {
    let (platform, crowd) = busy_platform().await;
    crowd.pause().await;
    models::at_rest(&platform).await;
    let live = Dump::of(&platform).await;
    let running = moments::told(&platform).await;
    let data = platform.stop_and_keep().await;
    assert_eq!(moments::told(&data).await, running, "at rest it is told otherwise");

    let rebuilt = replay(&data, &["rebuild", "--all"]).await.documents();
    assert_eq!(rebuilt.len(), 9);
    // Status and lag of a platform that is down.
    let listed = replay(&data, &["projections"]).await.documents();
    assert!(listed.iter().all(|model| model["status"] == "stopped"), "{listed:?}");
    assert!(!data.data().join("postgres/data/postmaster.pid").exists(), "PostgreSQL is left");
    let mut data = data;
    data.restart().await;
    models::at_rest(&data).await;
    assert_eq!(Dump::of(&data).await, live, "rebuilt at rest");
    data.stop().await;
}

/// What is said when nobody answers where the store should be.
const REFUSED: &str =
    "veza-replay: can't reach the event store at 127.0.0.1:1: connection refused\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_as_it_says_it_does() {
    let (platform, crowd) = busy_platform().await;
    crowd.pause().await;
    let nobody = tempfile::tempdir().unwrap();
    let nobody = nobody.path().to_str().unwrap();
    let closed = "esdb://127.0.0.1:1?tls=false";
    let tls = platform.run_file()["event_store"].as_str().unwrap().to_owned();
    let tls = format!("esdb://{tls}?tls=true");
    let cases: &[(i32, &str, &[&str])] = &[
        (0, "", &["verify"]),
        (0, "", &["streams", "--prefix", "order-"]),
        (0, "", &["events", "--at", "2999-01-01T00:00:00Z", "--limit", "3"]),
        (0, "", &["events", "--at", "1999-01-01T00:00:00Z"]),
        (0, "", &["sagas", "--limit", "3"]),
        (1, "stream order-1 is not there", &["state", "order-1"]),
        (1, "stream order-1 is not there", &["events", "order-1"]),
        (1, "stream order-1 is not there", &["state", "order-1", "--at", "7"]),
        (1, "saga saga-checkout-1 is not there", &["resume", "saga-checkout-1"]),
        (1, "nothing of key x is parked in orders_v2", &["retry", "orders", "x"]),
        (0, "nothing is parked in orders_v2", &["retry", "orders", "--all"]),
        (0, "no run that is paused was found", &["resume", "--all"]),
        (2, "required arguments were not provided", &["retry", "orders"]),
        (
            2,
            "no aggregate has streams of category sagacheckpoint",
            &["state", "sagacheckpoint-platform"],
        ),
        (2, "is neither a position (4711) nor a time", &["state", "order-1", "--at", "yesterday"]),
        (2, "is neither a position (4711) nor a time", &["events", "--at", "2026-01-31"]),
        (2, "the name is empty", &["events", ""]),
        (2, "it is no run of a saga", &["resume", "user-1"]),
        (2, "<STREAM|--all>", &["resume"]),
        (2, "<MODEL>...", &["rebuild"]),
        (2, "there is no read model \"moods\"; there are profiles, tracks,", &["rebuild", "moods"]),
        (2, "unrecognized subcommand", &["rewrite"]),
        (2, "the connection string is not usable", &["verify", "--store", "nonsense"]),
        (2, "--database-url is not", &["projections", "--database-url", "mysql://a/b"]),
        (3, REFUSED, &["verify", "--store", closed]),
        (3, REFUSED, &["state", "order-1", "--store", closed]),
        (3, "no connection was made: is tls= right for this port?", &["verify", "--store", &tls]),
        (
            3,
            "the database can't be reached",
            &["projections", "--database-url", "postgres://veza@127.0.0.1:1/veza"],
        ),
        (3, REFUSED, &["resume", "saga-checkout-1", "--store", closed]),
        (2, "there is no event store in", &["verify", "--data", nobody]),
        (2, "there is no event store in", &["backup", "--data", nobody, "--to", nobody]),
        (2, "there is no event store in", &["inspect", "--data", nobody]),
    ];
    for (code, words, args) in cases {
        let said = Said::by(platform.replay_command(args)).await;
        assert_eq!(said.code, Some(*code), "{args:?}: {said:?}");
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains(words), "{args:?}: {said:?}");
        if [1, 3].contains(code) && !said.err.is_empty() {
            assert_eq!(said.err.lines().count(), 1, "{args:?}: {said:?}");
        }
    }
    let mut command = platform.replay_command(&["verify"]);
    command.env("VEZA_HTTP", "nonsense");
    let said = Said::by(command).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("VEZA_HTTP"), "{said:?}");
    pages_add_up(&platform).await;
    a_closed_pipe_is_no_failure(&platform).await;
    platform.stop().await;
}

/// Page by page, either way, one sees what one sees at once.
async fn pages_add_up(platform: &Platform) {
    let whole = replay(platform, &["events", "--limit", "60"]).await.documents();
    assert_eq!(whole.len(), 60);
    let mut paged = Vec::new();
    let mut from = "0".to_owned();
    for _ in 0..3 {
        let args = ["events", "--limit", "20", "--from", &from];
        paged.extend(replay(platform, &args).await.documents());
        let text = Said::by(platform.replay_command(&args)).await.out;
        let more = text.lines().last().unwrap().strip_prefix("(there are more: --from ").unwrap();
        from = more.strip_suffix(')').unwrap().to_owned();
    }
    assert_eq!(paged, whole);

    let last = whole.last().unwrap()["position"].as_str().unwrap();
    let mut backward = Vec::new();
    let mut args = vec!["events", "--backward", "--limit", "20", "--at", last];
    let mut from;
    for _ in 0..3 {
        backward.extend(replay(platform, &args).await.documents());
        let page_end: &Value = backward.last().unwrap();
        from = page_end["position"].as_str().unwrap().to_owned();
        args = vec!["events", "--backward", "--limit", "20", "--from", from.leak()];
    }
    backward.reverse();
    assert_eq!(backward, whole);
}

async fn a_closed_pipe_is_no_failure(platform: &Platform) {
    let all = replay(platform, &["events", "--limit", "1000000"]).await;
    assert!(all.out.len() > 200_000, "a pipe would hold {} bytes", all.out.len());
    let mut command = platform.replay_command(&["events", "--limit", "1000000"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut under_way = command.spawn().unwrap();
    let mut lines = BufReader::new(under_way.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().is_some());
    drop(lines);
    let output = under_way.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[tokio::test]
async fn what_can_not_be_applied_is_shown_and_stops_a_rebuild_unless_it_is_parked() {
    let platform = Platform::start().await;
    acts::sign_up(&platform, "nina", "artist").await;
    let data = json!({ "handle": 7 });
    let poison = meddling::append(&platform, "user-poison", "UserRegistered", &data).await;
    let position = poison.to_string();
    eventually("the event is parked", async || {
        !replay(&platform, &["parked", "profiles"]).await.out.is_empty()
    })
    .await;
    for (args, words) in [
        (&["parked", "profiles"][..], "\"key\":\"user-poison\"".to_owned()),
        (&["projections"], "\"parked_events\":1".to_owned()),
        (&["rebuild", "profiles"], format!("the event at position {position} can't be applied")),
    ] {
        let said = replay(&platform, args).await;
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(&words), "{args:?}: {said:?}");
    }
    let pool = models::pool(&platform).await;
    assert_eq!(models::shadows(&pool).await, 0);
    pool.close().await;
    replay(&platform, &["rebuild", "profiles_v1", "--park"]).await.documents();
    assert_eq!(replay(&platform, &["parked", "profiles"]).await.code, Some(1));
    for which in ["user-poison", "--all"] {
        // While it is tried again it is not there for a moment.
        eventually("it is asked to be tried again", async || {
            let asked = replay(&platform, &["retry", "profiles", which]).await.documents();
            asked[0]["events"] == 1
        })
        .await;
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_paused_run_is_listed_and_goes_on_when_it_is_resumed() {
    let platform = Platform::start().await;
    let nina = acts::sign_up(&platform, "nina", "artist").await;
    let otis = acts::sign_up(&platform, "otis", "listener").await;
    let track = acts::publish(&platform, &nina).await;
    let listing = acts::list(&platform, &nina, &track, "instant").await;
    let (_, placed) = acts::order(&platform, &otis, &listing).await;
    let order = placed["id"].as_str().unwrap();
    let run = format!("saga-checkout-{order}");
    eventually("it waits for the buyer", async || {
        let state = platform.replay(&["state", &run]).await;
        state["state"]["timer"]["step"] == "await-acceptance"
    })
    .await;
    // As the orchestrator records it of a step that it gave up.
    let pause = json!({ "step": "await-acceptance", "reason": "to be looked at" });
    meddling::append(&platform, &run, "SagaPaused", &pause).await;
    let acceptance = format!("/api/v1/orders/{order}/acceptance");
    assert_eq!(platform.post(&acceptance, Some(&otis), Value::Null).await.0, 200);

    let paused = async || replay(&platform, &["sagas", "--status", "paused"]).await.documents();
    eventually("it is listed", async || paused().await.len() == 1).await;
    assert_eq!(paused().await[0]["stream"], run.as_str());
    assert_eq!(platform.ledger(order), ["authorise", "capture"], "it went on by itself");
    let others = replay(&platform, &["resume", "--all", "--saga", "transcode"]).await;
    assert!(others.documents().is_empty(), "it is of another kind");
    let resumed = replay(&platform, &["resume", "--all", "--saga", "checkout"]).await.documents();
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    assert_eq!((&resumed[0]["stream"], &resumed[0]["resumed"]), (&json!(run), &json!(true)));
    eventually("the order is completed", async || {
        let state = platform.replay(&["state", &format!("order-{order}")]).await;
        state["state"]["status"] == "completed"
    })
    .await;
    eventually("none is listed", async || paused().await.is_empty()).await;
    let again = replay(&platform, &["resume", &run]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("is not paused"), "{again:?}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_is_found() {
    let (platform, crowd) = busy_platform().await;
    crowd.pause().await;
    let data = platform.stop_and_keep().await;
    let sound = replay(&data, &["verify"]).await.documents().remove(0);
    assert_eq!(sound["sound"], true);
    let head = sound["chain"].as_str().unwrap();
    assert_eq!(replay(&data, &["verify", "--head", head]).await.code, Some(0));
    let another = format!("{}:{}", sound["head"].as_str().unwrap(), "0".repeat(64));
    let wrong = replay(&data, &["verify", "--head", &another]).await.wrong();
    assert!(wrong.contains("the chain up to position"), "{wrong}");

    let segments = std::fs::read_dir(data.data().join("events")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let segment = segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let whole = std::fs::read(&segment).unwrap();
    let middle = whole.windows(13).position(|some| some == b"MessagePosted").unwrap();
    let first_frame = whole.windows(4).position(|four| four == b"VZFR").unwrap();
    for at in [middle, first_frame, first_frame + 4] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let wrong = replay(&data, &["verify"]).await.wrong();
        assert!(wrong.contains("offset"), "{wrong}");
    }
}
