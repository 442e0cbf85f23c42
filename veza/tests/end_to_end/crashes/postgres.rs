//! The private PostgreSQL of a platform, from outside.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgPool, PgPoolOptions};
use veza::postgres::PrivatePostgres;

/// Kills the server and all its processes.
pub fn kill(data: &Path) {
    let note = fs::read_to_string(data.join("postgres/data/postmaster.pid")).unwrap_or_default();
    let Some(server) = note.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else {
        return;
    };
    let works_here = |pid: i32| {
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok();
        folder.is_some_and(|folder| folder.ends_with("postgres/data") && folder.starts_with(data))
    };
    // A note outlives its server, and its number may be another's by now.
    let pids = std::iter::once(server).chain(children(server)).collect::<Vec<_>>();
    for pid in pids.into_iter().filter(|pid| works_here(*pid)) {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        of == Some(parent.to_string().as_str())
    };
    pids.filter(is_child).collect()
}

/// Connections to its database.
pub async fn pool(data: &Path) -> PgPool {
    let options = PrivatePostgres::run_by_another(&data.join("postgres")).unwrap();
    PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap()
}

/// Whether it takes a connection.
pub async fn answers(data: &Path) -> bool {
    let options = PrivatePostgres::run_by_another(&data.join("postgres")).unwrap();
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2));
    pool.connect_with(options).await.is_ok()
}
