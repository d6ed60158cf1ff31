//! `millstream test`: every shipped pipeline passes its own tests, and a failure says what came instead.

use super::harness::{Scene, repository};
use serde_json::Value;
use std::collections::BTreeMap;

const PIPELINE: &str = r#"version: 1
name: errors-per-minute
nodes:
  logs: { kind: file_source, path: "in/*.log", format: text }
  parsed:
    kind: parse
    from: logs
    regex: '^(?P<ts>\S+) (?P<level>\w+) (?P<svc>\S+) (?P<msg>.*)$'
    types: { ts: timestamp }
    event_time: { field: ts, out_of_order: 30s, idle_after: 1m }
  counts: { kind: window, from: parsed, every: 1m, by: [svc], select: { rows: count(*) } }
  out: { kind: file_sink, from: counts, path: out, format: ndjson }
tests:
  - name: counts by service
    feed:
      - { into: logs, value: "2026-01-01T12:00:01Z ERROR shop one" }
      - { into: logs, value: "2026-01-01T12:00:02Z INFO cart two" }
      - { into: logs, value: "2026-01-01T12:00:03Z INFO cart three" }
    expect:
      counts: [{ svc: shop, rows: 1 }, { svc: cart, rows: 3 }]
      parsed: { count: 2 }
  - name: refuses rubbish
    feed: [{ into: logs, value: rubbish }]
    expect: { parsed.errors: { count: 1 } }
"#;

#[test]
fn every_shipped_pipeline_passes_its_tests() {
    let scene = Scene::new("");
    let mut shipped = Vec::new();
    for folder in std::fs::read_dir(repository().join("pipelines")).expect("the repository can be read").flatten() {
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let path = file.path().display().to_string();
            if path.ends_with(".yaml") && !path.ends_with(".test.yaml") {
                shipped.push(path);
            }
        }
    }
    assert!(shipped.len() >= 8, "{shipped:?}");
    let words: Vec<&str> = ["--json", "test"].into_iter().chain(shipped.iter().map(String::as_str)).collect();
    let ended = scene.bare(&words);
    assert!(ended.status.success(), "{}\n{}", ended.stdout, ended.stderr);
    let mut tests: BTreeMap<String, usize> = BTreeMap::new();
    for line in ended.stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        if let Some(file) = line["file"].as_str() {
            *tests.entry(file.into()).or_default() += 1;
        }
    }
    let without: Vec<&String> = shipped.iter().filter(|f| !tests.contains_key(*f)).collect();
    assert!(without.is_empty(), "pipelines without tests: {without:?}");
}

#[test]
fn a_failure_says_what_was_expected_and_what_came() {
    let scene = Scene::new(PIPELINE);
    let ended = scene.bare(&["test", "pipeline.yaml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let took = timeless(&ended.stdout);
    let expected = "\
pipeline.yaml
  FAIL  counts by service  N ms
        counts: expected 2 rows, 2 came
            svc   rows
            shop  1
          - cart  3      expected, did not come
          + cart  2      came, not expected
        parsed: expected 2 rows, 3 came
  ok    refuses rubbish  N ms
1 passed, 1 failed, in 1 file, N s
";
    assert_eq!(took, expected);
    assert!(!scene.path("out").exists() && !scene.path(".millstream").exists(), "a test touches nothing");

    let one = scene.bare(&["test", "pipeline.yaml", "--filter", "rubbish"]);
    assert!(one.status.success() && one.stdout.contains("1 passed, 0 failed, 1 left out"), "{}", one.stdout);
    let none = scene.bare(&["test", "pipeline.yaml", "--filter", "nothing"]);
    assert!(none.status.code() == Some(1) && none.stderr.contains("CLI-NO-TESTS"), "{}", none.stderr);

    let json = scene.bare(&["--json", "test", "pipeline.yaml"]);
    let lines: Vec<Value> = json.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{}", json.stdout);
    assert_eq!((&lines[0]["passed"], &lines[1]["passed"]), (&false.into(), &true.into()));
    assert_eq!(lines[0]["differences"][0]["rows"][1]["came"], "missing");
    assert_eq!((&lines[2]["passed"], &lines[2]["failed"]), (&1.into(), &1.into()));
}

/// Times are not known beforehand.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_string).collect();
        for at in 1..words.len() {
            if (words[at] == "ms" || words[at] == "s") && words[at - 1].starts_with(|c: char| c.is_ascii_digit()) {
                words[at - 1] = "N".into();
            }
        }
        out += &(words.join(" ") + "\n");
    }
    out
}

#[test]
fn tests_may_stand_beside_the_pipeline_and_mistakes_in_them_have_places() {
    let scene = Scene::new(PIPELINE.split_once("tests:").expect("it has tests").0);
    scene.write(
        "pipeline.test.yaml",
        "version: 1\ntests:\n  - name: beside\n    feed: [{ into: logs, value: rubbish }]\n    expect: { parsed.errors: [{ payload: rubbish }] }\n",
    );
    for file in ["pipeline.yaml", "pipeline.test.yaml"] {
        let ended = scene.bare(&["test", file]).fine();
        assert!(ended.stdout.contains("1 passed, 0 failed"), "{}", ended.stdout);
    }
    let checked = scene.bare(&["check", "pipeline.yaml", "pipeline.test.yaml"]).fine();
    assert!(checked.stdout.ends_with("pipeline.test.yaml: ok, 1 test\n"), "{}", checked.stdout);
    let both = scene.bare(&["test", "pipeline.yaml", "pipeline.test.yaml"]).fine();
    assert!(both.stdout.contains("1 passed, 0 failed"), "{}", both.stdout);

    for (tests, place, said) in [
        ("feed: [{ into: log, value: a }]\n    expect: { out: { count: 0 } }", ":4:", "did you mean `logs`?"),
        ("feeds: []\n    expect: { out: { count: 0 } }", ":4:5", "unknown key `feeds`"),
        ("expect: { out: [{ service: a }] }", ":4:", "there is no column `service`"),
        ("expect: { out: [{ rows: many }] }", ":4:", "does not fit column `rows`"),
        ("expect: { out: {} }", ":4:", "`count`"),
        ("watermark: noon\n    expect: { out: { count: 0 } }", ":4:", "not a time"),
    ] {
        scene.write("pipeline.test.yaml", format!("version: 1\ntests:\n  - name: wrong\n    {tests}\n"));
        let ended = scene.bare(&["test", "pipeline.test.yaml"]);
        assert_eq!(ended.status.code(), Some(1), "{tests}: {}", ended.stderr);
        let found = ended.stderr.contains(&format!("pipeline.test.yaml{place}")) && ended.stderr.contains(said);
        assert!(found, "{tests}:\n{}", ended.stderr);
        let checked = scene.bare(&["check", "pipeline.test.yaml"]);
        assert_eq!((checked.status.code(), checked.stderr), (Some(1), ended.stderr), "{tests}: check finds the same");
    }
}
