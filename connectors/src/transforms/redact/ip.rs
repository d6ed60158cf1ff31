//! IP addresses: IPv4 from each dot between digits, IPv6 from runs with two colons.

use super::IpMode;
use super::edits::{Edits, Rows, text};
use arrow::array::StringArray;
use memchr::{memchr, memchr_iter};
use std::net::Ipv6Addr;
use std::ops::Range;

const LABEL: &str = "[IP]";

/// Collects the addresses of a column. An IPv4 address inside an IPv6 one belongs to that.
pub(super) fn find(column: &StringArray, mode: IpMode, edits: &mut Edits) {
    let (text, base) = text(column);
    let b = text.as_bytes();
    let mut rows = Rows::new(column);
    let six = all_v6(text, column, base);
    let mut six = six.iter().peekable();
    let (mut at, mut done) = (0, 0);
    while let Some(dot) = memchr(b'.', &b[at..]).map(|n| at + n) {
        at = dot + 1;
        // Most dots stand between letters: look at the neighbours before anything else.
        if dot == 0 || !b[dot - 1].is_ascii_digit() || !b.get(dot + 1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        while let Some((range, address)) = six.next_if(|(range, _)| range.start <= dot) {
            replace_v6(range, *address, mode, base, edits);
            at = at.max(range.end);
            done = range.end;
        }
        if at > dot + 1 {
            continue;
        }
        let (row_from, row_to) = rows.around(dot + base);
        let (floor, end) = ((row_from - base).max(done), row_to - base);
        if let Some(found) = v4(&b[..end], floor, dot) {
            (at, done) = (found.end, found.end);
            let last = last_octet(b, &found);
            match mode {
                IpMode::Full => edits.replace(found.start + base, found.end + base, LABEL),
                _ if b[last.clone()] != *b"0" => edits.replace(last.start + base, last.end + base, "0"),
                _ => {}
            }
        }
    }
    six.for_each(|(range, address)| replace_v6(range, *address, mode, base, edits));
}

/// The IPv4 address whose first dot is at `dot`: four runs of one to three digits, not part of longer runs.
fn v4(b: &[u8], floor: usize, dot: usize) -> Option<Range<usize>> {
    let first = b.get(floor..dot)?.iter().rev().take(4).take_while(|c| c.is_ascii_digit()).count();
    if !(1..=3).contains(&first) {
        return None;
    }
    let mut at = dot;
    for _ in 0..3 {
        if b.get(at) != Some(&b'.') {
            return None;
        }
        let digits = b[at + 1..].iter().take(4).take_while(|c| c.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        at += 1 + digits;
    }
    Some(dot - first..at)
}

fn last_octet(b: &[u8], address: &Range<usize>) -> Range<usize> {
    let digits = b[address.clone()].iter().rev().take_while(|c| c.is_ascii_digit()).count();
    address.end - digits..address.end
}

/// All IPv6 addresses of the column, in order. A candidate is a run of hexadecimal digits, colons and dots;
/// what has two colons and reads as an address is one. Times such as `10:05:03` do not.
fn all_v6(text: &str, column: &StringArray, base: usize) -> Vec<(Range<usize>, Ipv6Addr)> {
    let b = text.as_bytes();
    let part = |c: &u8| c.is_ascii_hexdigit() || *c == b':' || *c == b'.';
    let (mut found, mut rows, mut done) = (Vec::new(), Rows::new(column), 0);
    for colon in memchr_iter(b':', b) {
        if colon < done || !b.get(colon + 1).is_some_and(part) {
            continue;
        }
        let (row_from, row_to) = rows.around(colon + base);
        let (floor, end) = ((row_from - base).max(done), row_to - base);
        let from = colon - b[floor..colon].iter().rev().take_while(|c| part(c)).count();
        let to = colon + b[colon..end].iter().take_while(|c| part(c)).count();
        // The whole run was looked at: its other colons need not be.
        done = to;
        // A colon or dot at the end is punctuation, but two colons belong to the address: `fe80::`.
        let whole = &text[from..to];
        let run = if whole.ends_with("::") { whole } else { whole.trim_end_matches([':', '.']) };
        // `std::cmp` holds the letters of an address, but not as a word of its own.
        let word = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
        if word(b[floor..from].last()) || word(b[..end].get(to)) {
            continue;
        }
        if let Ok(address) = run.parse::<Ipv6Addr>() {
            found.push((from..from + run.len(), address));
        }
    }
    found
}

fn replace_v6(range: &Range<usize>, address: Ipv6Addr, mode: IpMode, base: usize, edits: &mut Edits) {
    let (from, to) = (range.start + base, range.end + base);
    if mode == IpMode::Full {
        return edits.replace(from, to, LABEL);
    }
    // An IPv4 address in the clothes of IPv6 is masked like one: its first 48 bits would say nothing.
    let hidden_bits = if address.to_ipv4_mapped().is_some() { 8 } else { 80 };
    let masked = address.to_bits() >> hidden_bits << hidden_bits;
    if masked != address.to_bits() {
        edits.replace(from, to, Ipv6Addr::from_bits(masked).to_string());
    }
}
