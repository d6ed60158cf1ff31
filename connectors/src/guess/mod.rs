//! Guessing how a file is written down, and a pipeline file that reads it: what `millstream new` does.
//!
//! ```text
//!   first MiB, decompressed ─► magic numbers ─► parquet, arrow_ipc (their own schema)
//!                           └► lines ─► the one form that nearly all of them have ─► schema, event time
//!                                                                   └► the text of a pipeline (`write`)
//! ```
//!
//! A guess is made from nine lines in ten or more. Where no form reaches that and one reaches a tenth, the
//! file is mixed, and that is an error: a pipeline that silently reads half of a file helps nobody. Lines
//! of no known form are read as text.
//!
//! Values of the sample never go into what is written: the file is meant for a repository.

mod lines;
#[cfg(test)]
mod tests;
mod time;
mod write;

pub use write::{Written, write};

use crate::file::{Access, sample};
use crate::format::{CsvOptions, Format, IpcRows, ParquetRows, infer};
use crate::schema;
use crate::transforms::parse;
use arrow::datatypes::Schema;
use millstream::problem::nearest;
use millstream::{Place, Problem, Result};
use millstream_pipelines::types::FieldType;
use std::path::{Path, PathBuf};

/// How the content of a file is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A format of `file_source`.
    Source(Format),
    /// Lines, and a format of `parse` behind them.
    Lines(parse::Format),
}

/// The names by which a form can be asked for.
pub const FORMS: [&str; 8] = ["text", "ndjson", "csv", "parquet", "arrow_ipc", "access_log", "logfmt", "syslog"];

impl Form {
    /// The name, as pipeline files spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Form::Source(format) => format.name(),
            Form::Lines(parse::Format::AccessLog) => "access_log",
            Form::Lines(parse::Format::Logfmt) => "logfmt",
            Form::Lines(parse::Format::Syslog) => "syslog",
            Form::Lines(parse::Format::Json) => "json",
            Form::Lines(parse::Format::Csv) => "csv",
        }
    }

    /// The form of that name.
    ///
    /// # Errors
    /// `NEW-FORMAT` for a name that is none of [`FORMS`].
    pub fn named(name: &str) -> Result<Form> {
        Ok(match name {
            "access_log" => Form::Lines(parse::Format::AccessLog),
            "logfmt" => Form::Lines(parse::Format::Logfmt),
            "syslog" => Form::Lines(parse::Format::Syslog),
            other => Form::Source(Format::from_name(other).ok_or_else(|| {
                let problem = Problem::error("NEW-FORMAT", "no format has this name").found(other);
                match nearest(other, FORMS) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.expected(format!("one of {}", FORMS.join(", "))),
                }
            })?),
        })
    }
}

/// What was found out about a file.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The file that was looked at.
    pub file: PathBuf,
    /// How it is written down.
    pub form: Form,
    /// `gzip` or `zstd`, where it is compressed.
    pub compressed: Option<&'static str>,
    /// Its columns, in order; empty for text, and where a format has columns of its own.
    pub columns: Vec<(String, FieldType)>,
    /// Columns that are left out, each with the reason.
    pub left_out: Vec<(String, String)>,
    /// The column that says when something happened.
    pub event_time: Option<String>,
    /// Lines of the sample; 0 for formats of whole files.
    pub lines: usize,
    /// True if the sample is the whole file.
    pub whole: bool,
}

/// Looks at the first file that a path or pattern names. With `form`, its format is not guessed.
///
/// # Errors
/// `NEW-EMPTY`, `NEW-UNKNOWN`, `NEW-MIXED`, `NEW-COLUMNS`, `FILE-NO-MATCH`, and those of opening a file.
pub fn guess(path: &str, form: Option<Form>) -> Result<Guess> {
    let file = first(path)?;
    let at = |p: Problem| if p.place.is_some() { p } else { p.at(Place::path(&file)) };
    guess_file(&file, form).map_err(at)
}

