//! Pairs of pipeline files, before and after a change: what the state of the first comes to under the second.
//!
//! Each pair: the first file watches an input, and is drained with a window open when it has published
//! something; then the rest is appended, and the second file reads on from that state to the end. `plan` must have said beforehand what
//! happens. Where a change is refused, the first file still goes on to its undisturbed answer.

use super::harness::{Ended, How, Scene, same};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;

/// Rows of the first part: one window closed, the next half full.
const FIRST: u64 = 300;
/// Rows in all.
const ALL: u64 = 700;

/// What the table of changes says.
#[derive(Clone, Copy)]
enum Outcome {
    /// As if the second file had read everything.
    Same,
    /// The first window as the first file had published it, the others as an undisturbed run of the second.
    FromThere,
    /// The first part as the first file had published it, and the rest as if there were nothing else.
    Rest,
    /// As an undisturbed run of the second file, but for what this changes in it; `None` = not there.
    But(fn(Value) -> Option<Value>),
    /// Refused with this code, with words that tell what to do.
    Refused(&'static str, &'static str),
}

use Outcome::{But, FromThere, Refused, Rest, Same};

struct Pair {
    name: &'static str,
    before: &'static str,
    after: &'static str,
    flags: &'static [&'static str],
    workers: usize,
    /// A line of `plan` begins with these words.
    plan: &'static str,
    outcome: Outcome,
}

const EVENTS: &str = "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }\n";
const OUT: &str = "  out: { kind: file_sink, from: counts, path: out, format: ndjson, roll: { rows: 7 } }\n";

/// A file of these nodes; `@events` and `@out` stand for the usual source and sink.
fn file(nodes: &str) -> String {
    let nodes: String = nodes
        .lines()
        .map(|line| match line.trim() {
            "@events" => EVENTS.to_string(),
            "@out" => OUT.to_string(),
            _ => format!("{line}\n"),
        })
        .collect();
    format!("version: 1\nname: evolve\nguarantee: exactly_once\ncheckpoint: {{ every: 20ms }}\nnodes:\n{nodes}")
}

/// The same, but reading to the end.
fn once(nodes: &str) -> String {
    file(nodes).replace("read: watch, poll: 10ms", "read: once")
}

/// The rows of a range as lines.
fn rows(range: std::ops::Range<u64>) -> String {
    range
        .map(|i| {
            let (k, x, y) = (i % 7, i % 100, (i % 8) as f64 * 0.5);
            format!("{{\"ts\":{},\"k\":\"k{k}\",\"j\":{i},\"x\":{x},\"y\":{y:?}}}\n", i * 5)
        })
        .collect()
}

