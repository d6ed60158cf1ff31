//! `syslog`: RFC 3164 as it is found in the wild, and RFC 5424, by hand.
//!
//! ```text
//! <134>Nov  1 00:00:00 web-01 orders[1234]: message                                      RFC 3164
//! <134>1 2026-11-01T00:00:00.5Z web-01 orders 1234 ID47 [x@1 key="value"] message         RFC 5424
//! ```
//!
//! A line of RFC 3164 may lack its priority, as in files under `/var/log`, and may have a time of RFC 3339.
//! A tag is a word with a colon behind it, or one with a process in brackets; where there is none, the
//! message begins behind the host and `app` is null, so nothing is lost. RFC 3164 times do not say their
//! year: see [`ParseConfig::year`](super::ParseConfig::year).

use super::access_log::{day_seconds, month, number};
use super::{LineFormat, Refusal};
use crate::transforms::excerpt;
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::{Kind, Stamp};
use arrow::array::{ArrayRef, Int32Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field};
use chrono::NaiveDate;
use memchr::memchr;
use std::sync::Arc;

/// The columns of the format; `time` is a timestamp where the year is known and text otherwise.
pub fn fields(year: Option<i32>) -> Vec<Field> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let time = year.map_or(DataType::Utf8, |_| Kind::Timestamp(Stamp::Text).data_type());
    vec![
        number("pri"),
        number("facility"),
        number("severity"),
        Field::new("time", time, true),
        text("host"),
        text("app"),
        text("pid"),
        Field::new("message", DataType::Utf8, false),
        text("msgid"),
        text("data"),
    ]
}

/// Reads syslog messages.
pub struct Syslog {
    columns: Columns,
    year: Option<i32>,
    last: ([u8; 15], i64),
}

impl Syslog {
    /// A reader; with `year`, times become timestamps.
    pub fn new(year: Option<i32>) -> Syslog {
        Syslog { columns: Columns::new(0), year, last: ([0; 15], 0) }
    }

    /// The time as a timestamp. Neighbouring lines share their second: the last one is remembered.
    fn micros(&mut self, time: &str, year: i32) -> Option<i64> {
        let Ok(bytes) = <&[u8; 15]>::try_from(time.as_bytes()) else {
            return TimeFormat::default().micros(time);
        };
        if self.last.0 != *bytes {
            let [mon, day, h, m, s] = parts(bytes)?;
            let seconds = day_seconds(NaiveDate::from_ymd_opt(year, mon, day)?, h, m, s)?;
            self.last = (*bytes, seconds * 1_000_000);
        }
        Some(self.last.1)
    }
}

impl LineFormat for Syslog {
    fn reserve(&mut self, rows: usize) {
        self.columns = Columns::new(rows);
    }

    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        let line =
            scan(text).map_err(|expected| Refusal::no_match(format!("expected {expected} in `{}`", excerpt(text))))?;
        let micros = match (line.time, self.year) {
            (Some(time), Some(year)) => {
                let wrong = || {
                    Refusal::wrong_type(format!("field `time`: found `{}`, expected a time in {year}", excerpt(time)))
                };
                Some(self.micros(time, year).ok_or_else(wrong)?)
            }
            _ => None,
        };
        self.columns.push(&line, micros);
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.finish(self.year.is_some())
    }
}

struct Columns {
    pri: [Int32Builder; 3],
    time_text: StringBuilder,
    time: TimestampMicrosecondBuilder,
    host: StringBuilder,
    app: StringBuilder,
    pid: StringBuilder,
    message: StringBuilder,
    msgid: StringBuilder,
    data: StringBuilder,
}

impl Columns {
    fn new(rows: usize) -> Columns {
        let text = |bytes: usize| StringBuilder::with_capacity(rows, rows * bytes);
        Columns {
            pri: std::array::from_fn(|_| Int32Builder::with_capacity(rows)),
            time_text: text(15),
            time: TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            host: text(8),
            app: text(8),
            pid: text(5),
            message: text(112),
            msgid: text(0),
            data: text(0),
        }
    }

    fn push(&mut self, line: &Line<'_>, micros: Option<i64>) {
        let [pri, facility, severity] = &mut self.pri;
        pri.append_option(line.pri);
        facility.append_option(line.pri.map(|p| p >> 3));
        severity.append_option(line.pri.map(|p| p & 7));
        self.time_text.append_option(line.time);
        self.time.append_option(micros);
        self.host.append_option(line.host);
        self.app.append_option(line.app);
        self.pid.append_option(line.pid);
        self.message.append_value(line.message);
        self.msgid.append_option(line.msgid);
        self.data.append_option(line.data);
    }

    fn finish(&mut self, timestamps: bool) -> Vec<ArrayRef> {
        let [pri, facility, severity] = &mut self.pri;
        let text: ArrayRef = Arc::new(self.time_text.finish());
        let time: ArrayRef = Arc::new(self.time.finish());
        vec![
            Arc::new(pri.finish()),
            Arc::new(facility.finish()),
            Arc::new(severity.finish()),
            if timestamps { time } else { text },
            Arc::new(self.host.finish()),
            Arc::new(self.app.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.msgid.finish()),
            Arc::new(self.data.finish()),
        ]
    }
}

