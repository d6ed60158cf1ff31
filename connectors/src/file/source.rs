//! `file_source`: which files there are, and which of them are known already under another name.

use super::config::FileSourceConfig;
use super::config::ReadMode;
use super::cut::Lines;
use super::follow::Follower;
use super::identity::{FilePosition, Identity};
use super::open::Access;
use super::rows::RowsReader;
use crate::format::{DecodeOptions, Format};
use crate::kind::Events;
use arrow::datatypes::{Schema, SchemaRef};
use millstream::connect::{Decoder, PartitionId, Position, Reader, Source};
use millstream::{Place, Problem, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Reads the files of some paths and patterns; each path is one partition.
pub struct FileSource {
    shared: Arc<Shared>,
}

/// What the source and its readers share.
pub struct Shared {
    pub(super) config: FileSourceConfig,
    pub(super) access: Access,
    pub(super) schema: SchemaRef,
    events: Option<Events>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Where each partition is, as far as its identity goes.
    positions: BTreeMap<PartitionId, FilePosition>,
    /// The partitions of the first look, while no checkpoint is resumed from.
    at_start: Option<BTreeSet<PartitionId>>,
    resumed: bool,
}

impl FileSource {
    /// A source. `schema` holds the columns of the files: all of them in order for CSV; for Parquet and
    /// Arrow IPC those that are read.
    pub fn new(config: FileSourceConfig, access: Access, schema: SchemaRef) -> FileSource {
        FileSource { shared: Arc::new(Shared { config, access, schema, events: None, known: Mutex::default() }) }
    }

    /// Hears of what readers noticed; before the source is used.
    ///
    /// # Panics
    /// When a reader is open already.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> FileSource {
        Arc::get_mut(&mut self.shared).expect("no reader is open yet").events = Some(events);
        self
    }
}

impl Source for FileSource {
    fn resume(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        let mut known = self.shared.known();
        known.resumed = true;
        for (partition, position) in positions {
            let path = self.shared.path(partition);
            known.positions.insert(Arc::clone(partition), FilePosition::from_position(&path, position)?);
        }
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<PartitionId>> {
        self.shared.partitions()
    }

    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        let (shared, partition) = (Arc::clone(&self.shared), Arc::clone(partition));
        Ok(if self.shared.config.format.is_whole_file() {
            Box::new(RowsReader::open(shared, partition, from)?)
        } else {
            Box::new(Follower::open(shared, partition, from)?)
        })
    }

    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        let names = self.shared.schema.fields().iter().map(|f| f.name().clone()).filter(|n| !n.starts_with('_'));
        let options = DecodeOptions { line_bytes_max: self.shared.max_line(), file_columns: Some(names.collect()) };
        self.shared.config.format.decoder(schema, &options)
    }

    fn bounded(&self) -> bool {
        self.shared.config.read == ReadMode::Once
    }
}