fn first(path: &str) -> Result<PathBuf> {
    if let Some((scheme, _)) = path.split_once("://") {
        return Err(Problem::error("NEW-SOURCE", "only files can be sampled")
            .found(format!("{scheme}://…"))
            .expected("a file or a pattern, such as data/*.ndjson"));
    }
    if !path.contains(['*', '?', '[']) || Path::new(path).exists() {
        return Ok(path.into());
    }
    let mut found = glob::glob(path).map_err(|e| Problem::error("FILE-PATTERN", e.msg).found(path))?.flatten();
    found
        .find(|p| p.is_file())
        .ok_or_else(|| Problem::error("FILE-NO-MATCH", "no file matches the pattern").found(path))
}

fn guess_file(file: &Path, form: Option<Form>) -> Result<Guess> {
    let opened = Access::default().open(file)?;
    let sample = sample::take(&opened).map_err(|e| Problem::io("cannot read the file", file, &e))?;
    if sample.bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::error("NEW-EMPTY", "there is nothing in the file to guess from")
            .help("name a file with some data, or copy an example from `millstream components file_source`"));
    }
    let lines = lines::Lines::new(&sample.bytes, sample.whole);
    let form = match form {
        Some(form) => form,
        None => match magic(&sample.bytes) {
            Some(format) => Form::Source(format),
            None => lines.form()?,
        },
    };
    let mut guess = Guess {
        file: file.to_path_buf(),
        compressed: sample.compressed,
        columns: Vec::new(),
        left_out: Vec::new(),
        event_time: None,
        lines: lines.len(),
        whole: sample.whole,
        form,
    };
    match guess.form.clone() {
        Form::Source(format @ (Format::Parquet | Format::ArrowIpc)) => {
            if let Some(compressed) = sample.compressed {
                return Err(Problem::error("NEW-UNKNOWN", format!("a {} file inside {compressed}", format.name()))
                    .expected("the file itself, which is compressed inside")
                    .help("unpack it"));
            }
            let schema = match format {
                Format::Parquet => ParquetRows::schema(&opened)?,
                _ => IpcRows::schema(&opened)?,
            };
            guess.lines = 0;
            guess.declare(&schema);
        }
        Form::Source(Format::Text) => {}
        Form::Source(format) => {
            guess.declare(&infer(&sample.bytes, &format)?);
            guess.check_csv(&format, &lines)?;
            time::number_columns(&mut guess.columns, &format, &lines);
        }
        Form::Lines(parse::Format::Logfmt) => guess.columns = lines.logfmt_columns(),
        Form::Lines(_) => {}
    }
    guess.event_time = match &guess.form {
        Form::Lines(parse::Format::AccessLog) => Some("time".into()),
        _ => time::column(&guess.columns),
    };
    Ok(guess)
}

/// A format of whole files, by the bytes that its files begin with.
fn magic(head: &[u8]) -> Option<Format> {
    match head {
        [b'P', b'A', b'R', b'1', ..] => Some(Format::Parquet),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Some(Format::ArrowIpc),
        _ => None,
    }
}

impl Guess {
    fn declare(&mut self, schema: &Schema) {
        for field in schema.fields() {
            match schema::declared(field) {
                Some(_) if field.name().starts_with('_') => {
                    self.left_out
                        .push((field.name().clone(), "names with an underscore belong to the transport".into()));
                }
                Some(ty) => self.columns.push((field.name().clone(), ty)),
                None => self.left_out.push((field.name().clone(), format!("no type for {}", field.data_type()))),
            }
        }
    }

    /// CSV finds columns by their place: all must be declared.
    fn check_csv(&self, format: &Format, lines: &lines::Lines<'_>) -> Result<()> {
        let Format::Csv(CsvOptions { header: true, delimiter, .. }) = format else { return Ok(()) };
        let header = lines.header(*delimiter);
        let mut names = header.iter();
        while let Some(name) = names.next() {
            let what = if name.is_empty() || name.starts_with('_') {
                "a CSV column whose name is empty or begins with an underscore cannot be declared"
            } else if names.as_slice().contains(name) {
                "two CSV columns have the same name"
            } else {
                continue;
            };
            return Err(Problem::error("NEW-COLUMNS", what).found(format!("`{name}`")).help("rename it in the file"));
        }
        Ok(())
    }
}
