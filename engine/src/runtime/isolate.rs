//! Code that panics on a record, where nothing is kept between two calls: the record is found and set aside.
//!
//! A stage or a decoder that has panicked is made anew, since what it holds may be broken, and is given the
//! same input by halves, until what it panics on is one row or record: that becomes a dead letter with the
//! code [`PANIC`], all others go on. Operators with state are another matter: see
//! [`suspects`](super::suspects).

use crate::batch::Batch;
use crate::connect::{Body, Decoded, Decoder, PartitionId, Payload, Source};
use crate::operator::{Emit, Stage, StageFactory};
use crate::{Problem, Result};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The code of a row that makes its node panic.
pub(crate) const PANIC: &str = "NODE-PANIC";

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".into())
}

/// Runs code of a node; the words of its panic, if it panics.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> std::result::Result<T, String> {
    // Whatever the code has left half done is thrown away by those who call this.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| words(&*panic))
}

/// What a dead letter says of a panic.
pub(crate) fn message(words: &str) -> String {
    format!("the node panicked on it: {words}")
}

/// A stage that survives its panics.
pub(crate) struct Guarded {
    stage: Box<dyn Stage>,
    factory: StageFactory,
    schema: SchemaRef,
}

impl Guarded {
    pub fn new(factory: &StageFactory, schema: &SchemaRef) -> Result<Guarded> {
        Ok(Guarded { stage: factory(schema)?, factory: Arc::clone(factory), schema: Arc::clone(schema) })
    }

    /// [`Stage::apply`]; rows that make it panic are refused.
    pub fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let before = (out.out.len(), out.rejected.len(), out.filtered);
        let kept = batch.clone();
        let panic = match caught(|| self.stage.apply(batch, out)) {
            Ok(outcome) => return outcome,
            Err(words) => words,
        };
        out.out.truncate(before.0);
        out.rejected.truncate(before.1);
        out.filtered = before.2;
        self.stage = (self.factory)(&self.schema)?;
        if kept.len() == 1 {
            out.reject(&kept, 0, PANIC, message(&panic));
            return Ok(());
        }
        let half = kept.len() / 2;
        self.apply(kept.slice(0, half), out)?;
        self.apply(kept.slice(half, kept.len() - half), out)
    }
}

/// A source's decoder that survives its panics.
pub(crate) struct Decoding {
    decoder: Box<dyn Decoder>,
    source: Arc<dyn Source>,
    schema: SchemaRef,
}

impl Decoding {
    pub fn new(source: &Arc<dyn Source>, schema: &SchemaRef) -> Result<Decoding> {
        Ok(Decoding { decoder: source.decoder(schema)?, source: Arc::clone(source), schema: Arc::clone(schema) })
    }

    /// [`Decoder::decode`]; records that make it panic are refused.
    pub fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let before = (out.batches.len(), out.rejects.len());
        let kept = payload.clone();
        let panic = match caught(|| self.decoder.decode(payload, out)) {
            Ok(outcome) => return outcome,
            Err(words) => words,
        };
        out.batches.truncate(before.0);
        out.rejects.truncate(before.1);
        self.decoder = self.source.decoder(&self.schema)?;
        match halves(&kept) {
            Some((first, second)) => {
                self.decode(first, out)?;
                self.decode(second, out)
            }
            None => {
                let (position, bytes) = record(&kept.body).ok_or_else(|| {
                    Problem::internal("a decoder panicked on a payload without a record").found(&panic)
                })?;
                out.reject(position, PANIC, message(&panic), bytes);
                Ok(())
            }
        }
    }
}

/// A payload in two; `None` where it is one record.
fn halves(payload: &Payload) -> Option<(Payload, Payload)> {
    let Halves(first, second) = match &payload.body {
        Body::Bytes { start, data } => {
            let at = cut(data)?;
            let (first, second) = (data.slice(..at), data.slice(at..));
            Halves(Body::Bytes { start: *start, data: first }, Body::Bytes { start: start + at as u64, data: second })
        }
        Body::Messages(messages) => {
            let (first, second) =
                messages.split_at_checked(messages.len() / 2).filter(|(first, _)| !first.is_empty())?;
            Halves(Body::Messages(first.to_vec()), Body::Messages(second.to_vec()))
        }
        Body::Rows { start, rows } => {
            let half = rows.num_rows() / 2;
            if half == 0 {
                return None;
            }
            Halves(
                Body::Rows { start: *start, rows: rows.slice(0, half) },
                Body::Rows { start: start + half as u64, rows: rows.slice(half, rows.num_rows() - half) },
            )
        }
    };
    let part = |body| Payload { partition: PartitionId::clone(&payload.partition), received: payload.received, body };
    Some((part(first), part(second)))
}

/// The bodies of both halves.
struct Halves(Body, Body);

/// Behind the line end nearest to the middle that has a line behind it.
fn cut(data: &Bytes) -> Option<usize> {
    let within = &data[..data.len().saturating_sub(1)];
    let middle = within.len() / 2;
    let behind = memchr::memchr(b'\n', &within[middle..]).map(|at| middle + at);
    behind.or_else(|| memchr::memrchr(b'\n', &within[..middle])).map(|at| at + 1)
}

/// The position and the bytes of a body's first record.
fn record(body: &Body) -> Option<(u64, Bytes)> {
    match body {
        Body::Bytes { start, data } => {
            let end = data.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
            Some((*start, data.slice(..end)))
        }
        Body::Messages(messages) => messages.first().map(|m| (m.position, m.value.clone().unwrap_or_default())),
        Body::Rows { start, rows } if rows.num_rows() > 0 => Some((*start, crate::json::row_json(rows, 0).into())),
        Body::Rows { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_halved_to_single_ones() {
        let payload = |text: &str| Payload {
            partition: "p".into(),
            received: 0,
            body: Body::Bytes { start: 10, data: Bytes::copy_from_slice(text.as_bytes()) },
        };
        fn lines(payload: Payload, into: &mut Vec<(u64, String)>) {
            match halves(&payload) {
                Some((first, second)) => {
                    lines(first, into);
                    lines(second, into);
                }
                None => {
                    let (at, bytes) = record(&payload.body).unwrap();
                    into.push((at, String::from_utf8(bytes.to_vec()).unwrap()));
                }
            }
        }
        for (text, expected) in [
            ("a\nbb\nccc\n", vec![(10, "a"), (12, "bb"), (15, "ccc")]),
            ("a\r\n\nb", vec![(10, "a"), (13, ""), (14, "b")]),
            ("\n\n", vec![(10, ""), (11, "")]),
            ("a", vec![(10, "a")]),
        ] {
            let mut found = Vec::new();
            lines(payload(text), &mut found);
            let found: Vec<(u64, &str)> = found.iter().map(|(at, line)| (*at, line.as_str())).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
