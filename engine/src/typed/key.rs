//! Keys of typed streams, as bytes that never change: state on disk is found again by them.

/// A type by which rows can be keyed: integers, strings, booleans, and tuples of two or three of these.
///
/// The bytes decide which rows share state and which worker holds it, so they are frozen: `i64` as eight
/// little-endian bytes, `bool` as one byte, a string as its length (eight bytes) and its bytes, a tuple
/// as its parts in order.
pub trait Key: Sized {
    /// Stands in the checkpoint; another name makes old state unreadable on purpose.
    fn name() -> String;
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes from the front what [`Key::write`] has appended; `None` where it stands not there.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// Takes so many bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    bytes.split_off(..len)
}

impl Key for i64 {
    fn name() -> String {
        "i64".into()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(i64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
    }
}

impl Key for bool {
    fn name() -> String {
        "bool".into()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(take(bytes, 1)? != [0])
    }
}

impl Key for String {
    fn name() -> String {
        "string".into()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?);
        let text = take(bytes, usize::try_from(len).ok()?)?;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn name() -> String {
        format!("({},{})", A::name(), B::name())
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn name() -> String {
        format!("({},{},{})", A::name(), B::name(), C::name())
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}
