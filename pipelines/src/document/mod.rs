//! The document: what a pipeline file says, with the place of everything.
//!
//! [`Document::parse`] reads the file's own structure and the keys common to all nodes. What belongs to a
//! kind stays a tree ([`Node::config`]). A value that is a reference (`{ env: … }`, `"${name}"`) is left out
//! of the typed fields until [`Document::resolve`] has put its value in; `resolve` gives a document
//! in which no reference is left.

mod cases;
mod node;
mod read;
#[cfg(test)]
pub(crate) mod tests;

pub use cases::{Case, CaseRow, Expect, Feed, FeedValue, TestFile};
pub use node::{EventTime, Inputs, NODES_MAX, Node, NodeRef, OnError, Retry, State};
pub(crate) use read::unit;

use crate::catalogue::Guarantee;
use crate::parse::{self, Parsed};
use crate::source::{Source, Span};
use crate::tree;
use crate::types::FieldType;
use crate::units::{ByteSize, Duration, Percent};
use millstream_problem::Problem;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A pipeline file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text it came from.
    pub source: Source,
    /// The whole file as a tree.
    pub root: tree::Node,
    /// The format's version; 1.
    pub version: u32,
    /// The pipeline's name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The guarantee asked of every sink that says nothing itself.
    pub guarantee: Option<At<Guarantee>>,
    /// When checkpoints happen.
    pub checkpoint: Checkpoint,
    /// How dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Declared parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Named connections, in order.
    pub connections: Vec<Connection>,
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    /// Tests in the file.
    pub tests: Vec<Case>,
    /// Where the canvas drew the nodes.
    pub layout: Vec<(String, [f64; 2])>,
    /// What was wrong with the structure; [`crate::check`] reports it together with the rest.
    pub problems: Vec<Problem>,
    /// Those of `problems` that came from parsing: reading the tree again does not find them.
    pub(crate) parse_problems: Vec<Problem>,
    /// True once no reference is left.
    pub(crate) resolved: bool,
}

/// `checkpoint:`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoint {
    /// Time between two checkpoints. Default 1s.
    pub every: Duration,
    /// After this long a checkpoint is given up and reported. Default 10m.
    pub timeout: Duration,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { every: Duration::from_secs(1), timeout: Duration::from_secs(600) }
    }
}

/// `dead_letters:`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLetters {
    /// Age at which they go. Default 30d.
    pub keep: Duration,
    /// The store's largest size. Default 1GiB.
    pub max: ByteSize,
    /// What happens at that size. Default `pause`.
    pub when_full: WhenFull,
    /// When there are too many at once; `None` = `off`.
    pub guard: Option<Guard>,
}

/// `dead_letters: { guard: … }`: more than both within the time, and the pipeline waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// The share of the records that may become dead letters. Default 5%.
    pub share: Percent,
    /// How many may whatever their share. Default 1000.
    pub rows: u64,
    /// Over how long they are counted. Default 1m.
    pub every: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Guard { share: Percent::new(5), rows: 1_000, every: Duration::from_secs(60) }
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters {
            keep: Duration::from_secs(30 * 86_400),
            max: ByteSize::mib(1024),
            when_full: WhenFull::Pause,
            guard: Some(Guard::default()),
        }
    }
}

/// What happens when a store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The pipeline waits.
    Pause,
    /// The oldest go.
    DropOldest,
}

/// A declared parameter: `name: default`, or `name: { type, default, description }`, or `name:` (required).
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `[a-z][a-z0-9_]*`.
    pub name: String,
    /// What values it takes; by the default's type where not said.
    pub ty: ParameterType,
    /// Its value where none is given; without one it is required.
    pub default: Option<tree::Value>,
    /// What it is for.
    pub description: Option<String>,
    /// Where its name stands.
    pub span: Span,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it all.
pub enum ParameterType {
    String,
    Int,
    Float,
    Bool,
}

/// A named connection to an outside system.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub name_span: Span,
    /// Which system: `kafka`, `smtp`.
    pub kind: String,
    /// Its keys but `kind`.
    pub config: tree::Node,
    pub(crate) source: Source,
}

impl Connection {
    /// Its keys as a config type. See [`Node::config`].
    ///
    /// # Errors
    /// The first key that does not fit, with its place.
    pub fn config<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        node::config(&self.source, &self.config, &format!("connection {}", self.name))
    }
}

/// Field names and types, in order.
pub type Fields = Vec<(At<String>, At<FieldType>)>;

impl Document {
    /// Reads a pipeline file; its notation (YAML, TOML, JSON) follows the file's ending. What is wrong with
    /// the structure is in [`Document::problems`], so that checks can go on and report all of it at once.
    ///
    /// # Errors
    /// What keeps it from being read at all: limits, encoding, syntax, something else than a map.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Document, Vec<Problem>> {
        let Parsed { source, root, problems } = parse::parse(file, bytes)?;
        Document::from_tree(source, root, problems, false)
    }

    pub(crate) fn from_tree(
        source: Source,
        root: tree::Node,
        problems: Vec<Problem>,
        resolved: bool,
    ) -> Result<Document, Vec<Problem>> {
        read::document(source, root, problems, resolved)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The connection of that name.
    pub fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|c| c.name == name)
    }

    /// The place of a span of this file.
    pub fn place(&self, span: Span) -> millstream_problem::Place {
        self.source.place(span)
    }
}
