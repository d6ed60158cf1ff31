//! Which column a key belongs to.
//!
//! Records of one source mostly have the same fields in the same order. So each key remembers which
//! key came behind it the last time, and the next key is compared with that one before anything is
//! looked up. A source with several kinds of records mispredicts only where they differ.

use super::scan::{Parse, Scan};
use super::value::resolved;
use hashbrown::HashMap;
use millstream::json::plain_run;

/// Keys that are remembered; others are looked up each time. Bounds memory against hostile records.
const KEYS_MAX: usize = 1_024;

/// Before the first key of a record.
pub(super) const START: usize = 0;

pub(super) struct Keys {
    keys: Vec<Key>,
    index: HashMap<Box<[u8]>, usize>,
}

struct Key {
    /// `"name":`
    token: Box<[u8]>,
    /// The first 16 bytes of the token, and which bits of them count.
    words: [u64; 2],
    mask: [u64; 2],
    column: Option<usize>,
    /// The key that came behind this one the last time.
    next: usize,
}

impl Key {
    fn new(name: &[u8], column: Option<usize>) -> Key {
        // A name that JSON has to escape has no token; 0xff never comes in UTF-8, so this one never fits.
        let plain = plain_run(name) == name.len();
        let token = if plain { [b"\"", name, b"\":"].concat() } else { vec![0xff] };
        let (mut text, mut mask) = ([0u8; 16], [0u8; 16]);
        for (i, &byte) in token.iter().take(16).enumerate() {
            (text[i], mask[i]) = (byte, 0xff);
        }
        let halves = |bytes: [u8; 16]| {
            let word = u128::from_le_bytes(bytes);
            [word as u64, (word >> 64) as u64]
        };
        Key { token: token.into(), words: halves(text), mask: halves(mask), column, next: START }
    }

    #[inline]
    fn stands_at(&self, data: &[u8], at: usize) -> bool {
        let Some(head) = data.get(at..at + 16) else { return data[at..].starts_with(&self.token) };
        let low = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let high = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
        if (low ^ self.words[0]) & self.mask[0] | (high ^ self.words[1]) & self.mask[1] != 0 {
            return false;
        }
        self.token.len() <= 16 || data[at..].starts_with(&self.token)
    }
}

impl Keys {
    /// `names` are the wanted keys: the `n`th belongs to column `n`.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Keys {
        let mut keys = Keys { keys: vec![Key::new(b"\0", None)], index: HashMap::new() };
        for (column, name) in names.enumerate() {
            keys.add(name.as_bytes(), Some(column));
        }
        keys
    }

    fn add(&mut self, name: &[u8], column: Option<usize>) -> usize {
        let id = self.keys.len();
        self.keys.push(Key::new(name, column));
        self.index.insert(name.into(), id);
        id
    }

    /// Passes over a key and its colon. Answers with the key's column, and sets `last` for the next call.
    #[inline]
    pub fn read(&mut self, scan: &mut Scan<'_>, last: &mut usize) -> Parse<Option<usize>> {
        let guess = self.keys[*last].next;
        let key = &self.keys[guess];
        if key.stands_at(scan.data, scan.at) {
            scan.at += key.token.len();
            scan.space();
            *last = guess;
            return Ok(key.column);
        }
        self.look_up(scan, last)
    }

    #[inline(never)]
    fn look_up(&mut self, scan: &mut Scan<'_>, last: &mut usize) -> Parse<Option<usize>> {
        let span = scan.key()?;
        let mut scratch = Vec::new();
        let name = resolved(scan, span, &mut scratch)?;
        let id = match self.index.get(name) {
            Some(&id) => id,
            // Other names with escapes are rare, and would make keys that never match a token.
            None if self.keys.len() < KEYS_MAX && !span.escaped => self.add(name, None),
            None => return Ok(None),
        };
        self.keys[*last].next = id;
        *last = id;
        Ok(self.keys[id].column)
    }
}
