//! Which form the lines of a sample have.

use super::Form;
use crate::format::{CsvOptions, Format, csv_fields};
use crate::transforms::excerpt;
use crate::transforms::parse::access_log::AccessLog;
use crate::transforms::parse::syslog::Syslog;
use crate::transforms::parse::{self, LineFormat, logfmt_pairs};
use millstream::{Problem, Result};
use millstream_pipelines::types::{FieldType, Type};

/// Lines that are looked at.
const LINES_MAX: usize = 10_000;
/// Of a hundred lines so many must have a form before it counts.
const NEARLY_ALL: usize = 90;
/// A form that fewer lines of a hundred have is chance, or damage.
const SOME: usize = 10;
/// Delimiters of CSV, the usual one first.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// The whole lines of a sample, without empty ones.
pub(super) struct Lines<'a> {
    lines: Vec<&'a [u8]>,
    bytes: &'a [u8],
}

impl<'a> Lines<'a> {
    /// A last line without an end counts only where the sample is the whole file.
    pub fn new(bytes: &'a [u8], whole: bool) -> Lines<'a> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let end = if whole { bytes.len() } else { memchr::memrchr(b'\n', bytes).unwrap_or(bytes.len()) };
        let trim = |l: &'a [u8]| l.strip_suffix(b"\r").unwrap_or(l);
        let lines = bytes[..end].split(|b| *b == b'\n').map(trim).filter(|l| !l.is_empty());
        Lines { lines: lines.take(LINES_MAX).collect(), bytes }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.lines.iter().copied()
    }

    /// The names in the first line, as CSV.
    pub fn header(&self, delimiter: char) -> Vec<String> {
        self.lines.first().and_then(|l| csv_fields(l, delimiter)).unwrap_or_default()
    }

    /// The form that nearly all lines have; text where none has any.
    ///
    /// # Errors
    /// `NEW-UNKNOWN` for bytes that are no text, `NEW-MIXED` where some lines have a form and some have not.
    pub fn form(&self) -> Result<Form> {
        self.check_text()?;
        let mut best: Option<(usize, Form)> = None;
        for form in self.candidates() {
            let have = self.count(&form);
            if best.as_ref().is_none_or(|(most, _)| have > *most) {
                best = Some((have, form));
            }
        }
        let (have, form) = best.expect("there are candidates");
        match have * 100 / self.len().max(1) {
            share if share >= NEARLY_ALL => Ok(form),
            // Text has commas and equals signs, too: neither says that a line is meant as CSV or logfmt.
            share if share >= SOME && !is_weak(&form) => Err(self.mixed(have, &form)),
            _ => Ok(Form::Source(Format::Text)),
        }
    }

    /// All forms, the narrower ones first: of two that as many lines have the first counts.
    fn candidates(&self) -> Vec<Form> {
        let mut all = vec![
            Form::Source(Format::Ndjson),
            Form::Lines(parse::Format::AccessLog),
            Form::Lines(parse::Format::Syslog),
            Form::Lines(parse::Format::Logfmt),
        ];
        for delimiter in DELIMITERS {
            let header = self.has_header(delimiter);
            all.push(Form::Source(Format::Csv(CsvOptions { delimiter, header, ..CsvOptions::default() })));
        }
        all
    }

    fn count(&self, form: &Form) -> usize {
        let texts = || self.iter().filter_map(|l| std::str::from_utf8(l).ok());
        let read = |format: &mut dyn LineFormat| texts().filter(|t| format.row(t).is_ok()).count();
        match form {
            Form::Source(Format::Csv(csv)) => self.count_csv(csv.delimiter),
            Form::Source(_) => self.iter().filter(|l| is_object(l)).count(),
            Form::Lines(parse::Format::AccessLog) => read(&mut AccessLog::new(None)),
            Form::Lines(parse::Format::Syslog) => read(&mut Syslog::new(None)),
            Form::Lines(_) => texts().filter(|t| is_logfmt(t)).count(),
        }
    }