fn how(workers: usize, flags: &[&'static str]) -> How {
    flags.iter().fold(How::workers(workers), |how, flag| how.argument(flag))
}

/// The output of a file over these rows, with nothing before.
fn undisturbed(nodes: &str, range: std::ops::Range<u64>) -> Vec<String> {
    let scene = Scene::new(&once(nodes));
    scene.write("in/a.ndjson", rows(range));
    scene.run(&how(1, &[])).fine();
    output(&scene)
}

/// All output, wherever the sink put it.
fn output(scene: &Scene) -> Vec<String> {
    let mut lines = [scene.lines("out"), scene.lines("elsewhere")].concat();
    lines.sort_unstable();
    lines
}

fn first_part(pair: &Pair) -> Scene {
    let scene = Scene::new(&file(pair.before));
    scene.write("in/a.ndjson", rows(0..FIRST));
    let mut run = scene.start(&how(1, &[]));
    run.until("a window closes", || !output(&scene).is_empty());
    run.drain().fine();
    scene
}

fn append_rest(scene: &Scene) {
    let mut input = OpenOptions::new().append(true).open(scene.path("in/a.ndjson")).expect("ours");
    input.write_all(rows(FIRST..ALL).as_bytes()).expect("ours");
}

fn planned(pair: &Pair, ended: &Ended) {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = ended.stdout.lines().any(|line| squeezed(line).starts_with(pair.plan));
    assert!(said, "{}: the plan does not say `{}`:\n{}", pair.name, pair.plan, ended.stdout);
}

fn check(pair: &Pair) {
    let scene = first_part(pair);
    let published = output(&scene);
    scene.write("pipeline.yaml", once(pair.after));
    let plan = scene.command(&["plan"], pair.flags);
    planned(pair, &plan);
    append_rest(&scene);
    let expected = match pair.outcome {
        Same => undisturbed(pair.after, 0..ALL),
        FromThere => {
            let later = |line: &String| !line.contains("\"window_start\":\"1970-01-01T00:00:00Z\"");
            let after = undisturbed(pair.after, 0..ALL).into_iter().filter(later).collect();
            [published, after].concat()
        }
        Rest => [published, undisturbed(pair.after, FIRST..ALL)].concat(),
        But(change) => {
            let lines = undisturbed(pair.after, 0..ALL);
            let values = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
            values.filter_map(change).map(|v| v.to_string()).collect()
        }
        Refused(code, words) => {
            for ended in [plan, scene.run(&how(pair.workers, pair.flags))] {
                let ended = ended.refused(&[code]);
                assert!(ended.stderr.contains(words), "{}: not `{words}`:\n{}", pair.name, ended.stderr);
            }
            scene.write("pipeline.yaml", once(pair.before));
            scene.run(&how(pair.workers, &[])).fine();
            same(pair.name, &output(&scene), &undisturbed(pair.before, 0..ALL)).unwrap_or_else(|e| panic!("{e}"));
            return;
        }
    };
    plan.fine();
    let ended = scene.run(&how(pair.workers, pair.flags)).fine();
    assert!(ended.resumed() > 0, "{}: {}", pair.name, ended.stderr);
    let canonical = |lines: Vec<String>| {
        let mut lines: Vec<String> =
            lines.iter().map(|l| serde_json::from_str::<Value>(l).expect("a line is JSON").to_string()).collect();
        lines.sort_unstable();
        lines
    };
    same(pair.name, &canonical(output(&scene)), &canonical(expected)).unwrap_or_else(|e| panic!("{e}"));
}

const PLAIN: &str = "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
@out";

const PAIR: Pair =
    Pair { name: "", before: PLAIN, after: PLAIN, flags: &[], workers: 1, plan: "kept counts", outcome: Same };

/// Edits that no state sees.
const FREE: &[Pair] = &[
    Pair {
        name: "comments and descriptions",
        after: "@events
  # Counts, as before.
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) }, description: counts }
@out",
        ..PAIR
    },
    Pair {
        name: "a stateless step more",
        after: "@events
  all: { kind: filter, from: events, where: x >= 0 }
  counts: { kind: window, from: all, every: 1s, by: [k], select: { n: count(*) } }
@out",
        ..PAIR
    },
    Pair {
        name: "a stateless step less",
        before: "@events
  all: { kind: filter, from: events, where: x >= 0 }
  counts: { kind: window, from: all, every: 1s, by: [k], select: { n: count(*) } }
@out",
        ..PAIR
    },
    Pair {
        name: "a stateless step changed: it counts from here on",
        before: "@events
  some: { kind: filter, from: events, where: x >= 0 }
  counts: { kind: window, from: some, every: 1s, by: [k], select: { n: count(*) } }
@out",
        after: "@events
  some: { kind: filter, from: events, where: j < 300 }
  counts: { kind: window, from: some, every: 1s, by: [k], select: { n: count(*) } }
@out",
        ..PAIR
    },
    Pair {
        name: "a column more in the source",
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { z: int64, x: int32!, ts: timestamp(ms)!, k: string!, j: int64!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
@out",
        ..PAIR
    },
    Pair { name: "three workers", workers: 3, ..PAIR },
    Pair {
        name: "another pattern that names the same file",
        after: "  events: { kind: file_source, path: in/a.*, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
@out",
        plan: "kept events",
        ..PAIR
    },
    Pair {
        name: "a sink elsewhere",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  out: { kind: file_sink, from: counts, path: elsewhere, format: ndjson, roll: { rows: 7 } }",
        plan: "kept out",
        ..PAIR
    },
    Pair {
        name: "a state more, beside the one that is there",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  once: { kind: dedupe, from: events, by: [j], max_keys: 1000 }
  rest: { kind: discard, from: once }
@out",
        plan: "new once",
        ..PAIR
    },
];

#[test]
fn free_edits_keep_the_state() {
    FREE.iter().for_each(check);
}

