//! `parse`: text into columns.
//!
//! ```text
//! text column ─> one format per row ─> columns ─> output
//!                      └ refused: PARSE-NO-MATCH, PARSE-TYPE ─> errors
//! ```
//!
//! A row is taken whole or refused whole, so rows in = rows out + rejected. Weights and origins follow
//! their rows. The output holds the parsed columns and, behind them, the input columns named by `keep`.
//! Nothing read from a record can stop the stage.

pub mod access_log;
mod config;
mod csv;
mod fields;
mod grok;
mod grok_patterns;
mod json;
mod logfmt;
mod pattern;
mod stage;
pub mod syslog;
#[cfg(test)]
mod tests;

pub use config::{Format, Keep, ParseConfig};
pub(crate) use logfmt::pairs as logfmt_pairs;

use super::time_text::TimeFormat;
use super::types::FieldType;
use super::{Planned, Reads, at_key, no_column};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream::problem::nearest;
use millstream::{Problem, Result};
use std::sync::Arc;

/// A line that is not in the format.
pub const NO_MATCH: &str = "PARSE-NO-MATCH";
/// A field that is not of its type.
pub const TYPE: &str = "PARSE-TYPE";

/// Why a row is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`NO_MATCH`] or [`TYPE`].
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl Refusal {
    fn no_match(message: impl Into<String>) -> Refusal {
        Refusal { code: NO_MATCH, message: message.into() }
    }
    fn wrong_type(message: impl Into<String>) -> Refusal {
        Refusal { code: TYPE, message: message.into() }
    }
}

/// Reads rows of one format into columns of its own; one per worker.
pub trait LineFormat: 'static {
    /// `rows` rows are coming.
    fn reserve(&mut self, _rows: usize) {}
    /// Reads one row: adds one value to every column, or none to any.
    ///
    /// # Errors
    /// Says why the row is refused.
    fn row(&mut self, text: &str) -> Result<(), Refusal>;
    /// The columns so far; begins anew.
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Makes one [`LineFormat`] per worker.
type MakeFormat = Box<dyn Fn() -> Box<dyn LineFormat> + Send + Sync>;

/// Checks `config` against the columns of `input`.
///
/// # Errors
/// The first mistake in the config, at its key.
pub fn plan(config: &ParseConfig, input: &SchemaRef) -> Result<Planned> {
    check_input(config, input)?;
    config.check_options()?;
    let (fields, make) = format(config)?;
    let kept = kept(config, input, &fields)?;
    let mut all = fields;
    for name in &kept {
        all.push(input.field_with_name(name).expect("looked up before").clone());
    }
    let output: SchemaRef = Arc::new(Schema::new(all));
    let mut reads = vec![config.field.clone()];
    reads.extend(kept.iter().filter(|k| **k != config.field).cloned());
    let (field, schema, make) = (config.field.clone(), Arc::clone(&output), Arc::new(make));
    Ok(Planned {
        output,
        reads: Reads::Only(reads),
        stage: Arc::new(move |_| Ok(Box::new(stage::Parse::new(&field, &kept, &schema, make())))),
    })
}

fn check_input(config: &ParseConfig, input: &Schema) -> Result<()> {
    let Ok(field) = input.field_with_name(&config.field) else {
        return Err(no_column("field", &config.field, input));
    };
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::LargeBinary => Ok(()),
        other => Err(at_key("COLUMN-TYPE", "field", format!("the column `{}` holds no text", config.field))
            .found(other.to_string())
            .expected("string or bytes")),
    }
}

fn format(config: &ParseConfig) -> Result<(Vec<Field>, MakeFormat)> {
    let times = TimeFormat::read(config.time_format.as_deref())?;
    if let Some(regex) = &config.regex {
        return pattern::plan(pattern::from_regex(regex)?, "regex", config, times);
    }
    if let Some(grok) = &config.grok {
        return pattern::plan(grok::expand(grok, &config.patterns)?, "grok", config, times);
    }
    match config.format {
        Some(Format::Json) => json::plan(&declared(config)?, times),
        Some(Format::Logfmt) => logfmt::plan(&declared(config)?, times),
        Some(Format::Csv) => csv::plan(&declared(config)?, times, config.delimiter),
        Some(Format::AccessLog) => {
            let times = config.time_format.is_some().then_some(times);
            Ok((access_log::fields(), Box::new(move || Box::new(access_log::AccessLog::new(times.clone())))))
        }
        Some(Format::Syslog) => {
            let year = config.year;
            Ok((syslog::fields(year), Box::new(move || Box::new(syslog::Syslog::new(year)))))
        }
        None => unreachable!("check_options wants exactly one"),
    }
}

/// The fields declared under `types`, which a format without names or types of its own needs.
fn declared(config: &ParseConfig) -> Result<Vec<(String, FieldType)>> {
    if config.types.is_empty() {
        return Err(at_key("PARSE-CONFIG", "types", "this format needs its fields declared")
            .expected("`types: { name: type, … }`, the fields to read"));
    }
    config
        .types
        .iter()
        .map(|(name, of)| Ok((name.to_owned(), FieldType::read(&format!("types.{name}"), of)?)))
        .collect()
}

/// The input columns to carry along. A list may name no parsed column; with `all`, parsed ones win.
fn kept(config: &ParseConfig, input: &Schema, parsed: &[Field]) -> Result<Vec<String>> {
    let taken = |name: &str| parsed.iter().any(|f| f.name() == name);
    match &config.keep {
        Keep::All => Ok(input.fields().iter().map(|f| f.name().clone()).filter(|n| !taken(n)).collect()),
        Keep::Only(names) => {
            for (i, name) in names.iter().enumerate() {
                if input.field_with_name(name).is_err() {
                    return Err(no_column("keep", name, input));
                }
                if taken(name) || names[..i].contains(name) {
                    return Err(at_key("PARSE-CONFIG", "keep", format!("the output would have two columns `{name}`"))
                        .help("leave it out of `keep`, or rename the parsed field"));
                }
            }
            Ok(names.clone())
        }
    }
}

/// A key of `types` that names none of `names`.
fn no_field(name: &str, names: &[&str]) -> Problem {
    let problem = at_key("PARSE-CONFIG", &format!("types.{name}"), format!("the pattern has no field `{name}`"));
    let problem = problem.expected(format!("one of {}", names.join(", ")));
    match nearest(name, names.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem,
    }
}
