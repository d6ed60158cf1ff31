//! `redact`: takes personal data out of text columns.
//!
//! ```text
//! column ─> e-mail ─> card ─> IP ─> custom ─> column
//! ```
//!
//! Each step looks at the whole value buffer of a column at once and collects [`edits`]; a column without any
//! passes through untouched, sharing its buffers. Rows are neither added nor dropped, and no value is refused.

mod card;
mod edits;
mod email;
mod ip;
#[cfg(test)]
mod tests;

use super::{Planned, Reads, at_key, limits, no_column};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use edits::Edits;
use millstream::batch::record_batch;
use millstream::operator::{Emit, Stage};
use millstream::{Batch, Problem, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Takes personal data out of text: e-mail addresses, IP addresses, card numbers, and what your own regular
/// expressions find. Say what to take out; nothing is taken out by default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedactConfig {
    /// The text columns to work on; all of them without this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Replaces e-mail addresses by `[EMAIL]`: letters, digits and `._%+-`, an `@`, and a domain with a dot.
    /// Letters of any script count, so in text without spaces neighbouring letters may go along. An `@`
    /// written as `%40` is not recognised: use `custom`.
    #[serde(default)]
    pub email: bool,
    /// What to do with IP addresses. Four numbers with dots are one, also where they are a version.
    #[serde(default)]
    pub ip: IpMode,
    /// Replaces card numbers by `[CARD]`: 13 to 19 digits that begin with 2 to 6 and pass the Luhn check, as
    /// one run or in groups with single spaces or dashes between them.
    #[serde(default)]
    pub card: bool,
    /// Further regular expressions, applied in this order after everything above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom: Vec<Custom>,
}

/// What to do with IP addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IpMode {
    /// Leave them.
    #[default]
    Off,
    /// The last number of an IPv4 address becomes 0, all but the first 48 bits of an IPv6 address too.
    MaskLastOctet,
    /// The address becomes `[IP]`.
    Full,
}

/// A regular expression and what to put in place of its matches.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The regular expression, at most 4 KiB; no look-around and no back-references.
    pub regex: String,
    /// What stands in place of a match: text, with `$1` or `${name}` for groups and `$$` for a dollar sign.
    pub replace: String,
}

/// Checks `config` against the columns of `input`. The output has the columns of the input; none is needed
/// beyond what later nodes read, since a column that is not there need not be redacted.
///
/// # Errors
/// The first mistake in the config, at its key.
pub fn plan(config: &RedactConfig, input: &SchemaRef) -> Result<Planned> {
    if !config.email && !config.card && config.ip == IpMode::Off && config.custom.is_empty() {
        return Err(at_key("REDACT-CONFIG", "", "there is nothing to redact")
            .expected("at least one of `email: true`, `ip: mask_last_octet`, `card: true` and `custom`"));
    }
    if let Some(fields) = &config.fields {
        check_fields(fields, input)?;
    }
    let steps = Steps::new(config)?;
    let fields = config.fields.clone();
    Ok(Planned {
        output: Arc::clone(input),
        reads: Reads::Extra(Vec::new()),
        stage: Arc::new(move |actual| {
            let wanted = |name: &String| fields.as_ref().is_none_or(|f| f.contains(name));
            let columns = actual.fields().iter().enumerate();
            let columns = columns.filter(|(_, f)| is_text(f.data_type()) && wanted(f.name())).map(|(i, _)| i).collect();
            Ok(Box::new(Redact { columns, steps: steps.clone() }))
        }),
    })
}

fn check_fields(fields: &[String], input: &Schema) -> Result<()> {
    if fields.is_empty() {
        return Err(at_key("REDACT-CONFIG", "fields", "the list is empty")
            .help("leave `fields` out to work on all text columns"));
    }
    for name in fields {
        let Ok(field) = input.field_with_name(name) else { return Err(no_column("fields", name, input)) };
        if !is_text(field.data_type()) {
            return Err(at_key("COLUMN-TYPE", "fields", format!("the column `{name}` holds no text"))
                .found(field.data_type().to_string())
                .expected("string"));
        }
    }
    Ok(())
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// What is done to each column.
#[derive(Clone)]
struct Steps {
    email: bool,
    card: bool,
    ip: IpMode,
    custom: Vec<(Regex, String)>,
}

impl Steps {
    fn new(config: &RedactConfig) -> Result<Steps> {
        let custom = config.custom.iter().enumerate();
        let custom =
            custom.map(|(i, c)| Ok((limits::compile(&format!("custom[{i}].regex"), &c.regex)?, c.replace.clone())));
        Ok(Steps { email: config.email, card: config.card, ip: config.ip, custom: custom.collect::<Result<_>>()? })
    }

    /// The column after all steps; `None` where none found anything.
    fn apply(&self, column: &StringArray) -> Result<Option<StringArray>> {
        let mut new: Option<StringArray> = None;
        let mut step = |find: &dyn Fn(&StringArray, &mut Edits)| -> Result<()> {
            let current = new.as_ref().unwrap_or(column);
            let mut edits = Edits::default();
            find(current, &mut edits);
            if let Some(changed) = edits.apply(current)? {
                new = Some(changed);
            }
            Ok(())
        };
        if self.email {
            step(&email::find)?;
        }
        if self.card {
            step(&card::find)?;
        }
        if self.ip != IpMode::Off {
            step(&|column, edits| ip::find(column, self.ip, edits))?;
        }
        for (regex, replace) in &self.custom {
            step(&|column, edits| custom(column, regex, replace, edits))?;
        }
        Ok(new)
    }
}

fn custom(column: &StringArray, regex: &Regex, replace: &str, edits: &mut Edits) {
    for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
        let (from, to) = edits::bounds(column, row);
        if let std::borrow::Cow::Owned(new) = regex.replace_all(column.value(row), replace) {
            edits.replace(row, from, to, new);
        }
    }
}

struct Redact {
    columns: Vec<usize>,
    steps: Steps,
}

impl Stage for Redact {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let mut changed: Option<Vec<ArrayRef>> = None;
        for i in &self.columns {
            if let Some(new) = redact(&self.steps, batch.rows.column(*i))? {
                changed.get_or_insert_with(|| batch.rows.columns().to_vec())[*i] = new;
            }
        }
        out.send(match changed {
            Some(columns) => batch.with_rows(record_batch(batch.schema(), columns, batch.len())),
            None => batch,
        });
        Ok(())
    }
}

/// The column of any text type after all steps; `None` where nothing was found.
fn redact(steps: &Steps, column: &ArrayRef) -> Result<Option<ArrayRef>> {
    if let Some(text) = column.as_string_opt::<i32>() {
        return Ok(steps.apply(text)?.map(|new| Arc::new(new) as ArrayRef));
    }
    let cast = |a: &dyn Array, to: &DataType| {
        compute::cast(a, to).map_err(|e| {
            Problem::error("REDACT-TOO-LARGE", "the values of a batch do not fit together").found(e.to_string())
        })
    };
    let text = cast(column, &DataType::Utf8)?;
    steps.apply(text.as_string::<i32>())?.map(|new| cast(&new, column.data_type())).transpose()
}
