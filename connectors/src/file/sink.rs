//! `file_sink`: hidden files that grow, and get their names after the checkpoint that closes them.
//!
//! ```text
//!   write ──> buffer ──256 KiB or flush──> .part.ndjson.open          (may be cut back)
//!   prepare(c): write, sync, record length and checksum                (durable, hidden)
//!   size, rows or age reached: closed; its handle says so
//!   commit(c):  part.ndjson                                            (published, never overwriting)
//! ```
//!
//! After a crash [`FileSinkFactory::recover`] cuts every file of the last record back to its recorded
//! length and publishes it, then removes hidden files that no record names: they hold rows of an epoch
//! that never was. A restart therefore closes all open files.

use super::config::{Compression, FileSinkConfig};
use super::open::Access;
use super::part::{Part, Parts, RolledPart, remove};
use super::place::{Namer, Template, epoch_of, is_hidden, make_dirs, sync_dir};
use super::spool::Spool;
use crate::format::{Encode, Format};
use arrow::datatypes::SchemaRef;
use millstream::connect::{Handle, Sink, SinkFactory, SinkMode};
use millstream::{Batch, Epoch, Place, Problem, Result, failpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes after which a buffer goes to its file.
const WRITE_AT: usize = 256 << 10;
/// The same, where many files are open at once.
const WRITE_AT_MANY: usize = 64 << 10;
const MANY: usize = 16;
/// Bytes that are compressed as one piece, at least.
const PACK_AT: usize = 1 << 20;

/// Makes the file sinks of one node.
pub struct FileSinkFactory {
    shared: Arc<Shared>,
}

struct Shared {
    config: FileSinkConfig,
    template: Template,
    namer: Mutex<Namer>,
    /// What the recovery marked as published: needed until the next checkpoint, which names it no more.
    marks: Mutex<Vec<PathBuf>>,
}

impl Shared {
    fn marks(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn namer(&self) -> MutexGuard<'_, Namer> {
        self.namer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_columns(&self) -> bool {
        matches!(self.config.format, Format::Parquet)
    }
}

impl FileSinkFactory {
    /// A sink; `owner` names pipeline and node, so that two sinks can share a directory.
    ///
    /// # Errors
    /// Where path, prefix and compression do not make sense.
    pub fn new(config: FileSinkConfig, access: &Access, owner: &str) -> Result<FileSinkFactory> {
        let template = Template::parse(&access.base, &config.path)?;
        let extension = extension(&config)?;
        let namer = Mutex::new(Namer::new(&config.prefix, owner, extension)?);
        Ok(FileSinkFactory { shared: Arc::new(Shared { config, template, namer, marks: Mutex::default() }) })
    }
}

/// End of the files' names, with its dot.
fn extension(config: &FileSinkConfig) -> Result<&'static str> {
    use Compression::{Auto, Gzip, None, Zstd};
    Ok(match (&config.format, config.compression) {
        (Format::ArrowIpc, _) => {
            return Err(Problem::error("FILE-FORMAT", "files are not written as Arrow IPC")
                .expected("ndjson, csv, parquet or text"));
        }
        (Format::Parquet, Auto) => ".parquet",
        (Format::Parquet, _) => {
            return Err(Problem::error("FILE-COMPRESSION", "a Parquet file is compressed inside")
                .help("leave `compression` out"));
        }
        (Format::Ndjson, Auto | None) => ".ndjson",
        (Format::Ndjson, Gzip) => ".ndjson.gz",
        (Format::Ndjson, Zstd) => ".ndjson.zst",
        (Format::Csv(_), Auto | None) => ".csv",
        (Format::Csv(_), Gzip) => ".csv.gz",
        (Format::Csv(_), Zstd) => ".csv.zst",
        (Format::Text, Auto | None) => ".txt",
        (Format::Text, Gzip) => ".txt.gz",
        (Format::Text, Zstd) => ".txt.zst",
    })
}

impl SinkFactory for FileSinkFactory {
    fn mode(&self) -> SinkMode {
        SinkMode::TwoPhase
    }

    fn recover(&self, handles: Vec<Handle>) -> Result<()> {
        // Path, prefix and name may have been changed since: what was committed before belongs under the old
        // path, and what was not goes, whatever its name.
        let handles = handles.iter().map(parts_of).collect::<Result<Vec<_>>>()?;
        let life = if handles.is_empty() { Some(new_life()) } else { handles.iter().find_map(|parts| parts.life) };
        self.shared.namer().live(life);
        let own = (self.shared.template.base.clone(), self.shared.namer().family());
        self.check_nothing_is_ahead(&handles)?;
        let mut places = BTreeSet::from([own.clone()]);
        let mut directories = BTreeSet::from([own.0.clone()]);
        let mut marks = Vec::new();
        for parts in &handles {
            let base = &parts.base.as_ref().map_or(own.0.clone(), |written| self.shared.template.base_of(written));
            places.insert((base.clone(), parts.stem.clone().unwrap_or_else(|| own.1.clone())));
            for part in &parts.rolled {
                part.publish(base)?;
                directories.extend(base.join(&part.name).parent().map(Path::to_path_buf));
            }
            for part in &parts.open {
                part.recover(base, part.name.ends_with(".parquet"))?;
                marks.push(part.mark(base));
                directories.extend(base.join(&part.name).parent().map(Path::to_path_buf));
            }
        }
        let sync =
            |directories: &BTreeSet<PathBuf>| directories.iter().filter(|d| d.is_dir()).try_for_each(|d| sync_dir(d));
        sync(&directories)?;
        failpoint!("file_sink.recover.published");
        for (base, stem) in &places {
            self.remove_leftovers(base, stem, &marks, &mut directories)?;
        }
        *self.shared.marks() = marks;
        failpoint!("file_sink.recover.cleaned");
        sync(&directories)
    }

    fn open(&self, worker: usize, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        self.shared.template.check(schema)?;
        make_dirs(&self.shared.template.base)?;
        Ok(Box::new(FileSink {
            shared: Arc::clone(&self.shared),
            worker,
            schema: Arc::clone(schema),
            parts: BTreeMap::new(),
            rolled: Vec::new(),
            groups_done: 0,
            batches: 0,
        }))
    }
}

/// A number that no other life of this pipeline has had.
fn new_life() -> u32 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(std::time::SystemTime::now()) as u32
}

