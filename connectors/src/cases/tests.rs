//! Cases of files: what passes, what differs and how, and what is refused before it runs.

use super::{Came, Difference, run};
use crate::load::LoadOptions;
use crate::registry::Registry;
use millstream::Problem;
use millstream_pipelines::Document;

const PIPELINE: &str = r#"version: 1
name: errors-per-minute
nodes:
  logs: { kind: file_source, path: "nowhere/*.log", format: text }
  parsed:
    kind: parse
    from: logs
    regex: '^(?P<ts>\S+) (?P<level>\w+) (?P<svc>\S+) (?P<msg>.*)$'
    types: { ts: timestamp }
    event_time: { field: ts, out_of_order: 30s, idle_after: 1m }
  failures: { kind: filter, from: parsed, where: level = 'ERROR' }
  counts: { kind: window, from: failures, every: 1m, by: [svc], select: { errors: count(*), share: count(*) / 10.0 } }
  out: { kind: file_sink, from: counts, path: out, format: ndjson }
"#;

fn first(tests: &str) -> Result<Vec<Difference>, Vec<Problem>> {
    of(PIPELINE, tests)
}

fn of(pipeline: &str, tests: &str) -> Result<Vec<Difference>, Vec<Problem>> {
    let text = format!("{pipeline}tests:\n{tests}");
    let document = Document::parse("p.yaml", text.as_bytes()).unwrap();
    run(&document, &document.source, &document.tests[0], &Registry::builtin(), LoadOptions::default())
}

const FEED: &str = r#"  - name: counts
    feed:
      - { into: logs, value: "2026-01-01T12:00:01Z ERROR shop one" }
      - { into: logs, value: "2026-01-01T12:00:02Z INFO shop two" }
      - { into: logs, value: "garbage" }
      - { into: logs, value: "2026-01-01T12:00:59Z ERROR shop three" }
      - { into: logs, value: "2026-01-01T12:01:00Z ERROR cart four" }
"#;

#[test]
fn a_window_closes_where_the_watermark_says() {
    let closed = format!(
        "{FEED}    watermark: \"2026-01-01T12:01:30Z\"\n    expect:\n      counts: [{{ svc: shop, errors: 2, window_start: \"2026-01-01T12:00:00+00:00\" }}]\n      out: [{{ svc: shop, share: 0.2 }}]\n      parsed.errors: [{{ payload: garbage, node: parsed }}]\n      failures: {{ count: 3 }}\n      counts.late: {{ count: 0 }}\n"
    );
    assert_eq!(first(&closed).unwrap(), []);
    let ended = format!("{FEED}    expect:\n      counts: [{{ svc: cart, errors: 1 }}, {{ svc: shop, errors: 2 }}]\n");
    assert_eq!(first(&ended).unwrap(), [], "the end of the feed closes everything");
}

#[test]
fn late_rows_are_where_the_test_looks_for_them() {
    let feed = r#"  - name: late
    feed:
      - { into: logs, value: "2026-01-01T12:00:01Z ERROR shop one" }
      - { into: logs, value: "2026-01-01T12:01:31Z ERROR shop two" }
      - { into: logs, value: "2026-01-01T12:00:02Z ERROR shop three" }
    expect:
"#;
    let named = format!("{feed}      counts.late: [{{ svc: shop }}]\n      counts.errors: {{ count: 0 }}\n");
    assert_eq!(first(&named).unwrap(), []);
    let errors = format!("{feed}      counts.errors: [{{ code: WINDOW-LATE }}]\n");
    assert_eq!(first(&errors).unwrap(), [], "as in production, where no node reads them");
}

#[test]
fn a_difference_says_what_came_and_what_did_not() {
    let wrong = format!(
        "{FEED}    expect:\n      counts: [{{ svc: shop, errors: 1 }}, {{ svc: cart }}]\n      failures: {{ count: 4 }}\n"
    );
    let differences = first(&wrong).unwrap();
    let brief = |d: &Difference| {
        let rows = d.rows.iter().map(|l| (l.came, l.row["svc"].as_str().unwrap_or_default().to_string()));
        (d.port.clone(), d.expected, d.came, rows.collect::<Vec<_>>())
    };
    let found: Vec<_> = differences.iter().map(brief).collect();
    let rows = vec![
        (Came::Missing, "shop".to_string()),
        (Came::AsExpected, "cart".to_string()),
        (Came::Unexpected, "shop".to_string()),
    ];
    assert_eq!(found, [("counts".into(), 2, 2, rows), ("failures".into(), 4, 3, vec![])]);
    assert_eq!(differences[0].columns, ["svc", "errors"]);
}

#[test]
fn rows_that_name_fewer_columns_take_what_the_others_leave() {
    let wide = "    expect:\n      failures: [{ level: ERROR }, { svc: shop }, { svc: shop, msg: one }]\n";
    assert_eq!(first(&format!("{FEED}{wide}")).unwrap(), []);
}

#[test]
fn rows_are_fed_as_columns() {
    let pipeline = r#"version: 1
name: rows
nodes:
  in:
    kind: file_source
    path: "nowhere/*.ndjson"
    format: ndjson
    schema: { id: int64!, price: "decimal(10, 2)", at: timestamp(ms), note: string }
    metadata: [_path, _timestamp]
  out: { kind: file_sink, from: in, path: out, format: ndjson }
"#;
    let tests = r#"  - name: rows
    feed:
      - { into: in, at: "2026-01-01T00:00:00Z", row: { id: 1, price: 2.5, at: "2026-01-01T12:00:00Z", _path: a } }
      - { into: in, row: { id: 2 } }
      - { into: in, value: { id: 3, at: 1767268800000 } }
    expect:
      out:
        - { id: 1, price: 2.50, at: "2026-01-01T12:00:00Z", note: null, _path: a, _timestamp: "2026-01-01T00:00:00Z" }
        - { id: 2, price: null, _timestamp: "2026-01-01T00:00:00Z" }
        - { id: 3, at: "2026-01-01T12:00:00Z" }
"#;
    assert_eq!(of(pipeline, tests).unwrap(), []);
    let places = |feed: &str| {
        let tests = format!(
            "  - name: wrong\n    feed: [{{ into: in, row: {feed} }}]\n    expect: {{ out: {{ count: 1 }} }}\n"
        );
        let problems = of(pipeline, &tests).unwrap_err();
        problems.iter().map(|p| p.what.clone()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(places("{ idd: 1 }"), "there is no column `idd`; column `id` is missing");
    assert!(places("{ id: one }").starts_with("the value does not fit column `id`"), "{}", places("{ id: one }"));
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let problems = |expect: &str| first(&format!("{FEED}    expect: {{ counts: {expect} }}\n")).unwrap_err();
    let found = problems("[{ svcs: shop }, { errors: many }]");
    let text: Vec<String> = found.iter().map(|p| p.to_string()).collect();
    assert!(text[0].contains("p.yaml:22:") && text[0].contains("did you mean `svc`?"), "{text:?}");
    assert!(text[1].contains("p.yaml:22:") && text[1].contains("does not fit column `errors`"), "{text:?}");
    let nowhere = first("  - name: no\n    feed: [{ into: parsed, value: a }]\n    expect: { counst: { count: 1 } }\n");
    let codes: Vec<String> = nowhere.unwrap_err().iter().filter(|p| p.is_error()).map(|p| p.code.to_string()).collect();
    assert_eq!(codes, ["PIPE-TEST", "PIPE-DANGLING"]);
}
