//! What a run says of itself: `--json`, `--metrics`, `status`, `status --disk`. Counters obey
//! in = out + filtered + dead-lettered + dropped + in flight, and at rest nothing is in flight.

use super::harness::{How, Running, Scene};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const PIPELINE: &str = "
version: 1
name: observed
checkpoint: { every: 20ms }
nodes:
  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, schema: { seq: int64!, text: string! } }
  parsed: { kind: parse, from: events, field: text, regex: '^(?P<word>[a-z]+)$', keep: [seq] }
  strict: { kind: parse, from: events, field: text, regex: '^(?P<word>[a-m]+)$', keep: [seq], on_error: drop }
  some: { kind: filter, from: parsed, where: seq % 3 <> 0 }
  kept: { kind: file_sink, from: some, path: out/kept, format: ndjson }
  rest: { kind: file_sink, from: strict, path: out/rest, format: ndjson }
";

const ROWS: u64 = 20_000;

fn scene() -> Scene {
    let scene = Scene::new(PIPELINE);
    let mut text = String::new();
    for seq in 0..ROWS {
        match seq % 100 {
            7 => text.push_str("{\"seq\":\n"),
            11 => writeln!(text, "{{\"seq\":{seq},\"text\":\"CAPITALS\"}}").expect("a string"),
            n if n % 2 == 0 => writeln!(text, "{{\"seq\":{seq},\"text\":\"zz\"}}").expect("a string"),
            _ => writeln!(text, "{{\"seq\":{seq},\"text\":\"abc\"}}").expect("a string"),
        }
    }
    scene.write("in/a.ndjson", text);
    scene
}

/// What the counters must come to; each node's in, out, filtered, dead-lettered, dropped.
fn expected() -> BTreeMap<&'static str, [u64; 5]> {
    let (broken, capitals) = (ROWS / 100, ROWS / 100);
    let good = ROWS - broken;
    let parsed = good - capitals;
    let words = |seq: u64| !matches!(seq % 100, 7 | 11);
    let kept = (0..ROWS).filter(|seq| words(*seq) && seq % 3 != 0).count() as u64;
    let rest = (0..ROWS).filter(|seq| words(*seq) && seq % 2 == 1).count() as u64;
    BTreeMap::from([
        ("events", [ROWS, good, 0, broken, 0]),
        ("parsed", [good, parsed, 0, capitals, 0]),
        ("strict", [good, rest, 0, 0, good - rest]),
        ("some", [parsed, kept, parsed - kept, 0, 0]),
        ("kept", [kept, kept, 0, 0, 0]),
        ("rest", [rest, rest, 0, 0, 0]),
    ])
}

#[test]
fn json_lines_add_up() {
    let scene = scene();
    let ended = scene.run(&How::workers(2).argument("--json").argument("--until-done")).fine();
    let lines: Vec<Value> = ended.stderr.lines().map(|l| serde_json::from_str(l).expect("a line is JSON")).collect();
    let last = lines.last().expect("a last word");
    assert_eq!(last["ended"], true, "{last}");
    assert!(last["checkpoint"].as_u64().is_some_and(|n| n > 0), "{last}");
    let nodes = last["nodes"].as_array().expect("nodes");
    let found: BTreeMap<&str, [u64; 5]> = nodes
        .iter()
        .map(|n| {
            let count = |name: &str| n[name].as_u64().unwrap_or_else(|| panic!("{name}: {n}"));
            let all = ["rows_in", "rows_out", "filtered", "dead_lettered", "dropped"].map(count);
            (n["node"].as_str().expect("a name"), all)
        })
        .collect();
    assert_eq!(found, expected());
}

/// One answer of the endpoint; `None` where nobody listens yet.
fn scrape(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Name and labels to value; every line must be Prometheus text.
fn samples(answer: &str) -> BTreeMap<String, f64> {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let mut typed = Vec::new();
    let mut all = BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge"].contains(&kind) && !typed.contains(&name), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            typed.push(name);
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
            assert_eq!(sample.split('{').next(), typed.last().copied(), "samples stand behind their type");
            assert!(all.insert(sample.to_owned(), value.parse().expect("a number")).is_none(), "twice: {sample}");
        }
    }
    all
}

