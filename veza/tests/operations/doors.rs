//! What every route shares: ids, traces, metrics, origins, problems, probes while draining.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{
    Frozen, Process, eventually, folder, postgres_runs_in, replay, veza, veza_after,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn requests_have_ids_traces_metrics_origins_and_a_page_that_explains_them() {
    let folder = folder();
    let origins = [("VEZA_CORS_ORIGINS", "https://app.example")];
    let platform = Process::platform(folder.path(), &origins).await;

    let nothing = platform.get("/no/such/thing").await;
    assert_eq!(nothing.status(), 404);
    assert_eq!(nothing.headers()["x-content-type-options"], "nosniff");
    assert_eq!(nothing.headers()["x-request-id"].len(), 36, "an id of its own");
    let problem: Value = nothing.json().await.unwrap();
    assert_eq!(problem["type"], "urn:veza:problem:not-found");

    let request = platform.request(Method::GET, "/healthz", None);
    let request = request.header("x-request-id", "mine-1").header("origin", "https://app.example");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    let preflight = platform.request(Method::OPTIONS, "/api/v1/tracks", None);
    let preflight = preflight
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let answer = preflight.send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));

    for (path, kind) in [
        ("/", "text/html"),
        ("/docs", "text/html"),
        ("/docs/page.js", "text/javascript"),
        ("/docs/page.css", "text/css"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = platform.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"), "{path}");
    }

    let metrics = platform.get("/metrics").await.text().await.unwrap();
    // Once on the way from `/`.
    let counted = "veza_http_requests_total{method=\"GET\",route=\"/docs\",status=\"200\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("veza_http_request_seconds_bucket{"), "{metrics}");
    for part in ["disk", "read_models", "event_store"] {
        let is_up = format!("veza_part_up{{part=\"{part}\"}} 1");
        assert!(metrics.contains(&is_up), "{part}: {metrics}");
    }
    let kinds = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in kinds {
        assert!(name.starts_with("veza_"), "{name}");
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    platform.stop().await;
    assert!(!postgres_runs_in(folder.path()));
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_whoever_has_the_token_behind_a_proxy_too() {
    let folder = folder();
    let settings = [
        ("VEZA_ROLES", "event-store"),
        ("VEZA_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("VEZA_METRICS_TOKEN", "hush"),
    ];
    let platform = Process::platform(folder.path(), &settings).await;
    let ask = async |forwarded: Option<(&str, &str)>, token: Option<&str>| {
        let request = platform.request(Method::GET, "/metrics", token);
        let request = forwarded.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(None, None).await, 200);
    let forwarded = [
        ("x-forwarded-for", "9.9.9.9"),
        // Whoever can make up the header is not from here by saying so.
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "nonsense"),
        ("forwarded", "for=9.9.9.9"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "9.9.9.9"),
    ];
    for header in forwarded {
        assert_eq!(ask(Some(header), None).await, 401, "{header:?}");
        assert_eq!(ask(Some(header), Some("wrong")).await, 401, "{header:?}");
        assert_eq!(ask(Some(header), Some("hush")).await, 200, "{header:?}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_trace_goes_from_the_request_into_events_and_sagas_and_the_log_has_no_secrets() {
    let folder = folder();
    let data = folder.path();
    let log = data.join("log");
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_LOG_FORMAT", "json").env("VEZA_LOG", "info,veza::doors=debug");
    let platform = Process::logging(data, command, &log).await;
    let nina = platform.member("nina", "artist").await;
    let upload = platform.request(Method::POST, "/api/v1/uploads", Some(&nina)).body(silence());
    let upload: Value = upload.send().await.unwrap().json().await.unwrap();
    let request = platform.request(Method::POST, "/api/v1/tracks", Some(&nina));
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let new = json!({ "upload_id": upload["id"], "title": "Silence", "tags": [] });
    let made = request.json(&new).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let (track, saga) = (format!("track-{id}"), format!("saga-transcode-{id}"));
    eventually("the saga has ended", async || replay(data, &["events", &track]).await.len() > 1)
        .await;
    for event in replay(data, &["events"]).await {
        if event["stream"] == track.as_str() || event["stream"] == saga.as_str() {
            let kept = event["metadata"]["traceparent"].as_str().unwrap_or_default();
            assert!(kept.contains(TRACE), "{event}");
        }
    }
    platform.stop().await;

    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("correct horse") && !log.contains(&nina) && !log.contains("@example"));
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let traced: Vec<_> = lines.filter(|line| line["span"]["trace.id"] == TRACE).collect();
    let answered = traced.iter().find(|line| line["http.status"] == 201).expect("it was logged");
    assert_eq!(answered["span"]["http.method"], "POST");
    assert_eq!(answered["span"]["http.route"], "/api/v1/tracks");
    assert!(answered["duration_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_until_it_does() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let frozen = Frozen::all(folder.path());
    eventually("it is not ready", async || platform.get("/readyz").await.status() == 503).await;
    let problem: Value = platform.get("/readyz").await.json().await.unwrap();
    assert_eq!(problem["type"], "urn:veza:problem:unavailable");
    assert_eq!(problem["detail"], "database: no answer");
    assert_eq!(problem["parts"]["event_store"], "ok");
    assert_eq!(platform.get("/healthz").await.status(), 200, "it lives all the same");
    drop(frozen);
    eventually("it is ready again", async || platform.get("/readyz").await.status() == 200).await;
    platform.stop().await;
}

#[tokio::test]
async fn an_upload_under_way_ends_well_while_others_are_told_that_it_stops() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let nina = platform.member("nina", "artist").await;
    assert_eq!(platform.get("/readyz").await.status(), 200);

    // The second half comes only after the platform was told to stop.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|part| (part, receiver))
    });
    let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
    let request = request.body(reqwest::Body::wrap_stream(body));
    let upload = tokio::spawn(async move { request.send().await });
    let wav = silence();
    sender.send(Ok(wav[..1000].to_vec())).await.unwrap();
    let objects = folder.path().join("objects/.scratch");
    eventually("the upload has begun", async || {
        std::fs::read_dir(&objects).is_ok_and(|mut files| files.next().is_some())
    })
    .await;

    platform.signal("-TERM");
    eventually("it says that it is not ready", async || {
        platform.get("/readyz").await.status() == 503
    })
    .await;
    let problem: Value = platform.get("/readyz").await.json().await.unwrap();
    assert_eq!(problem["parts"]["process"], "draining", "{problem}");
    assert_eq!(platform.get("/healthz").await.status(), 200);
    let (status, refusal) = platform.log_in("nina@example.org", "correct horse").await;
    assert_eq!((status, &refusal["type"]), (503, &json!("urn:veza:problem:unavailable")));

    sender.send(Ok(wav[1000..].to_vec())).await.unwrap();
    drop(sender);
    let uploaded = upload.await.unwrap().unwrap();
    assert_eq!(uploaded.status(), 201, "it was let in, so it is answered");
    assert_eq!(platform.ended().await, Some(0));
}

#[tokio::test]
async fn an_account_has_few_uploads_under_way_at_once() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let (nina, otis) =
        (platform.member("nina", "artist").await, platform.member("otis", "artist").await);
    let begin = |token: &str| {
        let begun = futures::stream::iter([Ok::<_, std::io::Error>(silence()[..1000].to_vec())]);
        let body = futures::StreamExt::chain(begun, futures::stream::pending());
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(token));
        tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send())
    };
    let under_way: Vec<_> = (0..4).map(|_| begin(&nina)).collect();
    let objects = folder.path().join("objects/.scratch");
    let begun = || std::fs::read_dir(&objects).map_or(0, Iterator::count);
    eventually("the uploads have begun", async || begun() == 4).await;
    let upload = async |token: &str| {
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(token));
        request.body(silence()).send().await.unwrap()
    };
    let refusal = upload(&nina).await;
    assert_eq!(refusal.status(), 429);
    assert!(refusal.headers().contains_key("retry-after"));
    assert_eq!(upload(&otis).await.status(), 201, "others are not in the way");
    under_way.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("they have ended", async || begun() == 0).await;
    eventually("there is room again", async || upload(&nina).await.status() == 201).await;
    platform.stop().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_its_postgresql_too() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[]).await;
    let nina = platform.member("nina", "artist").await;
    // An upload that never ends keeps it draining.
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(silence()[..1000].to_vec())]);
    let body = futures::StreamExt::chain(begun, futures::stream::pending());
    let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
    let request = request.body(reqwest::Body::wrap_stream(body));
    let upload = tokio::spawn(async move { request.send().await });
    let objects = folder.path().join("objects/.scratch");
    eventually("the upload has begun", async || {
        std::fs::read_dir(&objects).is_ok_and(|mut files| files.next().is_some())
    })
    .await;
    platform.signal("-INT");
    eventually("it drains", async || platform.get("/readyz").await.status() == 503).await;
    platform.signal("-INT");
    let ended = tokio::time::timeout(Duration::from_secs(10), platform.ended()).await;
    assert_eq!(ended.expect("at once"), Some(130));
    upload.abort();
    eventually("PostgreSQL ends by itself", async || !postgres_runs_in(folder.path())).await;
}

