//! `access_log`: the Common and Combined formats of Apache and nginx, by hand, since it is the hot path.
//!
//! ```text
//! client ident user [17/May/2015:10:05:03 +0000] "GET /path HTTP/1.1" 200 1234 "referer" "agent"
//! ```
//!
//! The two quoted fields at the end are missing in the Common format. A backslash inside quotes takes the
//! next character with it; the text stays as it is written. What comes behind the agent is refused rather
//! than lost. A request that is not `METHOD path HTTP/x` is refused, too.

use super::{LineFormat, Refusal};
use crate::transforms::excerpt;
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::{Kind, Stamp};
use arrow::array::{ArrayRef, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field};
use chrono::NaiveDate;
use memchr::{memchr, memchr2, memrchr};
use std::sync::Arc;

/// The columns of the format.
pub fn fields() -> Vec<Field> {
    let text = |name: &str, null| Field::new(name, DataType::Utf8, null);
    vec![
        text("client", false),
        text("ident", true),
        text("user", true),
        Field::new("time", Kind::Timestamp(Stamp::Text).data_type(), false),
        text("method", false),
        text("path", false),
        text("protocol", false),
        Field::new("status", DataType::Int32, false),
        Field::new("bytes", DataType::Int64, true),
        text("referer", true),
        text("agent", true),
    ]
}

/// Reads access logs.
pub struct AccessLog {
    columns: Columns,
    clock: Clock,
    times: Option<TimeFormat>,
}

impl AccessLog {
    /// A reader; `times` replaces the usual form of the time.
    pub fn new(times: Option<TimeFormat>) -> AccessLog {
        AccessLog { columns: Columns::new(0), clock: Clock::default(), times }
    }
}

impl LineFormat for AccessLog {
    fn reserve(&mut self, rows: usize) {
        self.columns = Columns::new(rows);
    }

    fn row(&mut self, text: &str) -> Result<(), Refusal> {
        let line =
            scan(text).map_err(|expected| Refusal::no_match(format!("expected {expected} in `{}`", excerpt(text))))?;
        let time = match &self.times {
            None => self.clock.micros(line.time),
            Some(times) => times.micros(line.time),
        };
        let wrong = |field: &str, found: &str, expected: &str| {
            Refusal::wrong_type(format!("field `{field}`: found `{}`, expected {expected}", excerpt(found)))
        };
        let time = time.ok_or_else(|| {
            wrong("time", line.time, "a time such as 17/May/2015:10:05:03 +0000, or one in `time_format`")
        })?;
        let bytes = match line.bytes {
            "-" => None,
            digits => Some(digits.parse().map_err(|_| wrong("bytes", digits, "int64"))?),
        };
        self.columns.push(&line, time, bytes);
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.finish()
    }
}

struct Columns {
    client: StringBuilder,
    ident: StringBuilder,
    user: StringBuilder,
    time: TimestampMicrosecondBuilder,
    method: StringBuilder,
    path: StringBuilder,
    protocol: StringBuilder,
    status: Int32Builder,
    bytes: Int64Builder,
    referer: StringBuilder,
    agent: StringBuilder,
}

impl Columns {
    /// Room for `rows` rows of ordinary length.
    fn new(rows: usize) -> Columns {
        let text = |bytes: usize| StringBuilder::with_capacity(rows, rows * bytes);
        Columns {
            client: text(15),
            ident: text(0),
            user: text(0),
            time: TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            method: text(4),
            path: text(32),
            protocol: text(8),
            status: Int32Builder::with_capacity(rows),
            bytes: Int64Builder::with_capacity(rows),
            referer: text(32),
            agent: text(112),
        }
    }

    fn push(&mut self, line: &Line<'_>, time: i64, bytes: Option<i64>) {
        self.client.append_value(line.client);
        self.ident.append_option(some(line.ident));
        self.user.append_option(some(line.user));
        self.time.append_value(time);
        self.method.append_value(line.method);
        self.path.append_value(line.path);
        self.protocol.append_value(line.protocol);
        self.status.append_value(line.status);
        self.bytes.append_option(bytes);
        self.referer.append_option(line.referer.and_then(some));
        self.agent.append_option(line.agent.and_then(some));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.client.finish()),
            Arc::new(self.ident.finish()),
            Arc::new(self.user.finish()),
            Arc::new(self.time.finish()),
            Arc::new(self.method.finish()),
            Arc::new(self.path.finish()),
            Arc::new(self.protocol.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.bytes.finish()),
            Arc::new(self.referer.finish()),
            Arc::new(self.agent.finish()),
        ]
    }
}

/// `-` says that there is nothing.
fn some(text: &str) -> Option<&str> {
    (text != "-").then_some(text)
}

/// The parts of a line as they are written.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    client: &'a str,
    ident: &'a str,
    user: &'a str,
    time: &'a str,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: i32,
    bytes: &'a str,
    referer: Option<&'a str>,
    agent: Option<&'a str>,
}

