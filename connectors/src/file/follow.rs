//! Reads one path: its file, and in watch mode the files that take its place.
//!
//! ```text
//!   path ──open──> file 0 ──end──> renamed? read the rest of file 0, then file 1 from its beginning
//!                                  truncated? the same file from its beginning, as generation + 1
//!                                  deleted?  let go of it, wait for the path to come back
//! ```
//!
//! Every position names the file it is in ([`FilePosition`]), so that after a restart the rest of a file
//! that was renamed meanwhile is found under its new name and read before the new file. A file that
//! cannot be found again is `FILE-POSITION-LOST`, never a silent skip. What a writer cuts off before it
//! was read (`copytruncate` between two looks) is lost to every reader; it is told as `FILE-TRUNCATED`.

use super::config::{Compression, OnLost, ReadMode, Start};
use super::cut::{Cut, Lines};
use super::identity::{FilePosition, Identity, find, still_there};
use super::source::Shared;
use super::stream::{Stream, detect};
use bytes::Bytes;
use millstream::connect::{Body, PartitionId, Payload, Polled, Position, Reader};
use millstream::problem::{Domain, Retry};
use millstream::{Place, Problem, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];
const BUDGET_MIN: usize = 64 << 10;
const BUDGET_MAX: usize = 16 << 20;
/// The longest a call waits for something to come.
const WAIT_MAX: Duration = Duration::from_millis(90);
const STEP_MIN: Duration = Duration::from_millis(1);
const STEP_MAX: Duration = Duration::from_millis(90);

/// What is open.
enum Open {
    /// Nothing is at the path.
    Nothing,
    /// A file too short to tell how it is compressed.
    Unknown(File),
    /// A file that is being read.
    Reading(Stream),
}

/// What to do where a read gives nothing.
enum AtEnd {
    /// A last line without a line end.
    Rest(Cut),
    /// The position changed without data: say so in the checkpoint.
    Moved,
    /// Something changed: read again.
    Again,
    /// Nothing yet.
    Wait,
    /// Read to the end, for good.
    Ended,
}

/// The reader of one path.
pub struct Follower {
    shared: Arc<Shared>,
    partition: PartitionId,
    path: PathBuf,
    position: FilePosition,
    open: Open,
    lines: Lines,
    step: Duration,
    /// Since when the path has led to another file, or to none, and the open one has given nothing.
    left_since: Option<Instant>,
    /// An error of the decompressor that waits until the bytes before it are delivered; the file's
    /// length then, and since when it has had it.
    broken: Option<(std::io::Error, u64, Instant)>,
}

impl Follower {
    /// Opens `path` at `from`, or where the source's options say.
    pub fn open(shared: Arc<Shared>, partition: PartitionId, from: Option<&Position>) -> Result<Follower> {
        let path = shared.path(&partition);
        let mut follower = Follower {
            lines: shared.lines(0),
            shared,
            partition,
            path,
            position: FilePosition::start(Identity::nothing(), 0),
            open: Open::Nothing,
            step: STEP_MIN,
            left_since: None,
            broken: None,
        };
        match from {
            None => follower.begin()?,
            Some(position) => {
                follower.position = FilePosition::from_position(&follower.path, position)?;
                follower.resume()?;
            }
        }
        follower.shared.remember(&follower.partition, &follower.position);
        Ok(follower)
    }

    fn watching(&self) -> bool {
        self.shared.config.read == ReadMode::Watch
    }

    fn io(&self, what: &str, error: &std::io::Error) -> Problem {
        Problem::io(what, &self.path, error)
    }

    /// A file that no checkpoint knows.
    fn begin(&mut self) -> Result<()> {
        let file = self.shared.access.open(&self.path)?;
        let identity = Identity::of(&file).map_err(|e| self.io("cannot read the file", &e))?;
        self.position = FilePosition::start(identity, 0);
        if self.shared.config.start == Start::End && self.shared.was_there_at_start(&self.partition) {
            self.position.offset = last_line_end(&file).map_err(|e| self.io("cannot read the file", &e))?;
        }
        self.attach(file)
    }

