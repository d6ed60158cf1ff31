//! Every format on lines that are right, broken and hostile; and that nothing is lost.

#![allow(clippy::print_stdout)] // seeds, and what was skipped

use super::{NO_MATCH, ParseConfig, TYPE, plan};
use crate::transforms::{Planned, Reads};
use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StringViewArray, UInt64Array};
use arrow::util::display::array_value_to_string;
use millstream::operator::Emit;
use millstream::problem::Problem;
use millstream::{Batch, Origin};
use serde_json::{Value, json};
use std::sync::Arc;

fn batch(lines: &[&str]) -> Batch {
    let value: ArrayRef = Arc::new(StringArray::from(lines.to_vec()));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..lines.len() as i64));
    Batch::new(RecordBatch::try_from_iter([("value", value), ("n", n)]).unwrap())
}

fn config(config: Value) -> ParseConfig {
    serde_json::from_value(config).unwrap()
}

fn planned(c: Value, input: &Batch) -> Planned {
    plan(&config(c), &input.schema()).unwrap()
}

fn refused(c: Value) -> Problem {
    plan(&config(c), &batch(&[]).schema()).err().expect("the config is wrong")
}

fn run(c: Value, input: Batch) -> Emit {
    let mut out = Emit::default();
    let planned = planned(c, &input);
    let rows = input.len();
    (planned.stage)(&input.schema()).unwrap().apply(input, &mut out).unwrap();
    for (_, b) in &out.out {
        assert_eq!(b.schema(), planned.output);
    }
    assert_eq!(out.out.iter().map(|(_, b)| b.len()).sum::<usize>() + out.rejected.len(), rows, "nothing is lost");
    out
}