impl FileSinkFactory {
    /// Nothing may have been published that the record does not know of: its state would be older than the output,
    /// as after an older backup of it, and what followed would be written twice.
    fn check_nothing_is_ahead(&self, handles: &[Parts]) -> Result<()> {
        let Some(last) = handles.iter().filter_map(|parts| parts.epoch).max() else { return Ok(()) };
        let written: BTreeSet<_> = handles.iter().filter_map(|p| Some((p.base.as_ref()?, p.stem.as_ref()?))).collect();
        for (base, stem) in written {
            self.each_file(&self.shared.template.base_of(base), &mut |path, name| match epoch_of(name, stem)
                .filter(|epoch| *epoch > last)
            {
                Some(epoch) => Err(ahead(path, epoch, last)),
                None => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Removes this sink's hidden files but `keep`: what a record names has been published before.
    fn remove_leftovers(
        &self,
        directory: &Path,
        stem: &str,
        keep: &[PathBuf],
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        self.each_file(directory, &mut |path, name| {
            if is_hidden(name, stem) && !keep.iter().any(|kept| kept == path) {
                remove(path)?;
                touched.extend(path.parent().map(Path::to_path_buf));
            }
            Ok(())
        })
    }

    /// Calls `visit` with every file, and its name, in a directory that this sink may have written to.
    fn each_file(&self, directory: &Path, visit: &mut dyn FnMut(&Path, &str) -> Result<()>) -> Result<()> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Problem::io("cannot list the directory", directory, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| Problem::io("cannot list the directory", directory, &e))?;
            let (name, kind) = (entry.file_name(), entry.file_type());
            let name = name.to_string_lossy();
            match kind {
                Ok(kind) if kind.is_dir() && self.shared.template.is_split() && !name.starts_with('.') => {
                    self.each_file(&entry.path(), visit)?
                }
                Ok(kind) if kind.is_file() => visit(&entry.path(), &name)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn ahead(path: &Path, epoch: u64, last: u64) -> Problem {
    Problem::error("FILE-AHEAD", "the output is newer than the state")
        .at(Place::path(path))
        .found(format!("a published file of epoch {epoch}"))
        .expected(format!("none after epoch {last}, with which the last checkpoint ends"))
        .help(
            "an older state was put back: put the newest one back; or move this sink's files of later epochs \
             (the second number in their names) away, and they are written again",
        )
}

/// The files of one worker.
struct FileSink {
    shared: Arc<Shared>,
    worker: usize,
    schema: SchemaRef,
    /// By directory below the base; one without `${row.field}`.
    parts: BTreeMap<String, Part>,
    /// Closed, not yet published.
    rolled: Vec<RolledPart>,
    /// Directories of the batch at hand whose rows are in their buffers, when a later one failed: the
    /// same batch comes again and goes on behind them.
    groups_done: usize,
    batches: u64,
}

impl FileSink {
    fn write_at(&self) -> usize {
        if self.parts.len() > MANY { WRITE_AT_MANY } else { WRITE_AT }
    }

    /// Writes full buffers and closes files that are due. Nothing of the next batch is taken before.
    fn make_room(&mut self) -> Result<()> {
        let write_at = self.write_at();
        for part in self.parts.values_mut() {
            let full = if part.is_compressed() { PACK_AT } else { write_at };
            if part.waiting() >= full {
                part.drain()?;
            }
        }
        let roll = &self.shared.config.roll;
        let due = |part: &Part| {
            part.size() >= roll.size.bytes()
                || roll.rows.is_some_and(|rows| part.rows() >= rows)
                || part.opened().elapsed() >= roll.every.get()
        };
        let due: Vec<String> =
            self.parts.iter().filter(|(_, part)| due(part)).map(|(directory, _)| directory.clone()).collect();
        due.iter().try_for_each(|directory| self.close(directory))
    }

    fn close(&mut self, directory: &str) -> Result<()> {
        let Some(part) = self.parts.get_mut(directory) else { return Ok(()) };
        let rolled = part.close(&self.shared.template.base, self.shared.is_columns())?;
        failpoint!("file_sink.closed");
        self.parts.remove(directory);
        self.rolled.push(rolled);
        Ok(())
    }

    /// The file for a directory, made where there is none.
    fn part(&mut self, directory: &str, epoch: Epoch) -> Result<&mut Part> {
        if !self.parts.contains_key(directory) {
            while self.parts.len() >= self.shared.config.open_max.max(1) as usize {
                let longest =
                    self.parts.iter().min_by_key(|(_, part)| part.touched).map(|(directory, _)| directory.clone());
                self.close(&longest.expect("there is at least one"))?;
            }
            let part = self.create(directory, epoch)?;
            self.parts.insert(directory.to_owned(), part);
        }
        Ok(self.parts.get_mut(directory).expect("it was made above"))
    }

    fn create(&self, directory: &str, epoch: Epoch) -> Result<Part> {
        let compression = match self.shared.config.compression {
            Compression::Auto => Compression::None,
            other => other,
        };
        for n in 0..=u32::MAX {
            let encoder: Box<dyn Encode> = match &self.shared.config.format {
                Format::Parquet => Box::new(Spool::new(&self.schema)?),
                rows => rows.encoder(&self.schema)?,
            };
            let file = self.shared.namer().name(self.worker, epoch, n);
            let name = if directory.is_empty() { file } else { format!("{directory}/{file}") };
            if self.rolled.iter().any(|r| r.name == name) {
                continue;
            }
            if let Some(part) = Part::create(&self.shared.template.base, name, encoder, compression)? {
                return Ok(part);
            }
        }
        Err(Problem::internal("every name for a part is taken"))
    }

    fn push(&mut self, epoch: Epoch, directory: &str, batch: &Batch) -> Result<()> {
        self.batches += 1;
        let touched = self.batches;
        let part = self.part(directory, epoch)?;
        part.touched = touched;
        part.push(batch)
    }
}

impl Sink for FileSink {
    /// After an error the same batch must be given again.
    fn write(&mut self, epoch: Epoch, batch: Batch) -> Result<()> {
        self.make_room()?;
        if batch.is_empty() {
            return Ok(());
        }
        if !self.shared.template.is_split() {
            return self.push(epoch, "", &batch);
        }
        let groups = self.shared.template.split(&batch)?;
        for (directory, rows) in groups.into_iter().skip(self.groups_done) {
            self.push(epoch, &directory, &rows)?;
            self.groups_done += 1;
        }
        self.groups_done = 0;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.make_room()?;
        self.parts.values_mut().filter(|part| !part.is_compressed()).try_for_each(Part::drain)
    }

    fn due(&self) -> Option<Duration> {
        let every = self.shared.config.roll.every.get();
        self.parts.values().map(|part| every.saturating_sub(part.opened().elapsed())).min()
    }

    fn prepare(&mut self, checkpoint: Epoch) -> Result<Handle> {
        self.make_room()?;
        self.parts.values_mut().try_for_each(Part::sync)?;
        failpoint!("file_sink.prepared");
        let namer = self.shared.namer().clone();
        let parts = Parts {
            base: Some(self.shared.template.written.clone()),
            stem: Some(namer.stem()),
            life: namer.life(),
            epoch: Some(checkpoint),
            open: self.parts.values().map(Part::open_part).collect(),
            rolled: self.rolled.clone(),
        };
        Ok(Handle(serde_json::to_value(parts).expect("strings and integers always serialise")))
    }

    fn commit(&mut self, _checkpoint: Epoch, handle: &Handle) -> Result<()> {
        let base = &self.shared.template.base;
        let parts = parts_of(handle)?;
        let mut directories = BTreeSet::new();
        for part in &parts.rolled {
            // Not in the list: an earlier commit has published it, and its reader may have moved it.
            if self.rolled.contains(part) {
                part.publish(base)?;
                directories.insert(base.join(&part.name).parent().unwrap_or(base).to_path_buf());
            }
        }
        directories.iter().try_for_each(|d| sync_dir(d))?;
        failpoint!("file_sink.committed");
        parts.rolled.iter().filter(|part| self.rolled.contains(part)).try_for_each(|part| part.clean(base))?;
        std::mem::take(&mut *self.shared.marks()).iter().try_for_each(|mark| remove(mark))?;
        self.rolled.retain(|part| !parts.rolled.contains(part));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let all: Vec<String> = self.parts.keys().cloned().collect();
        all.iter().try_for_each(|directory| self.close(directory))
    }
}

fn parts_of(handle: &Handle) -> Result<Parts> {
    if handle.0.is_null() {
        return Ok(Parts::default());
    }
    let parts: Parts = serde_json::from_value(handle.0.clone()).map_err(|e| {
        Problem::error("FILE-HANDLE", "the checkpoint's handle is not one of a file sink").found(e.to_string())
    })?;
    let names = parts.open.iter().map(|p| &p.name).chain(parts.rolled.iter().map(|p| &p.name));
    for name in names {
        let inside = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if !inside {
            return Err(Problem::error("FILE-HANDLE", "the checkpoint names a file outside of the sink's directory")
                .at(Place::path(name)));
        }
    }
    Ok(parts)
}
