//! Walking over JSON text: white space, strings, numbers, literals, and values nobody wants.
//!
//! Everything that is passed over is checked: what this module accepts is what RFC 8259 accepts, to a
//! depth of [`DEPTH_MAX`]. One pass, no copy; eight bytes at a time where strings and digits allow it.

use millstream::json::plain_run;

/// Containers within containers, the record itself included.
pub(in crate::format) const DEPTH_MAX: u32 = 64;

/// Why a record is refused, and at which byte.
#[derive(Debug)]
pub(in crate::format) struct Fault {
    pub code: &'static str,
    pub at: usize,
    pub message: String,
}

pub(in crate::format) type Parse<T = ()> = Result<T, Box<Fault>>;

/// The content of a string, between its quotes.
#[derive(Clone, Copy)]
pub(in crate::format) struct Span {
    pub from: usize,
    pub to: usize,
    /// It contains backslashes.
    pub escaped: bool,
}

/// A place in JSON text. In `lines` mode a line feed ends the record, otherwise it is white space.
pub(in crate::format) struct Scan<'a> {
    pub data: &'a [u8],
    pub at: usize,
    pub lines: bool,
}

impl<'a> Scan<'a> {
    /// The byte here; 0, which JSON has nowhere, at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.data.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn space(&mut self) {
        if self.peek() <= b' ' {
            self.long_space();
        }
    }

    fn long_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r') || (self.peek() == b'\n' && !self.lines) {
            self.at += 1;
        }
    }

    #[cold]
    pub fn syntax<T>(&self, expected: &str) -> Parse<T> {
        let found = match self.data.get(self.at) {
            None => "the end".to_owned(),
            Some(b'\n') if self.lines => "the end of the line".to_owned(),
            Some(&b) if b.is_ascii_graphic() => format!("`{}`", char::from(b)),
            Some(&b) => format!("byte 0x{b:02x}"),
        };
        self.fault("JSON-SYNTAX", format!("found {found}, expected {expected}"))
    }

    #[cold]
    pub fn fault<T>(&self, code: &'static str, message: String) -> Parse<T> {
        Err(Box::new(Fault { code, at: self.at, message }))
    }

    /// Passes over a string, from its opening quote to behind its closing one.
    #[inline]
    pub fn string(&mut self) -> Parse<Span> {
        if self.peek() != b'"' {
            return self.syntax("a string");
        }
        let from = self.at + 1;
        let to = from + plain_run(&self.data[from..]);
        if self.data.get(to) == Some(&b'"') {
            self.at = to + 1;
            return Ok(Span { from, to, escaped: false });
        }
        self.at = to;
        self.escaped_string(from)
    }

    #[cold]
    fn escaped_string(&mut self, from: usize) -> Parse<Span> {
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(Span { from, to: self.at - 1, escaped: true });
                }
                b'\\' => self.escape()?,
                _ => return self.syntax("the closing quote of the string"),
            }
            self.at += plain_run(&self.data[self.at..]);
        }
    }

    fn escape(&mut self) -> Parse {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return self.syntax("four hexadecimal digits after `\\u`");
                    }
                    self.at += 1;
                }
            }
            _ => return self.syntax("one of \" \\ / b f n r t u after a backslash"),
        }
        Ok(())
    }

    /// Appends the content of a string with its escapes resolved to `out`.
    pub fn unescape(&self, span: Span, out: &mut Vec<u8>) -> Parse {
        let mut rest = &self.data[span.from..span.to];
        while let Some(back) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..back]);
            let (bytes, used) = match rest[back + 1] {
                b'u' => match unicode(&rest[back..]) {
                    Some((c, used)) => (c, used),
                    None => {
                        let at = span.to - rest.len() + back;
                        let message = "found half of a surrogate pair, expected a character".to_owned();
                        return Err(Box::new(Fault { code: "JSON-SYNTAX", at, message }));
                    }
                },
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                other => (char::from(other), 2),
            };
            out.extend_from_slice(bytes.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[back + used..];
        }
        out.extend_from_slice(rest);
        Ok(())
    }

    /// The plain integer here, where it is one of at most 18 digits; otherwise `None`, and nothing is
    /// passed over.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let negative = self.peek() == b'-';
        let from = self.at + usize::from(negative);
        let (mut at, mut value) = (from, 0u64);
        while let Some(chunk) = self.data.get(at..at + 8) {
            let (count, word) = leading_digits(chunk);
            value = value.wrapping_mul(POWERS[count]).wrapping_add(word);
            at += count;
            if count < 8 {
                break;
            }
        }
        while let Some(digit) = self.data.get(at).filter(|b| b.is_ascii_digit()) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        let digits = at - from;
        let padded = digits > 1 && self.data[from] == b'0';
        if digits == 0 || digits > 18 || padded || matches!(self.data.get(at), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at = at;
        // At most 18 digits, so the value fits.
        let value = value as i64;
        Some(if negative { -value } else { value })
    }

    /// Passes over a number and returns its text.
    #[inline]
    pub fn number(&mut self) -> Parse<&'a [u8]> {
        let from = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        let zero = self.peek() == b'0';
        let digits = self.digits();
        if digits == 0 {
            return self.syntax("a digit");
        }
        if zero && digits > 1 {
            self.at -= digits - 1;
            return self.syntax("no digit after a leading zero");
        }
        if self.peek() == b'.' {
            self.at += 1;
            if self.digits() == 0 {
                return self.syntax("a digit after the decimal point");
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.syntax("a digit of the exponent");
            }
        }
        Ok(&self.data[from..self.at])
    }

    /// Passes over digits and counts them.
    #[inline]
    fn digits(&mut self) -> usize {
        let from = self.at;
        while let Some(chunk) = self.data.get(self.at..self.at + 8) {
            let (count, _) = leading_digits(chunk);
            self.at += count;
            if count < 8 {
                return self.at - from;
            }
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - from
    }

    /// Passes over `true`, `false` or `null`.
    #[inline]
    pub fn literal(&mut self, word: &[u8]) -> Parse {
        if self.data[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.syntax(std::str::from_utf8(word).unwrap_or("a value"))
    }

    /// Passes over any value; `depth` containers are open around it.
    #[inline]
    pub fn skip(&mut self, depth: u32) -> Parse {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b'{' | b'[' => self.skip_nested(depth),
            _ => self.skip_word(),
        }
    }

    fn skip_word(&mut self) -> Parse {
        match self.peek() {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.syntax("a value"),
        }
    }

    /// Without recursion: the kinds of the open containers are the bits of `stack`, 1 for an object.
    fn skip_nested(&mut self, depth: u32) -> Parse {
        let (mut stack, mut level) = (0u64, 0u32);
        loop {
            let open = self.peek();
            if open == b'{' || open == b'[' {
                level += 1;
                self.check_depth(depth + level)?;
                stack = stack << 1 | u64::from(open == b'{');
                self.at += 1;
                self.space();
                // `]` and `}` are two behind their openers in ASCII.
                if self.peek() != open + 2 {
                    if open == b'{' {
                        self.key()?;
                    }
                    continue;
                }
                self.at += 1;
                level -= 1;
                stack >>= 1;
            } else {
                self.skip(depth)?;
            }
            loop {
                if level == 0 {
                    return Ok(());
                }
                self.space();
                let object = stack & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return self.syntax(if object { "`,` or `}`" } else { "`,` or `]`" }),
                }
                self.at += 1;
                level -= 1;
                stack >>= 1;
            }
        }
    }

    /// Refuses a container that stands too deep.
    pub fn check_depth(&self, depth: u32) -> Parse {
        if depth > DEPTH_MAX {
            return self.fault("JSON-DEPTH", format!("found more than {DEPTH_MAX} containers in one another"));
        }
        Ok(())
    }

    /// Passes over a key and its colon, up to the value.
    pub fn key(&mut self) -> Parse<Span> {
        let span = self.string()?;
        self.colon()?;
        Ok(span)
    }

    pub fn colon(&mut self) -> Parse {
        self.space();
        if self.peek() != b':' {
            return self.syntax("`:`");
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// After an element: true if another one follows, false behind the closing `end`.
    #[inline]
    pub fn more(&mut self, end: u8) -> Parse<bool> {
        self.space();
        let byte = self.peek();
        if byte != b',' && byte != end {
            return self.syntax(if end == b'}' { "`,` or `}`" } else { "`,` or `]`" });
        }
        self.at += 1;
        if byte == b',' {
            self.space();
        }
        Ok(byte == b',')
    }

    /// Behind an opening bracket: true if it is closed at once.
    pub fn empty(&mut self, end: u8) -> bool {
        self.at += 1;
        self.space();
        let empty = self.peek() == end;
        self.at += usize::from(empty);
        empty
    }
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How many of the eight bytes, from the first, are digits, and the number they make.
#[inline]
fn leading_digits(chunk: &[u8]) -> (usize, u64) {
    let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes")) ^ 0x3030_3030_3030_3030;
    // A digit is now 0..=9; carries only run upwards from a byte that is flagged rightly.
    let flags = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let count = (flags.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // The digits move to the high bytes, zeros come in below: leading zeros of the number.
    let digits = word << (64 - 8 * count as u32);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (count, low.wrapping_add(high) >> 32)
}

/// The character of `\uXXXX` (or of a pair of them) at the start of `text`, and its length in bytes.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let escape = text.get(at..at + 6).filter(|e| e.starts_with(b"\\u"))?;
        u32::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 6));
    }
    let second = unit(6).filter(|_| first < 0xdc00).filter(|u| (0xdc00..0xe000).contains(u))?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|c| (c, 12))
}
