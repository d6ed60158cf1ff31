//! Guessing a schema from the first bytes of some data, for `millstream new`.

use super::config::Format;
use super::csv::{CsvOptions, Fields};
use super::{instant, lines};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millstream::json::JSON_METADATA;
use millstream::{Problem, Result};
use serde_json::Value;

/// Records that are looked at.
const RECORDS_MAX: usize = 10_000;

/// What the values of a column have been so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    /// Only nulls.
    Nothing,
    Bool,
    Int,
    /// Beyond the range of `Int`, never negative.
    UInt,
    Float,
    Timestamp,
    Text,
    /// Objects, lists, or values of several kinds.
    Json,
}

/// Guesses the schema of records from a sample of them: the start of a file, or messages behind one
/// another with a line end each. A record that is cut off at the end of the sample does not count;
/// one that does not parse is passed over.
///
/// Integers, floats, booleans, RFC 3339 timestamps and strings are told apart; objects, lists and
/// columns of mixed values become `json`. Every column may be null. Fields that begin with an
/// underscore are left out: those names belong to the transport.
///
/// # Errors
/// `INFER-NOTHING` where no record could be read; `FORMAT-NO-ROWS` for Parquet and Arrow IPC, whose
/// files carry their schema ([`ParquetRows::schema`](super::ParquetRows::schema)).
pub fn infer(sample: &[u8], format: &Format) -> Result<Schema> {
    match format {
        Format::Text => Ok(Schema::new(vec![Field::new("value", DataType::Utf8, false)])),
        Format::Ndjson => ndjson(sample),
        Format::Csv(options) => csv(sample, options),
        Format::Parquet | Format::ArrowIpc => {
            Err(Problem::error("FORMAT-NO-ROWS", format!("{} files carry their own schema", format.name())))
        }
    }
}

/// The lines of a sample, without one that is cut off.
fn sample_lines(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sample = &sample[lines::bom(0, sample)..];
    let whole = match memchr::memrchr(b'\n', sample) {
        Some(end) => &sample[..end],
        None => sample,
    };
    whole.split(|b| *b == b'\n').map(lines::trim_cr).filter(|l| !l.is_empty())
}

fn ndjson(sample: &[u8]) -> Result<Schema> {
    let mut columns: Vec<(String, Guess)> = Vec::new();
    let mut records = 0;
    for line in sample_lines(sample).take(RECORDS_MAX) {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { continue };
        records += 1;
        for (name, value) in fields {
            let guess = guess_json(&value);
            match columns.iter_mut().find(|(n, _)| *n == name) {
                Some((_, known)) => *known = known.with(guess),
                None => columns.push((name, guess)),
            }
        }
    }
    if records == 0 {
        return Err(nothing("one JSON object per line"));
    }
    Ok(schema(columns))
}

fn guess_json(value: &Value) -> Guess {
    match value {
        Value::Null => Guess::Nothing,
        Value::Bool(_) => Guess::Bool,
        Value::Number(n) if n.is_i64() => Guess::Int,
        Value::Number(n) if n.is_u64() => Guess::UInt,
        Value::Number(_) => Guess::Float,
        Value::String(s) if instant::timestamp(s.as_bytes()).is_some() => Guess::Timestamp,
        Value::String(_) => Guess::Text,
        Value::Array(_) | Value::Object(_) => Guess::Json,
    }
}

fn csv(sample: &[u8], options: &CsvOptions) -> Result<Schema> {
    let delimiter = options.delimiter_byte()?;
    let mut records = sample_lines(sample).take(RECORDS_MAX).filter_map(|l| Fields::new(l, delimiter).texts());
    let mut columns: Vec<(String, Guess)> = Vec::new();
    if options.header {
        let header = records.next().ok_or_else(|| nothing("a header"))?;
        columns = header.into_iter().map(|(name, _)| (name, Guess::Nothing)).collect();
    }
    for record in records {
        if columns.is_empty() {
            columns = (1..=record.len()).map(|n| (format!("column_{n}"), Guess::Nothing)).collect();
        }
        if record.len() != columns.len() {
            continue;
        }
        for ((text, quoted), (_, known)) in record.iter().zip(&mut columns) {
            if *quoted || !options.nulls.contains(text) {
                *known = known.with_text(guess_text(text));
            }
        }
    }
    if columns.is_empty() {
        return Err(nothing("one record per line"));
    }
    // A column that is empty throughout holds texts, as far as CSV goes.
    for (_, guess) in columns.iter_mut().filter(|(_, g)| *g == Guess::Nothing) {
        *guess = Guess::Text;
    }
    Ok(schema(columns))
}

fn guess_text(text: &str) -> Guess {
    // A number that would lose its leading zero is an identifier.
    let digits = text.strip_prefix('-').unwrap_or(text);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    match text {
        t if t.eq_ignore_ascii_case("true") || t.eq_ignore_ascii_case("false") => Guess::Bool,
        t if !padded && t.parse::<i64>().is_ok() => Guess::Int,
        t if !padded && t.parse::<u64>().is_ok() => Guess::UInt,
        t if !padded
            && digits.starts_with(|c: char| c.is_ascii_digit())
            && t.parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            Guess::Float
        }
        t if instant::timestamp(t.as_bytes()).is_some() => Guess::Timestamp,
        _ => Guess::Text,
    }
}

impl Guess {
    /// What a column is that holds values of both kinds.
    fn with(self, other: Guess) -> Guess {
        use Guess::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Nothing, known) | (known, Nothing) => known,
            (Int | UInt | Float, Int | UInt | Float) => Float,
            (Timestamp | Text, Timestamp | Text) => Text,
            _ => Json,
        }
    }
    /// The same where all values are texts anyway.
    fn with_text(self, other: Guess) -> Guess {
        match self.with(other) {
            Guess::Json => Guess::Text,
            known => known,
        }
    }
}

fn schema(columns: Vec<(String, Guess)>) -> Schema {
    let field = |(name, guess): (String, Guess)| match guess {
        Guess::Bool => Field::new(name, DataType::Boolean, true),
        Guess::Int => Field::new(name, DataType::Int64, true),
        Guess::UInt => Field::new(name, DataType::UInt64, true),
        Guess::Float => Field::new(name, DataType::Float64, true),
        Guess::Timestamp => Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Guess::Text => Field::new(name, DataType::Utf8, true),
        // Nulls alone may turn out to be anything.
        Guess::Json | Guess::Nothing => {
            Field::new(name, DataType::Utf8, true).with_metadata([(JSON_METADATA.to_owned(), "true".to_owned())].into())
        }
    };
    let own = columns.into_iter().filter(|(name, _)| !name.starts_with('_'));
    Schema::new(own.map(field).collect::<Vec<_>>())
}

fn nothing(expected: &str) -> Problem {
    Problem::error("INFER-NOTHING", "no record could be read from the sample").expected(expected)
}