    /// Goes on where a checkpoint says.
    fn resume(&mut self) -> Result<()> {
        let here = match self.shared.access.open(&self.path) {
            Ok(file) => Some(file),
            Err(problem) if problem.code == "IO-NOT-FOUND" => None,
            Err(problem) => return Err(problem),
        };
        if let Some(file) = &here
            && self.fits(file)?
        {
            self.position.ended = false;
            return self.attach(here.expect("it was just looked at"));
        }
        if self.position.ended {
            return here.map_or(Ok(()), |file| self.turn_to(file));
        }
        if self.shared.access.root.is_none()
            && let Some((_, file)) = find(&self.path, &self.position)
        {
            self.position.identity = Identity::of(&file).map_err(|e| self.io("cannot read the file", &e))?;
            return self.attach(file);
        }
        let lost = self.lost(here.as_ref());
        if self.shared.config.on_lost == OnLost::Fail {
            return Err(lost);
        }
        self.shared.tell_as_warning(lost);
        match here {
            Some(file) => self.turn_to(file),
            None => {
                self.position.ended = true;
                Ok(())
            }
        }
    }

    /// True if `file` is the one of the position and still reaches that far.
    fn fits(&self, file: &File) -> Result<bool> {
        let check = || -> std::io::Result<bool> {
            if !self.position.identity.is(file)? {
                return Ok(false);
            }
            let plain = self.compression(file, true)? == Some(Compression::None);
            Ok(!plain || file.metadata()?.len() >= self.position.offset)
        };
        check().map_err(|e| self.io("cannot read the file", &e))
    }

    fn lost(&self, here: Option<&File>) -> Problem {
        let found = match here.map(|f| (Identity::of(f), f.metadata())) {
            None => "no such file, nor one that begins like it in the same directory".to_owned(),
            Some((Ok(id), Ok(meta))) if id.same_inode(&meta) && self.position.identity.inode == id.inode => {
                format!("the same inode with other content, {} bytes", meta.len())
            }
            Some((_, Ok(meta))) => format!("another file, {} bytes", meta.len()),
            Some((_, Err(e))) => e.to_string(),
        };
        Problem::error("FILE-POSITION-LOST", "the file of the checkpoint's position is no longer there")
            .at(Place::path(&self.path))
            .found(found)
            .expected(format!("inode {}, read on at byte {}", self.position.identity.inode, self.position.offset))
            .help("bring the file back, or set `on_lost: restart` to read what is there from its beginning")
            .kind(Domain::Outside, Retry::No)
    }

    /// Starts to read `file` at the position.
    fn attach(&mut self, file: File) -> Result<()> {
        self.lines = self.shared.lines(self.position.offset);
        self.broken = None;
        self.open = Open::Unknown(file);
        self.start_stream(false)
    }

    /// Leaves the file for another one at the same path.
    fn turn_to(&mut self, file: File) -> Result<()> {
        let identity = Identity::of(&file).map_err(|e| self.io("cannot read the file", &e))?;
        let left = std::mem::replace(&mut self.position.identity, identity);
        if left.head_bytes > 0 && left.inode != self.position.identity.inode {
            self.position.done.push(left);
        }
        still_there(&self.path, &mut self.position.done);
        self.position.offset = 0;
        self.position.ended = false;
        self.position.generation += 1;
        self.left_since = None;
        self.attach(file)?;
        self.shared.remember(&self.partition, &self.position);
        Ok(())
    }

    fn compression(&self, file: &File, at_end: bool) -> std::io::Result<Option<Compression>> {
        match self.shared.config.compression {
            Compression::Auto => detect(file, at_end),
            fixed => Ok(Some(fixed)),
        }
    }

    /// Finds out how the file is compressed and opens its content; `at_end` = nothing more will come.
    fn start_stream(&mut self, at_end: bool) -> Result<()> {
        if !matches!(self.open, Open::Unknown(_)) {
            return Ok(());
        }
        let Open::Unknown(file) = std::mem::replace(&mut self.open, Open::Nothing) else {
            unreachable!("just matched")
        };
        match self.compression(&file, at_end).map_err(|e| self.io("cannot read the file", &e))? {
            None => self.open = Open::Unknown(file),
            Some(compression) => {
                let stream = Stream::open(file, compression, self.lines.end()).map_err(|e| self.unreadable(&e))?;
                self.open = Open::Reading(stream);
            }
        }
        Ok(())
    }