/// The parts of a message.
#[derive(Debug, Default, PartialEq)]
struct Line<'a> {
    pri: Option<i32>,
    time: Option<&'a str>,
    host: Option<&'a str>,
    app: Option<&'a str>,
    pid: Option<&'a str>,
    message: &'a str,
    msgid: Option<&'a str>,
    data: Option<&'a str>,
}

/// Splits a message; the error says what was expected where it went wrong.
fn scan(text: &str) -> Result<Line<'_>, &'static str> {
    let text = text.strip_suffix('\r').unwrap_or(text);
    let (pri, rest) = priority(text)?;
    match rest.strip_prefix("1 ") {
        Some(header) if pri.is_some() => rfc5424(pri, header),
        _ => rfc3164(pri, rest),
    }
}

/// The number in `<134>`, up to 191 (facility 23, severity 7), and what comes behind it.
fn priority(text: &str) -> Result<(Option<i32>, &str), &'static str> {
    let Some(rest) = text.strip_prefix('<') else { return Ok((None, text)) };
    let digits = rest.bytes().take(4).position(|b| b == b'>').filter(|n| *n > 0).ok_or("a priority such as <134>")?;
    let pri = number(&rest.as_bytes()[..digits]).filter(|p| *p <= 191).ok_or("a priority from <0> to <191>")?;
    Ok((i32::try_from(pri).ok(), &rest[digits + 1..]))
}

fn rfc3164(pri: Option<i32>, text: &str) -> Result<Line<'_>, &'static str> {
    const TIME: &str = "a time such as `Nov  1 00:00:00`";
    let (time, rest) = match text.as_bytes() {
        [b'0'..=b'9', ..] => {
            let (time, rest) = text.split_once(' ').ok_or("a host behind the time")?;
            TimeFormat::default().micros(time).ok_or(TIME)?;
            (time, rest)
        }
        bytes => {
            let head: &[u8; 15] = bytes.get(..15).and_then(|h| h.try_into().ok()).ok_or(TIME)?;
            parts(head).ok_or(TIME)?;
            // The checked head is ASCII, so 15 is between characters.
            (&text[..15], text[15..].strip_prefix(' ').ok_or("a space behind the time")?)
        }
    };
    let host_end = memchr(b' ', rest.as_bytes()).filter(|n| *n > 0).ok_or("a host and a message")?;
    let (host, rest) = (&rest[..host_end], &rest[host_end + 1..]);
    let (app, pid, message) = tag(rest);
    Ok(Line { pri, time: Some(time), host: Some(host), app, pid, message, ..Line::default() })
}

/// Application and process from `app[pid]: message`, `app: message` and `app[pid] message`.
fn tag(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let end = memchr(b' ', text.as_bytes()).unwrap_or(text.len());
    let (word, message) = (&text[..end], text.get(end + 1..).unwrap_or_default());
    let name = word.strip_suffix(':');
    let bracketed = name.unwrap_or(word).strip_suffix(']').and_then(|w| w.rsplit_once('['));
    match (bracketed, name) {
        (Some((app, pid)), _) if !app.is_empty() && !pid.is_empty() => (Some(app), Some(pid), message),
        (_, Some(app)) if !app.is_empty() => (Some(app), None, message),
        _ => (None, None, text),
    }
}

fn rfc5424(pri: Option<i32>, header: &str) -> Result<Line<'_>, &'static str> {
    let mut rest = header;
    let mut next = || {
        let (word, after) = rest.split_once(' ')?;
        rest = after;
        (!word.is_empty()).then_some((word != "-").then_some(word))
    };
    let time = next().ok_or("a time or `-`")?;
    if time.is_some_and(|t| TimeFormat::default().micros(t).is_none()) {
        return Err("a time such as 2026-11-01T00:00:00Z");
    }
    let host = next().ok_or("a host or `-`")?;
    let app = next().ok_or("an application or `-`")?;
    let pid = next().ok_or("a process or `-`")?;
    let msgid = next().ok_or("a message id or `-`")?;
    let data_end = structured(rest.as_bytes()).ok_or("structured data or `-`")?;
    let (data, message) = rest.split_at(data_end);
    let message = match message.strip_prefix(' ') {
        Some(message) => message.strip_prefix('\u{feff}').unwrap_or(message),
        None if message.is_empty() => message,
        None => return Err("a space behind the structured data"),
    };
    Ok(Line { pri, time, host, app, pid, message, msgid, data: (data != "-").then_some(data) })
}

/// The length of the structured data: `-` or `[id key="value"]…`.
fn structured(b: &[u8]) -> Option<usize> {
    if b.first() == Some(&b'-') {
        return Some(1);
    }
    let (mut at, mut quoted) = (0, false);
    while b.get(at) == Some(&b'[') {
        loop {
            match b.get(at)? {
                b'"' => quoted = !quoted,
                b'\\' if quoted => at += 1,
                b']' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

/// Month, day, hour, minute and second of `Nov  1 00:00:00`.
fn parts(b: &[u8; 15]) -> Option<[u32; 5]> {
    if [b[3], b[6], b[9], b[12]] != *b"  ::" {
        return None;
    }
    let day = if b[4] == b' ' { number(&b[5..6])? } else { number(&b[4..6])? };
    let (h, m, s) = (number(&b[7..9])?, number(&b[10..12])?, number(&b[13..15])?);
    ((1..=31).contains(&day) && h < 24 && m < 60 && s <= 60).then_some([month(&b[..3])?, day, h, m, s])
}
