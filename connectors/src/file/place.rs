//! Where a sink's files go: the directory, the directories per value, and the names.
//!
//! A name is never used twice: it holds who writes (a tag of pipeline and node), the worker, and the
//! epoch of the first row, which no later incarnation writes again once it is committed.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use millstream::problem::nearest;
use millstream::{Batch, Place, Problem, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const VALUE_MAX: usize = 100;
/// End of the name of a file that is still written to.
pub const OPEN: &str = ".open";
/// End of the name of a whole file that waits to be published.
pub const DONE: &str = ".done";
/// End of the name of an empty file that says: a restart has published this one already.
pub const MARK: &str = ".published";

/// A piece of a directory's path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// The path of a sink, taken apart.
#[derive(Clone, Debug)]
pub struct Template {
    /// The directory that all files are below.
    pub base: PathBuf,
    /// The same, as the pipeline file says it: relative to `root`.
    pub written: String,
    root: PathBuf,
    pieces: Vec<Piece>,
}

impl Template {
    /// Takes `out/${row.country}/${row.day}` apart: what stands before the first path component with a
    /// field is the base.
    ///
    /// # Errors
    /// `FILE-TEMPLATE`.
    pub fn parse(base: &Path, path: &str) -> Result<Template> {
        let wrong = |what: &str| {
            Problem::error("FILE-TEMPLATE", what)
                .found(format!("`{path}`"))
                .expected("a directory, such as out/ or out/${row.country}")
        };
        if path.is_empty() {
            return Err(wrong("the path is empty"));
        }
        let template = |written: &str, pieces| Template {
            base: base.join(written),
            written: written.to_owned(),
            root: base.to_path_buf(),
            pieces,
        };
        let Some(first) = path.find("${") else { return Ok(template(path, Vec::new())) };
        let split = path[..first].rfind('/').map_or(0, |i| i + 1);
        let mut pieces = Vec::new();
        let mut rest = path[split..].trim_end_matches('/');
        while let Some(at) = rest.find("${") {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let end = rest[at..].find('}').ok_or_else(|| wrong("`${` without `}`"))? + at;
            let field =
                rest[at + 2..end].strip_prefix("row.").ok_or_else(|| wrong("only `${row.field}` stands here"))?;
            pieces.push(Piece::Field(field.to_owned()));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let climbs = |p: &Piece| matches!(p, Piece::Text(t) if t.split('/').any(|c| c == ".." ));
        if pieces.iter().any(climbs) {
            return Err(wrong("`..` may not stand behind a field"));
        }
        Ok(template(&path[..split], pieces))
    }

    /// Where files lie that were written when the path began like this.
    pub fn base_of(&self, written: &str) -> PathBuf {
        self.root.join(written)
    }

    /// True if rows go to different directories.
    pub fn is_split(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Checks that the fields are there.
    ///
    /// # Errors
    /// `FILE-TEMPLATE-FIELD`.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        for piece in &self.pieces {
            let Piece::Field(name) = piece else { continue };
            if schema.column_with_name(name).is_none() {
                let names = schema.fields().iter().map(|f| f.name().as_str());
                let problem = Problem::error("FILE-TEMPLATE-FIELD", "the path names a field that the rows do not have")
                    .found(format!("`${{row.{name}}}`"));
                return Err(match nearest(name, names) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem,
                });
            }
        }
        Ok(())
    }

    /// The rows by directory below the base, in the order of the directories' names.
    ///
    /// # Errors
    /// `FILE-TEMPLATE-FIELD` where a field's type has no text.
    pub fn split(&self, batch: &Batch) -> Result<Vec<(String, Batch)>> {
        let rows = &batch.rows;
        if !self.is_split() {
            return Ok(vec![(String::new(), batch.clone())]);
        }
        let columns = self.columns(rows)?;
        let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let row_u32 = u32::try_from(row).expect("a batch is far smaller");
            groups.entry(self.directory(&columns, row)).or_default().push(row_u32);
        }
        let pick = |indices| {
            let indices = UInt32Array::from(indices);
            let rows = take_record_batch(rows, &indices).expect("indices are rows of the batch");
            let diff = batch
                .diff
                .as_ref()
                .map(|d| take(d, &indices, None).expect("indices are rows of the batch").as_primitive().clone());
            Batch { diff, ..Batch::new(rows) }
        };
        Ok(groups.into_iter().map(|(directory, indices)| (directory, pick(indices))).collect())
    }

    fn columns(&self, rows: &RecordBatch) -> Result<Vec<Option<ArrayRef>>> {
        let text = |piece: &Piece| match piece {
            Piece::Text(_) => Ok(None),
            Piece::Field(name) => {
                let column = rows
                    .column_by_name(name)
                    .ok_or_else(|| Problem::internal(format!("no column `{name}`, which was checked")))?;
                cast(column, &DataType::Utf8).map(Some).map_err(|e| {
                    Problem::error("FILE-TEMPLATE-FIELD", "the field cannot be part of a path")
                        .found(format!("`{name}`: {e}"))
                })
            }
        };
        self.pieces.iter().map(text).collect()
    }

    fn directory(&self, columns: &[Option<ArrayRef>], row: usize) -> String {
        let mut directory = String::new();
        for (piece, column) in self.pieces.iter().zip(columns) {
            match (piece, column) {
                (Piece::Text(text), _) => directory.push_str(text),
                (Piece::Field(_), Some(column)) if column.is_valid(row) => {
                    push_value(&mut directory, column.as_string::<i32>().value(row))
                }
                (Piece::Field(_), _) => directory.push_str("null"),
            }
        }
        directory
    }
}

