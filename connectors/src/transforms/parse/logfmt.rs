//! `logfmt`: `key=value` pairs between spaces; a value with spaces stands in double quotes.
//!
//! In quotes `\"`, `\\`, `\n`, `\r` and `\t` are escapes. A key without `=` is `true`; of a key that comes
//! twice the last value counts; a key without a value (`key=`) is empty text. Keys that are not declared
//! are passed over. A line without a single pair, or with a quote that does not end, does not match.

use super::fields::{Fields, arrow_fields};
use super::{LineFormat, MakeFormat, Refusal};
use crate::transforms::excerpt;
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::FieldType;
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use millstream::Result;
use std::borrow::Cow;

pub(super) fn plan(declared: &[(String, FieldType)], times: TimeFormat) -> Result<(Vec<Field>, MakeFormat)> {
    let (fields, declared) = (arrow_fields(declared), declared.to_vec());
    Ok((fields, Box::new(move || Box::new(Logfmt { fields: Fields::new(&declared, &times) }))))
}

struct Logfmt {
    fields: Fields,
}

impl LineFormat for Logfmt {
    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        let mut found: Vec<Option<Cow<'_, str>>> = vec![None; self.fields.declared().len()];
        let (mut rest, mut pairs) = (text.trim_ascii(), 0);
        while !rest.is_empty() {
            let (key, value, after) =
                pair(rest).map_err(|what| Refusal::no_match(format!("{what} in `{}`", excerpt(text))))?;
            pairs += usize::from(value.is_some());
            if let Some(i) = self.fields.declared().iter().position(|(name, _)| name == key) {
                found[i] = Some(value.unwrap_or(Cow::Borrowed("true")));
            }
            rest = after.trim_ascii_start();
        }
        if pairs == 0 {
            return Err(Refusal::no_match(format!("`{}` has no key=value pair", excerpt(text))));
        }
        let row = (0..found.len())
            .map(|i| Ok(self.fields.convert(i, found[i].as_deref())?.into_owned()))
            .collect::<Result<_, _>>()?;
        self.fields.values(row);
        Ok(())
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.fields.finish()
    }
}

/// All pairs of a line, in order; `None` where a quote does not end or a value has no key.
pub(crate) fn pairs(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let (mut rest, mut all) = (text.trim_ascii(), Vec::new());
    while !rest.is_empty() {
        let (key, value, after) = pair(rest).ok()?;
        all.push((key.to_string(), value.map(Cow::into_owned)));
        rest = after.trim_ascii_start();
    }
    Some(all)
}

/// The first pair of `text`, which begins with no space: key, value if there is a `=`, what comes after.
fn pair(text: &str) -> Result<(&str, Option<Cow<'_, str>>, &str), &'static str> {
    let end = text.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let Some(rest) = rest.strip_prefix('=') else { return Ok((key, None, rest)) };
    if key.is_empty() {
        return Err("a value without a key");
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, after) = unquote(quoted).ok_or("a quote that does not end")?;
        return Ok((key, Some(value), after));
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
    Ok((key, Some(Cow::Borrowed(&rest[..end])), &rest[end..]))
}

/// The text up to the closing quote, without escapes, and what comes behind it.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let first = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    if text.as_bytes()[first] == b'"' {
        return Some((Cow::Borrowed(&text[..first]), &text[first + 1..]));
    }
    let mut plain = text[..first].to_owned();
    let mut chars = text[first..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(plain), &text[first + at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => plain.push('\n'),
                'r' => plain.push('\r'),
                't' => plain.push('\t'),
                other if other == '"' || other == '\\' => plain.push(other),
                other => plain.extend(['\\', other]),
            },
            other => plain.push(other),
        }
    }
    None
}