    /// Lines with as many fields as the first one, where that has several. A field that begins with a space
    /// is what follows a comma in a sentence.
    fn count_csv(&self, delimiter: char) -> usize {
        let width = self.header(delimiter).len();
        if width < 2 {
            return 0;
        }
        let fits = |f: Vec<String>| f.len() == width && !f.iter().skip(1).any(|t| t.starts_with(' '));
        self.iter().filter(|l| csv_fields(l, delimiter).is_some_and(fits)).count()
    }

    /// True if the first line names columns: names that differ, none of them a number, a truth or a time.
    fn has_header(&self, delimiter: char) -> bool {
        let names = self.header(delimiter);
        let is_name = |n: &String| {
            n.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && n.chars().all(|c| c.is_alphanumeric() || "_ .-/()%#".contains(c))
                && !["true", "false", "null"].contains(&n.to_lowercase().as_str())
        };
        let differ = names.iter().enumerate().all(|(i, n)| !names[..i].contains(n));
        !names.is_empty() && differ && names.iter().all(is_name)
    }

    /// The keys of logfmt lines with the types that fit all their values, in order of appearance.
    pub fn logfmt_columns(&self) -> Vec<(String, FieldType)> {
        let mut columns: Vec<(String, Type)> = Vec::new();
        for text in self.iter().filter_map(|l| std::str::from_utf8(l).ok()) {
            for (key, value) in logfmt_pairs(text).into_iter().flatten() {
                let Some(value) = value.filter(|v| !v.is_empty()) else { continue };
                let ty = type_of(&value);
                match columns.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, known)) => *known = common(known, ty),
                    None if !key.starts_with('_') => columns.push((key, ty)),
                    None => {}
                }
            }
        }
        columns.into_iter().map(|(key, ty)| (key, FieldType::new(ty))).collect()
    }

    fn check_text(&self) -> Result<()> {
        let bad = self.iter().filter(|l| l.contains(&0) || std::str::from_utf8(l).is_err()).count();
        if bad * 100 <= self.len() * SOME {
            return Ok(());
        }
        let head: Vec<String> = self.bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Err(Problem::error("NEW-UNKNOWN", "the content is no text and no format known here")
            .found(format!("a file that begins with the bytes {}", head.join(" ")))
            .expected("NDJSON, CSV, Parquet, Arrow IPC, or lines of UTF-8 text; plain, gzip or zstd"))
    }

    fn mixed(&self, have: usize, form: &Form) -> Problem {
        let other = self.iter().find(|l| !self.has(l, form)).map(String::from_utf8_lossy).unwrap_or_default();
        Problem::error("NEW-MIXED", "the lines of the file have several forms")
            .found(format!("{have} of {} lines are {}; `{}` is not", self.len(), form.name(), excerpt(&other)))
            .expected("one form in one file")
            .help(format!(
                "keep them apart, or say which one counts: `--format {}` makes the others dead letters, `--format \
                 text` reads all lines as they are",
                form.name()
            ))
    }

    fn has(&self, line: &'a [u8], form: &Form) -> bool {
        Lines { lines: vec![line], bytes: self.bytes }.count(form) == 1
    }
}

fn is_weak(form: &Form) -> bool {
    matches!(form, Form::Source(Format::Csv(_)) | Form::Lines(parse::Format::Logfmt))
}

fn is_object(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Two pairs or more, and nothing but pairs: a sentence with an equals sign in it is none.
fn is_logfmt(text: &str) -> bool {
    let Some(pairs) = logfmt_pairs(text) else { return false };
    let is_key = |k: &str| k.chars().all(|c| c.is_alphanumeric() || "_.-/".contains(c));
    pairs.len() >= 2 && pairs.iter().all(|(key, value)| value.is_some() && is_key(key))
}

fn type_of(value: &str) -> Type {
    let digits = value.trim_start_matches('-');
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    match value {
        "true" | "false" => Type::Bool,
        v if !padded && v.parse::<i64>().is_ok() => Type::Int64,
        v if !padded && digits.starts_with(|c: char| c.is_ascii_digit()) && v.parse::<f64>().is_ok() => Type::Float64,
        v if crate::format::is_instant(v) => Type::Timestamp(None),
        _ => Type::String,
    }
}

fn common(a: &Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if *a == b => b,
        (Type::Int64 | Type::Float64, Type::Int64 | Type::Float64) => Type::Float64,
        _ => Type::String,
    }
}
