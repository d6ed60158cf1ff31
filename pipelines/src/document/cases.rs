//! Tests as they stand in a pipeline file or in `*.test.yaml` beside it.

use super::read::Reader;
use super::{At, NodeRef};
use crate::codes;
use crate::parse::{self, Parsed};
use crate::source::{Source, Span};
use crate::time;
use crate::tree::{Map, Node as Tree, Value, quote};
use millstream_problem::Problem;

/// One test: what is fed, what must come out.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: At<String>,
    /// What the sources give, in order.
    pub feed: Vec<Feed>,
    /// Holds all watermarks back until the feed is in, then sets them. Microseconds, UTC.
    pub watermark: Option<At<i64>>,
    /// What nodes, ports and sinks must have given.
    pub expect: Vec<(NodeRef, At<Expect>)>,
    /// Where it stands.
    pub span: Span,
}

/// One record for one source.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The source; a port where it has several (`shop.orders`).
    pub into: NodeRef,
    /// The record.
    pub value: FeedValue,
    /// Sets the clock and `_timestamp`. Microseconds, UTC.
    pub at: Option<At<i64>>,
    /// Where it stands.
    pub span: Span,
}

/// What a [`Feed`] gives.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedValue {
    /// A payload, through the source's own decoder. A map or list is written as JSON.
    Value(String),
    /// Columns.
    Row(CaseRow),
}

/// Columns and their values, as a test gives or expects them.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRow {
    /// Names and values, in the order of the file.
    pub columns: Vec<(At<String>, At<serde_json::Value>)>,
    /// Where it stands.
    pub span: Span,
}

/// What must have come out.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// These rows as a multiset after retractions, compared in the columns given.
    Rows(Vec<CaseRow>),
    /// This many rows.
    Count(u64),
}

/// A `*.test.yaml` file.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Its text.
    pub source: Source,
    /// The pipeline file it tests, relative to it; where not said, the file of the same name without `.test`.
    pub pipeline: Option<At<String>>,
    /// The tests.
    pub tests: Vec<Case>,
    /// What is wrong with its structure.
    pub problems: Vec<Problem>,
}

impl TestFile {
    /// Reads a test file. Structural problems are in [`TestFile::problems`].
    ///
    /// # Errors
    /// What keeps it from being read at all.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<TestFile, Vec<Problem>> {
        let Parsed { source, root, problems } = parse::parse(file, bytes)?;
        let mut r = Reader { source: source.clone(), problems, node: None, resolved: true };
        let Some(top) = r.keys(&root, "the file", &["version", "pipeline", "tests"]).cloned() else {
            return Err(r.problems);
        };
        if let Some(version) = top.get("version")
            && version.to_json() != 1
        {
            r.error(version.span, codes::VERSION, "unknown version of the file format; this program reads version 1");
        }
        let pipeline = top.get("pipeline").and_then(|n| r.string(n, "pipeline"));
        let tests = match top.get("tests") {
            Some(n) => cases(&mut r, n),
            None => {
                r.missing(Span::new(root.span.start, root.span.start), "tests", "a list of tests");
                Vec::new()
            }
        };
        Ok(TestFile { source, pipeline, tests, problems: r.problems })
    }
}

pub(super) fn cases(r: &mut Reader, node: &Tree) -> Vec<Case> {
    let Some(list) = node.as_list() else {
        r.wrong(node, "tests", "a list of tests");
        return Vec::new();
    };
    let mut all: Vec<Case> = Vec::new();
    for item in list {
        let Some(case) = case(r, item) else { continue };
        if let Some(first) = all.iter().find(|c| c.name.value == case.name.value) {
            let problem = r
                .source
                .error(case.name.span, codes::DUPLICATE, "two tests have the same name")
                .found(quote(&case.name));
            let problem = problem.also(r.source.place(first.name.span), "first here");
            r.report(problem);
        }
        all.push(case);
    }
    all
}

