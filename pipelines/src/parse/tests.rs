//! Bytes that are no pipeline file: the code, line and column of each, and how long the answer takes.

use super::*;
use crate::tree::Value;
use std::time::Instant;

fn first(bytes: &[u8]) -> String {
    match parse("p.yaml", bytes) {
        Ok(parsed) => parsed.problems.first().map_or("good".into(), ToString::to_string),
        Err(problems) => problems[0].to_string(),
    }
}

#[test]
fn syntax_errors_have_a_place_and_a_way_out() {
    let cases: &[(&[u8], &str, &str)] = &[
        (b"a: [1, 2\n", "p.yaml:1:4: PIPE-SYNTAX", "close every"),
        (b"a: { b: 1\nc: 2\n", "p.yaml:2:2: PIPE-SYNTAX", "close every"),
        (b"a: 'x\n", "p.yaml:1:4: PIPE-SYNTAX", "close the quote"),
        (b"a:\n\tb: 1\n", "p.yaml:2:1: PIPE-SYNTAX", "indent with spaces"),
        (b"a:\n  b: 1\n\tc: 2\n", "p.yaml:3:1: PIPE-SYNTAX", "indent with spaces"),
        (b"a:\n  b: 1\n c: 2\n", "p.yaml:3:2: PIPE-SYNTAX", "same indentation"),
        (b"a: 1\n  b: 2\n", "p.yaml:2:4: PIPE-SYNTAX", "same indentation"),
        (b"a\nb: 1\n", "p.yaml:2:2: PIPE-SYNTAX", "same indentation"),
        (b"", "p.yaml:1:1: PIPE-SYNTAX: the file is empty", "nodes"),
        (b"# nothing\n\n", "p.yaml:1:1: PIPE-SYNTAX: the file is empty", "nodes"),
        (b"a: 1\n---\nb: 2\n", "p.yaml:2:1: PIPE-SYNTAX: a second document begins here", "split the file"),
        (b"a: \xff\n", "p.yaml:1:4: PIPE-SYNTAX: the file is not UTF-8 text", "byte 0xff at offset 3"),
        (b"\xff\xfea\x00:\x00", "p.yaml:1:1: PIPE-SYNTAX: the file is not UTF-8 text", "UTF-16"),
        (b"a: &x 1\nb: 2\n", "p.yaml:1:4: PIPE-SYNTAX: anchors are not allowed", "parameter"),
        (b"a: *x\n", "p.yaml:1:4: PIPE-SYNTAX: aliases are not allowed", "quote a string"),
        (b"a: !!str 1\n", "p.yaml:1:4: PIPE-SYNTAX: tags are not allowed", "quote it"),
        (b"a: !x { b: 1 }\n", "p.yaml:1:4: PIPE-SYNTAX: tags are not allowed", "quote it"),
        (b"a: 1\n<<: { b: 1 }\n", "p.yaml:2:1: PIPE-SYNTAX: merge keys are not allowed", "write the keys out"),
        (b"%YAML 1.1\n---\na: 1\n", "p.yaml:1:1: PIPE-SYNTAX", "remove the directive"),
        (b"{ a: 1 }: 2\n", "p.yaml:1:1: PIPE-SYNTAX: a key must be a string", "quoted"),
        (b"a: 1\nb: 2\na: 3\n", "p.yaml:3:1: PIPE-DUPLICATE: key `a` stands twice", "rename"),
        (b"a: 1\n'a': 3\n", "p.yaml:2:1: PIPE-DUPLICATE", "rename"),
        (b"a: @b\n", "p.yaml:1:4: PIPE-SYNTAX", "quote a string"),
        ("ä: ö\nb: [é, &x 1]\n".as_bytes(), "p.yaml:2:8: PIPE-SYNTAX: anchors", "parameter"),
    ];
    let wrong = |(bytes, place, help): &(&[u8], &str, &str)| {
        let found = first(bytes);
        let right = found.starts_with(place) && found.contains(help);
        (!right).then(|| format!("{:?} gives {found}", String::from_utf8_lossy(bytes)))
    };
    let all: Vec<_> = cases.iter().filter_map(wrong).collect();
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn marks_and_line_ends_are_accepted() {
    for text in [
        "\u{feff}a: 1\nb: [x, y]\n",
        "a: 1\r\nb: [x, y]\r\n",
        "\u{feff}a: 1\r\nb:\r\n  - x\r\n  - y\r\n",
        "---\na: 1\nb: [x, y]\n...\n",
    ] {
        let parsed = parse("p.yaml", text.as_bytes()).unwrap_or_else(|p| panic!("{text:?}: {p:#?}"));
        assert_eq!(parsed.root.to_json(), serde_json::json!({ "a": 1, "b": ["x", "y"] }), "{text:?}");
        let a = parsed.root.as_map().unwrap().entry("a").unwrap();
        assert_eq!(parsed.source.slice(a.key_span), "a", "{text:?}");
    }
    let parsed = parse("p.yaml", "\u{feff}a: *x\r\n".as_bytes()).unwrap_err();
    assert!(parsed[0].to_string().starts_with("p.yaml:1:4: "));
}

#[test]
fn strings_stay_strings() {
    let text = "a: no\nb: 1e3\nc: 012\nd: 0x1f\ne: .inf\nf: 2026-01-01\ng: True\nh: on\ni: +1\nj: 1_000\nk: '5'\nl: \"true\"\n";
    let parsed = parse("p.yaml", text.as_bytes()).unwrap();
    for e in parsed.root.as_map().unwrap() {
        assert!(matches!(e.value.value, Value::String(_)), "{}: {:?}", e.key, e.value);
    }
    let text = "a: true\nb: -5\nc: 1.5\nd: 1.5e3\ne:\nf: null\ng: 18446744073709551615\nh: 0\n";
    let json =
        serde_json::json!({ "a": true, "b": -5, "c": 1.5, "d": 1500.0, "e": null, "f": null, "g": u64::MAX, "h": 0 });
    assert_eq!(parse("p.yaml", text.as_bytes()).unwrap().root.to_json(), json);
    assert!(first(b"a: 99999999999999999999\n").starts_with("p.yaml:1:4: PIPE-RANGE"));
}

/// Each within a second.
#[test]
fn bombs_meet_a_limit_at_once() {
    let laughs: String =
        (0..40).fold("a0: &a0 [x, x]\n".into(), |s, i| format!("{s}a{}: &a{} [*a{i}, *a{i}]\n", i + 1, i + 1));
    let deep_flow = format!("a: {}{}", "[".repeat(1000), "]".repeat(1000));
    let deep_block: String = (0..1000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let open = "[".repeat(1 << 20);
    let maps = "{a: ".repeat(1 << 18);
    let dashes = "- ".repeat(1 << 19);
    let keys: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    let anchors: String = (0..50_000).map(|i| format!("k{i}: &a{i} 1\n")).collect();
    let long = format!("a: {}", "x".repeat(1 << 20));
    let cases: &[(&str, &str, &str)] = &[
        ("laughs", &laughs, "PIPE-SYNTAX"),
        ("deep flow", &deep_flow, "PIPE-LIMIT"),
        ("deep block", &deep_block, "PIPE-LIMIT"),
        ("open", &open, "PIPE-LIMIT"),
        ("maps", &maps, "PIPE-LIMIT"),
        ("dashes", &dashes, "PIPE-LIMIT"),
        ("keys", &keys, "PIPE-LIMIT"),
        ("anchors", &anchors, "PIPE-SYNTAX"),
        ("long", &long, "PIPE-LIMIT"),
    ];
    for (name, text, code) in cases {
        let found = first(text.as_bytes());
        // The best of three: the machine may be busy with other things.
        let time = || {
            let start = Instant::now();
            first(text.as_bytes());
            start.elapsed()
        };
        let took = (0..3).map(|_| time()).min().expect("three times");
        assert!(found.contains(code), "{name}: {found}");
        assert!(took.as_millis() < 1000, "{name}: {took:?}");
    }
    // The deepest that is allowed.
    let deepest = format!("a: {}{}", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
    assert_eq!(first(deepest.as_bytes()), "good");
}

#[test]
fn toml_and_json_have_places_too() {
    let one = |file: &str, text: &str| match parse(file, text.as_bytes()) {
        Ok(parsed) => parsed.problems.first().map_or("good".into(), ToString::to_string),
        Err(problems) => problems[0].to_string(),
    };
    assert!(one("p.toml", "a = 1\nb = \n").starts_with("p.toml:2:"));
    assert!(one("p.toml", "a = 1\na = 2\n").starts_with("p.toml:2:1: PIPE-DUPLICATE"));
    assert!(one("p.toml", "").contains("the file is empty"));
    assert!(one("p.toml", &format!("a = {}", "[".repeat(1000))).contains("PIPE-LIMIT"));
    assert!(one("p.toml", &format!("a = {}{}", "[".repeat(70), "]".repeat(70))).contains("PIPE-LIMIT"));
    assert!(one("p.toml", "a = 99999999999999999999\n").starts_with("p.toml:1:5: PIPE-RANGE"));
    assert_eq!(one("p.json", "{ \"a\": 1e3,\n\t\"b\": [\"x\\n\", \"\\ud83d\\ude00\"] }"), "good");
    assert!(one("p.json", "a: 1").contains("this is not JSON"));
    assert!(one("p.json", "{ \"a\": 1, \"a\": 2 }").starts_with("p.json:1:11: PIPE-DUPLICATE"));
    let parsed = parse("p.toml", "\u{feff}a = { b = 0x10 }\nd = 2026-01-01T00:00:00Z\n".as_bytes()).unwrap();
    assert_eq!(parsed.root.to_json(), serde_json::json!({ "a": { "b": 16 }, "d": "2026-01-01T00:00:00Z" }));
    assert_eq!(parsed.source.slice(parsed.root.get(&["a", "b"]).unwrap().span), "0x10");
}
