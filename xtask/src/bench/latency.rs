//! W5: lines in by standard input at a steady rate, out by standard output; how long each was inside.
//!
//! Every line carries the time at which it was sent, so the reader needs no table of what is under way,
//! and a program may drop or reorder lines. Both ends read the same clock, that of this process.

use super::Plan;
use super::measure::{self, Cost};
use super::report::{Case, Figure, Table};
use super::workloads::{fresh, millstream};
use crate::shell;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// With the line end.
const LINE_BYTES: usize = 150;
/// Every so many lines one has the level `debug`, which the pipeline drops.
const DEBUG_EVERY: u64 = 10;
/// Added to every time so that all have the same number of digits.
const CLOCK_BASE: u64 = 1_000_000_000_000_000;
const KEYS: u64 = 1000;
/// The first lines meet a program that is still starting; they are sent but not counted.
const WARM_UP: Duration = Duration::from_secs(2);

const LINES_PER_S: u64 = 10_000;
const P50_OVER_CAT_BAR_MS: f64 = 0.15;
const P99_OVER_CAT_BAR_MS: f64 = 2.0;

/// W5: how long a line is inside, compared with `cat` in the same minute.
pub fn table(plan: &Plan) -> Result<Table> {
    let run = fresh(&plan.folder.join("run"))?;
    let mut pairs = Vec::new();
    for _ in 0..plan.runs {
        let report = run.join("cost.json");
        let cat = measure_lines(&shell::program("cat"), &report, LINES_PER_S, plan.seconds)?;
        let state = fresh(&run.join("w5"))?;
        let ours = measure_lines(
            &millstream(plan, "pipelines/latency/pipeline.yaml", &state),
            &report,
            LINES_PER_S,
            plan.seconds,
        )?;
        pairs.push((cat, ours));
    }
    pairs.sort_by(|a, b| (a.1.p99_ms - a.0.p99_ms).total_cmp(&(b.1.p99_ms - b.0.p99_ms)));
    let (cat, ours) = &pairs[pairs.len() / 2];
    let case = |name: &str, l: &Latency, over_cat: Option<&Latency>| Case {
        name: name.into(),
        answer: format!("{} lines", l.lines),
        figures: vec![
            Figure::new("p50_ms", l.p50_ms).bar(over_cat.map(|cat| cat.p50_ms + P50_OVER_CAT_BAR_MS)),
            Figure::new("p99_ms", l.p99_ms).bar(over_cat.map(|cat| cat.p99_ms + P99_OVER_CAT_BAR_MS)),
            Figure::new("max_ms", l.max_ms),
            Figure::new("sender_behind_ms", l.behind_ms),
            Figure::new("cpu_s", l.cost.cpu_s),
            Figure::new("memory_mib", l.cost.memory_bytes as f64 / f64::from(1 << 20)),
        ],
    };
    let shape = format!(
        "{LINES_PER_S} lines/s of 150 bytes for {} s after 2 s of warm-up, standard input to standard output, a keyed \
         count beside it, a checkpoint every second; of {} pair(s) of runs the one with the median p99. Bars: `cat` plus {P50_OVER_CAT_BAR_MS} and {P99_OVER_CAT_BAR_MS} ms.",
        plan.seconds, plan.runs
    );
    Ok(Table {
        title: "W5 latency".into(),
        shape,
        cases: vec![case("cat", cat, None), case("millstream", ours, Some(cat))],
    })
}

/// Times that lines spent in a program, in milliseconds, and what the program used.
struct Latency {
    /// Half of the lines were faster.
    p50_ms: f64,
    /// 99 of 100 lines were faster.
    p99_ms: f64,
    /// The slowest line.
    max_ms: f64,
    /// Lines counted.
    lines: u64,
    /// The longest time by which the sender was late: it could not write, or was not scheduled.
    behind_ms: f64,
    /// The whole run.
    cost: Cost,
}