fn case(r: &mut Reader, node: &Tree) -> Option<Case> {
    let map = r.keys(node, "tests", &["name", "feed", "watermark", "expect"])?;
    let start = Span::new(node.span.start, node.span.start);
    let name = match map.get("name") {
        Some(n) => r.string(n, "name"),
        None => {
            r.missing(start, "name", "what the test shows");
            None
        }
    };
    let feed = match map.get("feed").map(|n| (n, n.as_list())) {
        Some((_, Some(list))) => list.iter().filter_map(|n| feed(r, n)).collect(),
        Some((n, None)) => {
            r.wrong(n, "feed", "a list of records");
            Vec::new()
        }
        None => Vec::new(),
    };
    let watermark = map.get("watermark").and_then(|n| timestamp(r, n, "watermark"));
    let expect = match map.get("expect") {
        Some(n) => expectations(r, n),
        None => {
            r.missing(start, "expect", "what must come out, by node");
            Vec::new()
        }
    };
    Some(Case {
        name: name.unwrap_or(At { value: String::new(), span: start }),
        feed,
        watermark,
        expect,
        span: node.span,
    })
}

fn feed(r: &mut Reader, node: &Tree) -> Option<Feed> {
    let map = r.keys(node, "feed", &["into", "value", "row", "at"])?;
    let start = Span::new(node.span.start, node.span.start);
    let into = match map.get("into") {
        Some(n) => r.string(n, "into"),
        None => {
            r.missing(start, "into", "the source that gives it");
            None
        }
    };
    let at = map.get("at").and_then(|n| timestamp(r, n, "at"));
    let value = match (map.get("value"), map.get("row")) {
        (Some(_), Some(row)) => {
            r.error(row.span, codes::TEST, "a record has either `value` or `row`");
            None
        }
        (Some(value), None) => Some(FeedValue::Value(payload(value))),
        (None, Some(row)) => self::row(r, row, "row").map(FeedValue::Row),
        (None, None) => {
            r.missing(start, "value", "`value` (a payload) or `row` (columns)");
            None
        }
    };
    let into = into?;
    Some(Feed { into: NodeRef::parse(&into, into.span), value: value?, at, span: node.span })
}

fn payload(node: &Tree) -> String {
    match &node.value {
        Value::String(s) => s.clone(),
        _ => node.to_json().to_string(),
    }
}

fn row(r: &mut Reader, node: &Tree, key: &str) -> Option<CaseRow> {
    let Value::Map(map) = &node.value else {
        r.wrong(node, key, "a map of columns and values");
        return None;
    };
    let column = |e: &crate::tree::Entry| {
        let name = At { value: e.key.clone(), span: e.key_span };
        (name, At { value: e.value.to_json(), span: e.value.span })
    };
    Some(CaseRow { columns: map.iter().map(column).collect(), span: node.span })
}

fn timestamp(r: &mut Reader, node: &Tree, key: &str) -> Option<At<i64>> {
    let text = r.string(node, key)?;
    let micros = time::parse_rfc3339(&text);
    if micros.is_none() {
        let problem = r.source.error(node.span, codes::TYPE, format!("`{key}` is not a time")).found(quote(&text));
        r.report(problem.expected("RFC 3339 with a zone, such as 2026-01-01T12:00:00Z"));
    }
    Some(At { value: micros?, span: node.span })
}

fn expectations(r: &mut Reader, node: &Tree) -> Vec<(NodeRef, At<Expect>)> {
    let Some(map) = r.map(node, "expect", "a map of nodes and rows") else {
        return Vec::new();
    };
    if map.is_empty() {
        r.error(node.span, codes::TEST, "a test that expects nothing cannot fail");
    }
    let mut all = Vec::new();
    for e in map {
        let value = match &e.value.value {
            Value::List(rows) => Some(Expect::Rows(rows.iter().filter_map(|n| row(r, n, &e.key)).collect())),
            Value::Map(inner) => count(r, &e.value, inner, &e.key),
            _ => {
                r.wrong(&e.value, &e.key, "a list of rows, or { count: n }");
                None
            }
        };
        if let Some(value) = value {
            all.push((NodeRef::parse(&e.key, e.key_span), At { value, span: e.value.span }));
        }
    }
    all
}

fn count(r: &mut Reader, node: &Tree, map: &Map, key: &str) -> Option<Expect> {
    r.keys(node, key, &["count"])?;
    let Some(count) = map.get("count") else {
        r.missing(
            Span::new(node.span.start, node.span.start),
            "count",
            "how many rows, or a list of rows in its place",
        );
        return None;
    };
    r.count(count, "count", 0, u64::MAX).map(Expect::Count)
}
