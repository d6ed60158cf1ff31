//! `test`: the tests of pipeline files.

use super::args::Test;
use super::print::Print;
use super::{Failure, Outcome, files};
use millstream::Problem;
use millstream_connectors::cases::{self, Came, Difference, Line};
use millstream_connectors::{LoadOptions, Registry};
use millstream_pipelines::document::{Case, TestFile};
use millstream_pipelines::{Document, Source, check_tests};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of one difference that are shown.
const ROWS: usize = 50;
/// Letters of one value that are shown.
const WIDTH: usize = 60;

/// What the tests came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    left_out: usize,
    /// A file could not be read.
    broken: bool,
}

/// A pipeline file and all its tests.
pub(super) struct Suite {
    pub document: Document,
    /// Each with the text in which it stands.
    pub cases: Vec<(Source, Case)>,
}

/// `millstream test FILE...`.
pub fn test(args: &Test, registry: &Registry, print: &Print) -> Outcome {
    let began = Instant::now();
    let parameters = files::parameters(&args.parameters, print)?;
    let mut tally = Tally::default();
    // A file of tests beside a pipeline that is named too runs with it.
    let with_pipeline = |file: &PathBuf| is_test_file(file) && args.files.contains(&tested_by(file));
    let files: Vec<&PathBuf> = args.files.iter().filter(|f| !with_pipeline(f)).collect();
    for file in &files {
        match suite(file, registry, print) {
            Ok(suite) => run(file, &suite, args, &parameters, registry, print, &mut tally),
            Err(_) => tally.broken = true,
        }
    }
    print.result(|| summary(&tally, files.len(), began.elapsed()), || {
        json!({ "passed": tally.passed, "failed": tally.failed, "left_out": tally.left_out, "seconds": began.elapsed().as_secs_f64() })
    });
    let none = tally.passed + tally.failed == 0;
    if none && !tally.broken {
        let what = if tally.left_out > 0 { "no test has this in its name" } else { "there are no tests" };
        let help = "write them under `tests:` in the file, or in NAME.test.yaml beside it";
        print.problem(&Problem::error("CLI-NO-TESTS", what).help(help));
    }
    if none || tally.broken || tally.failed > 0 { Err(Failure::Given) } else { Ok(()) }
}

fn summary(tally: &Tally, files: usize, took: Duration) -> String {
    let left_out = if tally.left_out > 0 { format!(", {} left out", tally.left_out) } else { String::new() };
    format!(
        "{} passed, {} failed{left_out}, in {} {}, {:.1} s",
        tally.passed,
        tally.failed,
        files,
        if files == 1 { "file" } else { "files" },
        took.as_secs_f64()
    )
}

/// The pipeline and the tests that a file names: those within it, and those in the file beside it.
pub(super) fn suite(file: &Path, registry: &Registry, print: &Print) -> Result<Suite, Failure> {
    let (pipeline, beside) = if is_test_file(file) {
        let tests = read_tests(file, print)?;
        let named = tests.pipeline.as_ref().map(|p| p.value.clone());
        let folder = file.parent().unwrap_or(Path::new(""));
        (named.map_or_else(|| tested_by(file), |name| folder.join(name)), Some(tests))
    } else {
        let beside = file.with_extension("test.yaml");
        (file.to_path_buf(), if beside.is_file() { Some(read_tests(&beside, print)?) } else { None })
    };
    let bytes = files::read(&pipeline, print)?;
    let shown = pipeline.display().to_string();
    let document = Document::parse(&shown, &bytes).map_err(|problems| {
        print.problems(&problems, Some(&files::source(&shown, &bytes)));
        Failure::Given
    })?;
    let mut cases: Vec<(Source, Case)> = Vec::new();
    if !is_test_file(file) {
        cases.extend(document.tests.iter().map(|case| (document.source.clone(), case.clone())));
    }
    if let Some(tests) = beside {
        let problems = check_tests(&tests, &document, registry.catalogue());
        print.problems(&problems, Some(&tests.source));
        if problems.iter().any(Problem::is_error) {
            return Err(Failure::Given);
        }
        cases.extend(tests.tests.into_iter().map(|case| (tests.source.clone(), case)));
    }
    Ok(Suite { document, cases })
}

pub(super) fn is_test_file(file: &Path) -> bool {
    file.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".test.yaml"))
}

/// `NAME.yaml` of `NAME.test.yaml`.
pub(super) fn tested_by(file: &Path) -> PathBuf {
    file.with_extension("").with_extension("yaml")
}