/// The rows as text, `name=value`, nulls left out; refused rows as `!CODE`, behind the others.
fn table(c: Value, lines: &[&str]) -> Vec<String> {
    let out = run(c, batch(lines));
    let mut rows = Vec::new();
    for (_, b) in &out.out {
        for row in 0..b.len() {
            let columns = b
                .rows
                .columns()
                .iter()
                .zip(b.rows.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>());
            let cells = columns
                .filter(|(c, _)| c.is_valid(row))
                .map(|(c, name)| format!("{name}={}", array_value_to_string(c, row).unwrap()));
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows.extend(out.rejected.iter().map(|r| format!("!{}", r.code)));
    rows
}

/// The message of the only row, which is refused.
fn message(c: Value, line: &str) -> String {
    let out = run(c, batch(&[line]));
    assert!(out.out.is_empty(), "{line:?} was taken");
    format!("{}: {}", out.rejected[0].code, out.rejected[0].message)
}

#[test]
fn regex_names_columns_and_types_them() {
    let c = json!({ "regex": r"^(?P<ts>\S+) (?P<level>\w+)(?: (?P<n>-?\d+))?$", "types": { "ts": "timestamp", "n": "int8" } });
    assert_eq!(
        table(
            c.clone(),
            &["2026-01-01T00:00:00Z INFO 7", "2026-01-01T00:00:00Z WARN", "nonsense", "2026-01-01T00:00:00Z X 300"]
        ),
        [
            "ts=2026-01-01T00:00:00Z|level=INFO|n=7",
            "ts=2026-01-01T00:00:00Z|level=WARN",
            "!PARSE-NO-MATCH",
            "!PARSE-TYPE"
        ]
    );
    assert_eq!(
        message(c.clone(), "2026-01-01T00:00:00Z X 300"),
        format!("{TYPE}: field `n`: found `300`, expected int8")
    );
    assert_eq!(message(c, "yesterday INFO"), format!("{TYPE}: field `ts`: found `yesterday`, expected timestamp"));
    let required = json!({ "regex": "a(?P<x>b)?", "types": { "x": "string!" } });
    assert_eq!(message(required, "a"), format!("{TYPE}: field `x`: found nothing, expected string!"));
}

#[test]
fn grok_expands_patterns() {
    let c = json!({ "grok": "%{TIMESTAMP_ISO8601:ts} - %{LOGLEVEL:level}\\s+\\[%{DATA:thread}\\] - %{GREEDYDATA:message}",
        "types": { "ts": "timestamp" }, "time_format": "%Y-%m-%d %H:%M:%S,%3f" });
    assert_eq!(
        table(
            c,
            &[
                "2015-07-29 17:41:44,747 - INFO  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181] - Notification time out: 3200"
            ]
        ),
        [
            "ts=2015-07-29T17:41:44.747Z|level=INFO|thread=QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181|message=Notification time out: 3200"
        ]
    );
    let c =
        json!({ "grok": "^%{IP:ip} %{NUMBER:n:int} %{MINE:rest}$", "patterns": { "MINE": "%{WORD}-%{WORD:last}" } });
    assert_eq!(
        table(c, &["10.0.0.1 42 a-b", "2001:db8::1 7 x-y", "10.0.0.1 4.2 a-b", "999.0.0.1 4 a-b"]),
        ["ip=10.0.0.1|n=42|rest=a-b|last=b", "ip=2001:db8::1|n=7|rest=x-y|last=y", "!PARSE-TYPE", "!PARSE-NO-MATCH"]
    );
    let c = json!({ "grok": "(?:a=%{INT:n}|b=%{INT:n})" });
    assert_eq!(table(c, &["a=1", "b=2"]), ["n=1", "n=2"], "of several places the one that took part");
    let c = json!({ "grok": "%{COMBINEDAPACHELOG}", "types": { "bytes": "int64" } });
    assert_eq!(
        table(c, &[r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl""#]),
        [concat!(
            "clientip=1.2.3.4|ident=-|auth=-|timestamp=17/May/2015:10:05:03 +0000|verb=GET|request=/a|httpversion=1.1|",
            "response=200|bytes=5|referrer=\"-\"|agent=\"curl\""
        )]
    );
    let c = json!({ "grok": "%{SYSLOGLINE}" });
    assert_eq!(
        table(c, &["Jun 14 15:16:01 combo sshd[19939]: check pass"]),
        ["timestamp=Jun 14 15:16:01|logsource=combo|program=sshd|pid=19939|message=check pass"]
    );
}

#[test]
fn every_built_in_grok_pattern_compiles() {
    for (name, _) in super::grok_patterns::PATTERNS {
        if let Err(problem) = super::grok::expand(&format!("%{{{name}:x}}"), &Default::default()) {
            panic!("{name}: {problem}");
        }
    }
}

#[test]
fn json_takes_declared_fields() {
    let c = json!({ "format": "json", "types": { "id": "int64!", "user.name": "string", "price": "decimal(10, 2)", "at": "timestamp(ms)", "ok": "bool", "tags": "string" } });
    assert_eq!(
        table(
            c,
            &[
                r#"{"id":1,"user":{"name":"ann","age":3},"price":12.5,"at":1000,"ok":true,"tags":["a",1],"other":{"x":[]}}"#,
                r#"{"id":"2","price":"0.10","user":null}"#,
                r#"{"id":1,"id":3,"user":{"name":"a"},"user.name":"b"}"#,
                r#"{"user":{}}"#,
                r#"{"id":1.5}"#,
                r#"{"id":9223372036854775808}"#,
                r#"{"id":1,"ok":"maybe"}"#,
                r#"{"id":1"#,
                r#"{"id":1} tail"#,
                "[1]",
                "",
                "null",
            ]
        ),
        [
            r#"id=1|user.name=ann|price=12.50|at=1970-01-01T00:00:01Z|ok=true|tags=["a",1]"#,
            "id=2|price=0.10",
            "id=3|user.name=b",
            "!PARSE-TYPE",
            "!PARSE-TYPE",
            "!PARSE-TYPE",
            "!PARSE-TYPE",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
        ]
    );
    let deep = "[".repeat(100_000);
    assert!(message(json!({ "format": "json", "types": { "a": "string" } }), &deep).starts_with(NO_MATCH));
}

#[test]
fn logfmt_knows_quotes() {
    let c =
        json!({ "format": "logfmt", "types": { "level": "string", "msg": "string", "n": "int64", "flag": "bool" } });
    assert_eq!(
        table(
            c.clone(),
            &[
                r#"level=info msg="a \"b\" \\ \n\x" n=5 flag other=1"#,
                "level= n=1 n=2\r",
                "n=x",
                r#"msg="open n=1"#,
                r#"msg="open\"#,
                "no pairs here",
                "=1",
                "",
                "\0=\0 n=3",
            ]
        ),
        [
            "level=info|msg=a \"b\" \\ \n\\x|n=5|flag=true",
            "level=|n=2",
            "n=3",
            "!PARSE-TYPE",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
        ]
    );
    assert_eq!(message(c, r#"msg="open"#), format!("{NO_MATCH}: a quote that does not end in `msg=\\\"open`"));
}

#[test]
fn csv_wants_as_many_cells_as_declared() {
    let c = json!({ "format": "csv", "types": { "a": "string", "b": "int64", "c": "string" } });
    assert_eq!(
        table(
            c,
            &[
                "x,1,y",
                "\"q,\"\"z\"\"\",2,\"\"",
                ",,",
                "x\"y,3,ä\r",
                "1,2",
                "1,2,3,4",
                "a,b,c",
                "\"open,1,2",
                "\"a\"b,1,2",
                ""
            ]
        ),
        [
            "a=x|b=1|c=y",
            "a=q,\"z\"|b=2|c=",
            "",
            "a=x\"y|b=3|c=ä",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-TYPE",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
            "!PARSE-NO-MATCH",
        ]
    );
    let c = json!({ "format": "csv", "delimiter": ";", "types": { "a": "string", "b": "date" } });
    assert_eq!(table(c, &["x,y;2026-01-31"]), ["a=x,y|b=2026-01-31"]);
}

#[test]
fn access_log_reads_common_and_combined() {
    let c = json!({ "format": "access_log" });
    assert_eq!(
        table(
            c.clone(),
            &[
                r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8""#,
                r#"::1 id ann lee [17/May/2015:12:05:03 +0200] "POST /a b?x=\"y\" HTTP/2.0" 404 -"#,
                "h - [x] [29/Feb/2016:23:59:60 -0130] \"GET / HTTP/1.0\" 200 0 \"r\\\\\" \"a\\\"b\"\r",
            ]
        ),
        [
            "client=1.2.3.4|time=2015-05-17T10:05:03Z|method=GET|path=/a|protocol=HTTP/1.1|status=200|bytes=5|agent=curl/8",
            r#"client=::1|ident=id|user=ann lee|time=2015-05-17T10:05:03Z|method=POST|path=/a b?x=\"y\"|protocol=HTTP/2.0|status=404"#,
            r#"client=h|user=[x]|time=2016-03-01T01:30:00Z|method=GET|path=/|protocol=HTTP/1.0|status=200|bytes=0|referer=r\\|agent=a\"b"#,
        ]
    );
    let good = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8""#;
    for (from, to, code) in [
        ("1.2.3.4 ", " ", NO_MATCH),
        ("- - ", "- ", NO_MATCH),
        ("[", "", NO_MATCH),
        ("]", "", NO_MATCH),
        ("GET /a HTTP/1.1", "-", NO_MATCH),
        ("GET /a HTTP/1.1", "GET /a", NO_MATCH),
        ("GET /a HTTP/1.1", "", NO_MATCH),
        ("HTTP/1.1\"", "HTTP/1.1", NO_MATCH),
        (" 200 ", " 20 ", NO_MATCH),
        (" 200 ", " 2000 ", NO_MATCH),
        (" 5 ", " five ", NO_MATCH),
        (" 5 ", "  ", NO_MATCH),
        (" 5 ", " 99999999999999999999 ", TYPE),
        ("curl/8\"", "curl/8", NO_MATCH),
        ("curl/8\"", "curl/8\\\"", NO_MATCH),
        ("curl/8\"", "curl/8\" extra", NO_MATCH),
        ("17/May", "32/May", TYPE),
        ("17/May", "17/Mai", TYPE),
        ("+0000", "0000", TYPE),
        ("10:05:03", "25:05:03", TYPE),
        ("10:05:03", "10:05:61", TYPE),
    ] {
        let line = good.replacen(from, to, 1);
        assert_ne!(line, good);
        assert!(message(c.clone(), &line).starts_with(code), "{line}: {}", message(c.clone(), &line));
    }
    for end in 0..good.len() - 13 {
        let cut = &good[..end];
        // A cut behind the number of bytes leaves a line of the Common format.
        if !cut.ends_with(" 5") {
            message(c.clone(), cut);
        }
    }
    let own = json!({ "format": "access_log", "time_format": "%Y-%m-%dT%H:%M:%S%z" });
    let line = good.replace("17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03+0000");
    assert!(table(own, &[&line])[0].contains("time=2015-05-17T10:05:03Z"));
}

#[test]
fn syslog_reads_both_standards() {
    let c = json!({ "format": "syslog" });
    assert_eq!(
        table(
            c.clone(),
            &[
                "<134>Nov  1 00:00:09 web-01 orders[1234]: level=info x",
                "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: check pass; user unknown",
                "<13>Jun 14 15:16:01 combo syslogd 1.4.1: restart.",
                "<13>Jun 14 15:16:01 combo kernel:",
                "<13>2026-01-01T00:00:00.25+01:00 h app: m",
                r#"<165>1 2026-11-01T00:00:00Z h app 77 ID47 [x@1 a="1\]\"]"][y] - message"#,
                "<0>1 - - - - - -",
                "<0>1 - - - - - - \u{feff}übergrößen",
            ]
        ),
        [
            "pri=134|facility=16|severity=6|time=Nov  1 00:00:09|host=web-01|app=orders|pid=1234|message=level=info x",
            "time=Jun 14 15:16:01|host=combo|app=sshd(pam_unix)|pid=19939|message=check pass; user unknown",
            "pri=13|facility=1|severity=5|time=Jun 14 15:16:01|host=combo|message=syslogd 1.4.1: restart.",
            "pri=13|facility=1|severity=5|time=Jun 14 15:16:01|host=combo|app=kernel|message=",
            "pri=13|facility=1|severity=5|time=2026-01-01T00:00:00.25+01:00|host=h|app=app|message=m",
            r#"pri=165|facility=20|severity=5|time=2026-11-01T00:00:00Z|host=h|app=app|pid=77|message=- message|msgid=ID47|data=[x@1 a="1\]\"]"][y]"#,
            "pri=0|facility=0|severity=0|message=",
            "pri=0|facility=0|severity=0|message=übergrößen",
        ]
    );
    for bad in [
        "",
        "<",
        "<>Nov  1 00:00:09 h a: m",
        "<192>Nov  1 00:00:09 h a: m",
        "<1234>Nov  1 00:00:09 h a: m",
        "<x>Nov  1 00:00:09 h a: m",
        "<13>Nov  1 00:00:09",
        "<13>Nov  1 00:00:09 host",
        "<13>Nov  0 00:00:09 h a: m",
        "<13>Nov  1 24:00:09 h a: m",
        "<13>Nov  1 00:0x:09 h a: m",
        "<13>Noä  1 00:00:09 h a: m",
        "<13>Nov  1 00:00:0ä h a: m",
        "<13>1 2026-11-01T00:00:00Z h a 1 - [x",
        "<13>1 2026-11-01T00:00:00Z h a 1 - [x \"]",
        "<13>1 2026-11-01T00:00:00Z h a 1 - [x]message",
        "<13>1 yesterday h a 1 - - m",
        "panic: everything",
    ] {
        assert!(message(c.clone(), bad).starts_with(NO_MATCH), "{bad}");
    }
    let dated = json!({ "format": "syslog", "year": 2026 });
    assert_eq!(
        table(
            dated,
            &["<13>Nov  1 00:00:09 h a: m", "<13>1 2025-11-01T00:00:00Z h a - - - m", "<13>Feb 29 00:00:00 h a: m"]
        ),
        [
            "pri=13|facility=1|severity=5|time=2026-11-01T00:00:09Z|host=h|app=a|message=m",
            "pri=13|facility=1|severity=5|time=2025-11-01T00:00:00Z|host=h|app=a|message=m",
            "!PARSE-TYPE",
        ]
    );
}

#[test]
fn columns_are_carried_along_with_their_rows() {
    let c = json!({ "regex": "(?P<x>[a-z])", "keep": ["n"] });
    assert_eq!(table(c.clone(), &["a", "1", "c"]), ["x=a|n=0", "x=c|n=2", "!PARSE-NO-MATCH"]);
    assert_eq!(planned(c, &batch(&[])).reads, Reads::Only(vec!["value".into(), "n".into()]));
    let all = json!({ "regex": "(?P<n>[a-z])", "keep": "all" });
    assert_eq!(table(all, &["a"]), ["n=a|value=a"], "a parsed column takes the place of the old one");
    let none = json!({ "regex": "(?P<x>[a-z])" });
    assert_eq!(planned(none, &batch(&[])).reads, Reads::Only(vec!["value".into()]));
}

#[test]
fn weights_and_origins_follow_their_rows() {
    let mut input = batch(&["a", "1", "c"]);
    input.diff = Some(Int64Array::from(vec![1, 1, -1]));
    let positions = UInt64Array::from(vec![0, 2, 4]);
    input.origin = Some(Origin { source: "s".into(), partition: "p".into(), positions, slab: None });
    let out = run(json!({ "regex": "(?P<x>[a-z])" }), input);
    assert_eq!(out.out[0].1.diff, Some(Int64Array::from(vec![1, -1])));
    assert_eq!(out.out[0].1.origin.as_ref().unwrap().positions, UInt64Array::from(vec![0, 4]));
    assert_eq!(out.rejected[0].row.origin.as_ref().unwrap().positions, UInt64Array::from(vec![2]));
}

#[test]
fn text_may_be_null_binary_or_a_view() {
    let rows = |column: ArrayRef| {
        let input = Batch::new(RecordBatch::try_from_iter([("value", column)]).unwrap());
        let out = run(json!({ "regex": "(?P<x>[a-z])" }), input);
        (out.out.iter().map(|(_, b)| b.len()).sum::<usize>(), out.rejected.len())
    };
    assert_eq!(rows(Arc::new(StringArray::from(vec![Some("a"), None]))), (1, 1));
    assert_eq!(rows(Arc::new(StringViewArray::from(vec![Some("a"), None]))), (1, 1));
    assert_eq!(rows(Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"\xff"]))), (1, 1));
}

#[test]
fn wrong_configs_are_refused_at_their_key() {
    for (c, code) in [
        (json!({}), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "format": "json" }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "year": 2026 }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "delimiter": ";" }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "patterns": { "A": "b" } }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "time_format": "%s" }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "types": { "y": "int64" } }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "types": { "x": "int" } }), "TYPE-UNKNOWN"),
        (json!({ "regex": "(?P<x>a)", "keep": ["x"] }), "COLUMN-UNKNOWN"),
        (json!({ "regex": "(?P<n>a)", "keep": ["n"] }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "keep": ["n", "n"] }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a)", "field": "valeu" }), "COLUMN-UNKNOWN"),
        (json!({ "regex": "(?P<x>a)", "field": "n" }), "COLUMN-TYPE"),
        (json!({ "regex": "a" }), "PARSE-CONFIG"),
        (json!({ "regex": "(?P<x>a" }), "REGEX-INVALID"),
        (json!({ "regex": "(?P<t>a)", "types": { "t": "timestamp" }, "time_format": "%H" }), "TIME-FORMAT"),
        (json!({ "format": "json" }), "PARSE-CONFIG"),
        (json!({ "format": "csv", "delimiter": "ä", "types": { "a": "string" } }), "PARSE-CONFIG"),
        (json!({ "format": "access_log", "types": { "a": "string" } }), "PARSE-CONFIG"),
        (json!({ "grok": "%{IPV5:x}" }), "GROK-UNKNOWN"),
        (json!({ "grok": "%{IP" }), "GROK-INVALID"),
        (json!({ "grok": "%{A:x}", "patterns": { "A": "%{B}", "B": "%{A}" } }), "GROK-INVALID"),
        (json!({ "grok": "%{IP}" }), "PARSE-CONFIG"),
        (json!({ "grok": "%{IP:x:number}" }), "TYPE-UNKNOWN"),
    ] {
        let problem = refused(c.clone());
        assert_eq!(problem.code, code, "{c}: {problem}");
        assert!(problem.place.is_some(), "{c}");
    }
    assert_eq!(
        refused(json!({ "regex": "(?P<x>a)", "field": "valeu" })).help.as_deref(),
        Some("did you mean `value`?")
    );
    assert_eq!(refused(json!({ "grok": "%{GREEDYDTA:x}" })).help.as_deref(), Some("did you mean `GREEDYDATA`?"));
    assert!(serde_json::from_value::<ParseConfig>(json!({ "regx": "a" })).is_err());
    assert!(serde_json::from_value::<ParseConfig>(json!({ "keep": "some" })).is_err());
}

