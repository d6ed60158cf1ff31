//! One file that a sink writes, from its first row to its name.
//!
//! Bytes go to the hidden file at a known offset, so a write that failed half-way is written again over
//! itself and nothing is there twice. What has been written is counted and checksummed; a checkpoint
//! records both, and a restart cuts the file back to them.

use super::config::Compression;
use super::place::{DONE, MARK, OPEN, hidden, make_dirs, sync_dir, write_failed};
use crate::format::Encode;
use millstream::problem::{Domain, Retry};
use millstream::{Batch, Place, Problem, Result, failpoint};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A file that is still written to, as a checkpoint knows it. Paths are relative to the sink's base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPart {
    /// The name it will have; the hidden one follows from it.
    pub name: String,
    /// Its durable length.
    pub bytes: u64,
    /// CRC32C of these bytes.
    pub crc: u32,
    /// Rows in it.
    pub rows: u64,
}

/// A file that is whole and waits for its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledPart {
    /// The name it will have.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// True if it was converted: the hidden file is the `.done` one, and the `.open` one goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub converted: bool,
}

/// What a checkpoint knows of one worker's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The directory that they are below, as the pipeline file said it; absent in old checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What their names begin with; absent in old checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<String>,
    /// One life of the pipeline, from a fresh start on, has one number; it is in the names. Absent in old
    /// checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u32>,
    /// The checkpoint's epoch; absent in old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Still written to.
    pub open: Vec<OpenPart>,
    /// To be published when the checkpoint is durable.
    pub rolled: Vec<RolledPart>,
}

/// A file that is written to.
pub struct Part {
    name: String,
    path: PathBuf,
    file: File,
    encoder: Box<dyn Encode>,
    compression: Compression,
    buf: Vec<u8>,
    packed: Vec<u8>,
    written: u64,
    synced: u64,
    crc: u32,
    rows: u64,
    opened: Instant,
    /// Changes with every batch: the smallest has waited longest.
    pub touched: u64,
    dir_synced: bool,
    /// A sync failed: what is on the disk is unknown from then on.
    broken: bool,
}

