//! Bad pipeline files, case by case of the table in the reliability design: `check` says every problem with
//! its place, `run` says the same and starts nothing. The two cases about a pipeline that runs stand in
//! `evolve` and `watch`.

use super::harness::{How, Scene};
use std::fmt::Write;
use std::time::{Duration, Instant};

const GOOD: &str = "version: 1
name: good
nodes:
  numbers: { kind: generator, dataset: bids, rows: 10 }
  out: { kind: file_sink, from: numbers, path: out, format: ndjson }
";

/// A file, and for each of its problems the line, the column and the code; further words that must be said.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    problems: &'static [&'static str],
    words: &'static [&'static str],
}

fn case(
    name: &'static str,
    file: impl Into<Vec<u8>>,
    problems: &'static [&'static str],
    words: &'static [&'static str],
) -> Case {
    Case { name, file: file.into(), problems, words }
}

/// The good file with one text in place of another.
fn with(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replace(old, new)
}

fn nodes(nodes: &str) -> String {
    format!("version: 1\nname: bad\nnodes:\n{nodes}")
}

const NUMBERS: &str = "  numbers: { kind: generator, dataset: bids, rows: 10 }\n";
const OUT: &str = "  out: { kind: discard, from: last }\n";

fn syntax() -> Vec<Case> {
    let mut bytes = GOOD.as_bytes().to_vec();
    bytes[20] = 0xff;
    vec![
        case("a bracket that does not close", with("format: ndjson }", "format: ndjson"), &["PIPE-SYNTAX"], &[]),
        case("a tab", with("  numbers", "\tnumbers"), &["4:1: PIPE-SYNTAX"], &[]),
        case("a wrong indent", with("  out:", " out:"), &["PIPE-SYNTAX"], &[]),
        case("not UTF-8", bytes, &["PIPE-SYNTAX"], &["UTF-8"]),
        case("empty", "", &["PIPE-SYNTAX"], &[]),
        case("two documents", format!("{GOOD}---\n{GOOD}"), &["6:1: PIPE-SYNTAX"], &[]),
        case("an anchor", with("{ kind: generator", "&a { kind: generator"), &["PIPE-SYNTAX"], &[]),
    ]
}

fn names_and_edges() -> Vec<Case> {
    let hundred: String = (0..150).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "  n{n}: {{ kind: discard, from: nobody{n} }}");
        text
    });
    vec![
        case("a typo in a key", with("format:", "fromat:"), &["5:53: PIPE-UNKNOWN-KEY"], &["did you mean `format`?"]),
        case("a typo in a kind", with("file_sink", "flie_sink"), &["5:16: PIPE-UNKNOWN-KIND"], &["file_sink"]),
        case(
            "a key and a node twice",
            nodes(&format!(
                "{NUMBERS}  numbers: {{ kind: stdin, kind: stdin }}\n  last: {{ kind: discard, from: numbers }}\n"
            )),
            &["5:3: PIPE-DUPLICATE", "5:27: PIPE-DUPLICATE"],
            &["also 4:3"],
        ),
        case(
            "a cycle, an edge to nowhere, a step nobody reads",
            nodes(&format!(
                "{NUMBERS}  a: {{ kind: filter, from: b, where: price > 1 }}\n  b: {{ kind: filter, from: a, where: price > 1 }}\n  c: {{ kind: filter, from: numbres, where: price > 1 }}\n"
            )),
            &["PIPE-CYCLE", "7:28: PIPE-DANGLING", "PIPE-UNUSED"],
            &["a -> b -> a", "did you mean `numbers`?"],
        ),
        case("more than a hundred problems", nodes(&hundred), &["PIPE-DANGLING", "PIPE-MORE"], &["not shown"]),
    ]
}

