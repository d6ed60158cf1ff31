use super::*;
use crate::tree::Value;

pub(crate) const FIRST: &str = r#"version: 1
name: errors-per-minute
nodes:
  logs:     { kind: file_source, path: "logs/*.log", format: text }
  parsed:   { kind: parse, from: logs, regex: '^(?P<ts>\S+) (?P<level>\w+) (?P<svc>\S+) (?P<msg>.*)$', types: { ts: timestamp },
              event_time: { field: ts, out_of_order: 30s, idle_after: 1m } }
  failures: { kind: filter, from: parsed, where: level = 'ERROR' }
  counts:   { kind: window, from: failures, every: 1m, by: [svc], select: { errors: count(*) } }
  out:      { kind: file_sink, from: counts, path: out/, format: ndjson }
"#;

pub(crate) const SECOND: &str = r#"version: 1
name: flash-sale-errors
description: Count errors per service and minute, alert when one runs hot.
guarantee: exactly_once            # a minimum, checked against every connector; a sink may lower its own; without it each sink gives its best
checkpoint: { every: 1s }

connections:                       # named once, used by many nodes; the editor's "Connections" screen
  main: { kind: kafka, brokers: { env: KAFKA_BROKERS, default: "localhost:9092" }, password: { secret: kafka } }
  mail: { kind: smtp, url: { secret: smtp-url } }

nodes:
  logs:
    kind: kafka_source
    connection: main
    topics: [app-logs]
    start: earliest                # used only where no checkpoint exists
    format: text                   # raw bytes go on as `value`; bad ones to logs.errors
    event_time: { field: _timestamp, out_of_order: 30s, idle_after: 1m }

  cleanse:
    kind: vrl
    from: logs
    program: |
      . = parse_regex!(.value, r'^(?P<ts>\S+) (?P<level>\w+) (?P<svc>\S+) (?P<msg>.*)$')
      .ts = parse_timestamp!(.ts, "%+")
      .msg = redact(.msg, filters: [r'\d{16}'])
      if .level != "ERROR" { abort }
    output: { ts: timestamp, level: string, svc: string, msg: string }
    event_time: { field: ts, out_of_order: 30s, idle_after: 1m }   # from here on this one counts

  per_minute:
    kind: sql
    from: { e: cleanse }
    query: |
      SELECT svc, window_start, count(*) AS errors
      FROM tumble(e, ts, INTERVAL '1 minute') GROUP BY svc, window_start
    emit: on_close                 # or on_change, with retractions; or { at: a_timer_node }
    allowed_lateness: 0s           # later rows go to per_minute.late
    state: { budget: 256MiB }

  alert:
    kind: email_sink
    connection: mail
    from: per_minute
    where: errors > 100
    guarantee: at_least_once       # e-mail cannot do better; without this line `check` refuses
    to: [oncall@example.org]
    subject: "${row.svc}: ${row.errors} errors in a minute"
    once_per: { key: svc, every: 15m }

  dead:
    kind: kafka_sink
    connection: main
    from: "*.errors"               # every errors port but its own
    topic: app-logs.dead

tests:
  - name: counts only errors, and closes on the watermark
    feed:
      - { into: logs, value: "2026-01-01T12:00:01Z ERROR shop card 4111111111111111" }
      - { into: logs, value: "2026-01-01T12:00:02Z INFO shop ok" }
      - { into: logs, value: "garbage" }
    watermark: "2026-01-01T12:01:30Z"
    expect:
      per_minute: [{ svc: shop, errors: 1 }]
      cleanse.errors: { count: 1 }

layout:                            # optional, written by the canvas, ignored by diffs and deploys
  logs: [0, 0]
  cleanse: [320, 0]
"#;

pub(crate) fn read(text: &str) -> Document {
    let document = Document::parse("p.yaml", text.as_bytes()).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!(document.problems, Vec::new());
    document
}

#[test]
fn the_first_example_is_read() {
    let d = read(FIRST);
    assert_eq!(d.name, "errors-per-minute");
    let names: Vec<_> = d.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["logs", "parsed", "failures", "counts", "out"]);
    let parsed = d.node("parsed").unwrap();
    assert_eq!(parsed.kind.value, "parse");
    let time = parsed.event_time.as_ref().unwrap();
    assert_eq!(
        (time.field.as_str(), time.out_of_order, time.idle_after),
        ("ts", Duration::from_secs(30), Some(Duration::from_secs(60)))
    );
    let own: Vec<_> = parsed.config.as_map().unwrap().iter().map(|e| e.key.as_str()).collect();
    assert_eq!(own, ["regex", "types"]);
    assert_eq!(d.node("failures").unwrap().where_.as_ref().unwrap().value, "level = 'ERROR'");
}