impl Part {
    /// Creates the hidden file for `name` below `base`; `None` if the name is taken.
    ///
    /// # Errors
    /// `IO…`.
    pub fn create(
        base: &Path,
        name: String,
        mut encoder: Box<dyn Encode>,
        compression: Compression,
    ) -> Result<Option<Part>> {
        let published = base.join(&name);
        let path = hidden(&published, OPEN);
        make_dirs(path.parent().unwrap_or(base))?;
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(Problem::io("cannot create the file", &path, &e)),
        };
        // Looked at while the hidden name is held, so that no other writer can take it in between.
        if std::fs::symlink_metadata(&published).is_ok() {
            std::fs::remove_file(&path).map_err(|e| Problem::io("cannot remove the file", &path, &e))?;
            return Ok(None);
        }
        failpoint!("file_sink.created");
        let mut buf = Vec::new();
        encoder.header(&mut buf);
        Ok(Some(Part {
            name,
            path,
            file,
            encoder,
            compression,
            buf,
            packed: Vec::new(),
            written: 0,
            synced: 0,
            crc: 0,
            rows: 0,
            opened: Instant::now(),
            touched: 0,
            dir_synced: false,
            broken: false,
        }))
    }

    /// Encodes rows into the buffer; after an error the buffer is as before.
    pub fn push(&mut self, batch: &Batch) -> Result<()> {
        let before = self.buf.len();
        let done = self.encoder.encode(batch, &mut self.buf);
        match done {
            Ok(()) => self.rows += batch.len() as u64,
            Err(_) => self.buf.truncate(before),
        }
        done
    }

    /// Bytes that wait in the buffer.
    pub fn waiting(&self) -> usize {
        self.buf.len()
    }
    /// Bytes written and waiting.
    pub fn size(&self) -> u64 {
        self.written + self.buf.len() as u64
    }
    /// Rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }
    /// Since when it has been open.
    pub fn opened(&self) -> Instant {
        self.opened
    }
    /// True if what is written is compressed in pieces, each of which should be large.
    pub fn is_compressed(&self) -> bool {
        matches!(self.compression, Compression::Gzip | Compression::Zstd)
    }

    /// Writes the buffer to the file. After an error nothing of it counts as written, and the same call
    /// may be made again.
    ///
    /// # Errors
    /// `IO-DISK-FULL` and other `IO…`, to be tried again.
    pub fn drain(&mut self) -> Result<()> {
        if self.broken {
            return Err(self.sync_failed("an earlier sync failed"));
        }
        if self.buf.is_empty() {
            return Ok(());
        }
        self.pack()?;
        let bytes = if self.is_compressed() { &self.packed } else { &self.buf };
        if let Err(e) = self.file.write_all_at(bytes, self.written) {
            // Best effort: gives the space back; the next attempt writes at the same offset anyway.
            let _ = self.file.set_len(self.written);
            return Err(write_failed("cannot write to the file", &self.path, &e, bytes.len() as u64));
        }
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.written += bytes.len() as u64;
        self.buf.clear();
        failpoint!("file_sink.written");
        Ok(())
    }

    /// Each piece is a gzip member or zstd frame of its own: the file can be cut behind any of them.
    fn pack(&mut self) -> Result<()> {
        self.packed.clear();
        let packed = match self.compression {
            Compression::None | Compression::Auto => return Ok(()),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut self.packed, flate2::Compression::default());
                encoder.write_all(&self.buf).and_then(|()| encoder.finish().map(|_| ()))
            }
            Compression::Zstd => zstd::stream::copy_encode(self.buf.as_slice(), &mut self.packed, 0),
        };
        packed.map_err(|e| Problem::internal(format!("compressing into memory failed: {e}")))
    }

    /// Makes everything so far durable, the file's hidden name included.
    ///
    /// # Errors
    /// As [`Part::drain`]; `IO-SYNC`, which cannot be tried again: the kernel may have dropped the bytes.
    pub fn sync(&mut self) -> Result<()> {
        self.drain()?;
        if self.synced != self.written {
            if let Err(e) = self.file.sync_data() {
                self.broken = true;
                return Err(self.sync_failed(&e.to_string()));
            }
            self.synced = self.written;
        }
        if !self.dir_synced {
            sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.dir_synced = true;
        }
        failpoint!("file_sink.synced");
        Ok(())
    }

    fn sync_failed(&self, found: &str) -> Problem {
        Problem::error("IO-SYNC", "cannot make the file durable")
            .at(Place::path(&self.path))
            .found(found.to_owned())
            .help("check the disk; a restart goes on from the last checkpoint")
            .kind(Domain::Outside, Retry::No)
    }

    /// For the checkpoint, once synced.
    pub fn open_part(&self) -> OpenPart {
        OpenPart { name: self.name.clone(), bytes: self.synced, crc: self.crc, rows: self.rows }
    }

    /// Closes it: whole, durable, waiting for its name. May be called again after an error.
    ///
    /// # Errors
    /// As [`Part::sync`].
    pub fn close(&mut self, base: &Path, columns: bool) -> Result<RolledPart> {
        self.sync()?;
        if !columns {
            return Ok(RolledPart { name: self.name.clone(), bytes: self.synced, converted: false });
        }
        let done = hidden(&base.join(&self.name), DONE);
        let bytes = super::spool::convert(&self.path, &done)?;
        // The record will count on this name, too.
        sync_dir(done.parent().unwrap_or(base))?;
        Ok(RolledPart { name: self.name.clone(), bytes, converted: true })
    }
}

impl RolledPart {
    /// Gives the file its name. Idempotent; never overwrites. The directory is not synced.
    ///
    /// # Errors
    /// `FILE-EXISTS` where another file has the name, `FILE-PART-LOST` where the file is gone, `IO…`.
    pub fn publish(&self, base: &Path) -> Result<()> {
        let published = base.join(&self.name);
        let from = hidden(&published, if self.converted { DONE } else { OPEN });
        match rename_new(&from, &published) {
            Ok(()) => {}
            // Published before. If it is not there either, whoever the output is for has taken it away:
            // nothing else removes a file between its two names.
            Err(e) if e.kind() == ErrorKind::NotFound && !published.exists() => {}
            Err(e) if e.kind() == ErrorKind::NotFound => self.check_published(&published)?,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Problem::error("FILE-EXISTS", "another file has the name that this one must get")
                    .at(Place::path(&published))
                    .help("move it away; the pipeline never overwrites a file")
                    .kind(Domain::Outside, Retry::Backoff));
            }
            Err(e) => return Err(Problem::io("cannot rename the file", &from, &e)),
        }
        failpoint!("file_sink.renamed");
        Ok(())
    }

    /// Once the name is durable: removes the rows that a converted file was made of.
    ///
    /// # Errors
    /// `IO…`.
    pub fn clean(&self, base: &Path) -> Result<()> {
        if self.converted { remove(&hidden(&base.join(&self.name), OPEN)) } else { Ok(()) }
    }

    fn check_published(&self, published: &Path) -> Result<()> {
        match std::fs::metadata(published) {
            Ok(meta) if meta.len() == self.bytes => Ok(()),
            Ok(meta) => Err(lost(published, format!("{} bytes", meta.len()), self.bytes)),
            Err(e) => Err(lost(published, e.to_string(), self.bytes)),
        }
    }
}