fn values() -> Vec<Case> {
    let mut cases = vec![
        case(
            "an unknown field in an expression",
            nodes(&format!("{NUMBERS}  last: {{ kind: filter, from: numbers, where: prise > 1 }}\n{OUT}")),
            &["5:47: SQL-UNKNOWN-COLUMN"],
            &["did you mean `price`?"],
        ),
        case(
            "types that do not fit within a step",
            nodes(&format!("{NUMBERS}  last: {{ kind: filter, from: numbers, where: price + 1 }}\n{OUT}")),
            &["5:47: SQL-TYPE"],
            &[],
        ),
        case(
            "types that do not fit between steps",
            nodes(&format!(
                "{NUMBERS}  other: {{ kind: select, from: numbers, columns: {{ price: channel }} }}\n  same: {{ kind: select, from: numbers, columns: {{ price: price }} }}\n  last: {{ kind: union, from: [other, same] }}\n{OUT}"
            )),
            &["UNION-SCHEMA"],
            &["`other`", "`same`", "Utf8", "Int64"],
        ),
        case(
            "a variable that is not set",
            nodes(&format!("{NUMBERS}  a: {{ kind: file_sink, from: numbers, path: {{ env: NO_SUCH_VARIABLE }} }}\n")),
            &["5:46: PIPE-REFERENCE"],
            &["NO_SUCH_VARIABLE"],
        ),
        case(
            "a secret where none may stand",
            nodes(&format!("{NUMBERS}  a: {{ kind: file_sink, from: numbers, path: {{ secret: no-such-secret }} }}\n")),
            &["5:46: PIPE-SECRET"],
            &[],
        ),
        case(
            "more than a sink can promise",
            "version: 1\nname: bad\nguarantee: exactly_once\nnodes:\n  numbers: { kind: generator, dataset: bids, rows: 10 }\n  out: { kind: stdout, from: numbers }\n",
            &["PIPE-GUARANTEE"],
            &["out"],
        ),
    ];
    for wrong in ["5", "5 sec", "-5s", "99999999999999999999s", "1e9d"] {
        let file = format!(
            "version: 1\nname: bad\ncheckpoint: {{ every: {wrong} }}\n{}",
            &GOOD[GOOD.find("nodes").expect("there")..]
        );
        cases.push(case(
            "a duration without its unit, or none at all",
            file,
            &["3:22: PIPE-UNIT"],
            &["a duration such as"],
        ));
    }
    cases
}

/// A problem as `line:column: CODE`, the places that belong to it, and its words.
fn said(line: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(line).expect("a problem is JSON");
    let at = |place: &serde_json::Value| format!("{}:{}", place["line"], place["column"]);
    let also = problem["also"].as_array().into_iter().flatten().map(|also| format!("also {}", at(&also[0])));
    let words = ["what", "found", "expected", "help"].iter().filter_map(|key| problem[key].as_str().map(String::from));
    let code = problem["code"].as_str().expect("a problem has a code");
    let mut all = vec![format!("{}: {code}", at(&problem["place"]))];
    all.extend(also.chain(words));
    all.join("; ")
}

/// What is not as it should be.
fn judge(case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let scene = Scene::new("");
    scene.write("pipeline.yaml", &case.file);
    let checked = scene.bare(&["--json", "check", "pipeline.yaml"]);
    assert_eq!(checked.status.code(), Some(1), "{}: {}", case.name, checked.stderr);
    let found: Vec<String> = checked.stderr.lines().map(said).collect();
    for words in case.problems.iter().chain(case.words) {
        if !found.iter().any(|f| f.contains(words)) {
            wrong.push(format!("{}: not `{words}`:\n  {}", case.name, found.join("\n  ")));
        }
    }
    assert!(found.len() <= 100, "{}: {} problems", case.name, found.len());
    let run = scene.bare(&["run", "pipeline.yaml", "--state", "state"]);
    assert_eq!(run.status.code(), Some(1), "{}: {}", case.name, run.stderr);
    for problem in case.problems {
        let code = problem.rsplit(' ').next().expect("a code");
        if !run.stderr.contains(code) {
            wrong.push(format!("{}: `run` does not say `{code}`:\n{}", case.name, run.stderr));
        }
    }
    for made in ["state", "out", ".millstream"] {
        assert!(!scene.path(made).exists(), "{}: {made} was made", case.name);
    }
    wrong
}

#[test]
fn every_problem_is_said_and_nothing_is_started() {
    let wrong: Vec<String> = [syntax(), names_and_edges(), values()].iter().flatten().flat_map(judge).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    for text in [format!("\u{feff}{GOOD}"), GOOD.replace('\n', "\r\n")] {
        let scene = Scene::new(&text);
        scene.run(&How::workers(1)).fine();
        assert_eq!(scene.lines("out").len(), 10);
    }
}

/// Files that are made to cost: refused at once, and with little memory.
#[test]
fn bombs_are_refused_within_a_second() {
    let deep = format!("version: 1\nname: bad\nnodes: {}1{}\n", "[".repeat(1_000), "]".repeat(1_000));
    let wide = format!("{GOOD}# {}\n", "x".repeat(1 << 20));
    let aliases = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n";
    let many: String = (0..200_000).map(|n| format!("k{n}: 1\n")).collect();
    for (name, bomb, code) in [
        ("deep", deep.as_str(), "PIPE-LIMIT"),
        ("wide", &wide, "PIPE-LIMIT"),
        ("aliases", aliases, "PIPE-SYNTAX"),
        ("many", &many, "PIPE-LIMIT"),
    ] {
        let scene = Scene::new(bomb);
        let began = Instant::now();
        scene.bare(&["check", "pipeline.yaml"]).refused(&[code]);
        let took = began.elapsed();
        println!("{name}: {took:?}");
        // A second where the machine is free; this one may be busy.
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}