/// Sends `per_second` lines for warm-up plus `seconds` through `command`.
fn measure_lines(command: &Command, report: &Path, per_second: u64, seconds: u64) -> Result<Latency> {
    let mut running = measure::start(command, None, report, |measuring| {
        measuring.stdin(Stdio::piped()).stdout(Stdio::piped());
    })?;
    let input = running.child.stdin.take().context("standard input is piped")?;
    let output = running.child.stdout.take().context("standard output is piped")?;
    let start = Instant::now();
    let reader = std::thread::spawn(move || receive(output, start));
    let total = per_second * (seconds + WARM_UP.as_secs());
    let sent = send(input, start, total, per_second);
    let received = reader.join().expect("the reader returns its errors");
    let cost = running.finish()?;
    let (behind, mut times) = (sent?, received?);

    let expected = total - total.div_ceil(DEBUG_EVERY);
    ensure!(times.len() as u64 == expected, "{expected} lines should have come back, {} did", times.len());
    times.retain(|(sent_ns, _)| *sent_ns >= WARM_UP.as_nanos() as u64);
    let mut inside: Vec<u64> = times.into_iter().map(|(_, inside_ns)| inside_ns).collect();
    inside.sort_unstable();
    Ok(Latency {
        p50_ms: percentile_ms(&inside, 50),
        p99_ms: percentile_ms(&inside, 99),
        max_ms: percentile_ms(&inside, 100),
        lines: inside.len() as u64,
        behind_ms: behind.as_secs_f64() * 1e3,
        cost,
    })
}

/// Writes each line when it is due, and at once those that are overdue. Returns how late the latest was.
fn send(mut input: impl Write, start: Instant, total: u64, per_second: u64) -> Result<Duration> {
    let mut behind = Duration::ZERO;
    let mut line = Vec::with_capacity(LINE_BYTES);
    for n in 0..total {
        let due = Duration::from_nanos(n * 1_000_000_000 / per_second);
        let now = start.elapsed();
        if now < due {
            std::thread::sleep(due - now);
        }
        let now = start.elapsed();
        behind = behind.max(now.saturating_sub(due));
        line.clear();
        write_line(&mut line, n, now);
        input.write_all(&line).context("the program no longer reads")?;
    }
    Ok(behind)
}

/// `{"sent":..,"key":..,"level":"..","text":"xx.."}`, [`LINE_BYTES`] long.
fn write_line(line: &mut Vec<u8>, n: u64, now: Duration) {
    let level = if n.is_multiple_of(DEBUG_EVERY) { "debug" } else { "info" };
    let sent = CLOCK_BASE + now.as_nanos() as u64;
    write!(line, "{{\"sent\":{sent},\"key\":{},\"level\":\"{level}\",\"text\":\"", n % KEYS)
        .expect("writing to memory cannot fail");
    line.resize(LINE_BYTES - 3, b'x');
    line.extend_from_slice(b"\"}\n");
}

/// For each line but the debug ones: when it was sent, and how long it was away, both in nanoseconds.
fn receive(output: impl Read, start: Instant) -> Result<Vec<(u64, u64)>> {
    let mut reader = BufReader::with_capacity(1 << 16, output);
    let (mut times, mut line) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        let now = start.elapsed().as_nanos() as u64;
        if !contains(&line, b"\"debug\"") {
            let sent = sent_ns(&line).with_context(|| format!("no time in `{}`", String::from_utf8_lossy(&line)))?;
            times.push((sent, now.saturating_sub(sent)));
        }
        line.clear();
    }
    Ok(times)
}

fn sent_ns(line: &[u8]) -> Option<u64> {
    let key = b"\"sent\":";
    let at = line.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let time: u64 = std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok()?;
    time.checked_sub(CLOCK_BASE)
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// The smallest time that `percent` of all do not exceed; 0 for none.
fn percentile_ms(sorted_ns: &[u64], percent: usize) -> f64 {
    let at = (sorted_ns.len() * percent).div_ceil(100).max(1) - 1;
    sorted_ns.get(at).map_or(0.0, |ns| *ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_length_and_their_time() {
        for (n, now) in [(0, 0), (999, 12_345_678_901), (u64::from(u32::MAX), 3_600_000_000_000)] {
            let mut line = Vec::new();
            write_line(&mut line, n, Duration::from_nanos(now));
            assert_eq!(line.len(), LINE_BYTES);
            assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
            assert_eq!(sent_ns(&line), Some(now));
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<u64> = (1..=200).map(|ms| ms * 1_000_000).collect();
        assert_eq!(
            (percentile_ms(&times, 50), percentile_ms(&times, 99), percentile_ms(&times, 100)),
            (100.0, 198.0, 200.0)
        );
        assert_eq!(percentile_ms(&times[..1], 50), 1.0);
        assert_eq!(percentile_ms(&[], 99), 0.0);
    }
}
