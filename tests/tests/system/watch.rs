//! `run --watch`: a good save takes over from the state, a bad or unfit one is reported while the pipeline
//! that runs goes on; nothing is lost or doubled by either.

use super::harness::{How, Running, Scene};
use std::fs::{self, OpenOptions};
use std::io::Write;

fn file(what: &str, counts: &str) -> String {
    format!(
        "
version: 1
name: watched
guarantee: exactly_once
checkpoint: {{ every: 20ms }}
nodes:
  events: {{ kind: file_source, path: in/*.ndjson, format: ndjson, read: watch, poll: 10ms, schema: {{ n: int64! }} }}
  once: {{ kind: dedupe, from: events, {counts} }}
  rows: {{ kind: select, from: once, columns: {{ n: n, by: \"'{what}'\" }} }}
  out: {{ kind: file_sink, from: rows, path: out, format: ndjson, roll: {{ rows: 1 }} }}
"
    )
}

const BY_N: &str = "by: [n], max_keys: 1000";

/// The same with the node `once` under another name.
fn renamed(text: &str) -> String {
    text.replace("  once:", "  first:").replace("from: once", "from: first")
}

/// Adds a number to the input and waits until it has come out, by this version of the file.
fn pass(run: &mut Running, scene: &Scene, n: u32, by: &str) {
    let mut input = OpenOptions::new().append(true).create(true).open(scene.path("in/a.ndjson")).expect("ours");
    writeln!(input, "{{\"n\":{n}}}").expect("ours");
    let line = format!("{{\"n\":{n},\"by\":\"{by}\"}}");
    run.until(&line, || scene.lines("out").contains(&line));
}

fn said(run: &mut Running, words: &str, times: usize) {
    let stderr = run.stderr_path().to_path_buf();
    run.until(words, || fs::read_to_string(&stderr).unwrap_or_default().matches(words).count() >= times);
}

#[test]
fn good_saves_take_over_and_bad_ones_do_not() {
    let scene = Scene::new(&file("one", BY_N));
    let save = |text: &str| scene.write("pipeline.yaml", text);
    let mut run = scene.start(&How::workers(2).argument("--watch"));
    pass(&mut run, &scene, 1, "one");
    // Not YAML, not a pipeline, gone, empty: each is said, and what runs goes on.
    for (n, (bad, code)) in [
        ("nodes: [", "PIPE-SYNTAX"),
        (&*file("two", "bye: [n], max_keys: 1000"), "PIPE-UNKNOWN-KEY"),
        (&*file("two", BY_N).replace("from: rows", "from: row"), "PIPE-DANGLING"),
        ("", "PIPE-SYNTAX"),
    ]
    .into_iter()
    .enumerate()
    {
        save(bad);
        said(&mut run, "what runs goes on", n + 1);
        said(&mut run, code, 1);
        pass(&mut run, &scene, u32::try_from(n).expect("few") + 2, "one");
    }
    fs::remove_file(scene.path("pipeline.yaml")).expect("ours");
    pass(&mut run, &scene, 6, "one");
    // Well written, but the state does not fit: the plan's words, and what runs goes on.
    save(&renamed(&file("two", BY_N)));
    said(&mut run, "STATE-ORPHAN", 1);
    said(&mut run, "--drop-state once", 1);
    said(&mut run, "what runs goes on", 5);
    pass(&mut run, &scene, 7, "one");
    save(&file("two", BY_N).replace("name: watched", "name: other"));
    said(&mut run, "CLI-WATCH", 1);
    pass(&mut run, &scene, 8, "one");
    // Good ones, one of them with the node under another name.
    save(&file("two", BY_N));
    said(&mut run, "resuming from checkpoint", 1);
    pass(&mut run, &scene, 9, "two");
    save(&renamed(&file("three", "by: [n], max_keys: 1000, was: once")));
    said(&mut run, "resuming from checkpoint", 2);
    // Seen before: the state is still there.
    for n in 1..=9 {
        let mut input = OpenOptions::new().append(true).open(scene.path("in/a.ndjson")).expect("ours");
        writeln!(input, "{{\"n\":{n}}}").expect("ours");
    }
    pass(&mut run, &scene, 10, "three");
    run.drain().fine();
    let by = |n: u32| {
        if n < 9 {
            "one"
        } else if n == 9 {
            "two"
        } else {
            "three"
        }
    };
    let mut expected: Vec<String> = (1..=10).map(|n| format!("{{\"n\":{n},\"by\":\"{}\"}}", by(n))).collect();
    expected.sort_unstable();
    assert_eq!(scene.lines("out"), expected);
}

/// A file that is bad from the start waits to be mended; a job that has ended waits for the next save.
#[test]
fn it_waits_for_a_file_that_runs() {
    let good = "version: 1
name: watched
nodes:
  numbers: { kind: generator, dataset: bids, rows: 100 }
  out: { kind: file_sink, from: numbers, path: out, format: ndjson }
";
    let scene = Scene::new("version: 1\nname: watched\nnodes: { a: { kind: generatr } }\n");
    let mut run = scene.start(&How::workers(1).argument("--watch"));
    said(&mut run, "PIPE-UNKNOWN-KIND", 1);
    scene.write("pipeline.yaml", good);
    run.until("the rows", || scene.lines("out").len() == 100);
    said(&mut run, "waiting for", 2);
    scene.write("pipeline.yaml", format!("{good}# again\n"));
    said(&mut run, "nothing left to do", 1);
    run.drain().fine();
    assert_eq!(scene.lines("out").len(), 100);
}
