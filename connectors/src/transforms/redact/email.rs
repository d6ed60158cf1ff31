//! E-mail addresses: from each `@` outwards.
//!
//! An address is `[\pL\pN._%+-]+@[\pL\pN.-]+\.\pL{2,}`, as long as it can be. Every byte is looked at a bounded
//! number of times, so a value of nothing but `@` costs no more than another.

use super::edits::{Edits, Rows, text};
use arrow::array::StringArray;

const LABEL: &str = "[EMAIL]";

/// Collects the addresses of a column.
pub(super) fn find(column: &StringArray, edits: &mut Edits) {
    let (text, base) = text(column);
    let mut rows = Rows::new(column);
    let mut done = 0;
    for at in memchr::memchr_iter(b'@', text.as_bytes()) {
        let (row_from, row_to) = rows.around(at + base);
        let (floor, end) = ((row_from - base).max(done), row_to - base);
        if let Some((from, to)) = around(text, floor, at, end) {
            edits.replace(from + base, to + base, LABEL);
            done = to;
        }
    }
}

/// The address around the `@` at `at`, within `floor..end`.
fn around(text: &str, floor: usize, at: usize, end: usize) -> Option<(usize, usize)> {
    if at < floor {
        return None;
    }
    let from = at - back(&text[floor..at]);
    if from == at {
        return None;
    }
    let domain = at + 1;
    let run = ahead(&text[domain..end], |b| is_word(b) || b == b'.' || b == b'-');
    let to = domain_end(&text[domain..domain + run])?;
    Some((from, domain + to))
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

/// How many bytes at the end of `text` can be the part before the `@`.
fn back(text: &str) -> usize {
    let b = text.as_bytes();
    let mut at = b.len();
    while at > 0 {
        let last = b[at - 1];
        if is_word(last) || matches!(last, b'.' | b'_' | b'%' | b'+' | b'-') {
            at -= 1;
        } else if let Some(c) = text[..at].chars().next_back().filter(|c| !c.is_ascii() && c.is_alphanumeric()) {
            at -= c.len_utf8();
        } else {
            break;
        }
    }
    b.len() - at
}

/// How many bytes at the beginning of `text` are `ascii` or letters and digits of other scripts.
fn ahead(text: &str, ascii: impl Fn(u8) -> bool) -> usize {
    let b = text.as_bytes();
    let mut at = 0;
    while at < b.len() {
        if ascii(b[at]) {
            at += 1;
        } else if let Some(c) = text[at..].chars().next().filter(|c| !c.is_ascii() && c.is_alphanumeric()) {
            at += c.len_utf8();
        } else {
            break;
        }
    }
    at
}

/// Where the longest domain in a run of domain characters ends: behind at least two letters that follow the
/// last possible dot, which is not the first character.
fn domain_end(run: &str) -> Option<usize> {
    memchr::memrchr_iter(b'.', run.as_bytes()).filter(|dot| *dot > 0).find_map(|dot| {
        let letters = ahead(&run[dot + 1..], |b| b.is_ascii_alphabetic());
        let end = dot + 1 + letters;
        (run[dot + 1..end].chars().take(2).count() == 2).then_some(end)
    })
}
