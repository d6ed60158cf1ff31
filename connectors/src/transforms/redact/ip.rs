//! IP addresses: IPv4 from each dot between digits, IPv6 from runs with two colons.

use super::IpMode;
use super::edits::{Edits, Rows, bytes, start};
use arrow::array::StringArray;
use memchr::{memchr, memchr_iter};
use std::net::Ipv6Addr;
use std::ops::Range;

const LABEL: &str = "[IP]";

/// Collects the addresses of a column. An IPv4 address inside an IPv6 one belongs to that.
pub(super) fn find(column: &StringArray, mode: IpMode, edits: &mut Edits) {
    let b = bytes(column);
    let mut rows = Rows::new(column);
    let six = all_v6(b, column);
    let mut six = six.iter().peekable();
    let mut done = start(column, 0);
    let mut at = done;
    while let Some(dot) = memchr(b'.', &b[at..]).map(|n| at + n) {
        at = dot + 1;
        // Most dots stand between letters: look at the neighbours before anything else.
        if dot == 0 || !b[dot - 1].is_ascii_digit() || !b.get(dot + 1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        while let Some(address) = six.next_if(|v6| v6.at.start <= dot) {
            address.replace(mode, edits);
            done = address.at.end;
        }
        if dot < done {
            at = done;
            continue;
        }
        let (row, row_from, row_to) = rows.around(dot);
        let Some(found) = v4(&b[..row_to], row_from.max(done), dot) else { continue };
        (at, done) = (found.end, found.end);
        let last = last_octet(b, &found);
        if mode == IpMode::Full {
            edits.replace(row, found.start, found.end, LABEL);
        } else if b[last.clone()] != *b"0" {
            edits.replace(row, last.start, last.end, "0");
        }
    }
    six.for_each(|address| address.replace(mode, edits));
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

/// An IPv6 address and where it stands.
struct V6 {
    row: usize,
    at: Range<usize>,
    address: Ipv6Addr,
}

/// All IPv6 addresses of the column, in order. A candidate is a run of hexadecimal digits, colons and dots that
/// is no part of a longer word; what reads as an address is one. Times such as `10:05:03` do not.
fn all_v6(b: &[u8], column: &StringArray) -> Vec<V6> {
    let part = |c: &u8| c.is_ascii_hexdigit() || *c == b':' || *c == b'.';
    let word = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
    let (mut found, mut rows, first) = (Vec::new(), Rows::new(column), start(column, 0));
    let mut done = first;
    for colon in memchr_iter(b':', &b[first..]).map(|at| at + first) {
        if colon < done || !b.get(colon + 1).is_some_and(part) {
            continue;
        }
        let (row, row_from, row_to) = rows.around(colon);
        let floor = row_from.max(done);
        let from = colon - b[floor..colon].iter().rev().take_while(|c| part(c)).count();
        let to = colon + b[colon..row_to].iter().take_while(|c| part(c)).count();
        // The whole run was looked at: its other colons need not be.
        done = to;
        let Ok(whole) = std::str::from_utf8(&b[from..to]) else { continue };
        // A colon or dot at the end is punctuation, but two colons belong to the address: `fe80::`.
        let run = if whole.ends_with("::") { whole } else { whole.trim_end_matches([':', '.']) };
        if word(b[row_from..from].last()) || word(b[..row_to].get(to)) {
            continue;
        }
        if let Ok(address) = run.parse() {
            found.push(V6 { row, at: from..from + run.len(), address });
        }
    }
    found
}

impl V6 {
    fn replace(&self, mode: IpMode, edits: &mut Edits) {
        if mode == IpMode::Full {
            return edits.replace(self.row, self.at.start, self.at.end, LABEL);
        }
        // An IPv4 address in the clothes of IPv6 is masked like one: its first 48 bits would say nothing.
        let hidden_bits = if self.address.to_ipv4_mapped().is_some() { 8 } else { 80 };
        let masked = Ipv6Addr::from_bits(self.address.to_bits() >> hidden_bits << hidden_bits);
        if masked != self.address {
            edits.replace(self.row, self.at.start, self.at.end, masked.to_string());
        }
    }
}
