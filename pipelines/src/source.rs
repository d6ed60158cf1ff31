//! The text of a file and places in it.

use millstream_problem::{Place, Problem};
use std::sync::Arc;

/// A byte range of the file's text; `start <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From the first byte to one past the last.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }
    /// From the beginning of this one to the end of the other.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start, other.end)
    }
}

/// A file's text, its name as the user gave it, and where its lines begin. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: String,
    text: String,
    lines: Vec<usize>,
}

impl Source {
    /// A file's text. A byte-order mark stays in the text but in no column.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let first = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let lines = std::iter::once(first)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        Source(Arc::new(Inner { file: file.into(), text, lines }))
    }
    /// The file's name as the user gave it.
    pub fn file(&self) -> &str {
        &self.0.file
    }
    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }
    /// The text of a span; empty where the span does not fit.
    pub fn slice(&self, span: Span) -> &str {
        self.0.text.get(span.start..span.end).unwrap_or("")
    }
    /// Line and column (in characters) of a byte, both counting from 1.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.0.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.0.lines[line - 1];
        let column = self.0.text.get(start..byte).map_or(0, |s| s.chars().count());
        (line, column + 1)
    }
    /// The first byte of a line, counting from 1; the text's length behind the last line.
    pub fn line_start(&self, line: usize) -> usize {
        let byte = line.checked_sub(1).and_then(|i| self.0.lines.get(i));
        byte.copied().unwrap_or(self.0.text.len()).min(self.0.text.len())
    }
    /// The place of a span.
    pub fn place(&self, span: Span) -> Place {
        let (line, column) = self.position(span.start);
        Place::Text { file: self.0.file.clone(), line, column, bytes: Some((span.start, span.end)) }
    }
    /// An error at a span.
    pub fn error(&self, span: Span, code: &'static str, what: impl Into<String>) -> Problem {
        Problem::error(code, what).at(self.place(span))
    }
    /// A warning at a span.
    pub fn warning(&self, span: Span, code: &'static str, what: impl Into<String>) -> Problem {
        Problem::warning(code, what).at(self.place(span))
    }
}
