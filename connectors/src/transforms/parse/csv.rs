//! `csv`: one line of RFC 4180 per row, as many fields as are declared, in that order.
//!
//! An empty field is null; `""` is empty text. Spaces belong to the value. A quote inside a field that does
//! not begin with one is an ordinary character.

use super::fields::{Fields, arrow_fields};
use super::{LineFormat, MakeFormat, Refusal};
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::FieldType;
use crate::transforms::{at_key, excerpt};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use millstream::Result;
use std::borrow::Cow;

pub(super) fn plan(
    declared: &[(String, FieldType)],
    times: TimeFormat,
    delimiter: Option<char>,
) -> Result<(Vec<Field>, MakeFormat)> {
    let delimiter = delimiter.unwrap_or(',');
    if !delimiter.is_ascii() || matches!(delimiter, '"' | '\n' | '\r' | '\0') {
        return Err(at_key("PARSE-CONFIG", "delimiter", "this cannot separate fields")
            .found(format!("{delimiter:?}"))
            .expected("one ASCII character, no quote and no line end"));
    }
    let (fields, declared) = (arrow_fields(declared), declared.to_vec());
    let delimiter = u8::try_from(delimiter).expect("checked to be ASCII");
    Ok((fields, Box::new(move || Box::new(Csv { delimiter, fields: Fields::new(&declared, &times) }))))
}

struct Csv {
    delimiter: u8,
    fields: Fields,
}

impl LineFormat for Csv {
    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        let declared = self.fields.declared().len();
        let line = text.strip_suffix('\r').unwrap_or(text);
        let cells = split(line, self.delimiter, declared)
            .map_err(|what| Refusal::no_match(format!("{what} in `{}`", excerpt(text))))?;
        if cells.len() != declared {
            let found = if cells.len() > declared { format!("more than {declared}") } else { cells.len().to_string() };
            return Err(Refusal::no_match(format!(
                "found {found} fields, expected {declared}, in `{}`",
                excerpt(text)
            )));
        }
        self.fields.texts(|i| cells[i].as_deref())
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.fields.finish()
    }
}

/// The cells of a line; stops once there are more than `max`.
fn split(line: &str, delimiter: u8, max: usize) -> Result<Vec<Option<Cow<'_, str>>>, &'static str> {
    let (mut cells, mut rest) = (Vec::with_capacity(max), line);
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => {
                let end = memchr::memchr(delimiter, rest.as_bytes()).unwrap_or(rest.len());
                ((end > 0).then(|| Cow::Borrowed(&rest[..end])), &rest[end..])
            }
        };
        cells.push(cell);
        match after.as_bytes().first() {
            None => return Ok(cells),
            Some(b) if *b == delimiter => rest = &after[1..],
            Some(_) => return Err("text behind a closing quote"),
        }
        if cells.len() > max {
            return Ok(cells);
        }
    }
}

fn quoted_cell(text: &str) -> Result<(Option<Cow<'_, str>>, &str), &'static str> {
    let (mut from, mut joined) = (0, String::new());
    loop {
        let end = from + memchr::memchr(b'"', &text.as_bytes()[from..]).ok_or("a quote that does not end")?;
        if text.as_bytes().get(end + 1) != Some(&b'"') {
            let cell =
                if joined.is_empty() { Cow::Borrowed(&text[from..end]) } else { Cow::Owned(joined + &text[from..end]) };
            return Ok((Some(cell), &text[end + 1..]));
        }
        joined.push_str(&text[from..=end]);
        from = end + 2;
    }
}