#[test]
fn patterns_that_multiply_are_refused_at_once() {
    let mut patterns: serde_json::Map<String, Value> =
        (0..15).map(|i| (format!("P{i}"), json!(format!("%{{P{0}}}%{{P{0}}}%{{P{0}}}%{{P{0}}}", i + 1)))).collect();
    patterns.insert("P15".into(), json!("a"));
    let start = std::time::Instant::now();
    assert_eq!(refused(json!({ "grok": "%{P0:x}", "patterns": patterns })).code, "REGEX-TOO-LARGE");
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

fn all_formats() -> Vec<Value> {
    let types = json!({ "a": "int64", "b": "string", "c": "timestamp" });
    vec![
        json!({ "format": "access_log" }),
        json!({ "format": "syslog", "year": 2026 }),
        json!({ "format": "syslog" }),
        json!({ "format": "json", "types": types }),
        json!({ "format": "logfmt", "types": types }),
        json!({ "format": "csv", "types": types }),
        json!({ "regex": r#"^(?P<a>\d+) (?P<b>.*?)"(?P<c>[^"]*)"$"#, "types": types, "keep": "all" }),
        json!({ "grok": "%{COMBINEDAPACHELOG}" }),
    ]
}

/// Lines of a mebibyte and lines of NUL bytes are lines like others.
#[test]
fn long_and_odd_lines_are_accounted_for() {
    let long = "x".repeat(1 << 20);
    let quotes = "\"".repeat(1 << 20);
    let request = format!(r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /{long} HTTP/1.1" 200 5"#);
    let message = format!("<13>Nov  1 00:00:09 h a: {long}");
    let lines = [&long, &quotes, &request, &message, "\0", "\0\0\0 \0", "\u{2028}", "🦀"];
    for c in all_formats() {
        run(c, batch(&lines));
    }
    assert_eq!(table(json!({ "format": "access_log" }), &lines).iter().filter(|row| !row.starts_with('!')).count(), 1);
    assert_eq!(table(json!({ "format": "syslog" }), &lines).iter().filter(|row| !row.starts_with('!')).count(), 1);
}

/// Random changes to good lines, and random characters, against every format: `run` asserts that rows out and
/// refused add up to rows in, and nothing panics.
#[test]
fn garbage_is_never_lost() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let good = [
        r#"1.2.3.4 - ann [17/May/2015:10:05:03 +0000] "GET /a?x=1 HTTP/1.1" 200 5 "http://r" "curl \"8\"""#,
        "<134>Nov  1 00:00:09 web-01 orders[1234]: level=info user=a@b.de",
        r#"<165>1 2026-11-01T00:00:00Z h app 77 ID47 [x@1 a="1"] message"#,
        r#"{"a":1,"b":"text","c":"2026-11-01T00:00:00Z","d":{"e":[1,2.5,null,true]}}"#,
        r#"a=1 b="two \" words" c=2026-11-01T00:00:00Z"#,
        r#"1,"two, ""words""",2026-11-01T00:00:00Z"#,
    ];
    let pieces: Vec<char> = "\"\\[]<>:= ,{}-\0\r\n\t1aZ@.ä🦀".chars().collect();
    let mut lines = Vec::new();
    for _ in 0..2_000 {
        let mut line: Vec<char> = random.choice(good).unwrap().chars().collect();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..line.len());
            match random.u8(0..4) {
                0 => line[at] = *random.choice(&pieces).unwrap(),
                1 => line.insert(at, *random.choice(&pieces).unwrap()),
                2 => line.truncate(at + 1),
                _ => drop(line.remove(at)),
            }
            if line.is_empty() {
                line.push('x');
            }
        }
        lines.push(line.into_iter().collect::<String>());
        lines.push((0..random.usize(0..30)).map(|_| *random.choice(&pieces).unwrap()).collect());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for c in all_formats() {
        let out = run(c.clone(), batch(&lines));
        assert!(!out.out.is_empty() || c.get("regex").is_some(), "{c}: some lines are good");
    }
}

/// A real log, when it is there: every line is read or refused with a reason.
#[test]
fn real_logs_add_up() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/logs");
    for (file, c) in [
        ("apache_combined_10k.log", json!({ "format": "access_log" })),
        ("linux_2k.log", json!({ "format": "syslog" })),
        ("openssh_2k.log", json!({ "format": "syslog", "year": 2015 })),
    ] {
        let Ok(bytes) = std::fs::read(format!("{folder}/{file}")) else {
            println!("../shared/data/logs/{file} is not there: skipped");
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let out = run(c, batch(&lines));
        let parsed = out.out.iter().map(|(_, b)| b.len()).sum::<usize>();
        println!("{file}: {} lines, {parsed} parsed, {} refused", lines.len(), out.rejected.len());
        for refused in out.rejected.iter().take(5) {
            println!("  {}: {}", refused.code, refused.message);
        }
        assert!(parsed * 100 >= lines.len() * 99, "{file}: nearly all lines are good");
    }
}
