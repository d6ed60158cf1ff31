//! What one run of a program costs: CPU, memory, time, and time to its first output.
//!
//! The kernel adds up CPU time and peak memory over all children of a process that it has waited for.
//! To have the figures of one run alone, `cargo xtask bench` starts itself again as `xtask measure`,
//! which starts the program, waits, and writes what its only child used.

use crate::args::Args;
use crate::shell;
use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How exactly the first output is noticed.
const POLL: Duration = Duration::from_millis(1);

/// The cost of one run, from before exec to after exit, start-up included.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Wall time.
    pub wall_s: f64,
    /// User and system time of the process and its children, all cores together.
    pub cpu_s: f64,
    /// Greatest resident set; pages of mapped files count.
    pub memory_bytes: u64,
    /// Until some file in the watched folder held a byte, hidden files included.
    pub first_output_s: Option<f64>,
}

/// A run under way.
pub struct Running {
    /// The measuring process; its standard input and output are the program's.
    pub child: Child,
    report: PathBuf,
    shown: String,
}

/// Starts `command` under measurement; its output folder is `watch`. Standard streams as `command` has
/// them cannot be passed on: `streams` sets those of the measuring process, which the program inherits.
pub fn start(
    command: &Command,
    watch: Option<&Path>,
    report: &Path,
    streams: impl FnOnce(&mut Command),
) -> Result<Running> {
    let mut measured = shell::program(std::env::current_exe()?);
    measured.arg("measure").arg("--report").arg(report);
    if let Some(folder) = watch {
        measured.arg("--watch").arg(folder);
    }
    measured.arg("--").arg(command.get_program()).args(command.get_args());
    streams(&mut measured);
    let child = measured.spawn().with_context(|| format!("cannot start `{}`", shell::shown(command)))?;
    Ok(Running { child, report: report.to_owned(), shown: shell::shown(command) })
}

impl Running {
    /// Waits for the end. A program that fails has no cost worth telling.
    pub fn finish(mut self) -> Result<Cost> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.shown);
        }
        let report: Value = serde_json::from_slice(&fs::read(&self.report)?)?;
        let number = |key: &str| report[key].as_f64().with_context(|| format!("no {key} in {report}"));
        Ok(Cost {
            wall_s: number("wall_s")?,
            cpu_s: number("cpu_s")?,
            memory_bytes: number("memory_bytes")? as u64,
            first_output_s: report["first_output_s"].as_f64(),
        })
    }
}

/// `xtask measure [--watch FOLDER] --report FILE -- PROGRAM ARGS..`: the measuring process itself.
pub fn child(given: Vec<String>) -> Result<()> {
    let at = given.iter().position(|word| word == "--").context("no `--` before the program")?;
    let args = Args::parse(given[..at].to_vec(), &[], &["watch", "report"])?;
    let (program, rest) = given[at + 1..].split_first().context("no program after `--`")?;
    let watch = args.path("watch");
    let report = args.path("report").context("--report FILE is missing")?;

    let start = Instant::now();
    let mut child = Command::new(program).args(rest).spawn().with_context(|| format!("cannot start `{program}`"))?;
    let (status, wall, first) = wait(&mut child, start, watch.as_deref())?;
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    // Kilobytes, except on macOS, which counts bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let cost = json!({
        "wall_s": wall.as_secs_f64(),
        "cpu_s": (used.user_time().num_microseconds() + used.system_time().num_microseconds()) as f64 / 1e6,
        "memory_bytes": used.max_rss() * unit,
        "first_output_s": first.map(|time| time.as_secs_f64()),
    });
    fs::write(&report, cost.to_string()).with_context(|| report.display().to_string())?;
    if !status.success() {
        bail!("`{program}` failed: {status}");
    }
    Ok(())
}

/// Waits for the child and, beside it, for the first byte in `watch`.
fn wait(
    child: &mut Child,
    start: Instant,
    watch: Option<&Path>,
) -> Result<(std::process::ExitStatus, Duration, Option<Duration>)> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let watcher = watch.map(|folder| threads.spawn(|| first_byte(folder, start, &ended)));
        let status = child.wait();
        let wall = start.elapsed();
        ended.store(true, Ordering::Relaxed);
        let first = watcher.and_then(|thread| thread.join().expect("the watcher only reads folders"));
        Ok((status?, wall, first))
    })
}

fn first_byte(folder: &Path, start: Instant, ended: &AtomicBool) -> Option<Duration> {
    loop {
        let last = ended.load(Ordering::Relaxed);
        if holds_a_byte(folder) {
            return Some(start.elapsed());
        }
        if last {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

fn holds_a_byte(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => holds_a_byte(&entry.path()),
        Ok(about) => about.len() > 0,
        Err(_) => false, // renamed or removed since it was listed
    })
}
