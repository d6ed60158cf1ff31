//! The one error object of Millstream.
//!
//! Everything that can go wrong and that a person may read is a [`Problem`]: a mistake in a pipeline
//! file, a record that does not parse, a disk that is full. The same object is printed by the command
//! line, answered by the API, drawn by the editor and kept with a dead letter. It answers: what is
//! wrong (`code`, `what`), where ([`Place`]), what was `found`, what was `expected`, what to do
//! (`help`); and for a program: whose problem it is ([`Domain`]) and whether trying again can help
//! ([`Retry`]).
//!
//! ```
//! use millstream_problem::{Place, Problem};
//! let problem = Problem::error("PIPE-UNKNOWN-KEY", "unknown key `pth`")
//!     .at(Place::text("orders.yaml", 4, 11))
//!     .expected("one of path, format, start")
//!     .help("did you mean `path`?");
//! assert_eq!(
//!     problem.to_string(),
//!     "orders.yaml:4:11: PIPE-UNKNOWN-KEY: unknown key `pth`; expected one of path, format, start; did you mean `path`?"
//! );
//! ```

pub mod codes;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The result of everything that can fail with a [`Problem`].
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is refused.
    Note,
    /// Probably not what was meant; nothing is refused.
    Warning,
    /// Refused, stopped or set aside.
    Error,
}

/// Whose problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The person who wrote the pipeline or sent the record can mend it.
    User,
    /// Something outside: a disk, a broker, a server.
    Outside,
    /// Ours: a broken invariant.
    Internal,
}

/// Whether the same attempt can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Trying again cannot help.
    No,
    /// Trying again with backoff can help.
    Backoff,
    /// The outcome is unknown: it may have happened.
    Unknown,
}

/// Where the problem is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Place {
    /// A place in a text file: 1-based line and column (in characters), and a byte range in the file.
    Text {
        /// The file as the user named it.
        file: String,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
        /// Byte range in the file, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<(usize, usize)>,
    },
    /// A record of a source.
    Record {
        /// The node's name.
        source: String,
        /// The partition: a file, a topic's partition.
        partition: String,
        /// The position in the partition, in the partition's own unit.
        position: u64,
    },
    /// A node of the pipeline, and a field of it.
    Node {
        /// The node's name.
        node: String,
        /// The key within the node, empty where the node itself is meant.
        field: String,
    },
    /// A file or directory on this machine.
    Path {
        /// The path.
        path: String,
    },
}

impl Place {
    /// A place in a text file; `line` and `column` count from 1.
    pub fn text(file: impl Into<String>, line: usize, column: usize) -> Place {
        Place::Text { file: file.into(), line, column, bytes: None }
    }
    /// A node as a whole.
    pub fn node(node: impl Into<String>) -> Place {
        Place::Node { node: node.into(), field: String::new() }
    }
    /// A file or directory.
    pub fn path(path: impl AsRef<std::path::Path>) -> Place {
        Place::Path { path: path.as_ref().display().to_string() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text { file, line, column, .. } => write!(f, "{file}:{line}:{column}"),
            Place::Record { source, partition, position } => write!(f, "{source} {partition}@{position}"),
            Place::Node { node, field } if field.is_empty() => write!(f, "node {node}"),
            Place::Node { node, field } => write!(f, "node {node}, {field}"),
            Place::Path { path } => f.write_str(path),
        }
    }
}

/// The fields of a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// A stable code, `AREA-WHAT`: for programs, for search, for the reference.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// The fact, in one lowercase fragment without a full stop.
    pub what: String,
    /// Where, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The node concerned, where the place does not already say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A second place that belongs to it: the first definition of a duplicate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<(Place, String)>,
    /// Whose problem it is.
    pub domain: Domain,
    /// Whether trying again can help.
    pub retry: Retry,
}

/// The one error object. Cheap to move (one pointer).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problem(Box<Details>);

impl Problem {
    fn new(severity: Severity, code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Problem {
        Problem(Box::new(Details {
            code: code.into(),
            severity,
            what: what.into(),
            place: None,
            node: None,
            found: None,
            expected: None,
            help: None,
            also: Vec::new(),
            domain: Domain::User,
            retry: Retry::No,
        }))
    }
    /// An error in the user's domain that a retry cannot mend.
    pub fn error(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Problem {
        Problem::new(Severity::Error, code, what)
    }
    /// A warning.
    pub fn warning(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Problem {
        Problem::new(Severity::Warning, code, what)
    }
    /// A note.
    pub fn note(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Problem {
        Problem::new(Severity::Note, code, what)
    }
    /// An error of something outside, worth a retry with backoff.
    pub fn outside(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Problem {
        let mut p = Problem::new(Severity::Error, code, what);
        p.0.domain = Domain::Outside;
        p.0.retry = Retry::Backoff;
        p
    }
    /// A broken invariant of ours.
    pub fn internal(what: impl Into<String>) -> Problem {
        let mut p = Problem::new(Severity::Error, "INTERNAL", what);
        p.0.domain = Domain::Internal;
        p.help("this is a defect of Millstream; please report it with the lines above")
    }
    /// An I/O error on a path: `what` says the failed operation.
    pub fn io(what: impl Into<String>, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Problem {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => "IO-NOT-FOUND",
            std::io::ErrorKind::PermissionDenied => "IO-PERMISSION",
            std::io::ErrorKind::StorageFull => "IO-DISK-FULL",
            std::io::ErrorKind::ReadOnlyFilesystem => "IO-READ-ONLY",
            _ => "IO",
        };
        Problem::outside(code, what).at(Place::path(path)).found(error.to_string())
    }
    /// Says where. Replaces an earlier place.
    pub fn at(mut self, place: Place) -> Problem {
        self.0.place = Some(place);
        self
    }
    /// Names the node concerned.
    pub fn node(mut self, node: impl Into<String>) -> Problem {
        self.0.node = Some(node.into());
        self
    }
    /// Says what was found.
    pub fn found(mut self, found: impl Into<String>) -> Problem {
        self.0.found = Some(found.into());
        self
    }
    /// Says what was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Problem {
        self.0.expected = Some(expected.into());
        self
    }
    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.0.help = Some(help.into());
        self
    }
    /// Adds a second place.
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Problem {
        self.0.also.push((place, label.into()));
        self
    }
    /// Sets whose problem it is and whether a retry can help.
    pub fn kind(mut self, domain: Domain, retry: Retry) -> Problem {
        self.0.domain = domain;
        self.0.retry = retry;
        self
    }
    /// True for an error, false for a warning or a note.
    pub fn is_error(&self) -> bool {
        self.0.severity == Severity::Error
    }
}

impl std::ops::Deref for Problem {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(node) = &self.0.node {
            write!(f, "node {node}: ")?;
        }
        write!(f, "{}: {}", self.code, self.what)?;
        if let Some(found) = &self.0.found {
            write!(f, "; found {found}")?;
        }
        if let Some(expected) = &self.0.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(help) = &self.0.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The candidate nearest to `word` by edit distance, where one is near enough to be a slip of the finger.
///
/// ```
/// assert_eq!(millstream_problem::nearest("fromat", ["from", "format"]), Some("format"));
/// assert_eq!(millstream_problem::nearest("zebra", ["from", "format"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + 1;
    candidates.into_iter().map(|c| (distance(word, c), c)).filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Optimal string alignment distance: insertions, deletions, replacements and swapped neighbours cost one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
