//! What parsing and redacting cost, in nanoseconds per line.
//!
//! The lines are made here, the same at every run, in the shape of the log-cleansing workload: Combined access
//! logs, RFC 3164 messages with key=value bodies. Prints a checksum (rows and bytes out) so that nothing can be
//! optimised away. The best of several runs is shown, since other programs only ever add time.

#![allow(clippy::print_stdout)] // a benchmark prints its figures

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use millstream::Batch;
use millstream::operator::{Emit, Stage};
use millstream_connectors::transforms::{Planned, parse, redact};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCHES: u64 = 24;
const ROWS: u64 = 8_192;
const RUNS: usize = 7;

/// The regular expression that a person would write for Combined access logs.
const COMBINED: &str = concat!(
    r#"^(?P<client>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "#,
    r#""(?P<method>\S+) (?P<path>\S+) (?P<protocol>[^"]+)" (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"$"#
);

fn main() {
    let mut random = fastrand::Rng::with_seed(7);
    let access = batches(|i| access_line(&mut random, i));
    let syslog = batches(|i| syslog_line(&mut random, i));
    let plan = |config: &str, input: &Batch| {
        let config: parse::ParseConfig = serde_json::from_str(config).expect("a config of our own");
        parse::plan(&config, &input.schema()).expect("a config of our own")
    };
    let hide = |config: &str, input: &Batch| {
        let config: redact::RedactConfig = serde_json::from_str(config).expect("a config of our own");
        redact::plan(&config, &input.schema()).expect("a config of our own")
    };
    let parsed_access = measure("parse access_log", &access, plan(r#"{"format":"access_log"}"#, &access[0]));
    let by_regex = serde_json::json!({ "regex": COMBINED, "types": { "time": "timestamp", "status": "int32", "bytes": "int64" },
        "time_format": "%d/%b/%Y:%H:%M:%S %z" });
    measure("parse access_log by regex", &access, plan(&by_regex.to_string(), &access[0]));
    measure("parse access_log by grok", &access[..2], plan(r#"{"grok":"%{COMBINEDAPACHELOG}"}"#, &access[0]));
    let parsed_syslog = measure("parse syslog", &syslog, plan(r#"{"format":"syslog"}"#, &syslog[0]));
    measure("parse syslog with year", &syslog, plan(r#"{"format":"syslog","year":2026}"#, &syslog[0]));
    let logfmt = r#"{"format":"logfmt","field":"message","keep":"all","types":{"level":"string","dur_ms":"int64"}}"#;
    measure("parse logfmt of message", &parsed_syslog, plan(logfmt, &parsed_syslog[0]));
    let three = r#"{"fields":["client","path","referer"],"email":true,"ip":"mask_last_octet"}"#;
    measure("redact client, path, referer", &parsed_access, hide(three, &parsed_access[0]));
    let message = r#"{"fields":["message"],"email":true,"ip":"mask_last_octet"}"#;
    measure("redact message", &parsed_syslog, hide(message, &parsed_syslog[0]));
    let cards = r#"{"fields":["message"],"card":true}"#;
    measure("redact cards in message", &parsed_syslog, hide(cards, &parsed_syslog[0]));
}

/// Runs a plan over all batches, prints the time, returns what the last run put out.
fn measure(what: &str, input: &[Batch], planned: Planned) -> Vec<Batch> {
    let mut stage: Box<dyn Stage> = (planned.stage)(&input[0].schema()).expect("the plan's own schema");
    let lines: usize = input.iter().map(Batch::len).sum();
    let (mut best, mut last) = (Duration::MAX, Emit::default());
    for _ in 0..RUNS {
        let mut out = Emit::default();
        let start = Instant::now();
        for batch in input {
            stage.apply(batch.clone(), &mut out).expect("no stage fails on these lines");
        }
        best = best.min(start.elapsed());
        last = out;
    }
    let rows: usize = last.out.iter().map(|(_, b)| b.len()).sum();
    let bytes: usize = last.out.iter().flat_map(|(_, b)| b.rows.columns()).filter_map(text_bytes).sum();
    let each = best.as_nanos() as f64 / lines as f64;
    println!(
        "{what:<32} {each:>8.1} ns/line   {rows} rows out, {} rejected, {bytes} bytes of text",
        last.rejected.len()
    );
    last.out.into_iter().map(|(_, b)| b).collect()
}

fn text_bytes(column: &ArrayRef) -> Option<usize> {
    let text = column.as_any().downcast_ref::<StringArray>()?;
    Some(text.value_offsets().last().copied()? as usize)
}

fn batches(mut line: impl FnMut(u64) -> String) -> Vec<Batch> {
    let batch = |b| {
        let lines: StringArray = (0..ROWS).map(|i| Some(line(b * ROWS + i))).collect();
        Batch::new(RecordBatch::try_from_iter([("value", Arc::new(lines) as ArrayRef)]).expect("one column"))
    };
    (0..BATCHES).map(batch).collect()
}

fn access_line(random: &mut fastrand::Rng, i: u64) -> String {
    const PATHS: [&str; 6] =
        ["/", "/index.html", "/api/v1/orders", "/static/app.js", "/images/logo.png", "/cart/checkout"];
    const REFERERS: [&str; 4] =
        ["-", "https://www.google.com/", "https://shop.example.com/cart", "https://news.example.org/article?id=17"];
    const AGENTS: [&str; 4] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
        "curl/8.5.0",
    ];
    let mut line = address(random);
    let (user, path) =
        (if random.u8(..20) == 0 { word(random, 6) } else { "-".into() }, random.choice(PATHS).unwrap_or("/"));
    write!(line, " - {user} [17/Nov/2026:{} +0000] \"GET {path}", clock(i)).expect("to memory");
    match random.u8(..10) {
        0 => write!(line, "?email={}@example.com", word(random, 8)).expect("to memory"),
        1..=3 => write!(line, "?id={}", random.u32(..1_000_000)).expect("to memory"),
        _ => {}
    }
    let (referer, agent) = (random.choice(REFERERS).unwrap_or("-"), random.choice(AGENTS).unwrap_or("-"));
    write!(line, " HTTP/1.1\" 200 {} \"{referer}\" \"{agent}\"", random.u32(..100_000)).expect("to memory");
    line
}

fn syslog_line(random: &mut fastrand::Rng, i: u64) -> String {
    let (host, pid) = (random.choice(["web-01", "db-01", "edge-07"]).unwrap_or("web-01"), 1000 + random.u32(..30_000));
    let level = random.choice(["debug", "info", "warn", "error"]).unwrap_or("info");
    format!(
        "<134>Nov  1 {} {host} orders[{pid}]: level={level} user={}@{}.com client={} dur_ms={} msg=\"request completed {}\"",
        clock(i),
        word(random, 7),
        word(random, 6),
        address(random),
        random.u32(..5_000),
        word(random, 10)
    )
}

/// 500 lines a second.
fn clock(i: u64) -> String {
    let s = i / 500;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

fn address(random: &mut fastrand::Rng) -> String {
    format!("{}.{}.{}.{}", 11 + random.u8(..200), random.u8(..), random.u8(..), 1 + random.u8(..254))
}

fn word(random: &mut fastrand::Rng, letters: usize) -> String {
    (0..letters).map(|_| random.lowercase()).collect()
}
