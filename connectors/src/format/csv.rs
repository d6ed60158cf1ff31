//! Comma-separated values (RFC 4180), one record per line.
//!
//! Columns are known by their place: a file that is resumed in the middle has no header to look at.
//! The header, where there is one, is checked against the columns and must agree.
//!
//! A field in quotes may contain the delimiter and, doubled, quotes. Line breaks within quotes are
//! **not** supported in files, which are read line by line: such a line is refused as `CSV-QUOTE`. In
//! a message, which is one record, they are.
//!
//! Codes: `CSV-QUOTE`, `CSV-COLUMNS`, `CSV-TYPE`, `CSV-MISSING`, `TEXT-UTF8`, `LINE-TOO-LONG`; a header
//! that does not agree stops the source with `CSV-HEADER`.

use super::column::{Column, Store};
use super::json::scan::Scan;
use super::json::value::{self, lossy, type_name};
use super::lines::{self, Collected};
use super::number::decimal;
use super::transport::Rows;
use super::{DecodeOptions, Encode, insertions_only};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use millstream::connect::Decoded;
use millstream::json::Writer;
use millstream::{Batch, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Options of CSV.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// The character between fields: one ASCII character, such as `;` or a tab.
    pub delimiter: char,
    /// The first line of a file names the columns. When reading, the names must agree with the
    /// schema; when writing, they are written.
    pub header: bool,
    /// Texts that mean "no value" where they stand without quotes. The first one is written for null.
    pub nulls: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { delimiter: ',', header: true, nulls: vec![String::new()] }
    }
}

impl CsvOptions {
    /// The delimiter as the one byte it is.
    pub(super) fn delimiter_byte(&self) -> Result<u8> {
        match u8::try_from(self.delimiter) {
            Ok(b) if b.is_ascii() && !matches!(b, b'"' | b'\n' | b'\r' | 0) => Ok(b),
            _ => Err(Problem::error("FORMAT-DELIMITER", "fields cannot be separated by this character")
                .found(format!("{:?}", self.delimiter))
                .expected("one ASCII character that is no quote and no line end")),
        }
    }
}

/// Decodes lines of CSV.
pub(super) struct CsvRows {
    collected: Collected,
    columns: Vec<Column>,
    /// For each column of the file the column it goes to.
    places: Vec<Option<usize>>,
    names: Vec<String>,
    delimiter: u8,
    header: bool,
    nulls: Vec<Vec<u8>>,
    line_bytes_max: usize,
}

