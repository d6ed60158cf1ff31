//! Single values as JSON text.

use arrow::datatypes::TimeUnit;
use std::io::Write;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How many bytes at the start of `bytes` stand for themselves inside a JSON string: the number of
/// bytes before the first quote, backslash or control character.
///
/// Eight bytes at a time: a byte is flagged by the borrow of a subtraction, and borrows only run
/// upwards from a byte that is flagged rightly, so the lowest flag is exact.
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = word ^ (LOW * b'"' as u64);
        let back = word ^ (LOW * b'\\' as u64);
        let flags =
            (quote.wrapping_sub(LOW) & !quote | back.wrapping_sub(LOW) & !back | word.wrapping_sub(LOW * 0x20) & !word)
                & HIGH;
        if flags != 0 {
            return at + (flags.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = &bytes[at.min(bytes.len())..];
    at + tail.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(tail.len())
}

/// Writes `text` (UTF-8) as a JSON string with its quotes.
#[inline]
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(&byte) = rest.get(run) else { break };
        escape(byte, out);
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

#[cold]
fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes a time point of `unit` since the Unix epoch as RFC 3339 in UTC, without quotes. Years
/// outside 0..=9999 carry a sign, as ISO 8601 has it.
pub fn write_timestamp(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    write_days(seconds.div_euclid(86_400), out);
    out.push(b'T');
    write_clock(seconds.rem_euclid(86_400), fraction, per_second, out);
    out.push(b'Z');
}

/// Writes days since the Unix epoch as `2026-01-31`, without quotes.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    write_days(i64::from(days), out);
}

/// Writes a time of day, in `unit` since midnight, as `23:59:59.5`, without quotes.
pub fn write_time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    write_clock(value.div_euclid(per_second), value.rem_euclid(per_second), per_second, out);
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Proleptic Gregorian calendar, by counting in 400-year eras that begin on 1 March.
fn write_days(days: i64, out: &mut Vec<u8>) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9_999).contains(&year) {
        two(year / 100, out);
        two(year % 100, out);
    } else {
        write!(out, "{year:+05}").expect("writing to memory cannot fail");
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
}

fn write_clock(second_of_day: i64, fraction: i64, per_second: i64, out: &mut Vec<u8>) {
    two(second_of_day / 3_600, out);
    out.push(b':');
    two(second_of_day / 60 % 60, out);
    out.push(b':');
    two(second_of_day % 60, out);
    if fraction == 0 {
        return;
    }
    let nanos = fraction * (1_000_000_000 / per_second);
    let (mut value, mut digits) = (nanos, 9);
    while value % 1_000 == 0 {
        value /= 1_000;
        digits -= 3;
    }
    write!(out, ".{value:0digits$}").expect("writing to memory cannot fail");
}

#[inline]
fn two(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}
