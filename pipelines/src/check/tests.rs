//! A table of bad files, each with the code, line and column of all its problems.

#![allow(clippy::print_stdout)] // Seeds and times, for whom a test fails.

use super::*;
use crate::catalogue::{Guarantee, Inputs};
use crate::document::tests::{FIRST, SECOND};
use crate::secret::Secret;
use crate::types::FieldType;
use crate::units::{ByteSize, Duration};
use schemars::JsonSchema;
use std::collections::BTreeMap;

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Kafka {
    connection: Option<String>,
    topics: Vec<String>,
    start: Option<Start>,
    format: Option<Format>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code)]
enum Start {
    /// The first record there is.
    Earliest,
    /// What comes from now on.
    Latest,
    /// From a moment on.
    At(String),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code)]
enum Format {
    Text,
    Ndjson,
    Csv,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    /// Where the files are.
    path: String,
    format: Format,
    password: Option<Secret>,
    roll: Option<Roll>,
    #[schemars(range(min = 1, max = 64))]
    threads: Option<u32>,
    columns: Option<BTreeMap<String, FieldType>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Roll {
    size: Option<ByteSize>,
    every: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Window {
    every: Duration,
    by: Option<Vec<String>>,
    select: BTreeMap<String, String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Sql {
    query: String,
    emit: Option<String>,
    allowed_lateness: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Parse {
    regex: String,
    types: Option<BTreeMap<String, FieldType>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Email {
    connection: String,
    to: Vec<String>,
    subject: String,
    once_per: Option<Once>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Once {
    key: String,
    every: Duration,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Stdout {
    format: Option<Format>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Routes {
    routes: BTreeMap<String, String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Program {
    program: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Topic {
    connection: String,
    topic: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Nothing {}

fn kind<T: JsonSchema>(
    name: &str,
    role: Role,
    inputs: Inputs,
    ports: &[&str],
    common: &[&str],
    guarantee: Guarantee,
) -> KindInfo {
    KindInfo {
        name: name.into(),
        role,
        inputs,
        ports: ports.iter().map(ToString::to_string).collect(),
        ports_from: (name == "route").then(|| "routes".into()),
        common: common.iter().map(ToString::to_string).collect(),
        guarantee,
        summary: String::new(),
        docs: String::new(),
        config: schemars::schema_for!(T).to_value(),
        example: String::new(),
    }
}

pub(crate) fn catalogue() -> Catalogue {
    use Guarantee::{AtLeastOnce as Least, AtMostOnce as Most, ExactlyOnce as Exactly};
    use Inputs::{Named, One};
    use Role::{Sink, Source, Transform};
    let source: &[&str] = &["event_time", "metadata", "schema"];
    let sink: &[&str] = &["where", "guarantee", "retry"];
    Catalogue {
        kinds: vec![
            kind::<File>("file_source", Source, Inputs::None, &[""], source, Exactly),
            kind::<Kafka>("kafka_source", Source, Inputs::None, &[""], source, Exactly),
            kind::<Kafka>("mqtt_source", Source, Inputs::None, &[""], source, Most),
            kind::<Parse>("parse", Transform, One, &[""], &["event_time", "output"], Exactly),
            kind::<Nothing>("filter", Transform, One, &[""], &["where"], Exactly),
            kind::<Nothing>("union", Transform, One, &[""], &[], Exactly),
            kind::<Routes>("route", Transform, One, &[], &[], Exactly),
            kind::<Program>("vrl", Transform, One, &[""], &["event_time", "output"], Exactly),
            kind::<Window>("window", Transform, One, &["", "late"], &["state"], Exactly),
            kind::<Sql>("sql", Transform, Named, &["", "late"], &["state"], Exactly),
            kind::<File>("file_sink", Sink, One, &[], sink, Exactly),
            kind::<Topic>("kafka_sink", Sink, One, &[], sink, Exactly),
            kind::<Email>("email_sink", Sink, One, &[], sink, Least),
            kind::<Stdout>("stdout", Sink, One, &[], sink, Least),
        ],
    }
}

fn all(text: &str) -> Vec<Problem> {
    match Document::parse("p.yaml", text.as_bytes()) {
        Ok(document) => check(&document, &catalogue()),
        Err(problems) => problems,
    }
}

/// `line:column CODE` of everything but notes.
fn brief(problems: &[Problem]) -> Vec<String> {
    let show = |p: &Problem| match &p.place {
        Some(Place::Text { line, column, .. }) => format!("{line}:{column} {}", p.code),
        place => format!("{place:?} {}", p.code),
    };
    problems.iter().filter(|p| p.severity != Severity::Note).map(show).collect()
}

/// A good file but for the lines in question, which begin at line 5.
fn nodes(lines: &str) -> String {
    format!(
        "version: 1\nname: t\nnodes:\n  src: {{ kind: file_source, path: in, format: text }}\n{lines}\n  out: {{ kind: stdout, from: src }}\n"
    )
}

#[test]
fn the_examples_have_no_problem() {
    for text in [FIRST, SECOND] {
        let problems = all(text);
        assert_eq!(problems, Vec::new(), "{problems:#?}");
    }
}

#[test]
fn bad_top_levels() {
    let end = "nodes:\n  src: { kind: file_source, path: in, format: text }\n  out: { kind: file_sink, from: src, path: x, format: text }\n";
    let cases: &[(&str, &[&str])] = &[
        ("name: t\n", &["1:1 PIPE-VERSION"]),
        ("version: 2\nname: t\n", &["1:10 PIPE-VERSION"]),
        ("version: '1'\nname: t\n", &["1:10 PIPE-VERSION"]),
        ("version: 1\n", &["1:1 PIPE-MISSING-KEY"]),
        ("version: 1\nname: a/b\n", &["2:7 PIPE-NAME"]),
        ("version: 1\nname: ../etc\n", &["2:7 PIPE-NAME"]),
        ("version: 1\nname: 5\n", &["2:7 PIPE-TYPE"]),
        ("version: 1\nname: no\n", &[]),
        ("version: 1\nname: t\nnodez: {}\nparalelism: 4\n", &["3:1 PIPE-UNKNOWN-KEY", "4:1 PIPE-UNKNOWN-KEY"]),
        ("version: 1\nname: t\nguarantee: exactly_onec\n", &["3:12 PIPE-VALUE"]),
        ("version: 1\nname: t\ncheckpoint: { every: 5 }\n", &["3:22 PIPE-UNIT"]),
        (
            "version: 1\nname: t\ncheckpoint: { every: 5 sec, tiemout: 1s }\n",
            &["3:22 PIPE-UNIT", "3:29 PIPE-UNKNOWN-KEY"],
        ),
        ("version: 1\nname: t\ncheckpoint: { every: 1ms }\n", &["3:22 PIPE-RANGE"]),
        ("version: 1\nname: t\ncheckpoint: 1s\n", &["3:13 PIPE-TYPE"]),
        (
            "version: 1\nname: t\ndead_letters: { keep: -1s, max: 1GB, when_full: stop }\n",
            &["3:23 PIPE-UNIT", "3:33 PIPE-UNIT", "3:49 PIPE-VALUE"],
        ),
        ("version: 1\nname: t\ndead_letters: { guard: on }\n", &["3:24 PIPE-VALUE"]),
        (
            "version: 1\nname: t\ndead_letters: { guard: { share: 5, rows: -1, every: 10ms, row: 1 } }\n",
            &["3:33 PIPE-UNIT", "3:42 PIPE-RANGE", "3:53 PIPE-RANGE", "3:59 PIPE-UNKNOWN-KEY"],
        ),
        ("version: 1\nname: t\ndead_letters: { guard: { share: 101% } }\n", &["3:33 PIPE-UNIT"]),
        (
            "version: 1\nname: t\ndead_letters: { keep: 1e9d, max: 99999999999TiB }\n",
            &["3:23 PIPE-UNIT", "3:34 PIPE-UNIT"],
        ),
        (
            "version: 1\nname: t\nparameters: { Big: 1, x: { type: int, default: a } }\n",
            &["3:15 PIPE-NAME", "3:48 PIPE-TYPE"],
        ),
        ("version: 1\nname: t\nconnections: { main: { brokers: x } }\n", &["3:16 PIPE-MISSING-KEY"]),
        (
            "version: 1\nname: t\nconnections: { db: { kind: pg, url: 'postgres://me:pw@host/db' } }\n",
            &["3:37 PIPE-SECRET"],
        ),
        (
            "version: 1\nname: t\nlayout: { src: [0, 0], gone: [1, 1], out: 5 }\n",
            &["3:24 PIPE-DANGLING", "3:43 PIPE-TYPE"],
        ),
        ("version: 1\nname: t\nname: u\n", &["3:1 PIPE-DUPLICATE"]),
    ];
    for (head, expected) in cases {
        let problems = all(&format!("{head}{end}"));
        assert_eq!(brief(&problems), *expected, "{head}{problems:#?}");
    }
    assert_eq!(brief(&all("version: 1\nname: t\n")), ["1:1 PIPE-MISSING-KEY"]);
    assert_eq!(brief(&all("version: 1\nname: t\nnodes: {}\n")), ["3:8 PIPE-MISSING-KEY"]);
    assert_eq!(brief(&all("version: 1\nname: t\nnodes: []\n")), ["3:8 PIPE-TYPE"]);
    assert_eq!(brief(&all("- 1\n")), ["1:1 PIPE-TYPE"]);
}

#[test]
fn bad_nodes() {
    let cases: &[(&str, &[&str])] = &[
        // Keys and kinds.
        ("  a: { kind: stdot, from: src }", &["5:14 PIPE-UNKNOWN-KIND"]),
        ("  a: { from: src }", &["5:3 PIPE-MISSING-KEY"]),
        ("  a: 5", &["5:6 PIPE-TYPE"]),
        ("  a: { kind: stdout, form: src }", &["5:3 PIPE-INPUTS", "5:22 PIPE-UNKNOWN-KEY"]),
        ("  a: { kind: stdout, from: src, fromat: text }", &["5:33 PIPE-UNKNOWN-KEY"]),
        ("  a: { kind: stdout, from: src, state: { budget: 1GiB } }", &["5:33 PIPE-KEY-NOT-ALLOWED"]),
        ("  a: { kind: stdout, from: src, format: txt }", &["5:41 PIPE-VALUE"]),
        ("  a: { kind: file_sink, from: src }", &["5:3 PIPE-MISSING-KEY", "5:3 PIPE-MISSING-KEY"]),
        ("  a: { kind: file_sink, from: src, path: 5, format: [text] }", &["5:42 PIPE-TYPE", "5:53 PIPE-TYPE"]),
        ("  a: { kind: file_sink, from: src, path: no, format: text }", &[]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, threads: 0 }", &["5:68 PIPE-RANGE"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, threads: 65 }", &["5:68 PIPE-RANGE"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, threads: 1.5 }", &["5:68 PIPE-TYPE"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, threads: '4' }", &["5:68 PIPE-TYPE"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, threads: 012 }", &["5:68 PIPE-TYPE"]),
        (
            "  a: { kind: file_sink, from: src, path: x, format: text, threads: 99999999999999999999 }",
            &["5:68 PIPE-RANGE"],
        ),
        (
            "  a: { kind: file_sink, from: src, path: x, format: text, roll: { size: 5, evry: 1m } }",
            &["5:73 PIPE-UNIT", "5:76 PIPE-UNKNOWN-KEY"],
        ),
        ("  a: { kind: file_sink, from: src, path: x, format: text, columns: { a: strng } }", &["5:73 PIPE-TYPE"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, password: hunter2 }", &["5:69 PIPE-SECRET"]),
        ("  a: { kind: file_sink, from: src, path: { secret: p }, format: text }", &["5:42 PIPE-SECRET"]),
        ("  a: { kind: file_sink, from: src, path: x, format: text, password: { secret: p } }", &[]),
        (
            "  a: { kind: file_sink, from: src, path: { env: P }, format: '${f}', threads: { env: N, default: 4 } }",
            &["5:62 PIPE-DANGLING"],
        ),
        ("  a: { kind: file_sink, from: src, path: 'x${row.a}', format: text }", &[]),
        ("  a: { kind: file_sink, from: src, path: 'x${Row}', format: text }", &["5:42 PIPE-TEMPLATE"]),
        ("  a: { kind: file_sink, from: src, path: { env: 5 }, format: text }", &["5:49 PIPE-TYPE"]),
        ("  a: { kind: kafka_source, topics: x }\n  b: { kind: stdout, from: a }", &["5:36 PIPE-TYPE"]),
        ("  a: { kind: kafka_source, topics: [x, 5] }\n  b: { kind: stdout, from: a }", &["5:40 PIPE-TYPE"]),
        (
            "  a: { kind: kafka_source, topics: [], start: { at: 5 } }\n  b: { kind: stdout, from: a }",
            &["5:53 PIPE-TYPE"],
        ),
        (
            "  a: { kind: kafka_source, topics: [], start: erliest }\n  b: { kind: stdout, from: a }",
            &["5:47 PIPE-VALUE"],
        ),
        (
            "  a: { kind: kafka_source, topics: [], connection: main }\n  b: { kind: stdout, from: a }",
            &["5:52 PIPE-DANGLING"],
        ),
        // Common keys.
        ("  a: { kind: stdout, from: src, on_error: ignore }", &["5:43 PIPE-VALUE"]),
        ("  a: { kind: stdout, from: src, where: 5 }", &["5:40 PIPE-TYPE"]),
        (
            "  a: { kind: stdout, from: src, retry: { attempts: 0, wait: 5s, wait_max: 1s } }",
            &["5:52 PIPE-RANGE", "5:75 PIPE-RANGE"],
        ),
        ("  a: { kind: window, from: src, every: 5, select: {} }\n  b: { kind: stdout, from: a }", &["5:40 PIPE-UNIT"]),
        (
            "  a: { kind: window, from: src, every: 1m, select: {}, state: { budget: 1kb, tll: 1m } }\n  b: { kind: stdout, from: a }",
            &["5:73 PIPE-UNIT", "5:78 PIPE-UNKNOWN-KEY"],
        ),
        (
            "  a: { kind: parse, from: src, regex: x, schema: { a: string } }\n  b: { kind: stdout, from: a }",
            &["5:42 PIPE-KEY-NOT-ALLOWED"],
        ),
        (
            "  a: { kind: parse, from: src, regex: x, output: { a: strng, b: list(int), c: 5 } }\n  b: { kind: stdout, from: a }",
            &["5:55 PIPE-TYPE", "5:70 PIPE-TYPE", "5:79 PIPE-TYPE"],
        ),
        (
            "  a: { kind: parse, from: src, regex: x, output: { ts: string }, event_time: { field: ts } }\n  b: { kind: stdout, from: a }",
            &["5:87 PIPE-TYPE"],
        ),
        (
            "  a: { kind: parse, from: src, regex: x, output: { ts: timestamp }, event_time: { field: tz, out_of_order: 90d } }\n  b: { kind: stdout, from: a }",
            &["5:90 PIPE-DANGLING", "5:108 PIPE-RANGE"],
        ),
        (
            "  a: { kind: parse, from: src, regex: x, event_time: { out_of_order: 1s } }\n  b: { kind: stdout, from: a }",
            &["5:54 PIPE-MISSING-KEY"],
        ),
        (
            "  a: { kind: file_source, path: x, format: text, metadata: [path] }\n  b: { kind: stdout, from: a }",
            &["5:61 PIPE-NAME"],
        ),
        // Names.
        ("  My-Node: { kind: stdout, from: src }", &["5:3 PIPE-NAME"]),
        ("  a: { kind: stdout, from: src, was: src }", &["5:38 PIPE-DUPLICATE"]),
        ("  a: { kind: stdout, from: src, was: a }", &["5:38 PIPE-DUPLICATE"]),
        (
            "  a: { kind: stdout, from: src, was: x }\n  b: { kind: stdout, from: src, was: x }",
            &["6:38 PIPE-DUPLICATE"],
        ),
        ("  src: { kind: stdout, from: src }", &["5:3 PIPE-DUPLICATE"]),
        ("  a: { kind: stdout, from: src, from: src }", &["5:33 PIPE-DUPLICATE"]),
        // Edges.
        ("  a: { kind: stdout, from: srk }", &["5:28 PIPE-DANGLING"]),
        ("  a: { kind: stdout, from: [src, nowhere] }", &["5:34 PIPE-DANGLING"]),
        ("  a: { kind: stdout, from: [src, src] }", &["5:34 PIPE-DUPLICATE"]),
        ("  a: { kind: stdout, from: [] }", &["5:28 PIPE-INPUTS"]),
        ("  a: { kind: stdout, from: { x: 5 } }", &["5:28 PIPE-INPUTS", "5:33 PIPE-TYPE"]),
        ("  a: { kind: stdout, from: src.late }", &["5:28 PIPE-DANGLING"]),
        ("  a: { kind: stdout, from: src.errors }", &[]),
        ("  a: { kind: stdout, from: '*.late' }", &["5:28 PIPE-DANGLING"]),
        ("  a: { kind: stdout, from: out }", &["5:28 PIPE-INPUTS"]),
        ("  a: { kind: stdout, from: out.errors }", &[]),
        ("  a: { kind: stdout }", &["5:3 PIPE-INPUTS"]),
        (
            "  a: { kind: file_source, path: x, format: text, from: src }\n  b: { kind: stdout, from: a }",
            &["5:50 PIPE-INPUTS"],
        ),
        (
            "  a: { kind: filter, from: { x: src }, where: 'true' }\n  b: { kind: stdout, from: a }",
            &["5:28 PIPE-INPUTS"],
        ),
        (
            "  a: { kind: sql, from: [src, out.errors], query: x }\n  b: { kind: stdout, from: a }",
            &["5:25 PIPE-INPUTS"],
        ),
        ("  a: { kind: sql, from: src, query: x }\n  b: { kind: stdout, from: [a, a.late] }", &[]),
        (
            "  a: { kind: route, from: src, routes: { x: 'true', y: 'false' } }\n  b: { kind: stdout, from: [a.x, a.y] }",
            &[],
        ),
        (
            "  a: { kind: route, from: src, routes: { x: 'true', y: 'false' } }\n  b: { kind: stdout, from: a.x }",
            &["5:3 PIPE-UNUSED"],
        ),
        (
            "  a: { kind: route, from: src, routes: { x: 'true' } }\n  b: { kind: stdout, from: [a.x, a] }",
            &["6:34 PIPE-DANGLING"],
        ),
        ("  a: { kind: filter, from: src, where: 'true' }", &["5:3 PIPE-UNUSED"]),
        ("  a: { kind: union, from: [src, b] }\n  b: { kind: union, from: a }", &["5:33 PIPE-CYCLE"]),
        ("  a: { kind: union, from: a }", &["5:27 PIPE-CYCLE"]),
        (
            "  a: { kind: union, from: '*.errors' }\n  b: { kind: stdout, from: a }\n  c: { kind: stdout, from: '*.errors' }",
            &[],
        ),
        // Guarantees.
        ("  a: { kind: stdout, from: src, guarantee: exactly_once }", &["5:44 PIPE-GUARANTEE"]),
        ("  a: { kind: stdout, from: src, guarantee: at_least_once }", &[]),
        (
            "  m: { kind: mqtt_source, topics: [x] }\n  a: { kind: stdout, from: m, guarantee: at_least_once }",
            &["6:42 PIPE-GUARANTEE"],
        ),
    ];
    for (lines, expected) in cases {
        let problems = all(&nodes(lines));
        assert_eq!(brief(&problems), *expected, "{lines}\n{problems:#?}");
        let known = problems.iter().all(|p| codes::ALL.iter().any(|code| *code == p.code));
        assert!(known, "{problems:#?}");
        let bytes = problems.iter().all(|p| matches!(&p.place, Some(Place::Text { bytes: Some(_), .. })));
        assert!(bytes, "{problems:#?}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let one = |lines: &str| {
        let problems = all(&nodes(lines));
        problems.into_iter().find(|p| p.severity != Severity::Note).expect("one problem").to_string()
    };
    let cases = [
        (
            "  a: { kind: stdout, from: src.late }",
            "p.yaml:5:28: node a: PIPE-DANGLING: `src` has no port `late`; expected one of src, src.errors",
        ),
        (
            "  a: { kind: stdout, from: srk }",
            "p.yaml:5:28: node a: PIPE-DANGLING: there is no node `srk`; did you mean `src`?",
        ),
        (
            "  a: { kind: union, from: [src, b] }\n  b: { kind: union, from: a }",
            "p.yaml:5:33: node a: PIPE-CYCLE: nodes feed themselves; found a -> b -> a; take one of these edges away",
        ),
        (
            "  m: { kind: mqtt_source, topics: [x] }\n  a: { kind: stdout, from: m, guarantee: at_least_once }",
            "p.yaml:6:42: node a: PIPE-GUARANTEE: at_least_once is asked of `a`, but `m` (mqtt_source) gives at_most_once; found at_most_once; \
             expected at_least_once; write `guarantee: at_most_once` in `a` to accept that, or use another kind",
        ),
        (
            "  a: { kind: file_sink, from: src, format: text }",
            "p.yaml:5:3: node a: PIPE-MISSING-KEY: key `path` is missing; expected a string; `path`: Where the files are.",
        ),
        (
            "  a: { kind: kafka_source, topics: [], start: 5 }\n  b: { kind: stdout, from: a }",
            "p.yaml:5:47: node a: PIPE-TYPE: `start` has the wrong type; found the number 5; expected earliest or latest or { at: … }",
        ),
        (
            "  a: { kind: file_sink, from: src, path: x, format: text, roll: { every: 5 sec } }",
            "p.yaml:5:74: node a: PIPE-UNIT: `every`: unknown unit `sec`; found \"5 sec\"; expected a duration such as 500ms, 10s, 1m, 12h or 30d; \
             write 5s",
        ),
        (
            "  a: { kind: file_sink, from: src, path: 'db://u:hunter2@h/x', format: text }",
            "p.yaml:5:42: node a: PIPE-SECRET: a password stands in the file; found \"db://u:***@h/x\"; expected { secret: name } or { env: NAME }; \
             whoever reads the file reads it too",
        ),
        (
            "  a: { kind: sql, from: [src, out.errors], query: x }\n  b: { kind: stdout, from: a }",
            "p.yaml:5:25: node a: PIPE-INPUTS: a `sql` needs a name for each input; expected a map of named inputs; \
             write `from: { src: src, out: out.errors }`",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(one(lines), expected);
    }
}

#[test]
fn exactly_once_names_both_places() {
    let text = SECOND.replace(
        "    guarantee: at_least_once       # e-mail cannot do better; without this line `check` refuses\n",
        "",
    );
    let problems = all(&text);
    assert_eq!(brief(&problems), ["42:11 PIPE-GUARANTEE"]);
    assert_eq!(problems[0].also.len(), 1);
    assert!(problems[0].what.contains("`alert` (email_sink) gives at_least_once"), "{problems:#?}");
    let unasked = text.replace("guarantee: exactly_once ", "# guarantee");
    let notes: Vec<_> = all(&unasked).into_iter().map(|p| (p.severity, p.code.to_string())).collect();
    assert_eq!(notes, [(Severity::Note, "PIPE-GUARANTEE".to_string())]);
}

#[test]
fn windows_without_event_time_are_noted() {
    let text = FIRST.replace(",\n              event_time: { field: ts, out_of_order: 30s, idle_after: 1m }", "");
    let problems = all(&text);
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].code.as_ref(), problems[0].node.as_deref()), ("PIPE-EVENT-TIME", Some("counts")));
}

#[test]
fn bad_tests() {
    let cases: &[(&str, &[&str])] = &[
        ("- { name: x, expect: { out: [] } }", &[]),
        ("- { name: x, feed: [{ into: sorce, value: a }], expect: { out: { count: 1 } } }", &["7:31 PIPE-DANGLING"]),
        ("- { name: x, feed: [{ into: out, value: a }], expect: { out: { count: 1 } } }", &["7:31 PIPE-TEST"]),
        ("- { name: x, feed: [{ into: src }], expect: { out: { count: 1 } } }", &["7:23 PIPE-MISSING-KEY"]),
        ("- { name: x, feed: [{ into: src, value: a, row: {} }], expect: { out: [] } }", &["7:51 PIPE-TEST"]),
        ("- { name: x, feed: [{ into: src, value: a, at: yesterday }], expect: { out: [] } }", &["7:50 PIPE-TYPE"]),
        ("- { name: x, expect: { src.late: [] } }", &["7:26 PIPE-DANGLING"]),
        ("- { name: x, expect: { out: 5 } }", &["7:31 PIPE-TYPE"]),
        ("- { name: x, expect: { out: [5] } }", &["7:32 PIPE-TYPE"]),
        ("- { name: x, expect: { out: { count: -1 } } }", &["7:40 PIPE-RANGE"]),
        ("- { name: x, expect: {} }", &["7:24 PIPE-TEST"]),
        ("- { name: x }", &["7:5 PIPE-MISSING-KEY"]),
        ("- { expect: { out: [] } }", &["7:5 PIPE-MISSING-KEY"]),
        ("- { name: x, watermark: 5, expect: { out: [] } }", &["7:27 PIPE-TYPE"]),
        ("- { name: x, expect: { out: [] } }\n  - { name: x, expect: { out: [] } }", &["8:13 PIPE-DUPLICATE"]),
    ];
    for (test, expected) in cases {
        let file = nodes("").replace("\n\n", "\n");
        let problems = all(&format!("{file}tests:\n  {test}\n"));
        assert_eq!(brief(&problems), *expected, "{test}\n{problems:#?}");
    }
    let document = Document::parse("p.yaml", nodes("").as_bytes()).unwrap();
    let tests =
        TestFile::parse("p.test.yaml", b"pipeline: p.yaml\ntests:\n  - { name: x, expect: { gone: [] } }\n").unwrap();
    assert_eq!(brief(&check_tests(&tests, &document, &catalogue())), ["3:26 PIPE-DANGLING"]);
}

#[test]
fn a_hundred_problems_and_one_line_more() {
    let many: String = (0..300).map(|i| format!("  n{i}: {{ kind: stdout, from: gone }}\n")).collect();
    let problems = all(&nodes(&many));
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert_eq!(problems[99].what, "502 more problems are not shown");
}

#[test]
fn references_are_resolved() {
    let text = "version: 1
name: t
parameters: { dir: in, n: 4, must: , mode: { type: string, default: text } }
checkpoint: { every: '${pace}' }
nodes:
  src: { kind: file_source, path: 'a/${dir}/${row.x}', format: '${mode}', threads: '${n}', password: { secret: pw } }
  out: { kind: file_sink, from: src, path: { env: OUT, default: x }, format: text, threads: { env: N, default: 2 }, roll: { size: '${must}' } }
";
    let good = text.replace("'${pace}'", "'${every}'").replace("must: ,", "must: , every: 5s,");
    let document = Document::parse("p.yaml", good.as_bytes()).unwrap();
    let params =
        |list: &[(&str, &str)]| list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
    let env = |name: &str| (name == "N").then(|| "8".to_string());
    let secrets = |name: &str| (name == "pw").then(|| Secret::new("hunter2\n${x}: 'y'"));
    let resolved = document.resolve(&params(&[("must", "64KiB"), ("n", "16")]), &env, &secrets).unwrap();
    assert_eq!(resolved.checkpoint.every, Duration::from_secs(5));
    let json = |node: &str| resolved.node(node).unwrap().config.to_json().to_string();
    assert_eq!(json("src"), r#"{"path":"a/in/${row.x}","format":"text","threads":16,"password":"***"}"#);
    assert_eq!(json("out"), r#"{"path":"x","format":"text","threads":8,"roll":{"size":"64KiB"}}"#);
    assert_eq!(brief(&check(&resolved, &catalogue())), Vec::<String>::new());
    assert!(!format!("{resolved:?}").contains("hunter2"));
    #[derive(serde::Deserialize)]
    struct Config {
        password: Secret,
    }
    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Wrong {
        password: String,
    }
    let src = resolved.node("src").unwrap();
    assert_eq!(src.config::<Config>().unwrap().password.expose(), "hunter2\n${x}: 'y'");
    let refused = src.config::<Wrong>().unwrap_err();
    assert_eq!(refused[0].code, codes::SECRET);
    assert!(!format!("{refused:?}").contains("hunter2"));
    // Everything that is missing is named at once, by name.
    let bad = Document::parse("p.yaml", text.as_bytes()).unwrap();
    let problems = bad.resolve(&params(&[("n", "many"), ("dri", "x")]), &|_| None, &|_| None).unwrap_err();
    let found: Vec<_> = problems.iter().filter(|p| p.is_error()).map(|p| p.what.as_str()).collect();
    assert_eq!(
        found,
        [
            "the pipeline has no parameter `dri`",
            "the value given for parameter `n` does not fit",
            "parameter `must` has no value",
            "there is no parameter `pace`",
            "there is no secret `pw`",
        ]
    );
}

/// Goal: no graph takes long. Method: the most nodes there may be, in the shapes that cost most.
#[test]
fn the_largest_graphs_are_checked_at_once() {
    let head = "version: 1\nname: t\nguarantee: exactly_once\nnodes:\n";
    let many = |f: &dyn Fn(usize) -> String| (0..crate::document::NODES_MAX).map(f).collect::<String>();
    let shapes = [
        ("dangling", many(&|i| format!("  n{i}: {{ kind: filter, from: gone{i}, where: x }}\n"))),
        (
            "wildcards",
            many(&|i| match i % 2 {
                0 => format!("  n{i}: {{ kind: stdout, from: '*.errors' }}\n"),
                _ => format!("  n{i}: {{ kind: file_source, path: x, format: text }}\n"),
            }),
        ),
        ("backwards", many(&|i| format!("  n{i}: {{ kind: filter, from: n{}, where: x }}\n", i + 1))),
    ];
    for (name, nodes) in shapes {
        let start = std::time::Instant::now();
        let problems = all(&format!("{head}{nodes}"));
        println!("{name}: {} problems in {:?}", problems.len(), start.elapsed());
        assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX);
        assert!(start.elapsed().as_secs() < 5, "{name}: {:?}", start.elapsed());
    }
    let one_more =
        many(&|i| format!("  n{i}: {{ kind: stdout, from: n0 }}\n")) + "  last: { kind: stdout, from: n0 }\n";
    assert!(all(&format!("{head}{one_more}")).iter().any(|p| p.code == codes::LIMIT));
}

/// Goal: no text makes the reader or the checks panic or hang. Method: cut, double, swap and replace pieces
/// of good files, with characters that mean something in YAML.
#[test]
fn mutated_files_never_panic_and_are_fast() {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("MILLSTREAM_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let catalogue = catalogue();
    let spice = [
        "{", "}", "[", "]", ":", ": ", "- ", "'", "\"", "&a ", "*a", "!x ", "\t", "\n", "|\n", ">", "#", "%", "${",
        "}", "<<: ", "é", "\u{feff}", "\r", "---\n", "5", "~",
    ];
    for _ in 0..1500 {
        let mut text: Vec<char> = rng.choice([FIRST, SECOND]).unwrap().chars().collect();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(0..text.len());
            let to = (at + rng.usize(0..20)).min(text.len());
            match rng.u8(0..4) {
                0 => drop(text.drain(at..to)),
                1 => drop(text.splice(at..at, rng.choice(spice).unwrap().chars())),
                2 => drop(text.splice(at..to, rng.choice(spice).unwrap().chars())),
                _ => {
                    let piece = text[at..to].to_vec();
                    let target = rng.usize(0..text.len());
                    text.splice(target..target, piece);
                }
            }
            if text.is_empty() {
                text.push('a');
            }
        }
        let text: String = text.into_iter().collect();
        let start = std::time::Instant::now();
        let source = Source::new("p.yaml", text.as_str());
        let mut problems = all(&text);
        if let Ok(document) = Document::parse("p.yaml", text.as_bytes()) {
            let resolved = document.resolve(&BTreeMap::new(), &|_| Some("x".into()), &|_| Some(Secret::new("x")));
            problems.extend(resolved.map_or_else(|p| p, |d| check(&d, &catalogue)));
        }
        for problem in &problems {
            if let Some(Place::Text { bytes: Some((start, end)), .. }) = &problem.place {
                assert!(start <= end && *end <= text.len() + 1, "seed {seed}: {problem:?}");
            }
            #[cfg(feature = "render")]
            assert!(!crate::render::draw(problem, &[&source], false).is_empty());
        }
        let _ = &source;
        assert!(start.elapsed().as_secs() < 2, "seed {seed}: {text}");
    }
}