const RENAMED: &[Pair] = &[
    Pair {
        name: "a step renamed with `was`",
        after: "@events
  totals: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) }, was: counts }
  out: { kind: file_sink, from: totals, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "kept totals aggregate.0",
        workers: 2,
        ..PAIR
    },
    Pair {
        name: "a step renamed without",
        after: "@events
  totals: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  out: { kind: file_sink, from: totals, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "refused counts",
        outcome: Refused("STATE-ORPHAN", "--drop-state counts"),
        ..PAIR
    },
    Pair {
        name: "a step renamed without, given up",
        after: "@events
  totals: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  out: { kind: file_sink, from: totals, path: out, format: ndjson, roll: { rows: 7 } }",
        flags: &["--drop-state", "counts"],
        plan: "lost counts",
        outcome: Rest,
        ..PAIR
    },
    Pair {
        name: "a source renamed with `was`",
        after: "  records: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h }, was: events }
  counts: { kind: window, from: records, every: 1s, by: [k], select: { n: count(*) } }
@out",
        plan: "kept records positions",
        ..PAIR
    },
    Pair {
        name: "a source renamed without",
        after: "  records: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: records, every: 1s, by: [k], select: { n: count(*) } }
@out",
        plan: "refused events positions",
        outcome: Refused("STATE-ORPHAN", "--drop-state events"),
        ..PAIR
    },
    Pair {
        name: "a sink renamed with `was`",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  results: { kind: file_sink, from: counts, path: out, format: ndjson, roll: { rows: 7 }, was: out }",
        plan: "kept results output",
        ..PAIR
    },
    Pair {
        name: "a sink renamed without",
        // Never rolled: the last checkpoint of a drained run still names its file.
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  rows: { kind: file_sink, from: events, path: elsewhere, format: ndjson }
@out",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  results: { kind: file_sink, from: events, path: elsewhere, format: ndjson }
@out",
        plan: "refused rows output",
        outcome: Refused("STATE-ORPHAN", "--drop-state rows"),
        ..PAIR
    },
    Pair {
        name: "`was` names one of two that the checkpoint knows",
        before: "@events
  old: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) } }
  rest: { kind: discard, from: old }
@out",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*) }, was: old }
  rest: { kind: discard, from: counts }
@out",
        plan: "refused old",
        outcome: Refused("STATE-WAS", "--drop-state old"),
        ..PAIR
    },
];

#[test]
fn names_are_identity() {
    RENAMED.iter().for_each(check);
}

const CHANGED: &[Pair] = &[
    Pair {
        name: "a stateful step removed",
        after: "@events
  out: { kind: file_sink, from: events, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "refused counts",
        outcome: Refused("STATE-ORPHAN", "--drop-state counts"),
        ..PAIR
    },
    Pair {
        name: "a stateful step removed, given up",
        after: "@events
  out: { kind: file_sink, from: events, path: out, format: ndjson, roll: { rows: 7 } }",
        flags: &["--drop-state", "counts"],
        plan: "lost counts",
        outcome: Rest,
        ..PAIR
    },
    Pair {
        name: "another key",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [j], select: { n: count(*) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "by: k: Utf8"),
        ..PAIR
    },
    Pair {
        name: "the keys in another order",
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k, x], select: { n: count(*) } }
@out",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [x, k], select: { n: count(*) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "by: x: Int32, k: Utf8"),
        ..PAIR
    },
    Pair {
        name: "another window",
        after: "@events
  counts: { kind: window, from: events, every: 2s, by: [k], select: { n: count(*) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "tumble on ts, 1s"),
        ..PAIR
    },
    Pair {
        name: "another window, the old ones given up",
        after: "@events
  counts: { kind: window, from: events, every: 2s, by: [k], select: { n: count(*) } }
@out",
        flags: &["--drop-state", "counts"],
        plan: "rebuilt counts",
        outcome: Rest,
        ..PAIR
    },
    Pair {
        name: "another aggregate",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: sum(x) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "sum(x)"),
        ..PAIR
    },
    Pair {
        name: "an aggregate more",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*), most: max(x) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "max(x)"),
        ..PAIR
    },
    Pair {
        name: "another kind of source under the same name",
        after: "  events: { kind: generator, dataset: bids, rows: 100 }
  counts: { kind: window, from: timed, every: 1s, by: [k], select: { n: count(*) } }
  timed: { kind: select, from: events, columns: { ts: ts, k: channel }, event_time: { field: ts, out_of_order: 0s } }
@out",
        plan: "refused events positions",
        outcome: Refused("STATE-CHANGED", "found file_source; expected generator"),
        ..PAIR
    },
    Pair {
        name: "another kind under the same name",
        after: "@events
  counts: { kind: dedupe, from: events, by: [k], max_keys: 100 }
@out",
        plan: "refused counts aggregate.0",
        outcome: Refused("STATE-ORPHAN", "--drop-state counts"),
        ..PAIR
    },
];

#[test]
fn another_meaning_is_refused_until_it_is_given_up() {
    CHANGED.iter().for_each(check);
}

