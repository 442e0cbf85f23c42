//! A log in the place of another: models of the other are not served as if they were of this one.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::process::{Process, database, ended, eventually, folder, free_address, replay, veza};
use crate::roles::Shared;

#[tokio::test]
async fn a_log_that_was_moved_away_is_noticed_and_a_rebuild_is_the_way_out() {
    let folder = folder();
    let (data, log) = (folder.path(), folder.path().join("log"));
    let platform = Process::platform(data, &[]).await;
    platform.member("nina", "artist").await;
    let ready = async |platform: &Process| platform.get("/readyz").await.status() == 200;
    eventually("it is ready", async || ready(&platform).await).await;
    platform.stop().await;
    fs::rename(data.join("events"), data.join("events-elsewhere")).unwrap();

    let told = data.join("told");
    let platform = telling(data, &told, &log).await;
    let answer = platform.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("of another log") && detail.contains("veza-replay rebuild"),
        "{detail}"
    );
    assert_eq!(problem["parts"]["projections"]["profiles_v1"], "another log", "{problem}");
    let answer = ask(&platform, "nina").await;
    assert!(answer["data"]["user"].is_null(), "{answer}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
    let sign_up = json!({
        "handle": "otis", "email": "otis@example.org", "password": "a long enough password",
    });
    let (status, refused) = platform.post("/api/v1/users", None, sign_up).await;
    assert_eq!(status, 503, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("read models were made from"), "{refused}");
    assert_eq!(problem["parts"]["sagas"], "waiting", "{problem}");
    fs::write(data.join("password"), "correct horse").unwrap();
    let password = data.join("password");
    let made = ["user", "create", "--email", "nina@example.org", "--password-file"];
    let made = [&made[..], &[password.to_str().unwrap()]].concat();
    let refused = ended(veza(data, &made)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("read models were made from"), "{said}");
    let rows = replay(data, &["projections"]).await;
    let profiles = rows.iter().find(|row| row["name"] == "profiles").unwrap();
    assert!(profiles["reason"].as_str().unwrap().contains("the log ends at"), "{profiles}");
    assert!(profiles["lag_events"].is_null(), "it is up to date with nothing: {profiles}");

    assert!(!replay(data, &["rebuild", "--all"]).await.is_empty());
    eventually("it is ready again", async || ready(&platform).await).await;
    platform.member("otis", "listener").await;
    eventually("what comes is applied", async || knows(&platform, "otis").await).await;
    let answer = ask(&platform, "nina").await;
    assert!(answer["data"]["user"].is_null(), "{answer}");
    eventually("it says so", async || fs::read_to_string(&told).unwrap().contains("\nready now."))
        .await;
    platform.stop().await;

    let told = fs::read_to_string(&told).unwrap();
    let count = |line: &str| told.lines().filter(|told| told.starts_with(line)).count();
    assert_eq!((count("not ready."), count("ready. "), count("ready now.")), (1, 0, 1), "{told}");
    let said = fs::read_to_string(&log).unwrap();
    let of_profiles = said.lines().filter(|l| l.contains("ERROR") && l.contains("=profiles_v1"));
    assert_eq!(of_profiles.count(), 1, "{said}");
}

#[tokio::test]
async fn a_log_that_is_put_back_is_served_and_nothing_else_is_said() {
    let folder = folder();
    let (data, log, told) = (folder.path(), folder.path().join("log"), folder.path().join("told"));
    let (events, elsewhere) = (data.join("events"), data.join("events-elsewhere"));
    let platform = Process::platform(data, &[]).await;
    platform.member("nina", "artist").await;
    eventually("she is there", async || knows(&platform, "nina").await).await;
    platform.stop().await;
    fs::rename(&events, &elsewhere).unwrap();
    let platform = telling(data, &told, &log).await;
    assert_eq!(platform.get("/readyz").await.status(), 503);
    eventually("it says so", async || fs::read_to_string(&told).unwrap().contains("not ready."))
        .await;
    platform.stop().await;

    fs::remove_dir_all(&events).unwrap();
    fs::rename(&elsewhere, &events).unwrap();
    let platform = telling(data, &told, &log).await;
    assert_eq!(platform.get("/readyz").await.status(), 200);
    assert!(knows(&platform, "nina").await);
    eventually("it says so", async || fs::read_to_string(&told).unwrap().contains("\nready. "))
        .await;
    platform.stop().await;
    let told = fs::read_to_string(&told).unwrap();
    assert!(told.contains("\nready. ") && !told.contains("not ready."), "{told}");
}

