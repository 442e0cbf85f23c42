//! What the system tells of this process and of its machine, in `/proc` and of the disk.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use rustix::fs::statvfs;
use serde_json::{Value, json};

use super::statistics::Figure;

/// How many times a second the system counts in `/proc`: a part of its interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a share of the processors is good for: over less there is little to count.
const SHARES_GOOD_FOR: Duration = Duration::from_millis(100);

/// Where the fields of `/proc/self/stat` are, behind the name of the program.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const STARTED_TICKS: usize = 19;

/// What was counted the last time, and the shares of the processors that came of it, in percent.
#[derive(Default)]
pub(super) struct Sampled {
    at: Option<Instant>,
    process_ticks: f64,
    busy_ticks: f64,
    all_ticks: f64,
    process_share: Option<f64>,
    machine_share: Option<f64>,
}

/// All that is told now.
pub(super) fn look(folder: Option<&Path>, sampled: &mut Sampled) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut tell = |name: &str, value: Option<Value>| {
        let name = name.split('-').map(str::to_owned).collect();
        figures.extend(value.map(|value| (name, value)));
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, machine) = (read("/proc/self/stat"), read("/proc/stat"));
    let process = fields(&stat);
    tell("proc-id", Some(json!(std::process::id())));
    tell("proc-startTime", started(&process, &machine).map(Value::from));
    let status = read("/proc/self/status");
    tell("proc-mem", kilobytes(&status, "VmRSS:").map(Value::from));
    tell("proc-threadsCount", counted::<u64>(&status, "Threads:").map(Value::from));
    let io = read("/proc/self/io");
    for (name, line) in [
        ("proc-diskIo-readBytes", "read_bytes:"),
        ("proc-diskIo-writtenBytes", "write_bytes:"),
        ("proc-diskIo-readOps", "syscr:"),
        ("proc-diskIo-writeOps", "syscw:"),
    ] {
        tell(name, counted::<u64>(&io, line).map(Value::from));
    }
    sample(&process, &machine, sampled);
    tell("proc-cpu", sampled.process_share.map(Value::from));
    tell("sys-cpu", sampled.machine_share.map(Value::from));
    let load = read("/proc/loadavg");
    let mut load = load.split(' ').map(|average| average.parse::<f64>().ok());
    for name in ["sys-loadavg-1m", "sys-loadavg-5m", "sys-loadavg-15m"] {
        tell(name, load.next().flatten().map(Value::from));
    }
    let memory = read("/proc/meminfo");
    tell("sys-freeMem", kilobytes(&memory, "MemAvailable:").map(Value::from));
    tell("sys-totalMem", kilobytes(&memory, "MemTotal:").map(Value::from));
    figures.extend(folder.into_iter().flat_map(disk));
    figures
}

/// The fields of a process's line, from its state on: the name before may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect()).unwrap_or_default()
}

fn field(process: &[&str], number: usize) -> Option<f64> {
    process.get(number)?.parse().ok()
}

/// The first number in the line that begins so.
fn counted<T: FromStr>(text: &str, line: &str) -> Option<T> {
    let rest = text.lines().find_map(|it| it.strip_prefix(line))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The same of a line that counts kilobytes, in bytes.
fn kilobytes(text: &str, line: &str) -> Option<u64> {
    counted::<u64>(text, line).map(|kilobytes| kilobytes * 1024)
}

/// When this process was started.
fn started(process: &[&str], machine: &str) -> Option<String> {
    let booted = counted::<i64>(machine, "btime ")?;
    let after = field(process, STARTED_TICKS)? / TICKS_PER_SECOND;
    let millis = booted.checked_mul(1000)?.checked_add((after * 1000.0) as i64)?;
    let at = DateTime::<Utc>::from_timestamp_millis(millis)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Counts anew, when the last time is long enough ago; the first time it is from the beginning on.
fn sample(process: &[&str], machine: &str, sampled: &mut Sampled) {
    if sampled.at.is_some_and(|at| at.elapsed() < SHARES_GOOD_FOR) {
        return;
    }
    let ticks = |number| field(process, number);
    if let (Some(user), Some(system)) = (ticks(USER_TICKS), ticks(SYSTEM_TICKS)) {
        let now = user + system;
        let elapsed = match sampled.at {
            Some(at) => Some(at.elapsed().as_secs_f64()),
            None => uptime()
                .zip(ticks(STARTED_TICKS))
                .map(|(up, started)| up - started / TICKS_PER_SECOND),
        };
        let processors = available_parallelism().map_or(1.0, |count| count.get() as f64);
        let worked = (now - sampled.process_ticks) / TICKS_PER_SECOND;
        sampled.process_share =
            elapsed.filter(|it| *it > 0.0).map(|elapsed| percent(worked / elapsed / processors));
        sampled.process_ticks = now;
    }
    if let Some(line) = machine.lines().find_map(|line| line.strip_prefix("cpu ")) {
        let ticks: Vec<f64> =
            line.split_ascii_whitespace().take(8).filter_map(|it| it.parse().ok()).collect();
        // The fourth and the fifth are idle, and idle for the disk.
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        let all: f64 = ticks.iter().sum();
        let (busy, before) = (all - idle, sampled.all_ticks);
        let share = (busy - sampled.busy_ticks) / (all - before);
        sampled.machine_share = (all > before).then(|| percent(share));
        (sampled.busy_ticks, sampled.all_ticks) = (busy, all);
    }
    sampled.at = Some(Instant::now());
}

/// For how long the machine has been up, in seconds.
fn uptime() -> Option<f64> {
    fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()
}

/// A share with two digits behind the point.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round().clamp(0.0, 10_000.0) / 100.0
}

/// The disk that the log is on.
fn disk(folder: &Path) -> Vec<Figure> {
    let Ok(disk) = statvfs(folder) else { return Vec::new() };
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used = total.saturating_sub(disk.f_bfree.saturating_mul(disk.f_frsize));
    let usage = if total > 0 { (used as f64 / total as f64 * 100.0) as u64 } else { 0 };
    let name = folder.to_string_lossy().into_owned();
    let figure = |what: &str, value: Value| {
        (vec!["sys".to_owned(), "drive".to_owned(), name.clone(), what.to_owned()], value)
    };
    vec![
        figure("availableBytes", json!(available)),
        figure("totalBytes", json!(total)),
        figure("usedBytes", json!(used)),
        figure("usage", json!(format!("{usage}%"))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let process = fields("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 0 0 8 0 777 rest");
        assert_eq!(process[0], "S");
        assert_eq!(field(&process, USER_TICKS), Some(250.0));
        assert_eq!(field(&process, SYSTEM_TICKS), Some(50.0));
        assert_eq!(field(&process, STARTED_TICKS), Some(777.0));
        assert_eq!(field(&fields("nonsense"), 0), None);
    }

    #[test]
    fn shares_are_of_the_time_since_the_last_look() {
        let mut sampled = Sampled::default();
        sample(&[], "cpu  10 0 10 60 20 0 0 0 0 0\n", &mut sampled);
        assert_eq!(sampled.machine_share, Some(20.0));
        sampled.at = Instant::now().checked_sub(SHARES_GOOD_FOR);
        sample(&[], "cpu  60 0 10 110 20 0 0 0 0 0\n", &mut sampled);
        assert_eq!(sampled.machine_share, Some(50.0));
        sample(&[], "cpu  160 0 10 110 20 0 0 0 0 0\n", &mut sampled);
        assert_eq!(sampled.machine_share, Some(50.0), "that was just now");
    }
}
