//! Whoever starts the platform need not read what it says.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::process::{PATIENCE, Process, folder, postgres_runs_in, replay, veza, veza_after};

#[tokio::test]
async fn it_serves_on_when_nobody_reads_its_lines_any_more() {
    let folder = folder();
    let data = folder.path();
    // As `veza serve | head -1` does, and the same for its log.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (log_reader, log_writer) = std::io::pipe().unwrap();
    drop(log_reader);
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_LOG", "debug").stdout(Stdio::from(writer)).stderr(Stdio::from(log_writer));
    let platform = Process::as_it_is(data, "run.json", command);
    let closing = tokio::task::spawn_blocking(move || {
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut reader), &mut String::new())
    });
    let (platform, _) = tokio::join!(platform, closing);
    assert_eq!(platform.get("/readyz").await.status(), 200);
    platform.stop().await;
    assert!(!postgres_runs_in(data));
}

#[tokio::test]
async fn its_last_lines_say_what_to_try_and_its_log_has_no_colours_in_a_file() {
    let folder = folder();
    let mut child = veza(folder.path(), &["serve"]).env("VEZA_LOG", "debug").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reading = async {
        let (mut ready, mut told) = (String::new(), Vec::new());
        while let Some(line) = lines.next_line().await.unwrap() {
            told.push(line.clone());
            if line.starts_with("ready. ") {
                ready.clone_from(&line);
            }
            if line.starts_with("  curl ") {
                return (ready, line, told);
            }
        }
        panic!("it ended before it was ready")
    };
    let (ready, curl, told) = tokio::time::timeout(PATIENCE, reading).await.expect("ready in time");
    assert!(ready.contains("/docs"), "{ready}");
    let models = replay(folder.path(), &["projections"]).await.len();
    let models = format!("read models  {models} in PostgreSQL");
    for part in [models.as_str(), "search       PostgreSQL", "statistics   PostgreSQL"] {
        assert!(told.iter().any(|line| line == part), "{part:?} is not in {told:?}");
    }
    let mut asking = tokio::process::Command::new("sh");
    let asked = asking.args(["-c", &format!("{curl} --silent")]).output().await;
    let answer = asked.unwrap().stdout;
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer, r#"{"data":{"tracks":{"nodes":[]}}}"#, "what it says to try works");
    let pid = child.id().unwrap().to_string();
    tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("DEBUG") && !log.contains('\x1b'), "{log}");
}

#[tokio::test]
async fn a_terminal_that_is_closed_stops_it_gently_unless_it_was_told_not_to_mind() {
    let folder = folder();
    let data = folder.path();
    let platform = Process::platform(data, &[]).await;
    platform.signal("-HUP");
    assert_eq!(platform.ended().await, Some(0));
    assert!(!data.join("run.json").exists() && !postgres_runs_in(data));

    // As `nohup` starts it.
    let command = veza_after("trap '' HUP", data, &["serve"]);
    let platform = Process::start(data, "run.json", command).await;
    platform.signal("-HUP");
    assert_eq!(platform.sign_up("nina", "artist").await.0, 201);
    platform.stop().await;
}