/// Why a record is refused.
struct Fault(&'static str, String);

impl CsvRows {
    pub fn new(schema: &SchemaRef, csv: &CsvOptions, options: &DecodeOptions) -> Result<CsvRows> {
        let columns: Vec<Column> = schema.fields().iter().map(|f| Column::new(f, "", 1)).collect::<Result<_>>()?;
        let own = || schema.fields().iter().map(|f| f.name().clone()).collect();
        let names: Vec<String> = options.file_columns.clone().unwrap_or_else(own);
        if let Some(lost) = columns.iter().find(|c| !names.contains(&c.name)) {
            return Err(Problem::error("FORMAT-COLUMN", format!("the file has no column `{}`", lost.name))
                .expected(format!("one of {}", names.join(", "))));
        }
        let place = |name: &String| columns.iter().position(|c| c.name == *name);
        Ok(CsvRows {
            collected: Collected::new(schema),
            places: names.iter().map(place).collect(),
            names,
            columns,
            delimiter: csv.delimiter_byte()?,
            header: csv.header,
            nulls: csv.nulls.iter().map(|n| n.clone().into_bytes()).collect(),
            line_bytes_max: options.line_bytes_max,
        })
    }

    fn check_header(&self, line: &[u8]) -> Result<()> {
        let mut found = Vec::new();
        let mut fields = Fields::new(line, self.delimiter);
        while let Some(field) = fields.next() {
            let (text, _) = field.map_err(|f| Problem::error("CSV-HEADER", "the header cannot be read").found(f.1))?;
            found.push(String::from_utf8_lossy(&text).into_owned());
        }
        if found == self.names {
            return Ok(());
        }
        Err(Problem::error("CSV-HEADER", "the header does not agree with the columns of the schema")
            .found(found.join(", "))
            .expected(self.names.join(", "))
            .help("list the columns in the order of the file, or set `header: false` if the first line is data"))
    }

    /// One record. The columns may be uneven after a fault.
    fn record(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields::new(line, self.delimiter);
        for (at, place) in self.places.iter().enumerate() {
            let Some(field) = fields.next() else { return Err(self.wrong_count(at)) };
            let (text, quoted) = field?;
            let Some(place) = *place else { continue };
            let column = &mut self.columns[place];
            if quoted || !self.nulls.iter().any(|n| *n == *text) {
                push(column, &text)?;
            } else if column.field.is_nullable() {
                column.push_null();
            } else {
                let message = format!("column `{}` has no value, expected {}", column.name, type_name(column));
                return Err(Fault("CSV-MISSING", message));
            }
        }
        let mut count = self.places.len();
        while let Some(field) = fields.next() {
            field?;
            count += 1;
        }
        if count > self.places.len() { Err(self.wrong_count(count)) } else { Ok(()) }
    }

    fn wrong_count(&self, found: usize) -> Fault {
        Fault("CSV-COLUMNS", format!("found {found} columns, expected {}", self.places.len()))
    }

    fn add(&mut self, position: u64, line: &[u8], out: &mut Decoded) {
        if line.len() > self.line_bytes_max {
            return lines::reject_long(position, line, self.line_bytes_max, out);
        }
        match self.record(line) {
            Ok(()) => {
                self.collected.add(position);
                if self.collected.is_full(line.len()) {
                    self.flush(out);
                }
            }
            Err(Fault(code, message)) => {
                let rows = self.collected.len();
                self.columns.iter_mut().for_each(|c| c.truncate(rows));
                out.reject(position, code, message, lines::copy(line));
            }
        }
    }
}

impl Rows for CsvRows {
    fn lines(&mut self, start: u64, data: &Bytes, out: &mut Decoded) -> Result<()> {
        let valid = simdutf8::basic::from_utf8(data).is_ok();
        let first = lines::bom(start, data);
        let mut at = first;
        let mut header = self.header && start == 0;
        while at < data.len() {
            if lines::skip_empty(data, &mut at) {
                continue;
            }
            let position = start + if at == first { 0 } else { at as u64 };
            if header {
                header = false;
                let line = lines::line(data, at);
                self.check_header(lines::trim_cr(line))?;
                at += line.len() + 1;
                continue;
            }
            if !valid && lines::reject_invalid(position, data, &mut at, self.line_bytes_max, out) {
                continue;
            }
            let line = lines::line(data, at);
            self.add(position, lines::trim_cr(line), out);
            at += line.len() + 1;
        }
        Ok(())
    }

    fn message(&mut self, position: u64, value: Option<&Bytes>, out: &mut Decoded) {
        let Some(data) = value else {
            if let Some(column) = self.columns.iter().find(|c| !c.field.is_nullable()) {
                let message = format!("column `{}` has no value: the message is a tombstone", column.name);
                return out.reject(position, "CSV-MISSING", message, Bytes::new());
            }
            self.columns.iter_mut().for_each(Column::push_null);
            return self.collected.add(position);
        };
        match simdutf8::compat::from_utf8(data) {
            Ok(_) => {
                let line = data.strip_suffix(b"\n").unwrap_or(data);
                self.add(position, lines::trim_cr(&line[lines::bom(0, line)..]), out);
            }
            Err(e) => lines::reject_utf8(position, data, e.valid_up_to(), out),
        }
    }

    fn flush(&mut self, out: &mut Decoded) {
        if self.collected.len() > 0 {
            let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
            self.collected.finish(arrays, out);
        }
    }
}

/// The fields of a line, with whether they stood in quotes.
pub(super) struct Fields<'a> {
    /// `None` behind the last field.
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: &'a [u8], delimiter: u8) -> Fields<'a> {
        Fields { rest: Some(line), delimiter }
    }

    fn next(&mut self) -> Option<Result<(Cow<'a, [u8]>, bool), Fault>> {
        let rest = self.rest?;
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            return Some(self.quoted(quoted).map(|text| (text, true)));
        }
        let end = memchr::memchr(self.delimiter, rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        self.rest = end.map(|end| &rest[end + 1..]);
        if memchr::memchr(b'"', text).is_some() {
            self.rest = None;
            let message = format!("found a quote within the unquoted field `{}`", lossy(text));
            return Some(Err(Fault("CSV-QUOTE", message)));
        }
        Some(Ok((Cow::Borrowed(text), false)))
    }

    /// A field from behind its opening quote.
    fn quoted(&mut self, text: &'a [u8]) -> Result<Cow<'a, [u8]>, Fault> {
        self.rest = None;
        let mut whole = Cow::Borrowed(&text[..0]);
        let mut from = 0;
        loop {
            let Some(quote) = memchr::memchr(b'"', &text[from..]) else {
                let message =
                    "a quoted field is not closed at the end of the line; line breaks within quotes are not supported";
                return Err(Fault("CSV-QUOTE", message.to_owned()));
            };
            let end = from + quote;
            let piece = &text[from..end];
            if whole.is_empty() {
                whole = Cow::Borrowed(piece);
            } else {
                whole.to_mut().extend_from_slice(piece);
            }
            match text.get(end + 1) {
                None => return Ok(whole),
                Some(b'"') => {
                    whole.to_mut().push(b'"');
                    from = end + 2;
                }
                Some(&b) if b == self.delimiter => {
                    self.rest = Some(&text[end + 2..]);
                    return Ok(whole);
                }
                Some(_) => {
                    let message = format!("found text behind the closing quote of `{}`", lossy(&whole));
                    return Err(Fault("CSV-QUOTE", message));
                }
            }
        }
    }

    /// The texts of all fields; `None` where a quote is not where it should be.
    pub(super) fn texts(mut self) -> Option<Vec<(String, bool)>> {
        let mut texts = Vec::new();
        while let Some(field) = self.next() {
            let (text, quoted) = field.ok()?;
            texts.push((String::from_utf8_lossy(&text).into_owned(), quoted));
        }
        Some(texts)
    }
}

/// The texts of a line's fields; `None` where it is no CSV line with that delimiter.
pub(crate) fn fields(line: &[u8], delimiter: char) -> Option<Vec<String>> {
    let texts = Fields::new(line, u8::try_from(delimiter).ok()?).texts()?;
    Some(texts.into_iter().map(|(text, _)| text).collect())
}

/// Adds the value that `text` stands for.
fn push(column: &mut Column, text: &[u8]) -> Result<(), Fault> {
    let fits = match &mut column.store {
        Store::Text(runs) => {
            runs.push(text);
            true
        }
        Store::Int { values, min, max } => match decimal(text, 0) {
            Some(n) if n.exact && n.value >= i128::from(*min) && n.value <= i128::from(*max) => {
                values.push(n.value as i64);
                true
            }
            _ => false,
        },
        Store::UInt64(values) => {
            let value = decimal(text, 0).filter(|n| n.exact).and_then(|n| u64::try_from(n.value).ok());
            value.map(|v| values.push(v)).is_some()
        }
        Store::Float64(values) => finite(text, f64::is_finite).map(|v| values.push(v)).is_some(),
        Store::Float32(values) => finite(text, f32::is_finite).map(|v| values.push(v)).is_some(),
        Store::Decimal { values, precision, scale } => {
            let limit = 10u128.pow(u32::from(*precision));
            let value = decimal(text, i32::from(*scale)).filter(|n| n.exact && n.value.unsigned_abs() < limit);
            value.map(|n| values.push(n.value)).is_some()
        }
        Store::Bool(values) => match text {
            t if t.eq_ignore_ascii_case(b"true") => {
                values.push(true);
                true
            }
            t if t.eq_ignore_ascii_case(b"false") => {
                values.push(false);
                true
            }
            _ => false,
        },
        Store::Timestamp { input: Some(_), .. } if text.iter().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'.')) => {
            json(column, text)
        }
        Store::Timestamp { .. } | Store::Date(_) | Store::Time { .. } | Store::Bytes(_) => {
            value::push_formatted(column, text)
        }
        Store::Json(_) | Store::List { .. } | Store::Struct { .. } | Store::Map { .. } => json(column, text),
    };
    if fits {
        return Ok(());
    }
    let message = format!("column `{}`: found `{}`, expected {}", column.name, lossy(text), type_name(column));
    Err(Fault("CSV-TYPE", message))
}

