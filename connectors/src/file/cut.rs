//! Cuts a stream of bytes into whole lines, in bounded memory.
//!
//! Bytes are appended to [`Lines::buffer`]; [`Lines::take`] gives back everything up to the last line
//! end and keeps the half line behind it. A line longer than `max_line` is given as its first
//! `max_line + 1` bytes, which is one byte more than a decoder takes, so that the decoder rejects it as
//! one record; the rest of it is read past and never held.

use bytes::Bytes;

/// Whole lines and where they stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset of the first byte.
    pub start: u64,
    /// Whole lines; the last one may lack its line end at the end of the input.
    pub data: Bytes,
    /// Offset of the next record.
    pub next: u64,
}

/// The cutter.
#[derive(Debug)]
pub struct Lines {
    buf: Vec<u8>,
    /// Offset of `buf[0]`.
    start: u64,
    /// Bytes of `buf` that are known to hold no line end at which to cut.
    scanned: usize,
    /// In CSV a line end inside quotes does not end the record: whether the scanned part ends inside.
    quotes: Option<bool>,
    max_line: usize,
    /// The beginning of a line that is too long, and the bytes read past since.
    long: Option<(Vec<u8>, u64)>,
}

impl Lines {
    /// Starts at offset `start`. With `quotes`, line ends inside double quotes do not count (CSV).
    pub fn new(start: u64, max_line: usize, quotes: bool) -> Lines {
        Lines { buf: Vec::new(), start, scanned: 0, quotes: quotes.then_some(false), max_line, long: None }
    }

    /// The buffer, with room for `more` bytes; append to it, take nothing away.
    pub fn buffer(&mut self, more: usize) -> &mut Vec<u8> {
        self.buf.reserve(more);
        &mut self.buf
    }

    /// Offset behind the last byte that was appended.
    pub fn end(&self) -> u64 {
        let long = self.long.as_ref().map_or(0, |(head, skipped)| head.len() as u64 + skipped);
        self.start + long + self.buf.len() as u64
    }

    /// Offset of the next record to be taken.
    pub fn next(&self) -> u64 {
        self.start
    }

    /// Jumps over `n` bytes at the front of the buffer (a byte-order mark).
    pub fn skip(&mut self, n: usize) {
        self.buf.drain(..n);
        self.start += n as u64;
        self.scanned = 0;
    }

    /// The bytes that wait for a line end.
    pub fn waiting(&self) -> &[u8] {
        &self.buf
    }

    /// Gives memory back while nothing comes.
    pub fn shrink(&mut self) {
        self.buf.shrink_to_fit();
    }

    /// Whole lines, where there are any. Call again until it returns `None`.
    pub fn take(&mut self) -> Option<Cut> {
        if self.long.is_some() {
            return self.end_long();
        }
        match self.last_end() {
            Some(end) => Some(self.cut(end)),
            None if self.buf.len() > self.max_line => self.begin_long(),
            None => None,
        }
    }

    /// What is left at the end of the input: a last line without a line end.
    pub fn rest(&mut self) -> Option<Cut> {
        let (start, next) = (self.start, self.end());
        let data = match self.long.take() {
            Some((head, _)) => head,
            None if self.buf.is_empty() => return None,
            None => std::mem::take(&mut self.buf),
        };
        self.buf.clear();
        (self.start, self.scanned) = (next, 0);
        Some(Cut { start, data: Bytes::from(data), next })
    }

    /// Index behind the last line end in the buffer.
    fn last_end(&mut self) -> Option<usize> {
        let fresh = &self.buf[self.scanned..];
        let found = match &mut self.quotes {
            None => memchr::memrchr(b'\n', fresh),
            Some(inside) => {
                let (mut last, mut within) = (None, *inside);
                let mut within_at_last = false;
                for i in memchr::memchr2_iter(b'"', b'\n', fresh) {
                    match fresh[i] {
                        b'"' => within = !within,
                        _ if !within => {
                            last = Some(i);
                            within_at_last = within;
                        }
                        _ => {}
                    }
                }
                // After a cut the half record is scanned again from its beginning.
                *inside = if last.is_some() { within_at_last } else { within };
                last
            }
        };
        match found {
            Some(i) => Some(self.scanned + i + 1),
            None => {
                self.scanned = self.buf.len();
                None
            }
        }
    }

    fn cut(&mut self, end: usize) -> Cut {
        let start = self.start;
        // A small piece is copied out: a payload must not hold a large buffer alive.
        let data = if end < self.buf.capacity() / 2 {
            let data = Bytes::copy_from_slice(&self.buf[..end]);
            self.buf.drain(..end);
            data
        } else {
            let rest = self.buf[end..].to_vec();
            let mut whole = std::mem::replace(&mut self.buf, rest);
            whole.truncate(end);
            Bytes::from(whole)
        };
        self.start += end as u64;
        self.scanned = 0;
        Cut { start, data, next: self.start }
    }

    fn begin_long(&mut self) -> Option<Cut> {
        // A quote that is never closed must not swallow the file: fall back to plain lines.
        if self.quotes.is_some()
            && let Some(i) = memchr::memchr(b'\n', &self.buf)
        {
            self.quotes = Some(false);
            return Some(self.cut(i + 1));
        }
        let mut head = std::mem::take(&mut self.buf);
        let skipped = (head.len() - (self.max_line + 1)) as u64;
        head.truncate(self.max_line + 1);
        self.scanned = 0;
        self.long = Some((head, skipped));
        None
    }

    fn end_long(&mut self) -> Option<Cut> {
        let (mut head, skipped) = self.long.take()?;
        let Some(i) = memchr::memchr(b'\n', &self.buf) else {
            self.long = Some((head, skipped + self.buf.len() as u64));
            self.buf.clear();
            return None;
        };
        let (start, next) = (self.start, self.start + head.len() as u64 + skipped + i as u64 + 1);
        head.push(b'\n');
        self.buf.drain(..=i);
        (self.start, self.scanned) = (next, 0);
        if let Some(inside) = &mut self.quotes {
            *inside = false;
        }
        Some(Cut { start, data: Bytes::from(head), next })
    }
}