fn lost(path: &Path, found: String, bytes: u64) -> Problem {
    Problem::error("FILE-PART-LOST", "a file of the last checkpoint is not as it was left")
        .at(Place::path(path))
        .found(found)
        .expected(format!("{bytes} bytes, under this name or hidden beside it"))
        .help("bring it back, or start over with --fresh into an empty directory")
        .kind(Domain::Outside, Retry::No)
}

impl OpenPart {
    /// After a restart: cuts the file back to what the checkpoint says, checks it and publishes it; a
    /// file without rows goes. Idempotent: the mark that it leaves says that it has been here, even when
    /// the published file is taken away before the next checkpoint. Leaves the `.open` file of a
    /// converted one.
    ///
    /// # Errors
    /// `FILE-PART-DAMAGED`, `FILE-PART-LOST`, and as [`RolledPart::publish`].
    pub fn recover(&self, base: &Path, columns: bool) -> Result<()> {
        let published = base.join(&self.name);
        let path = hidden(&published, OPEN);
        let mark = self.mark(base);
        if mark.exists() {
            return if columns { Ok(()) } else { self.check_taken(&published) };
        }
        if !path.exists() {
            // The mark is made behind the rename: a crash may have come between.
            let whole = RolledPart { name: self.name.clone(), bytes: self.bytes, converted: false };
            whole.check_published(&published)?;
        } else {
            self.cut_back(&path)?;
            failpoint!("file_sink.recover.cut");
            self.give_name(base, &path, columns)?;
        }
        File::create(&mark).map(drop).map_err(|e| Problem::io("cannot create the file", &mark, &e))
    }

    /// The hidden mark that [`OpenPart::recover`] leaves.
    pub fn mark(&self, base: &Path) -> PathBuf {
        hidden(&base.join(&self.name), MARK)
    }

    fn check_taken(&self, published: &Path) -> Result<()> {
        match std::fs::metadata(published) {
            Ok(meta) if meta.len() != self.bytes => Err(lost(published, format!("{} bytes", meta.len()), self.bytes)),
            _ => Ok(()),
        }
    }

    fn give_name(&self, base: &Path, path: &Path, columns: bool) -> Result<()> {
        let published = base.join(&self.name);
        if columns && published.exists() || self.rows == 0 {
            return Ok(());
        }
        let mut rolled = RolledPart { name: self.name.clone(), bytes: self.bytes, converted: columns };
        if columns {
            rolled.bytes = super::spool::convert(path, &hidden(&published, DONE))?;
        }
        rolled.publish(base)
    }

    fn cut_back(&self, path: &Path) -> Result<()> {
        let io = |what: &str, e: &std::io::Error| Problem::io(what.to_owned(), path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| io("cannot open the file", &e))?;
        let len = file.metadata().map_err(|e| io("cannot read the file's metadata", &e))?.size();
        if len < self.bytes {
            return Err(lost(path, format!("{len} bytes"), self.bytes));
        }
        let crc = crc_of(&file, self.bytes).map_err(|e| io("cannot read the file", &e))?;
        if crc != self.crc {
            return Err(Problem::error(
                "FILE-PART-DAMAGED",
                "a file of the last checkpoint does not have the checksum that was recorded",
            )
            .at(Place::path(path))
            .found(format!("{crc:08x}"))
            .expected(format!("{:08x} over {} bytes", self.crc, self.bytes))
            .kind(Domain::Outside, Retry::No));
        }
        if len > self.bytes {
            file.set_len(self.bytes).map_err(|e| io("cannot cut the file back", &e))?;
        }
        file.sync_all().map_err(|e| io("cannot sync the file", &e))
    }
}

fn crc_of(file: &File, bytes: u64) -> std::io::Result<u32> {
    let mut block = vec![0; 1 << 20];
    let (mut crc, mut at) = (0, 0);
    while at < bytes {
        let n = usize::try_from((bytes - at).min(block.len() as u64)).expect("at most one block");
        file.read_exact_at(&mut block[..n], at)?;
        crc = crc32c::crc32c_append(crc, &block[..n]);
        at += n as u64;
    }
    Ok(crc)
}

/// Removes a file; one that is gone is fine.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Problem::io("cannot remove the file", path, &e)),
        _ => Ok(()),
    }
}

/// Renames without ever replacing what has the name already.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do it in one step: a second name, which never replaces, then the first goes.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_then_unlink(from, to),
        // Either somebody else's file, or our own second name after a crash in the two steps.
        Err(Errno::EXIST) if same_file(from, to) => std::fs::remove_file(from),
        other => other.map_err(Into::into),
    }
}

fn link_then_unlink(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists || !same_file(from, to) => Err(e),
        _ => std::fs::remove_file(from),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (std::fs::symlink_metadata(a), std::fs::symlink_metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}
