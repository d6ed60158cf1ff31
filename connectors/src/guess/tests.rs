//! Guesses from small files, and that what is written passes the checks.

use super::*;
use crate::{LoadOptions, Registry, load};
use std::fs;
use tempfile::TempDir;

fn of(name: &str, content: impl AsRef<[u8]>) -> (TempDir, Result<Guess>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(name);
    fs::write(&file, content).expect("a temporary file");
    let found = guess(file.to_str().expect("UTF-8"), None);
    (folder, found)
}

/// The form and columns of a content, after its pipeline file has passed.
fn read(content: impl AsRef<[u8]>) -> (String, String, Option<String>) {
    let (folder, guess) = of("data", content);
    let guess = guess.expect("a guess");
    let file = folder.path().join("pipeline.yaml");
    let written = write(&guess, &file, guess.file.to_str().expect("UTF-8")).expect("a pipeline file");
    if let Err(problems) = load("pipeline.yaml", written.text.as_bytes(), &Registry::builtin(), &LoadOptions::default())
    {
        panic!("{problems:?}\n{}", written.text);
    }
    let columns = guess.columns.iter().map(|(n, t)| format!("{n} {t}")).collect::<Vec<_>>().join(", ");
    (guess.form.name().to_string(), columns, guess.event_time)
}

fn is(form: &str, columns: &str, event_time: Option<&str>) -> (String, String, Option<String>) {
    (form.into(), columns.into(), event_time.map(String::from))
}

#[test]
fn lines_of_one_form() {
    assert_eq!(
        read("{\"a\":1,\"ts\":1700000000123}\n{\"a\":2.5,\"ts\":1700000001123}\n"),
        is("ndjson", "a float64, ts timestamp(ms)", Some("ts"))
    );
    assert_eq!(
        read("id;created_at;note\r\n1;2026-01-01T00:00:00Z;x\r\n2;2026-01-01T00:00:01Z;y\r\n"),
        is("csv", "id int64, created_at timestamp, note string", Some("created_at"))
    );
    assert_eq!(read("1,x\n2,y\n3,z"), is("csv", "column_1 int64, column_2 string", None));
    assert_eq!(read("a\tb b\n1\t2\n"), is("csv", "a int64, b b int64", None));
    assert_eq!(
        read(
            "at=2026-01-01T00:00:00Z level=info took=12 msg=\"all well\"\nat=2026-01-01T00:00:01Z level=warn took=1.5\n"
        ),
        is("logfmt", "at timestamp, level string, took float64, msg string", Some("at"))
    );
    assert_eq!(
        read("1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 5\n"),
        is("access_log", "", Some("time"))
    );
    assert_eq!(read("<13>Oct 11 22:14:15 host app[1]: hello, world\n"), is("syslog", "", None));
    assert_eq!(read("Just some words.\nAnd, well, more of them.\n"), is("text", "", None));
    assert_eq!(read("One, and words.\nTwo, and words.\n"), is("text", "", None));
}

#[test]
fn numbers_that_cannot_be_times_stay_numbers() {
    assert_eq!(read("{\"time\":12}\n{\"time\":1700000000}\n"), is("ndjson", "time int64", None));
    assert_eq!(read("{\"time\":1700000000,\"n\":null}\n"), is("ndjson", "time timestamp(s), n json", Some("time")));
}

#[test]
fn what_cannot_be_guessed_is_said() {
    let code = |name: &str, content: &[u8]| of(name, content).1.expect_err("no guess").code.to_string();
    assert_eq!(code("a", b""), "NEW-EMPTY");
    assert_eq!(code("a", b" \n\n"), "NEW-EMPTY");
    assert_eq!(code("a", &[0, 159, 146, 150, 0, 1, 2, 3]), "NEW-UNKNOWN");
    assert_eq!(code("a", b"{\"a\":1}\nplain words\n{\"a\":2}\nmore words\n"), "NEW-MIXED");
    assert_eq!(code("a", b"_id,b\n1,2\n"), "NEW-COLUMNS");
    assert_eq!(code("a", b"PAR1 but nothing else of it"), "PARQUET-FOOTER");
    assert_eq!(guess("/nowhere/at/all", None).expect_err("no file").code, "IO-NOT-FOUND");
    assert_eq!(guess("/nowhere/*.log", None).expect_err("no file").code, "FILE-NO-MATCH");
    assert_eq!(guess("kafka://broker/topic", None).expect_err("no file").code, "NEW-SOURCE");
    assert_eq!(Form::named("ndjsn").expect_err("a typo").help.as_deref(), Some("did you mean `ndjson`?"));
    for form in FORMS {
        assert_eq!(Form::named(form).expect("known").name(), form);
    }
}

#[test]
fn a_few_broken_lines_do_not_matter() {
    let lines: String =
        (0..100).map(|n| if n == 50 { "broken\n".into() } else { format!("{{\"a\":{n}}}\n") }).collect();
    assert_eq!(read(lines), is("ndjson", "a int64", None));
}

#[test]
fn paths_are_seen_from_the_pipeline_file() {
    let (folder, guess) = of("data.txt", "words\n");
    let guess = guess.expect("a guess");
    let path = |file: &str, data: &str| {
        let text = write(&guess, Path::new(file), data).expect("a pipeline file").text;
        let line = text.lines().find(|l| l.trim_start().starts_with("path:")).expect("a path").trim().to_string();
        line.split('"').nth(1).expect("in quotes").to_string()
    };
    assert_eq!(path("p.yaml", "in/a.txt"), "in/a.txt");
    assert_eq!(path("x/p.yaml", "in/a.txt"), "../in/a.txt");
    assert_eq!(path("./x/../in/p.yaml", "in/*.txt"), "*.txt");
    assert_eq!(path("x/p.yaml", "/in/a.txt"), "/in/a.txt");
    assert_eq!(write(&guess, Path::new("p.yaml"), "${x}").expect_err("a parameter").code, "NEW-SOURCE");
    drop(folder);
}