/// Connections that say nothing; the server may close them.
fn silent_connections(platform: &Process, count: usize) -> Vec<TcpStream> {
    let address = platform.url.strip_prefix("http://").unwrap();
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let folder = folder();
    let command = veza_after("ulimit -Sn 400", folder.path(), &["serve"]);
    let platform = Process::start(folder.path(), "run.json", command).await;
    let nina = platform.member("nina", "artist").await;
    let _silent = silent_connections(&platform, 600);
    assert_eq!(platform.get("/readyz").await.status(), 200);
    let upload = platform.request(Method::POST, "/api/v1/uploads", Some(&nina)).body(silence());
    assert_eq!(upload.send().await.unwrap().status(), 201);
    platform.stop().await;
}

#[tokio::test]
async fn one_client_can_not_take_all_connections_or_files() {
    let folder = folder();
    // Fewer than there are connections to come, and no more to be had.
    let command = veza_after("ulimit -n 700", folder.path(), &["serve"]);
    let mut platform = Process::start(folder.path(), "run.json", command).await;
    let nina = platform.member("nina", "artist").await;
    let silent = silent_connections(&platform, 800);
    platform.call_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    assert_eq!(platform.get("/readyz").await.status(), 200);
    let upload = platform.request(Method::POST, "/api/v1/uploads", Some(&nina)).body(silence());
    assert_eq!(upload.send().await.unwrap().status(), 201);
    drop(silent);
    platform.call_from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    eventually("the client that left is let in again", async || {
        platform.request(Method::GET, "/readyz", None).send().await.is_ok()
    })
    .await;
    platform.stop().await;
}

/// A second of a WAV without a sound.
pub fn silence() -> Vec<u8> {
    const BYTES: u32 = 16_000;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + BYTES).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(BYTES.to_le_bytes());
    wav.resize(wav.len() + BYTES as usize, 0);
    wav
}
