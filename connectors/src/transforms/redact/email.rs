//! E-mail addresses: from each `@` outwards.
//!
//! An address is `[\pL\pN._%+-]+@[\pL\pN.-]+\.\pL{2,}`, as long as it can be. Every byte is looked at a bounded
//! number of times, so a value of nothing but `@` costs no more than another.

use super::edits::{Edits, Rows, bytes, start};
use arrow::array::StringArray;

const LABEL: &str = "[EMAIL]";

/// Collects the addresses of a column.
pub(super) fn find(column: &StringArray, edits: &mut Edits) {
    let b = bytes(column);
    let first = start(column, 0);
    let mut rows = Rows::new(column);
    let mut done = first;
    for at in memchr::memchr_iter(b'@', &b[first..]).map(|at| at + first) {
        let (row, row_from, row_to) = rows.around(at);
        if let Some((from, to)) = around(&b[..row_to], row_from.max(done), at) {
            edits.replace(row, from, to, LABEL);
            done = to;
        }
    }
}

/// The address around the `@` at `at`, which does not begin before `floor`.
fn around(b: &[u8], floor: usize, at: usize) -> Option<(usize, usize)> {
    let from = at - back(b.get(floor..at)?);
    if from == at {
        return None;
    }
    let domain = &b[at + 1..];
    let run = ahead(domain, |b| is_word(b) || b == b'.' || b == b'-');
    Some((from, at + 1 + domain_end(&domain[..run])?))
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

/// The length of the letter or digit of another script at the beginning of `of`, if there is one.
fn letter(of: &[u8]) -> Option<usize> {
    let text = match std::str::from_utf8(&of[..of.len().min(4)]) {
        Ok(text) => text,
        // Four bytes may cut the character behind the first one.
        Err(e) => std::str::from_utf8(&of[..e.valid_up_to()]).expect("checked up to there"),
    };
    text.chars().next().filter(|c| !c.is_ascii() && c.is_alphanumeric()).map(char::len_utf8)
}

/// How many bytes at the end of `b` can be the part before the `@`.
fn back(b: &[u8]) -> usize {
    let mut at = b.len();
    while at > 0 {
        let last = b[at - 1];
        if is_word(last) || matches!(last, b'.' | b'_' | b'%' | b'+' | b'-') {
            at -= 1;
            continue;
        }
        // The last character begins at the last byte that continues none.
        let first = b[..at].iter().rposition(|c| c & 0xc0 != 0x80).unwrap_or(0);
        match letter(&b[first..at]) {
            Some(_) => at = first,
            None => break,
        }
    }
    b.len() - at
}

/// How many bytes at the beginning of `b` are `ascii` or letters and digits of other scripts.
fn ahead(b: &[u8], ascii: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while at < b.len() {
        if ascii(b[at]) {
            at += 1;
        } else if let Some(len) = letter(&b[at..]) {
            at += len;
        } else {
            break;
        }
    }
    at
}

/// Where the longest domain in a run of domain characters ends: behind at least two letters that follow the
/// last possible dot, which is not the first character.
fn domain_end(run: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'.', run).filter(|dot| *dot > 0).find_map(|dot| {
        let rest = &run[dot + 1..];
        let letters = ahead(rest, |b| b.is_ascii_alphabetic());
        let characters = rest[..letters].iter().filter(|c| *c & 0xc0 != 0x80).count();
        (characters >= 2).then_some(dot + 1 + letters)
    })
}