/// Splits a line; the error says what was expected where it went wrong.
///
/// All cuts are at ASCII characters, so slices of the text never split a character.
fn scan(text: &str) -> Result<Line<'_>, &'static str> {
    let text = text.strip_suffix('\r').unwrap_or(text);
    let b = text.as_bytes();
    let client_end = word(b, 0).ok_or("a client address")?;
    let ident_end = word(b, client_end + 1).ok_or("an identity or `-`")?;
    let bracket = opening(b, ident_end + 1).ok_or("a user or `-`, then a time in brackets")?;
    let time_end = bracket + memchr(b']', &b[bracket..]).ok_or("a time in brackets")?;
    let request_from = after(b, time_end + 1, b" \"").ok_or("a request in quotes")?;
    let request_end = closing(b, request_from).ok_or("the end of the quoted request")?;
    let (method, path, protocol) =
        request(&text[request_from..request_end]).ok_or("a request METHOD path HTTP/version")?;
    let status = status(b, request_end + 1).ok_or("a status of three digits")?;
    let bytes_from = request_end + 6;
    let bytes_end = b[bytes_from..].iter().position(|c| *c == b' ').map_or(b.len(), |n| bytes_from + n);
    let bytes = &text[bytes_from..bytes_end];
    if bytes != "-" && (bytes.is_empty() || !bytes.bytes().all(|c| c.is_ascii_digit())) {
        return Err("a number of bytes or `-`");
    }
    let (referer, agent) = if bytes_end == b.len() {
        (None, None)
    } else {
        let referer_from = after(b, bytes_end, b" \"").ok_or("a referer in quotes")?;
        let referer_end = closing(b, referer_from).ok_or("the end of the quoted referer")?;
        let agent_from = after(b, referer_end + 1, b" \"").ok_or("an agent in quotes")?;
        let agent_end = closing(b, agent_from).ok_or("the end of the quoted agent")?;
        if agent_end + 1 != b.len() {
            return Err("nothing behind the agent");
        }
        (Some(&text[referer_from..referer_end]), Some(&text[agent_from..agent_end]))
    };
    Ok(Line {
        client: &text[..client_end],
        ident: &text[client_end + 1..ident_end],
        user: &text[ident_end + 1..bracket - 1],
        time: &text[bracket + 1..time_end],
        method,
        path,
        protocol,
        status,
        bytes,
        referer,
        agent,
    })
}

/// Where the space after a word ends it; a word is never empty. These are short: a plain loop beats a search.
fn word(b: &[u8], from: usize) -> Option<usize> {
    let len = b.get(from..)?.iter().position(|c| *c == b' ')?;
    (len > 0).then_some(from + len)
}

/// The `[` behind the user name, which may itself hold spaces and brackets.
fn opening(b: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += b.get(at..)?.iter().position(|c| *c == b'[')?;
        if at > from + 1 && b[at - 1] == b' ' {
            return Some(at);
        }
        at += 1;
    }
}

/// The position behind `what`, if it stands at `from`.
fn after(b: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    b.get(from..)?.starts_with(what).then_some(from + what.len())
}

/// The closing quote of the text that begins at `from`.
fn closing(b: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'\\', b.get(at..)?)?;
        if b[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Method, path and protocol; the path may hold spaces.
fn request(text: &str) -> Option<(&str, &str, &str)> {
    let first = memchr(b' ', text.as_bytes())?;
    let last = memrchr(b' ', text.as_bytes())?;
    let protocol = &text[last + 1..];
    (first > 0 && first + 1 < last && protocol.starts_with("HTTP/"))
        .then(|| (&text[..first], &text[first + 1..last], protocol))
}

/// The status in ` 200 `.
fn status(b: &[u8], from: usize) -> Option<i32> {
    match b.get(from..from + 5)? {
        [b' ', x @ b'0'..=b'9', y @ b'0'..=b'9', z @ b'0'..=b'9', b' '] => {
            Some(i32::from(x - b'0') * 100 + i32::from(y - b'0') * 10 + i32::from(z - b'0'))
        }
        _ => None,
    }
}

/// Reads times, remembering the last one: neighbouring lines share their second.
#[derive(Default)]
struct Clock {
    text: [u8; 26],
    micros: i64,
}

impl Clock {
    fn micros(&mut self, text: &str) -> Option<i64> {
        let bytes: &[u8; 26] = text.as_bytes().try_into().ok()?;
        if *bytes != self.text {
            self.micros = micros(bytes)?;
            self.text = *bytes;
        }
        Some(self.micros)
    }
}

/// `17/May/2015:10:05:03 +0000`.
fn micros(b: &[u8; 26]) -> Option<i64> {
    if [b[2], b[6], b[11], b[14], b[17], b[20]] != *b"//::: " {
        return None;
    }
    let day = NaiveDate::from_ymd_opt(number(&b[7..11])?.try_into().ok()?, month(&b[3..6])?, number(&b[..2])?)?;
    let offset = i64::from(number(&b[22..24])? * 60 + number(&b[24..26])?) * 60;
    let offset = match b[21] {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    let seconds = day_seconds(day, number(&b[12..14])?, number(&b[15..17])?, number(&b[18..20])?)?;
    Some((seconds - offset) * 1_000_000)
}

/// Seconds since the Unix epoch of a time on a day; the second of a leap second is the next one.
pub(super) fn day_seconds(day: NaiveDate, hour: u32, minute: u32, second: u32) -> Option<i64> {
    let time = day.and_hms_opt(hour, minute, second.min(59))?;
    (second <= 60).then(|| time.and_utc().timestamp() + i64::from(second == 60))
}

/// A month's number by its English short name.
pub(super) fn month(name: &[u8]) -> Option<u32> {
    const NAMES: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    NAMES.iter().position(|n| *n == name).and_then(|i| u32::try_from(i + 1).ok())
}

/// A number of a few digits.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + u32::from(d - b'0')))
}