fn read_tests(file: &Path, print: &Print) -> Result<TestFile, Failure> {
    let bytes = files::read(file, print)?;
    let shown = file.display().to_string();
    TestFile::parse(&shown, &bytes).map_err(|problems| {
        print.problems(&problems, Some(&files::source(&shown, &bytes)));
        Failure::Given
    })
}

fn run(
    file: &Path,
    suite: &Suite,
    args: &Test,
    parameters: &BTreeMap<String, String>,
    registry: &Registry,
    print: &Print,
    tally: &mut Tally,
) {
    if !print.json && !suite.cases.is_empty() {
        print.result(|| file.display().to_string(), || Value::Null);
    }
    for (source, case) in &suite.cases {
        if args.filter.as_ref().is_some_and(|part| !case.name.value.contains(part.as_str())) {
            tally.left_out += 1;
            continue;
        }
        let began = Instant::now();
        let env = |name: &str| std::env::var(name).ok();
        let options = LoadOptions {
            parameters: parameters.clone(),
            env: &env,
            secrets: &files::secret_or_stand_in,
            workers: 1,
            events: Arc::new(|_| {}),
            observed: Vec::new(),
        };
        let outcome = cases::run(&suite.document, source, case, registry, options);
        let took = began.elapsed();
        match &outcome {
            Ok(differences) if differences.is_empty() => tally.passed += 1,
            _ => tally.failed += 1,
        }
        report(file, source, case, &outcome, took, print);
    }
}

fn report(
    file: &Path,
    source: &Source,
    case: &Case,
    outcome: &Result<Vec<Difference>, Vec<Problem>>,
    took: Duration,
    print: &Print,
) {
    let (differences, problems): (&[Difference], &[Problem]) = match outcome {
        Ok(differences) => (differences, &[]),
        Err(problems) => (&[], problems),
    };
    let passed = differences.is_empty() && problems.is_empty();
    print.result(
        || {
            let word = if passed { print.paint(GREEN, "ok  ") } else { print.paint(RED, "FAIL") };
            let mut lines = vec![format!("  {word}  {}  {}", case.name.value, print.paint(DIM, &millis(took)))];
            differences.iter().for_each(|d| lines.extend(drawn(d, print)));
            lines.join("\n")
        },
        || {
            json!({
                "file": file.display().to_string(), "test": case.name.value, "passed": passed, "ms": took.as_secs_f64() * 1e3,
                "differences": differences, "problems": problems,
            })
        },
    );
    if !print.json {
        print.problems(problems, Some(source));
    }
}

fn millis(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1e3)
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";

/// A difference, row by row.
fn drawn(difference: &Difference, print: &Print) -> Vec<String> {
    let rows = |n: u64| format!("{n} {}", if n == 1 { "row" } else { "rows" });
    let mut lines =
        vec![format!("        {}: expected {}, {} came", difference.port, rows(difference.expected), difference.came)];
    if difference.rows.is_empty() {
        return lines;
    }
    let cell = |line: &Line, column: &str| line.row.get(column).map_or_else(String::new, shown);
    let width = |column: &String| {
        let values = difference.rows.iter().take(ROWS).map(|l| cell(l, column).chars().count());
        values.chain([column.chars().count()]).max().unwrap_or(0)
    };
    let columns: Vec<(&String, usize)> = difference.columns.iter().map(|c| (c, width(c))).collect();
    let head: Vec<String> = columns.iter().map(|(c, w)| format!("{c:w$}")).collect();
    lines.push(print.paint(DIM, &format!("            {}", head.join("  ").trim_end())));
    for line in difference.rows.iter().take(ROWS) {
        let (sign, colour, said) = match line.came {
            Came::AsExpected => (' ', DIM, ""),
            Came::Missing => ('-', RED, "expected, did not come"),
            Came::Unexpected => ('+', YELLOW, "came, not expected"),
        };
        let cells: Vec<String> = columns.iter().map(|(c, w)| format!("{:w$}", cell(line, c))).collect();
        let text = format!("          {sign} {}   {said}", cells.join("  "));
        lines.push(print.paint(colour, text.trim_end()));
    }
    if difference.rows.len() > ROWS {
        lines.push(format!("            … and {} more", rows((difference.rows.len() - ROWS) as u64)));
    }
    lines
}

/// A value on one line; nothing in it reaches the terminal raw.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        other => other.to_string(),
    };
    match text.char_indices().nth(WIDTH) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