fn node(all: &BTreeMap<String, f64>, name: &str, node: &str) -> u64 {
    all[&format!("millstream_node_{name}_total{{pipeline=\"observed\",node=\"{node}\"}}")] as u64
}

fn at_rest(run: &mut Running, port: u16) -> BTreeMap<String, f64> {
    let mut last = BTreeMap::new();
    run.until("everything is through and durable", || {
        let Some(answer) = scrape(port, "/metrics") else { return false };
        last = samples(&answer);
        let written = node(&last, "rows_out", "kept") + node(&last, "rows_out", "rest");
        let dead = last.get("millstream_disk_bytes{pipeline=\"observed\",what=\"dead_letters\"}").copied();
        written == expected()["kept"][0] + expected()["rest"][0] && dead.is_some_and(|bytes| bytes > 0.0)
    });
    last
}

#[test]
fn metrics_add_up_also_in_between() {
    let scene = scene();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let address: &'static str = Box::leak(format!("127.0.0.1:{port}").into_boxed_str());
    let mut run = scene.start(&How::workers(1).argument("--metrics").argument(address));
    let all = at_rest(&mut run, port);
    for (name, counts) in expected() {
        let found =
            ["rows_in", "rows_out", "rows_filtered", "rows_dead_lettered", "rows_dropped"].map(|c| node(&all, c, name));
        assert_eq!(found, counts, "{name}");
        assert_eq!(found[0], found[1..].iter().sum::<u64>(), "{name}");
    }
    assert_eq!(all["millstream_memory_bytes{pipeline=\"observed\"}"], 0.0, "nothing is in flight");
    for what in ["log", "state", "outbox", "dead_letters", "sink_parts", "other"] {
        assert!(all.contains_key(&format!("millstream_disk_bytes{{pipeline=\"observed\",what=\"{what}\"}}")), "{what}");
    }
    assert_eq!(all["millstream_disk_max_bytes{pipeline=\"observed\",what=\"dead_letters\"}"], f64::from(1 << 30));
    assert!(scrape(port, "/").is_some_and(|answer| answer.starts_with("HTTP/1.1 404")));

    // The same from outside, while it runs.
    let open = scene.command(&["status"], &[]).fine();
    assert!(open.stdout.contains(&format!("open in process {}", run.pid())), "{}", open.stdout);
    run.kill();
}

#[test]
fn status_says_what_the_state_says() {
    let scene = scene();
    let never = scene.command(&["status"], &[]).fine();
    assert!(never.stdout.contains("never run"), "{}", never.stdout);
    scene.run(&How::workers(1).argument("--until-done")).fine();
    let text = scene.command(&["status"], &[]).fine().stdout;
    assert!(text.contains("not running") && text.contains("events: 0 of 1 partitions read to their end"), "{text}");
    let size = std::fs::metadata(scene.path("in/a.ndjson")).expect("the input").len();
    let json: Value = serde_json::from_str(&scene.command(&["--json", "status"], &[]).fine().stdout).expect("JSON");
    assert!(json["checkpoint"].as_u64().is_some_and(|n| n > 0) && json["generation"] == 1, "{json}");
    assert_eq!(json["sources"]["events"]["in/a.ndjson"]["at"]["offset"], size, "{json}");
    let letters: Vec<(&str, &str, u64)> = json["dead_letters"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|l| {
            (l["node"].as_str().unwrap_or(""), l["code"].as_str().unwrap_or(""), l["letters"].as_u64().unwrap_or(0))
        })
        .collect();
    assert_eq!(letters, [("events", "JSON-SYNTAX", ROWS / 100), ("parsed", "PARSE-NO-MATCH", ROWS / 100)]);

    let disk = scene.command(&["--json", "status"], &["--disk"]).fine().stdout;
    let items: Vec<Value> = disk.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let item = |what: &str| items.iter().find(|i| i["what"] == what).unwrap_or_else(|| panic!("{what}: {disk}"));
    let letters = item("dead_letters");
    assert_eq!((letters["max"].as_u64(), letters["keep_seconds"].as_u64()), (Some(1 << 30), Some(30 * 86_400)));
    assert!(letters["share"].as_f64().is_some_and(|s| s > 0.0 && s < 0.01), "{letters}");
    assert!(item("log")["bytes"].as_u64().is_some_and(|n| n > 0) && item("other")["bytes"].is_u64());
}