const JOIN: &str = "@events
  pairs:
    kind: sql
    from: { l: events, r: events }
    query: |
      SELECT a.j AS j, a.x AS x FROM tumble(l, ts, INTERVAL '1 second') a
      JOIN tumble(r, ts, INTERVAL '1 second') b ON a.window_end = b.window_end AND a.j = b.j
  out: { kind: file_sink, from: pairs, path: out, format: ndjson, roll: { rows: 7 } }";

const MIGRATED: &[Pair] = &[
    Pair {
        name: "an aggregate less, the others in another order",
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { n: count(*), mean: avg(y), most: max(x) } }
@out",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { most: max(x), n: count(*) } }
@out",
        plan: "migrated counts",
        workers: 2,
        outcome: FromThere,
        ..PAIR
    },
    Pair {
        name: "an aggregate under another column name",
        after: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { number: count(*) } }
@out",
        outcome: FromThere,
        ..PAIR
    },
    Pair {
        name: "a wider integer",
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { least: min(x), most: max(x), sum: sum(x) } }
@out",
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int64!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { least: min(x), most: max(x), sum: sum(x) } }
@out",
        plan: "migrated counts",
        ..PAIR
    },
    Pair {
        name: "a wider float",
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { most: max(y) } }
@out",
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float64! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { most: max(y) } }
@out",
        plan: "migrated counts",
        ..PAIR
    },
    Pair {
        name: "a narrower integer",
        before: "@events
  counts: { kind: window, from: events, every: 1s, by: [k], select: { least: min(j) } }
@out",
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int32!, x: int32!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  counts: { kind: window, from: events, every: 1s, by: [k], select: { least: min(j) } }
@out",
        plan: "refused counts",
        outcome: Refused("STATE-CHANGED", "`min(j)`: Int32"),
        ..PAIR
    },
    Pair {
        name: "a field less in the rows of a join",
        before: JOIN,
        after: "@events
  pairs:
    kind: sql
    from: { l: events, r: events }
    query: |
      SELECT a.j AS j FROM tumble(l, ts, INTERVAL '1 second') a
      JOIN tumble(r, ts, INTERVAL '1 second') b ON a.window_end = b.window_end AND a.j = b.j
  out: { kind: file_sink, from: pairs, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "migrated pairs",
        outcome: But(|mut row| {
            if row["j"].as_i64().expect("a number") < 200 {
                row["x"] = (row["j"].as_i64().expect("a number") % 100).into();
            }
            Some(row)
        }),
        ..PAIR
    },
    Pair {
        name: "a required field more in the rows of a join",
        before: JOIN,
        after: "@events
  pairs:
    kind: sql
    from: { l: events, r: events }
    query: |
      SELECT a.j AS j, a.x AS x, b.y AS y FROM tumble(l, ts, INTERVAL '1 second') a
      JOIN tumble(r, ts, INTERVAL '1 second') b ON a.window_end = b.window_end AND a.j = b.j
  out: { kind: file_sink, from: pairs, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "refused pairs",
        outcome: Refused("STATE-CHANGED", "`right.y`: Float32!"),
        ..PAIR
    },
    Pair {
        name: "a field more in the rows of a join, NULL in what came before",
        before: JOIN,
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int32!, y: float32 }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  pairs:
    kind: sql
    from: { l: events, r: events }
    query: |
      SELECT a.j AS j, a.x AS x, b.y AS y FROM tumble(l, ts, INTERVAL '1 second') a
      JOIN tumble(r, ts, INTERVAL '1 second') b ON a.window_end = b.window_end AND a.j = b.j
  out: { kind: file_sink, from: pairs, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "migrated pairs",
        outcome: But(|mut row| {
            match row["j"].as_i64().expect("a number") {
                // Published before the change, or kept from before it.
                0..200 => drop(row.as_object_mut().expect("a row is an object").remove("y")),
                200..300 => row["y"] = Value::Null,
                _ => {}
            }
            Some(row)
        }),
        ..PAIR
    },
    Pair {
        name: "another window of a join",
        before: JOIN,
        after: "@events
  pairs:
    kind: sql
    from: { l: events, r: events }
    query: |
      SELECT a.j AS j, a.x AS x FROM tumble(l, ts, INTERVAL '2 seconds') a
      JOIN tumble(r, ts, INTERVAL '2 seconds') b ON a.window_end = b.window_end AND a.j = b.j
  out: { kind: file_sink, from: pairs, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "refused pairs",
        outcome: Refused("STATE-CHANGED", "window: 1s"),
        ..PAIR
    },
    Pair {
        name: "a dedupe that remembers longer",
        before: "@events
  once: { kind: dedupe, from: events, by: [j], within: 5s }
  out: { kind: file_sink, from: once, path: out, format: ndjson, roll: { rows: 7 } }",
        after: "@events
  once: { kind: dedupe, from: events, by: [j], within: 10s }
  out: { kind: file_sink, from: once, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "kept once",
        ..PAIR
    },
    Pair {
        name: "a wider key",
        before: "@events
  once: { kind: dedupe, from: events, by: [x], max_keys: 1000 }
  out: { kind: file_sink, from: once, path: out, format: ndjson, roll: { rows: 7 } }",
        after: "  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: { ts: timestamp(ms)!, k: string!, j: int64!, x: int64!, y: float32! }, event_time: { field: ts, out_of_order: 0s, idle_after: 1h } }
  once: { kind: dedupe, from: events, by: [x], max_keys: 1000 }
  out: { kind: file_sink, from: once, path: out, format: ndjson, roll: { rows: 7 } }",
        plan: "refused once",
        outcome: Refused("STATE-CHANGED", "by: x: Int64"),
        ..PAIR
    },
];

#[test]
fn columns_may_go_widen_or_be_added() {
    MIGRATED.iter().for_each(check);
}

/// The state has moved: `was` may stay in the file, or go; and a second new name works like the first.
#[test]
fn was_is_harmless_once_the_state_has_moved() {
    let named = |name: &str, was: &str| {
        file(&format!(
            "@events
  {name}: {{ kind: window, from: events, every: 1s, by: [k], select: {{ n: count(*) }}{was} }}
  out: {{ kind: file_sink, from: {name}, path: out, format: ndjson, roll: {{ rows: 7 }} }}"
        ))
    };
    let scene = Scene::new(&named("counts", ""));
    let mut read = 0;
    for (name, was) in [
        ("counts", ""),
        ("totals", ", was: counts"),
        ("totals", ", was: counts"),
        ("totals", ""),
        ("sums", ", was: totals"),
    ] {
        scene.write("pipeline.yaml", named(name, was));
        let mut input =
            OpenOptions::new().append(true).create(true).open(scene.path("in/a.ndjson")).expect("a temporary file");
        input.write_all(rows(read..read + ALL / 5).as_bytes()).expect("ours");
        read += ALL / 5;
        scene.run(&how(1, &["--until-done"])).fine();
        assert!(scene.command(&["state", "verify"], &[]).fine().stdout.starts_with("whole"));
    }
    assert_eq!(read, ALL);
    let last = std::fs::read_to_string(scene.path("pipeline.yaml")).expect("just written");
    scene.write("pipeline.yaml", last.replace("read: watch, poll: 10ms", "read: once"));
    scene.run(&how(1, &[])).fine();
    same("output", &scene.lines("out"), &undisturbed(PLAIN, 0..ALL)).unwrap_or_else(|e| panic!("{e}"));
}

/// Crashes on the way to the first checkpoint under the new name, and right behind it: the old state is there
/// until then, the new one from then on, and the same file starts again from either.
#[test]
fn a_rename_survives_crashes() {
    let renamed = "@events
  totals: { kind: window, from: records, every: 1s, by: [k], select: { n: count(*) }, was: counts }
  out: { kind: file_sink, from: totals, path: out, format: ndjson, roll: { rows: 7 } }";
    let records = EVENTS.replace("events:", "records:").replace(" } }\n", " }, was: events }\n");
    let text = once(renamed).replace(
        &EVENTS.replace("read: watch, poll: 10ms", "read: once"),
        &records.replace("read: watch, poll: 10ms", "read: once"),
    );
    assert!(text.contains("was: events"), "{text}");
    let pair = Pair { name: "crashes", ..PAIR };
    for at in [
        "state.open.generation_put:1",
        "state.commit.files_done:1",
        "state.commit.record_put:1",
        "file_sink.recover.published:1",
        "file_sink.committed:1",
    ] {
        let scene = first_part(&pair);
        append_rest(&scene);
        scene.write("pipeline.yaml", &text);
        let crashed = scene.run(&how(1, &[]).with("MILLSTREAM_FAILPOINT", at));
        assert!(crashed.struck(), "{at}: {}", crashed.stderr);
        let plan = scene.command(&["plan"], &[]).fine();
        assert!(plan.stdout.contains("kept"), "{at}: {}", plan.stdout);
        scene.run(&how(2, &[])).fine();
        same(at, &output(&scene), &undisturbed(PLAIN, 0..ALL)).unwrap_or_else(|e| panic!("{e}"));
    }
}
