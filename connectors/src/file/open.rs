//! Opening what a file source may read: regular files, nothing that blocks or is not data.

use millstream::{Place, Problem, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Opens a regular file for reading; a directory, FIFO, socket or device is refused, and opening never
/// waits for a writer.
///
/// # Errors
/// `FILE-IS-DIRECTORY`, `FILE-NOT-REGULAR`, `IO-NOT-FOUND`, `IO-PERMISSION`, `IO`.
pub fn regular(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Problem::io("cannot open the file", path, &e.into()))?;
    checked(File::from(fd), path)
}

/// Opens a regular file that must lie beneath `root`, whatever symbolic links say.
///
/// # Errors
/// As [`regular`], and `FILE-OUTSIDE-ROOT`.
pub fn beneath(root: &Path, path: &Path) -> Result<File> {
    let outside = || {
        Problem::error("FILE-OUTSIDE-ROOT", "the path leads out of the directory that pipelines may use")
            .at(Place::path(path))
            .expected(format!("a file beneath {}", root.display()))
    };
    let inner = path.strip_prefix(root).map_err(|_| outside())?;
    let dir = File::open(root).map_err(|e| Problem::io("cannot open the directory", root, &e))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&dir, inner, flags, Mode::empty(), how) {
        Ok(fd) => checked(File::from(fd), path),
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => Err(outside()),
        Err(e) => Err(Problem::io("cannot open the file", path, &e.into())),
    }
}

fn checked(file: File, path: &Path) -> Result<File> {
    let kind = file.metadata().map_err(|e| Problem::io("cannot read the file's metadata", path, &e))?.file_type();
    if kind.is_dir() {
        return Err(Problem::error("FILE-IS-DIRECTORY", "the path is a directory")
            .at(Place::path(path))
            .expected("a file or a pattern")
            .help(format!("to read all files in it, write {}/*", path.display())));
    }
    if !kind.is_file() {
        return Err(Problem::error("FILE-NOT-REGULAR", "the path is not a regular file")
            .at(Place::path(path))
            .found("a FIFO, socket or device")
            .help("it has no positions to go on from; pipe it into `stdin` instead"));
    }
    Ok(file)
}

/// Where files may be read and written: relative paths start at `base`; with `root`, nothing outside of
/// it can be reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The directory that relative paths start from; empty = the working directory.
    pub base: PathBuf,
    /// The jail, where there is one.
    pub root: Option<PathBuf>,
}

impl Access {
    /// Relative paths start at `base`; no jail.
    pub fn new(base: impl Into<PathBuf>) -> Access {
        Access { base: base.into(), root: None }
    }

    /// `path` as it is opened.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// See [`regular`] and [`beneath`].
    pub fn open(&self, path: &Path) -> Result<File> {
        match &self.root {
            None => regular(path),
            Some(root) => beneath(root, path),
        }
    }
}
