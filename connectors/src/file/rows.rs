//! Reads one file of columns (Parquet, Arrow IPC): row by row position, from its beginning to its end.
//!
//! Such a file is read once it is whole; in watch mode one that has not got its footer yet is looked at
//! again until it has not changed for `rotate_wait`. It is never read on: it does not grow.

use super::config::{OnLost, ReadMode};
use super::identity::{FilePosition, Identity, find};
use super::source::Shared;
use crate::format::{Format, IpcRows, ParquetRows};
use arrow::array::RecordBatch;
use millstream::connect::{Body, PartitionId, Payload, Polled, Position, Reader};
use millstream::problem::{Domain, Retry};
use millstream::{Place, Problem, Result};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_millis(90);

type Rows = Box<dyn Iterator<Item = Result<(u64, RecordBatch)>> + Send>;

/// The reader of one file.
pub struct RowsReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    path: PathBuf,
    position: FilePosition,
    file: Option<File>,
    rows: Option<Rows>,
    /// Watch mode: the length of a file that is not whole yet, and since when it has had it.
    growing: Option<(u64, Instant)>,
}

impl RowsReader {
    /// Opens `partition` at `from`, or at its first row.
    pub fn open(shared: Arc<Shared>, partition: PartitionId, from: Option<&Position>) -> Result<RowsReader> {
        let path = shared.path(&partition);
        let (position, file) = match from {
            None => {
                let file = shared.access.open(&path)?;
                let identity = Identity::of(&file).map_err(|e| Problem::io("cannot read the file", &path, &e))?;
                (FilePosition::start(identity, 0), Some(file))
            }
            Some(position) => resume(&shared, &path, FilePosition::from_position(&path, position)?)?,
        };
        shared.remember(&partition, &position);
        Ok(RowsReader { shared, partition, path, position, file, rows: None, growing: None })
    }

    fn start(&mut self) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let io = |e: &std::io::Error| Problem::io("cannot read the file", &self.path, e);
        let own = self.shared.file_schema();
        let opened: Result<Rows> = match self.shared.config.format {
            Format::Parquet => ParquetRows::open(file, Some(&own), self.position.offset).map(|r| Box::new(r) as Rows),
            _ => IpcRows::open(file, Some(&own), self.position.offset).map(|r| Box::new(r) as Rows),
        };
        match opened {
            Ok(rows) => {
                // What the fingerprint covered may have been written since.
                self.position.identity = Identity::of(file).map_err(|e| io(&e))?;
                self.shared.remember(&self.partition, &self.position);
                self.rows = Some(rows);
                Ok(true)
            }
            Err(problem) if self.shared.config.read == ReadMode::Watch && self.may_grow()? => {
                drop(problem);
                Ok(false)
            }
            Err(problem) => Err(problem.at(Place::path(&self.path))),
        }
    }

    /// True while a file that is not whole has changed lately.
    fn may_grow(&mut self) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let len = file.metadata().map_err(|e| Problem::io("cannot read the file's metadata", &self.path, &e))?.len();
        let since = match self.growing {
            Some((then, since)) if then == len => since,
            _ => Instant::now(),
        };
        self.growing = Some((len, since));
        Ok(since.elapsed() < self.shared.config.rotate_wait.get())
    }

    fn end(&mut self) -> Polled {
        self.position.ended = true;
        (self.rows, self.file) = (None, None);
        self.shared.remember(&self.partition, &self.position);
        Polled::End(self.position.to_position())
    }
}

impl Reader for RowsReader {
    fn next(&mut self, _budget: usize) -> Result<Polled> {
        if self.position.ended {
            return Ok(self.end());
        }
        if self.rows.is_none() && !self.start()? {
            std::thread::sleep(WAIT);
            return Ok(Polled::Idle);
        }
        let next = self.rows.as_mut().and_then(Iterator::next);
        let Some(batch) = next else { return Ok(self.end()) };
        let (start, rows) = batch.map_err(|p| p.at(Place::path(&self.path)))?;
        self.position.offset = start + rows.num_rows() as u64;
        let payload = Payload::new(&self.partition, Body::Rows { start, rows });
        Ok(Polled::Data(payload, self.position.to_position()))
    }
}

/// The file that a checkpoint speaks of, under whatever name it has now.
fn resume(shared: &Shared, path: &std::path::Path, mut position: FilePosition) -> Result<(FilePosition, Option<File>)> {
    if position.ended {
        return Ok((position, None));
    }
    let here = shared.access.open(path).ok();
    if let Some(file) = here.as_ref().filter(|f| position.identity.is(f).unwrap_or(false)) {
        let file = file.try_clone().map_err(|e| Problem::io("cannot open the file again", path, &e))?;
        return Ok((position, Some(file)));
    }
    if shared.access.root.is_none()
        && let Some((_, file)) = find(path, &FilePosition { offset: 0, ..position.clone() })
    {
        return Ok((position, Some(file)));
    }
    let lost = Problem::error("FILE-POSITION-LOST", "the file of the checkpoint's position is no longer there")
        .at(Place::path(path))
        .found(if here.is_some() {
            "another file"
        } else {
            "no such file, nor one that begins like it in the same directory"
        })
        .expected(format!("inode {}, read on at row {}", position.identity.inode, position.offset))
        .help("bring the file back, or set `on_lost: restart` to read what is there from its beginning")
        .kind(Domain::Outside, Retry::No);
    if shared.config.on_lost == OnLost::Fail {
        return Err(lost);
    }
    shared.tell_as_warning(lost);
    match here {
        Some(file) => {
            let identity = Identity::of(&file).map_err(|e| Problem::io("cannot read the file", path, &e))?;
            Ok((FilePosition::start(identity, position.generation + 1), Some(file)))
        }
        None => {
            position.ended = true;
            Ok((position, None))
        }
    }
}