    fn unreadable(&self, error: &std::io::Error) -> Problem {
        match error.kind() {
            ErrorKind::UnexpectedEof => Problem::error("FILE-COMPRESSED-CUT", "the compressed file ends in the middle")
                .at(Place::path(&self.path))
                .found(format!("{} bytes of content, then: {error}", self.lines.end()))
                .help("what came before is delivered; put the whole file in its place and run again")
                .kind(Domain::Outside, Retry::No),
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
                Problem::error("FILE-COMPRESSED-DAMAGED", "the compressed file is damaged")
                    .at(Place::path(&self.path))
                    .found(format!("{} bytes of content, then: {error}", self.lines.end()))
                    .kind(Domain::Outside, Retry::No)
            }
            _ => self.io("cannot read the file", error),
        }
    }

    /// Reads more; false if nothing came.
    fn fill(&mut self, budget: usize) -> Result<bool> {
        if self.broken.is_some() {
            return Ok(false);
        }
        self.start_stream(!self.watching())?;
        let watching = self.watching();
        let Open::Reading(stream) = &mut self.open else { return Ok(false) };
        let end = self.lines.end();
        let mut room = budget;
        if stream.is_plain() {
            let len = stream
                .file()
                .metadata()
                .map_err(|e| Problem::io("cannot read the file's metadata", &self.path, &e))?
                .len();
            match len.checked_sub(end) {
                None | Some(0) if watching => return Ok(false),
                None | Some(0) => room = 4_096,
                Some(more) => room = room.min(usize::try_from(more).unwrap_or(budget)),
            }
        }
        let buf = self.lines.buffer(room);
        let before = buf.len();
        let read = stream.read(buf);
        let came = buf.len() - before;
        if let Err(e) = read {
            let len = stream.file().metadata().map_or(0, |m| m.len());
            self.broken = Some((e, len, Instant::now()));
        }
        if came == 0 {
            return Ok(false);
        }
        self.left_since = None;
        self.check_head()?;
        self.skip_bom()?;
        Ok(true)
    }

    /// Looks whether the file still begins as it did: else what was read belongs to new content.
    fn check_head(&mut self) -> Result<()> {
        let Open::Reading(stream) = &self.open else { return Ok(()) };
        let known = self.position.identity.head_bytes;
        if !self.watching() && known == super::identity::HEAD_BYTES {
            return Ok(());
        }
        let same = self.position.identity.refresh(stream.file()).map_err(|e| self.io("cannot read the file", &e))?;
        if !same {
            return self.restart();
        }
        if self.position.identity.head_bytes != known {
            self.shared.remember(&self.partition, &self.position);
        }
        Ok(())
    }

    fn skip_bom(&mut self) -> Result<()> {
        if self.lines.next() != 0 {
            return Ok(());
        }
        let head = self.lines.waiting();
        if head.starts_with(&BOM) {
            self.lines.skip(BOM.len());
        } else if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Err(Problem::error("FILE-ENCODING", "the file is UTF-16")
                .at(Place::path(&self.path))
                .expected("UTF-8")
                .help("convert it: iconv -f UTF-16 -t UTF-8"));
        }
        Ok(())
    }

    /// The same file holds new content: from its beginning.
    fn restart(&mut self) -> Result<()> {
        let unread = self.lines.waiting().len();
        self.shared.tell(
            Problem::warning("FILE-TRUNCATED", "the file was cut and written anew; it is read from its beginning")
                .at(Place::path(&self.path))
                .found(format!("was at byte {}, {unread} bytes of an unfinished line are let go", self.lines.next())),
        );
        let file = self.reopened()?;
        self.turn_to(file)
    }

    /// Another handle on the open file.
    fn reopened(&self) -> Result<File> {
        match &self.open {
            Open::Reading(stream) => stream.file().try_clone(),
            Open::Unknown(file) => file.try_clone(),
            Open::Nothing => Err(ErrorKind::NotFound.into()),
        }
        .map_err(|e| self.io("cannot open the file again", &e))
    }

    fn at_end(&mut self) -> Result<AtEnd> {
        if self.watching() { self.at_end_watching() } else { self.at_end_once() }
    }

    fn at_end_once(&mut self) -> Result<AtEnd> {
        if let Some((error, ..)) = &self.broken {
            return Err(self.unreadable(error));
        }
        if let Open::Reading(stream) = &self.open {
            let meta = stream.file().metadata().map_err(|e| self.io("cannot read the file's metadata", &e))?;
            if stream.is_plain() && meta.len() < self.lines.end() {
                return Err(Problem::error("FILE-TRUNCATED", "the file was cut while it was read")
                    .at(Place::path(&self.path))
                    .found(format!("{} bytes", meta.len()))
                    .expected(format!("at least {}", self.lines.end()))
                    .kind(Domain::Outside, Retry::No));
            }
        }
        if let Some(rest) = self.lines.rest() {
            return Ok(AtEnd::Rest(rest));
        }
        // The position led to a renamed file: now the one at the path.
        if let Ok(meta) = std::fs::metadata(&self.path)
            && !matches!(self.open, Open::Nothing)
            && !self.position.identity.same_inode(&meta)
        {
            let file = self.shared.access.open(&self.path)?;
            self.turn_to(file)?;
            return Ok(AtEnd::Again);
        }
        self.position.ended = true;
        self.open = Open::Nothing;
        Ok(AtEnd::Ended)
    }

    fn at_end_watching(&mut self) -> Result<AtEnd> {
        if matches!(self.open, Open::Nothing) {
            return match self.shared.access.open(&self.path) {
                Ok(file) => self.turn_to(file).map(|()| AtEnd::Again),
                Err(problem) if problem.code == "IO-NOT-FOUND" => Ok(AtEnd::Wait),
                Err(problem) => Err(problem),
            };
        }
        if let Some(changed) = self.changed_under_us()? {
            return Ok(changed);
        }
        let at_path = std::fs::metadata(&self.path).ok();
        if at_path.as_ref().is_some_and(|m| self.position.identity.same_inode(m)) {
            self.left_since = None;
            return Ok(AtEnd::Wait);
        }
        if self.left_since.get_or_insert_with(Instant::now).elapsed() < self.shared.config.rotate_wait.get() {
            return Ok(AtEnd::Wait);
        }
        if let Some(rest) = self.lines.rest() {
            return Ok(AtEnd::Rest(rest));
        }
        self.leave(at_path.is_some())
    }

    /// The path has led elsewhere for long enough, and everything in the old file has been read.
    fn leave(&mut self, there: bool) -> Result<AtEnd> {
        if there {
            match self.shared.access.open(&self.path) {
                Ok(file) => return self.turn_to(file).map(|()| AtEnd::Again),
                Err(problem) if problem.code == "IO-NOT-FOUND" => {}
                Err(problem) => return Err(problem),
            }
        }
        let gone = self.reopened()?.metadata().is_ok_and(|m| m.nlink() == 0);
        if !gone {
            // Renamed, and nothing has taken its place yet: its writer may still have it.
            return Ok(AtEnd::Wait);
        }
        self.open = Open::Nothing;
        self.lines = self.shared.lines(self.position.offset);
        // The inode will be used again for other files: it says nothing any more.
        self.position.identity = Identity::nothing();
        self.position.ended = true;
        self.shared.remember(&self.partition, &self.position);
        Ok(AtEnd::Moved)
    }

    /// Truncation of a plain file; growth, or a cut end, of a compressed one.
    fn changed_under_us(&mut self) -> Result<Option<AtEnd>> {
        let Open::Reading(stream) = &self.open else { return Ok(None) };
        let len = stream.file().metadata().map_err(|e| self.io("cannot read the file's metadata", &e))?.len();
        if !stream.is_plain() {
            return self.compressed_end(len);
        }
        if len >= self.lines.end() {
            return Ok(None);
        }
        let same = self.position.identity.same_head(stream.file()).map_err(|e| self.io("cannot read the file", &e))?;
        if !same || len == 0 {
            self.restart()?;
            return Ok(Some(AtEnd::Again));
        }
        self.shared.tell(
            Problem::warning(
                "FILE-TRUNCATED",
                "the file was cut short but begins as it did; reading goes on at its new end",
            )
            .at(Place::path(&self.path))
            .found(format!("{len} bytes, had read {}", self.lines.end())),
        );
        let file = self.reopened()?;
        self.position.offset = len;
        self.attach(file)?;
        Ok(Some(AtEnd::Moved))
    }

    /// A compressed file that is still being written is opened again when it has grown.
    fn compressed_end(&mut self, len: u64) -> Result<Option<AtEnd>> {
        let Some((error, len_then, since)) = &self.broken else { return Ok(None) };
        if error.kind() != ErrorKind::UnexpectedEof {
            return Err(self.unreadable(error));
        }
        if len == *len_then {
            let patient = since.elapsed() < self.shared.config.rotate_wait.get();
            return if patient { Ok(Some(AtEnd::Wait)) } else { Err(self.unreadable(error)) };
        }
        let file = self.reopened()?;
        self.broken = None;
        // The decompressor cannot go on after an end; the content up to here is skipped.
        self.lines = self.shared.lines(self.lines.next());
        self.position.offset = self.lines.next();
        match Stream::open(file, self.compression_now()?, self.lines.next()) {
            Ok(stream) => self.open = Open::Reading(stream),
            Err(e) => self.broken = Some((e, len, Instant::now())),
        }
        Ok(Some(AtEnd::Again))
    }

    fn compression_now(&self) -> Result<Compression> {
        let file = self.reopened()?;
        let found = self.compression(&file, true).map_err(|e| self.io("cannot read the file", &e))?;
        Ok(found.unwrap_or(Compression::None))
    }

    fn data(&mut self, start: u64, data: Bytes) -> Polled {
        self.step = STEP_MIN;
        let payload = Payload::new(&self.partition, Body::Bytes { start, data });
        Polled::Data(payload, self.position.to_position())
    }

    fn lines(&mut self, cut: Cut) -> Polled {
        self.position.offset = cut.next;
        self.data(cut.start, cut.data)
    }
}