impl Shared {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Every change of it is one insertion: after a panic elsewhere it is still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, partition: &PartitionId) -> PathBuf {
        self.access.resolve(partition)
    }

    pub(super) fn lines(&self, start: u64) -> Lines {
        Lines::new(start, self.max_line(), matches!(self.config.format, Format::Csv(_)))
    }

    fn max_line(&self) -> usize {
        usize::try_from(self.config.max_line.bytes()).unwrap_or(usize::MAX - 1)
    }

    pub(super) fn tell(&self, problem: Problem) {
        if let Some(events) = &self.events {
            events(problem);
        }
    }

    pub(super) fn tell_as_warning(&self, mut problem: Problem) {
        problem.severity = millstream::problem::Severity::Warning;
        self.tell(problem);
    }

    /// The columns that the files hold, without those of the transport.
    pub(super) fn file_schema(&self) -> SchemaRef {
        let own = self.schema.fields().iter().filter(|f| !f.name().starts_with('_')).cloned();
        Arc::new(Schema::new(own.collect::<Vec<_>>()))
    }

    pub(super) fn remember(&self, partition: &PartitionId, position: &FilePosition) {
        self.known().positions.insert(Arc::clone(partition), position.clone());
    }

    pub(super) fn was_there_at_start(&self, partition: &PartitionId) -> bool {
        self.known().at_start.as_ref().is_some_and(|set| set.contains(partition))
    }

    /// All that is to be read: what a checkpoint names, and what the patterns find that is not one of
    /// those files under another name.
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        let mut found = BTreeMap::new();
        for pattern in &self.config.path.0 {
            self.list(pattern, &mut found)?;
        }
        let mut known = self.known();
        let claims = claims(&known);
        let mut partitions: BTreeSet<PartitionId> = known.positions.keys().cloned().collect();
        for (id, meta) in found {
            let is_known = partitions.contains(&id);
            if !is_known && !self.claimed(&id, &meta, &claims) && !self.too_old(&meta) {
                partitions.insert(id);
            }
        }
        if known.at_start.is_none() {
            known.at_start = Some(if known.resumed { BTreeSet::new() } else { partitions.clone() });
        }
        Ok(partitions.into_iter().collect())
    }

    fn list(&self, pattern: &str, found: &mut BTreeMap<PartitionId, Metadata>) -> Result<()> {
        if !pattern.contains(['*', '?', '[']) {
            return self.list_one(pattern, found);
        }
        let base = self.access.base.to_string_lossy();
        let whole = if base.is_empty() || Path::new(pattern).is_absolute() {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", glob::Pattern::escape(base.trim_end_matches('/')))
        };
        let paths = glob::glob(&whole).map_err(|e| {
            Problem::error("FILE-PATTERN", "the pattern cannot be read")
                .found(format!("`{pattern}`: {}", e.msg))
                .expected("`*`, `?`, `[a-z]` or `**`")
        })?;
        let before = found.len();
        for entry in paths {
            let path = entry.map_err(|e| Problem::io("cannot list the directory", e.path(), e.error()))?;
            // Gone between listing and looking: it is no longer there to be read.
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            if meta.is_file() {
                found.insert(self.id(&path), meta);
            }
        }
        if found.len() == before && self.config.read == ReadMode::Once && self.known().positions.is_empty() {
            return Err(Problem::error("FILE-NO-MATCH", "no file matches the pattern")
                .found(whole)
                .help("mend the pattern, or set `read: watch` to wait for files"));
        }
        Ok(())
    }

    fn list_one(&self, path: &str, found: &mut BTreeMap<PartitionId, Metadata>) -> Result<()> {
        let full = self.access.resolve(path);
        match std::fs::metadata(&full) {
            Ok(meta) => {
                // Says what is wrong with a directory or a FIFO now, once, instead of in every reader.
                if !meta.is_file() {
                    self.access.open(&full)?;
                }
                found.insert(PartitionId::from(path), meta);
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let known = self.known().positions.contains_key(path);
                if known || self.config.read == ReadMode::Watch {
                    return Ok(());
                }
                Err(Problem::io("the file is not there", &full, &e)
                    .help("relative paths start at the pipeline file's directory")
                    .at(Place::path(&full)))
            }
            Err(e) => Err(Problem::io("cannot look at the file", &full, &e)),
        }
    }

    /// A partition's name: the path as the patterns spell it, below the base where it lies there.
    fn id(&self, path: &Path) -> PartitionId {
        let short = if self.access.base.as_os_str().is_empty() {
            path
        } else {
            path.strip_prefix(&self.access.base).unwrap_or(path)
        };
        PartitionId::from(short.to_string_lossy())
    }

    fn too_old(&self, meta: &Metadata) -> bool {
        let Some(limit) = self.config.ignore_older else { return false };
        let age = meta.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
        age.is_some_and(|age| age > limit.get())
    }

    fn claimed(&self, id: &PartitionId, meta: &Metadata, claims: &BTreeMap<(u64, u64), Vec<Identity>>) -> bool {
        let Some(identities) = claims.get(&(meta.dev(), meta.ino())) else { return false };
        let Ok(file) = self.access.open(&self.path(id)) else { return false };
        identities.iter().any(|i| i.same_head(&file).unwrap_or(false))
    }
}

/// Files that are read, or have been read and are still there, by inode.
fn claims(known: &Known) -> BTreeMap<(u64, u64), Vec<Identity>> {
    let mut claims: BTreeMap<(u64, u64), Vec<Identity>> = BTreeMap::new();
    for position in known.positions.values() {
        for identity in position.done.iter().chain([&position.identity]) {
            claims.entry((identity.device, identity.inode)).or_default().push(identity.clone());
        }
    }
    claims
}
