//! From bytes to a tree: YAML, TOML and JSON, all strict, all within limits.
//!
//! Limits come before work: size before parsing, depth while parsing; aliases are refused, so nothing
//! expands. A syntax error ends parsing; duplicate keys do not.

mod scalar;
#[cfg(test)]
mod tests;
mod toml;
mod yaml;

use crate::codes;
use crate::source::{Source, Span};
use crate::tree::{Entry, Map, Node};
use millstream_problem::Problem;
use std::collections::HashMap;

/// The largest file, in bytes.
pub const BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of maps and lists.
pub const DEPTH_MAX: usize = 64;

/// The most values in one file.
pub const VALUES_MAX: usize = 50_000;

/// The notation of a file. All carry the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2 without anchors, aliases, merge keys and tags.
    Yaml,
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
}

impl Format {
    /// By the file's ending; YAML where it says nothing.
    pub fn of(file: &str) -> Format {
        match file.rsplit('.').next() {
            Some("toml") => Format::Toml,
            Some("json") => Format::Json,
            _ => Format::Yaml,
        }
    }
}

/// A parsed file: its text, its tree and what was wrong without ending the parse (duplicate keys).
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The text.
    pub source: Source,
    /// The tree.
    pub root: Node,
    /// Duplicate keys, numbers out of range.
    pub problems: Vec<Problem>,
}

/// Parses a file; the notation follows its ending.
///
/// # Errors
/// What keeps it from being read at all: limits, encoding, syntax.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Parsed, Vec<Problem>> {
    if bytes.len() > BYTES_MAX {
        let problem = Problem::error(codes::LIMIT, "the file is too large")
            .at(millstream_problem::Place::text(file, 1, 1))
            .found(format!("{} bytes", bytes.len()))
            .expected(format!("at most {BYTES_MAX} bytes"))
            .help("keep data out of pipeline files; read it with a source");
        return Err(vec![problem]);
    }
    let source = Source::new(file, utf8(file, bytes)?);
    let (root, problems) = match Format::of(file) {
        Format::Yaml => yaml::parse(&source, false),
        Format::Json => yaml::parse(&source, true),
        Format::Toml => toml::parse(&source),
    }?;
    Ok(Parsed { source, root, problems })
}

fn utf8<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Vec<Problem>> {
    std::str::from_utf8(bytes).map_err(|e| {
        let good = e.valid_up_to();
        let before = std::str::from_utf8(&bytes[..good]).expect("valid up to here");
        let source = Source::new(file, before);
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let problem = source.error(Span::new(good, good + 1), codes::SYNTAX, "the file is not UTF-8 text");
        let problem = problem.found(format!("byte 0x{:02x} at offset {good}", bytes[good])).expected("UTF-8");
        vec![problem.help(if utf16 {
            "this looks like UTF-16; save the file as UTF-8"
        } else {
            "save the file as UTF-8"
        })]
    })
}

/// A map under construction: remembers where keys stood, reports the second of a pair.
#[derive(Default)]
struct MapBuilder {
    entries: Vec<Entry>,
    places: HashMap<String, Span>,
}

impl MapBuilder {
    fn push(&mut self, source: &Source, problems: &mut Vec<Problem>, entry: Entry) {
        if let Some(first) = self.places.get(&entry.key) {
            let problem = source
                .error(entry.key_span, codes::DUPLICATE, format!("key `{}` stands twice", entry.key))
                .also(source.place(*first), "first here")
                .help("remove or rename one of them");
            problems.push(problem);
            return;
        }
        self.places.insert(entry.key.clone(), entry.key_span);
        self.entries.push(entry);
    }
    fn finish(self) -> Map {
        Map(self.entries)
    }
}

fn too_deep(source: &Source, span: Span) -> Problem {
    source
        .error(span, codes::LIMIT, "nested too deep")
        .expected(format!("at most {DEPTH_MAX} levels of maps and lists"))
        .help("flatten the structure")
}

fn too_many(source: &Source, span: Span) -> Problem {
    let problem = source.error(span, codes::LIMIT, "too many values");
    problem
        .expected(format!("at most {VALUES_MAX} keys and values"))
        .help("keep data out of pipeline files; read it with a source")
}
