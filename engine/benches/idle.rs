//! What an idle job costs: CPU time and memory of each further one in the same process.
//!
//! `cargo bench -p millstream --bench idle` measures; under `cargo test` it only shows that it still runs.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use millstream::runtime::{Job, Resume, Runtime};
use millstream::typed::{Feed, Flow, channel, collect};
use std::time::Duration;

millstream::row! {
    /// What never comes.
    struct Reading { device: String, celsius: f64 }
}

/// The bars for each further job: a share of one core in percent, and MiB of memory.
const BARS: (f64, f64) = (1.0, 10.0);

fn main() {
    let tiny = !std::env::args().any(|a| a == "--bench");
    let (jobs, watched) = if tiny { (2, Duration::from_millis(100)) } else { (50, Duration::from_secs(10)) };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let first = start(dir.path(), 0);
    let memory = resident();
    let others: Vec<_> = (1..=jobs).map(|n| start(dir.path(), n)).collect();
    let grown = resident() - memory;
    let before = cpu();
    std::thread::sleep(watched);
    let used = cpu() - before;
    drop((first, others));
    let (share, size) = (used / watched.as_secs_f64() * 100.0 / (jobs + 1) as f64, grown / jobs as f64);
    println!("an idle job: {share:.3}% of a core (bar {}%), {size:.2} MiB (bar {} MiB); {jobs} jobs", BARS.0, BARS.1);
    assert!(tiny || (share < BARS.0 && size < BARS.1), "a bar is missed");
}

/// A source, state by key, a sink, checkpoints in a folder; one record has gone through.
fn start(dir: &std::path::Path, number: usize) -> (Job, Feed<Reading>) {
    let (feed, readings) = channel::<Reading>(16);
    let (sink, seen) = collect::<Reading>();
    let flow = Flow::new(format!("idle-{number}"));
    let latest = flow.channel("readings", readings).key_by(|r| r.device.clone());
    latest
        .stateful("latest", |last: &mut f64, r, out| {
            *last = r.celsius;
            out.push(r);
        })
        .to("seen", sink);
    let runtime = Runtime::builder().state_dir(dir).build().expect("a folder of ours");
    let job = flow.start(&runtime, Resume::OrFresh).map_err(|p| p[0].to_string()).expect("starts");
    let sent = feed.send(Reading { device: "one".into(), celsius: 1.0 });
    assert!(sent.is_ok() && seen.wait(Duration::from_secs(60), |rows| !rows.is_empty()));
    (job, feed)
}

/// Memory of this process, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// CPU time of this process, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime; 100 ticks a second on Linux.
    (ticks(11) + ticks(12)) / 100.0
}