impl Reader for Follower {
    fn next(&mut self, budget: usize) -> Result<Polled> {
        let budget = budget.clamp(BUDGET_MIN, BUDGET_MAX);
        let mut waited = Duration::ZERO;
        loop {
            if self.position.ended && !self.watching() {
                return Ok(Polled::End(self.position.to_position()));
            }
            if let Some(cut) = self.lines.take() {
                return Ok(self.lines(cut));
            }
            if self.fill(budget)? {
                continue;
            }
            match self.at_end()? {
                AtEnd::Rest(cut) => return Ok(self.lines(cut)),
                AtEnd::Moved => return Ok(self.data(self.position.offset, Bytes::new())),
                AtEnd::Again | AtEnd::Ended => {}
                AtEnd::Wait if waited + self.step > WAIT_MAX => {
                    self.lines.shrink();
                    return Ok(Polled::Idle);
                }
                AtEnd::Wait => {
                    std::thread::sleep(self.step);
                    waited += self.step;
                    self.step = (self.step * 2).min(self.shared.config.poll.get().clamp(STEP_MIN, STEP_MAX));
                }
            }
        }
    }

    fn lag(&self) -> Option<u64> {
        let Open::Reading(stream) = &self.open else { return None };
        let len = stream.file().metadata().ok()?.len();
        stream.is_plain().then(|| len.saturating_sub(self.position.offset))
    }
}

/// Offset behind the last line end of a file.
fn last_line_end(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let from = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - from).expect("at most one block")];
        file.read_exact_at(part, from)?;
        if let Some(i) = memchr::memrchr(b'\n', part) {
            return Ok(from + i as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}