#[test]
fn the_second_example_is_read() {
    let d = read(SECOND);
    assert_eq!(d.guarantee.as_ref().unwrap().value, Guarantee::ExactlyOnce);
    assert_eq!(
        d.connections.iter().map(|c| (c.name.as_str(), c.kind.as_str())).collect::<Vec<_>>(),
        [("main", "kafka"), ("mail", "smtp")]
    );
    let sql = d.node("per_minute").unwrap();
    let refs: Vec<_> = sql.from.refs().map(|(input, r)| (input.to_string(), r.to_string())).collect();
    assert_eq!(refs, [("e".to_string(), "cleanse".to_string())]);
    assert_eq!(sql.state.as_ref().unwrap().budget, Some(ByteSize::mib(256)));
    assert!(d.node("dead").unwrap().from.refs().next().unwrap().1.is_wildcard());
    let schema = &d.node("cleanse").unwrap().schema.as_ref().unwrap().value;
    assert_eq!(
        schema.iter().map(|(n, t)| format!("{}: {}", n.value, t.value)).collect::<Vec<_>>(),
        ["ts: timestamp", "level: string", "svc: string", "msg: string"]
    );
    let test = &d.tests[0];
    assert_eq!(test.feed.len(), 3);
    assert_eq!(test.watermark.as_ref().unwrap().value, 1_767_268_890_000_000);
    assert_eq!(test.expect[1].1.value, Expect::Count(1));
    assert_eq!(test.expect[1].0.port, "errors");
    assert_eq!(d.layout, [("logs".to_string(), [0.0, 0.0]), ("cleanse".to_string(), [320.0, 0.0])]);
}

#[test]
fn every_span_shows_its_own_text() {
    let d = read(SECOND);
    let at = |node: &str, path: &[&str]| d.source.slice(d.node(node).unwrap().config.get(path).unwrap().span);
    assert_eq!(at("logs", &["topics"]), "[app-logs]");
    assert_eq!(at("logs", &["topics", "0"]), "app-logs");
    assert_eq!(at("alert", &["once_per", "every"]), "15m");
    assert_eq!(at("alert", &["subject"]), "\"${row.svc}: ${row.errors} errors in a minute\"");
    assert_eq!(d.source.slice(d.node("dead").unwrap().name_span), "dead");
    assert!(d.source.slice(d.node("logs").unwrap().span).ends_with("idle_after: 1m }"));
}

#[test]
fn toml_and_json_carry_the_same_model() {
    let json = serde_json::to_string_pretty(&read(FIRST).root.to_json()).unwrap();
    let from_json = Document::parse("p.json", json.as_bytes()).unwrap();
    assert_eq!(from_json.problems, Vec::new());
    assert_eq!(from_json.root.to_json(), read(FIRST).root.to_json());
    let toml = r#"version = 1
name = "t"
[nodes.b]
kind = "generator"
rate = 5
share = 0.5
[nodes.a]
kind = "stdout"
from = ["b"]
"#;
    let d = Document::parse("p.toml", toml.as_bytes()).unwrap();
    assert_eq!(d.problems, Vec::new());
    assert_eq!(d.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(d.source.slice(d.nodes[0].config.get(&["rate"]).unwrap().span), "5");
    assert_eq!(
        d.nodes[0].config.get(&["share"]).unwrap().value,
        Value::Number(serde_json::Number::from_f64(0.5).unwrap())
    );
}

#[test]
fn a_kind_reads_its_own_keys_and_errors_have_a_place() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        path: String,
        every: Option<Duration>,
        #[serde(default)]
        mode: Mode,
    }
    #[derive(Debug, Default, serde::Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        #[default]
        Watch,
        Once,
    }
    let text = |keys: &str| format!("version: 1\nname: t\nnodes:\n  a: {{ kind: k, {keys} }}\n");
    let node = |keys: &str| Document::parse("p.yaml", text(keys).as_bytes()).unwrap().nodes.remove(0);
    let good: Config = node("path: x, every: 5s, mode: once").config().unwrap();
    assert_eq!((good.path.as_str(), good.every, good.mode), ("x", Some(Duration::from_secs(5)), Mode::Once));
    let cases = [
        (
            "path: x, evry: 5s",
            "p.yaml:4:26: node a: PIPE-UNKNOWN-KEY: unknown key `evry`; expected one of path, every, mode; did you mean `every`?",
        ),
        ("path: 5", "p.yaml:4:23: node a: PIPE-TYPE: wrong type: integer `5`; expected a string"),
        ("every: 5s", "p.yaml:4:6: node a: PIPE-MISSING-KEY: key `path` is missing"),
        (
            "path: x, every: 5 sec",
            "p.yaml:4:33: node a: PIPE-UNIT: wrong value: string \"5 sec\"; expected a duration such as 500ms, 10s, 1m, 12h or 30d",
        ),
        (
            "path: x, mode: onec",
            "p.yaml:4:32: node a: PIPE-VALUE: unknown value `onec`; expected one of watch, once; did you mean `once`?",
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(node(keys).config::<Config>().unwrap_err()[0].to_string(), expected);
    }
}

#[test]
fn the_shipped_pipelines_are_read() {
    let mut found = 0;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    for path in folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())) {
        let name = path.display().to_string();
        if name.ends_with(".test.yaml") {
            assert_eq!(TestFile::parse(&name, &std::fs::read(&path).unwrap()).unwrap().problems, Vec::new());
        } else if name.ends_with(".yaml") {
            let document = Document::parse(&name, &std::fs::read(&path).unwrap()).unwrap_or_else(|p| panic!("{p:#?}"));
            assert_eq!(document.problems, Vec::new());
            assert!(document.nodes.len() > 1, "{name}");
            found += 1;
        }
    }
    assert!(found > 0, "there is no pipeline under {}", root.display());
}