#[tokio::test]
async fn until_a_log_was_looked_at_nothing_is_answered_from_models_that_may_be_of_another() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let address = free_address();
    let open = async || {
        let mut command = veza(data, &["serve"]);
        command.env("VEZA_DATABASE_URL", &url);
        Process::opening(data, &address, command).await
    };
    let platform = open().await;
    eventually("it is ready", async || platform.get("/readyz").await.status() == 200).await;
    platform.member("nina", "artist").await;
    eventually("she is there", async || knows(&platform, "nina").await).await;
    platform.stop().await;

    for is_of_it in [true, false] {
        // Who has the lease and does nothing: nobody comes to look.
        let mut lease = PgConnection::connect(&url).await.unwrap();
        let take =
            "SELECT pg_advisory_lock(hashtextextended('veza projection run profiles_v1', 0))";
        sqlx::query(take).execute(&mut lease).await.unwrap();
        if !is_of_it {
            fs::rename(data.join("events"), data.join("events-elsewhere")).unwrap();
        }
        let platform = open().await;
        let answer = ask(&platform, "nina").await;
        assert!(answer["data"]["user"].is_null(), "{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
        let why = "this can't be answered just now";
        assert_eq!(answer["errors"][0]["message"], why, "nobody knows yet: {answer}");

        lease.close().await.unwrap();
        eventually("it is looked at", async || {
            let answer = ask(&platform, "nina").await;
            let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
            assert!(is_of_it || answer["data"]["user"].is_null(), "{answer}");
            if is_of_it { message.is_empty() } else { message.contains("of another log") }
        })
        .await;
        assert!(!is_of_it || knows(&platform, "nina").await);
        platform.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_is_exchanged_under_its_writers_is_not_written_to() {
    let folder = folder();
    let data = folder.path();
    let (events, older, newer) =
        (data.join("events"), data.join("events-older"), data.join("events-newer"));
    let shared = Shared::new(data).await;
    let mut store = shared.start(data, "event-store").await;
    let projector = shared.start(data, "projector").await;
    let commands = shared.start(data, "command-api").await;
    let nina = commands.member("nina", "artist").await;
    let channel = async |name: &str| {
        commands.post("/api/v1/channels", Some(&nina), json!({ "name": name })).await
    };
    eventually("one is opened", async || channel("first").await.0 == 201).await;
    store.stop().await;
    copy(&events, &older);
    store = shared.start(data, "event-store").await;
    eventually("commands are taken again", async || channel("second").await.0 == 201).await;
    let otis = commands.member("otis", "listener").await;
    let (_, third) = channel("third").await;
    let join = format!("/api/v1/channels/{}/members/me", third["id"].as_str().unwrap());
    let joined = async || {
        let answer = commands.request(Method::PUT, &join, Some(&otis)).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(joined().await, 200);

    store.stop().await;
    fs::rename(&events, &newer).unwrap();
    fs::rename(&older, &events).unwrap();
    store = shared.start(data, "event-store").await;
    eventually("it is noticed", async || {
        let (status, refused) = channel("elsewhere").await;
        let detail = refused["detail"].as_str().unwrap_or_default();
        assert_ne!(status, 201, "{refused}");
        status == 503 && detail.contains("read models were made from")
    })
    .await;
    eventually("it says so", async || {
        let problem: Value = commands.get("/readyz").await.json().await.unwrap();
        problem["parts"]["log"].as_str().unwrap().contains("rebuild --all")
    })
    .await;
    let (status, _) = commands.sign_up("otis", "listener").await;
    assert_eq!(status, 503);
    shared.rebuild(data).await;
    eventually("it is said to be right", async || channel("older").await.0 == 201).await;
    assert_eq!(joined().await, 401, "who signed up in the other log is not known in this one");
    // The models have what the other log lacks, however far behind their projector is.
    shared.rebuild(data).await;

    store.stop().await;
    fs::rename(&events, &older).unwrap();
    fs::rename(&newer, &events).unwrap();
    store = shared.start(data, "event-store").await;
    eventually("it is noticed again", async || channel("elsewhere").await.0 == 503).await;
    shared.rebuild(data).await;
    eventually("all goes on", async || channel("fourth").await.0 == 201).await;
    assert_eq!(commands.log_in("otis@example.org", "correct horse").await.0, 201);
    assert_eq!(joined().await, 200);
    for process in [commands, projector, store] {
        process.stop().await;
    }
}

/// Given models that somebody makes anew from another log, under the platform that keeps theirs,
/// then nothing is written or answered until they are made anew from that; where the other had no
/// event they are filled again without anybody's doing.
#[tokio::test]
async fn models_that_are_made_of_another_log_are_noticed() {
    let (folder, other) = (folder(), folder());
    let url = database().await;
    let settings = [("VEZA_DATABASE_URL", &*url)];
    Process::platform(other.path(), &[]).await.stop().await;
    let platform = Process::platform(folder.path(), &settings).await;
    platform.member("nina", "artist").await;
    let rebuild = ["rebuild", "--all", "--database-url", &url];
    assert!(!replay(other.path(), &rebuild).await.is_empty());
    eventually("it is filled again", async || knows(&platform, "nina").await).await;

    let elsewhere = Process::platform(other.path(), &[]).await;
    elsewhere.member("otis", "artist").await;
    elsewhere.stop().await;
    assert!(!replay(other.path(), &rebuild).await.is_empty());
    let ready = async || platform.get("/readyz").await.status() == 200;
    eventually("it is noticed", async || !ready().await).await;
    eventually("nothing is written", async || platform.sign_up("chet", "artist").await.0 == 503)
        .await;
    assert!(!replay(folder.path(), &rebuild).await.is_empty());
    eventually("it is over", ready).await;
    assert!(knows(&platform, "nina").await && !knows(&platform, "otis").await);
    platform.stop().await;
}

/// Given a model whose tables somebody drops under the platform, all or one, then it is made anew.
#[tokio::test]
async fn a_model_that_somebody_dropped_is_made_anew() {
    let folder = folder();
    let url = database().await;
    let platform = Process::platform(folder.path(), &[("VEZA_DATABASE_URL", &url)]).await;
    platform.member("nina", "artist").await;
    eventually("she is found", async || knows(&platform, "nina").await).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    for dropped in ["SCHEMA profiles_v1", "TABLE profiles_v1.profiles"] {
        sqlx::query(&format!("DROP {dropped} CASCADE")).execute(&mut database).await.unwrap();
        assert!(!knows(&platform, "nina").await, "{dropped}");
        eventually("she is found again", async || knows(&platform, "nina").await).await;
    }
    platform.stop().await;
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Starts the whole platform; what it tells goes into one file, its log into another.
async fn telling(data: &Path, told: &Path, log: &Path) -> Process {
    let mut command = veza(data, &["serve"]);
    command.stdout(fs::File::create(told).unwrap()).stderr(fs::File::create(log).unwrap());
    Process::as_it_is(data, "run.json", command).await
}

/// The answer to who has this handle.
async fn ask(platform: &Process, handle: &str) -> Value {
    let query = json!({ "query": format!("{{ user(handle: \"{handle}\") {{ id }} }}") });
    platform.post("/graphql", None, query).await.1
}

/// Whether somebody of this handle is found.
async fn knows(platform: &Process, handle: &str) -> bool {
    !ask(platform, handle).await["data"]["user"].is_null()
}