/// A value as part of one directory's name: it can neither leave the directory nor hide it.
fn push_value(directory: &mut String, value: &str) {
    if value.is_empty() {
        directory.push('_');
    }
    for (i, c) in value.chars().take(VALUE_MAX).enumerate() {
        let fine = c.is_ascii_alphanumeric() || c == '_' || c == '-' || (c == '.' && i > 0);
        directory.push(if fine { c } else { '_' });
    }
}

/// Who writes: makes the names of two sinks in one directory differ.
#[derive(Clone, Debug)]
pub struct Namer {
    prefix: String,
    tag: String,
    life: Option<u32>,
    extension: &'static str,
}

impl Namer {
    /// `owner` names pipeline and node; `extension` comes with its dot.
    ///
    /// # Errors
    /// `FILE-PREFIX` where the prefix cannot begin a file's name.
    pub fn new(prefix: &str, owner: &str, extension: &'static str) -> Result<Namer> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if prefix.len() > VALUE_MAX || !prefix.chars().all(fine) || prefix.starts_with('.') {
            return Err(Problem::error("FILE-PREFIX", "the prefix cannot begin a file's name")
                .found(format!("`{prefix}`"))
                .expected("at most 100 of A-Z a-z 0-9 . _ -, not a dot first"));
        }
        let tag = format!("{:08x}", xxh3_64(owner.as_bytes()) as u32);
        Ok(Namer { prefix: prefix.to_owned(), tag, life: None, extension })
    }

    /// The names of one life of the pipeline; `None` = those of a time when lives had no number.
    pub fn live(&mut self, life: Option<u32>) {
        self.life = life;
    }

    /// The number of this life.
    pub fn life(&self) -> Option<u32> {
        self.life
    }

    /// The name of part `n` that begins in `epoch`.
    pub fn name(&self, worker: usize, epoch: u64, n: u32) -> String {
        format!("{}{worker:03}-{epoch:08}-{n:03}{}", self.stem(), self.extension)
    }

    /// What all names of this life begin with: it says who writes.
    pub fn stem(&self) -> String {
        format!("{}{}-", self.family(), self.life.map_or_else(String::new, |life| format!("{life:08x}")))
    }

    /// What the names of all lives begin with.
    pub fn family(&self) -> String {
        format!("{}{}", self.prefix, self.tag)
    }
}

/// The epoch in which a published part with this stem begins, by its name.
pub fn epoch_of(name: &str, stem: &str) -> Option<u64> {
    name.strip_prefix(stem)?.split('-').nth(1)?.parse().ok()
}

/// True for the name of a hidden file of the sink with this stem, marks included.
pub fn is_hidden(name: &str, stem: &str) -> bool {
    let ours = name.strip_prefix('.').is_some_and(|n| n.starts_with(stem));
    ours && [OPEN, DONE, MARK].iter().any(|end| name.ends_with(end))
}

/// The hidden name beside a published one.
pub fn hidden(published: &Path, end: &str) -> PathBuf {
    let name = published.file_name().unwrap_or_default().to_string_lossy();
    published.with_file_name(format!(".{name}{end}"))
}

/// Makes a directory and its parents, durably.
///
/// # Errors
/// `IO…`, or `FILE-NOT-DIRECTORY`.
pub fn make_dirs(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(Problem::error("FILE-NOT-DIRECTORY", "the path of the sink is a file")
                .at(Place::path(path))
                .expected("a directory, or nothing"));
        }
        Err(_) => {}
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dirs(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Problem::io("cannot make the directory", path, &e));
        }
        _ => {}
    }
    sync_dir(path.parent().unwrap_or(path))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// `IO…`.
pub fn sync_dir(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::File::open(path).and_then(|d| d.sync_all()).map_err(|e| Problem::io("cannot sync the directory", path, &e))
}

/// A failed write of about `bytes` bytes; a full disk is waited for.
pub fn write_failed(what: &str, path: &Path, error: &std::io::Error, bytes: u64) -> Problem {
    let problem = Problem::io(what, path, error);
    if error.kind() != std::io::ErrorKind::StorageFull {
        return problem;
    }
    problem.expected(format!("{bytes} bytes of free space")).help("the pipeline goes on by itself when there is room")
}