fn finite<T: std::str::FromStr + Copy>(text: &[u8], is_finite: impl Fn(T) -> bool) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|v| is_finite(*v))
}

/// Reads a field that holds JSON.
fn json(column: &mut Column, text: &[u8]) -> bool {
    let mut scan = Scan { data: text, at: 0, lines: false };
    scan.space();
    if value::read(column, &mut scan, 1).is_err() {
        return false;
    }
    scan.space();
    scan.at == text.len()
}

/// Writes lines of CSV. Text is quoted where it has to be, and where it would read as null.
pub(super) struct CsvEncoder {
    schema: SchemaRef,
    delimiter: u8,
    header: bool,
    nulls: Vec<Vec<u8>>,
}

impl CsvEncoder {
    pub fn new(schema: &SchemaRef, options: &CsvOptions) -> Result<CsvEncoder> {
        // The same types have a form in CSV as in JSON.
        millstream::json::Encoder::new(schema)?;
        Ok(CsvEncoder {
            schema: schema.clone(),
            delimiter: options.delimiter_byte()?,
            header: options.header,
            nulls: options.nulls.iter().map(|n| n.clone().into_bytes()).collect(),
        })
    }

    fn text(&self, text: &[u8], out: &mut Vec<u8>) {
        let special = |b: &u8| *b == self.delimiter || matches!(b, b'"' | b'\n' | b'\r');
        if !text.iter().any(special) && !self.nulls.iter().any(|n| n == text) {
            return out.extend_from_slice(text);
        }
        out.push(b'"');
        for &byte in text {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

impl Encode for CsvEncoder {
    fn header(&mut self, out: &mut Vec<u8>) {
        if !self.header {
            return;
        }
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                out.push(self.delimiter);
            }
            self.text(field.name().as_bytes(), out);
        }
        out.push(b'\n');
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        insertions_only(batch, "csv")?;
        let columns = batch.rows.columns().iter().zip(self.schema.fields());
        let cells: Vec<(&ArrayRef, bool, Writer<'_>)> =
            columns.map(|(c, f)| (c, is_text(f.data_type()), Writer::of(c.as_ref(), f))).collect();
        let mut cell = Vec::new();
        for row in 0..batch.len() {
            for (i, (array, text, writer)) in cells.iter().enumerate() {
                if i > 0 {
                    out.push(self.delimiter);
                }
                if array.is_null(row) {
                    out.extend_from_slice(self.nulls.first().map_or(&[], |n| n));
                    continue;
                }
                cell.clear();
                writer.write(row, &mut cell);
                if *text {
                    // The JSON text of a string is resolved again: rare escapes, one code path.
                    let value: Result<String, _> = serde_json::from_slice(&cell);
                    self.text(value.as_deref().map_or(cell.as_slice(), str::as_bytes), out);
                } else {
                    let plain = cell.strip_prefix(b"\"").and_then(|c| c.strip_suffix(b"\"")).unwrap_or(&cell);
                    self.text(plain, out);
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_text(values),
        kind => matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}
