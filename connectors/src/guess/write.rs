//! The pipeline file that a guess comes to.

use super::{Form, Guess};
use crate::format::Format;
use crate::transforms::parse;
use millstream::{Problem, Result};
use millstream_pipelines::types::{FieldType, Type};
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// A pipeline file to be.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The text of a pipeline `file` that reads what `data` (a path or pattern, as the user wrote it) names.
///
/// # Errors
/// `NEW-SOURCE` for a path that a pipeline file cannot say; `IO…` where the working directory is unknown.
pub fn write(guess: &Guess, file: &Path, data: &str) -> Result<Written> {
    let name = name_of(file);
    let path = seen_from(file, data)?;
    let mut text = head(guess, file);
    let _ = write!(text, "version: 1\nname: {name}\n\nnodes:\n");
    let last = match &guess.form {
        Form::Source(_) => {
            source(&mut text, "records", guess, &path);
            "records"
        }
        Form::Lines(format) => {
            source(&mut text, "lines", guess, &path);
            parse_node(&mut text, guess, *format);
            "records"
        }
    };
    suggestions(&mut text, guess, last);
    let _ = write!(
        text,
        "  out:\n    kind: file_sink\n    from: {last}\n    path: {}\n    format: ndjson  # or csv, parquet\n",
        quoted(&format!("out/{name}"))
    );
    Ok(Written { name, text })
}

fn head(guess: &Guess, file: &Path) -> String {
    let mut text = String::new();
    let compressed = guess.compressed.map_or_else(String::new, |c| format!(", {c}"));
    let from = match (guess.lines, guess.whole) {
        (0, _) => "; the columns are the file's own".to_string(),
        (lines, true) => format!(", guessed from all {lines} lines"),
        (lines, false) => format!(", guessed from the first {lines} lines"),
    };
    let _ = writeln!(text, "# Written by `millstream new`: {}{compressed}{from}.", guess.form.name());
    let _ = writeln!(text, "#   millstream check {}   every problem, with its place", file.display());
    let _ = writeln!(text, "#   millstream run {}     reads what is there, then ends", file.display());
    for (name, why) in &guess.left_out {
        let _ = writeln!(text, "# Left out: {}: {why}.", one_line(name));
    }
    text
}

fn source(text: &mut String, name: &str, guess: &Guess, path: &str) {
    let format = match &guess.form {
        Form::Lines(_) | Form::Source(Format::Text) => "text".to_string(),
        Form::Source(Format::Csv(csv)) => {
            let mut options = Vec::new();
            if csv.delimiter != ',' {
                options.push(format!("delimiter: {}", quoted(&csv.delimiter.to_string())));
            }
            if !csv.header {
                options.push("header: false".into());
            }
            if options.is_empty() { "csv".into() } else { format!("{{ csv: {{ {} }} }}", options.join(", ")) }
        }
        Form::Source(other) => other.name().to_string(),
    };
    let _ = write!(
        text,
        "  {name}:\n    kind: file_source\n    path: {}  # a pattern works, too\n    format: {format}\n    # read: watch  # to go on with what is appended, and with new files\n",
        quoted(path)
    );
    if matches!(guess.form, Form::Source(_)) {
        if !guess.columns.is_empty() {
            columns(text, "schema", &guess.columns);
        }
        event_time(text, guess);
    }
    text.push('\n');
}

fn parse_node(text: &mut String, guess: &Guess, format: parse::Format) {
    text.push_str("  # Lines that do not fit become dead letters: `millstream dead list`.\n");
    let _ = write!(text, "  records:\n    kind: parse\n    from: lines\n    format: {}\n", guess.form.name());
    if format == parse::Format::Syslog {
        text.push_str("    # year: 2026  # RFC 3164 does not say it; with it `time` is a timestamp\n");
    }
    if !guess.columns.is_empty() {
        columns(text, "types", &guess.columns);
    }
    event_time(text, guess);
    text.push('\n');
}

fn columns(text: &mut String, key: &str, columns: &[(String, FieldType)]) {
    let _ = writeln!(text, "    {key}:");
    for (name, ty) in columns {
        let _ = writeln!(text, "      {}: {}", key_of(name), type_text(ty));
    }
}

fn event_time(text: &mut String, guess: &Guess) {
    match &guess.event_time {
        Some(column) => {
            let _ = writeln!(
                text,
                "    # When something happened: windows go by it. `out_of_order` is how late a row may come."
            );
            let _ = writeln!(text, "    event_time: {{ field: {}, out_of_order: 10s }}", quoted_if_odd(column));
        }
        None => text.push_str("    # No column is a time; windows would go by the time of arrival.\n"),
    }
}

/// What a person is likely to want next, commented out.
fn suggestions(text: &mut String, guess: &Guess, last: &str) {
    if guess.form == Form::Source(Format::Text) {
        text.push_str("  # To turn lines into columns:\n");
        let _ = writeln!(text, "  # parsed: {{ kind: parse, from: {last}, regex: '^(?P<first>\\S+) (?P<rest>.*)$' }}");
        text.push_str("  # and `from: parsed` below.\n\n");
        return;
    }
    let text_column = |t: &FieldType| matches!(t.ty, Type::String);
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let by = match &guess.form {
        Form::Lines(parse::Format::AccessLog) => Some("status".to_string()),
        Form::Lines(parse::Format::Syslog) => Some("app".to_string()),
        _ => guess.columns.iter().find(|(n, t)| text_column(t) && plain(n)).map(|(n, _)| n.clone()),
    };
    let (Some(by), true) = (by, guess.event_time.is_some()) else { return };
    text.push_str("  # To count them per minute:\n");
    let _ = writeln!(
        text,
        "  # per_minute: {{ kind: window, from: {last}, every: 1m, by: [{by}], select: {{ rows: count(*) }} }}"
    );
    text.push_str("  # and `from: per_minute` below.\n\n");
}

/// The type, in quotes where YAML would take it apart.
fn type_text(ty: &FieldType) -> String {
    let text = ty.to_string();
    if text.contains([',', '{', '}', ':']) { quoted(&text) } else { text }
}

fn key_of(name: &str) -> String {
    quoted_if_odd(name)
}

/// A name as it is, where YAML takes it for text; in quotes otherwise.
fn quoted_if_odd(name: &str) -> String {
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name.to_lowercase().as_str());
    if word { name.to_string() } else { quoted(name) }
}

/// A text in double quotes, as YAML and JSON both read it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn one_line(text: &str) -> String {
    quoted(text)
}

/// A pipeline's name, from the name of its file.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let clean = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(clean).take(100).collect();
    let name = name.trim_matches(['-', '.']).to_string();
    if name.is_empty() { "pipeline".into() } else { name }
}

/// The path of the data as the pipeline file must say it: relative to its own folder, where it was
/// relative before.
fn seen_from(file: &Path, data: &str) -> Result<String> {
    if data.contains("${") {
        return Err(Problem::error("NEW-SOURCE", "a path with `${` means a parameter in a pipeline file").found(data));
    }
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty());
    let (Some(folder), false) = (folder, Path::new(data).is_absolute()) else { return Ok(data.to_string()) };
    let here = std::env::current_dir().map_err(|e| Problem::io("cannot tell the working directory", ".", &e))?;
    let (from, to) = (plain(&here.join(folder)), plain(&here.join(data)));
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(shared)).collect();
    Ok(path.to_string_lossy().into_owned())
}

/// A path without `.` and `..`, going by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
