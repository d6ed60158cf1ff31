//! Rows by regular expression: each field from the first of its groups that took part.

use super::fields::{Fields, arrow_fields};
use super::{LineFormat, MakeFormat, ParseConfig, Refusal, no_field};
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::FieldType;
use crate::transforms::{at_key, excerpt, limits};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use millstream::Result;
use regex::{CaptureLocations, Regex};

/// A compiled pattern and its fields.
#[derive(Debug)]
pub(super) struct Pattern {
    pub regex: Regex,
    pub fields: Vec<Captured>,
}

/// A field and the groups that can hold it.
#[derive(Debug)]
pub(super) struct Captured {
    pub name: String,
    pub groups: Vec<usize>,
    /// The type written in the pattern itself.
    pub of: Option<String>,
}

/// A regular expression with named groups.
pub(super) fn from_regex(pattern: &str) -> Result<Pattern> {
    let regex = limits::compile("regex", pattern)?;
    let named = regex.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?)));
    let fields = named.map(|(group, name)| Captured { name: name.into(), groups: vec![group], of: None }).collect();
    Ok(Pattern { regex, fields })
}

pub(super) fn plan(
    pattern: Pattern,
    key: &str,
    config: &ParseConfig,
    times: TimeFormat,
) -> Result<(Vec<Field>, MakeFormat)> {
    if pattern.fields.is_empty() {
        return Err(at_key("PARSE-CONFIG", key, "the pattern names no field")
            .expected("(?P<name>…), or %{PATTERN:name} in grok"));
    }
    let names: Vec<&str> = pattern.fields.iter().map(|f| f.name.as_str()).collect();
    if let Some((unknown, _)) = config.types.iter().find(|(name, _)| !names.contains(name)) {
        return Err(no_field(unknown, &names));
    }
    let mut declared = Vec::new();
    for field in &pattern.fields {
        let of = match (config.types.get(&field.name), &field.of) {
            (Some(of), _) => FieldType::read(&format!("types.{}", field.name), of)?,
            (None, Some(of)) => FieldType::read(key, of)?,
            (None, None) => FieldType::text(),
        };
        declared.push((field.name.clone(), of));
    }
    let fields = arrow_fields(&declared);
    let groups: Vec<Vec<usize>> = pattern.fields.into_iter().map(|f| f.groups).collect();
    let regex = pattern.regex;
    let make = move || -> Box<dyn LineFormat> {
        // A clone of the regex has caches of its own, so workers do not contend for one pool.
        let regex = regex.clone();
        let found = regex.capture_locations();
        Box::new(ByPattern { regex, groups: groups.clone(), found, fields: Fields::new(&declared, &times) })
    };
    Ok((fields, Box::new(make)))
}

struct ByPattern {
    regex: Regex,
    groups: Vec<Vec<usize>>,
    found: CaptureLocations,
    fields: Fields,
}

impl LineFormat for ByPattern {
    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        if self.regex.captures_read(&mut self.found, text).is_none() {
            return Err(Refusal::no_match(format!("`{}` does not match the pattern", excerpt(text))));
        }
        let (groups, found) = (&self.groups, &self.found);
        self.fields.texts(|i| groups[i].iter().find_map(|g| found.get(*g)).map(|(from, to)| &text[from..to]))
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.fields.finish()
    }
}
