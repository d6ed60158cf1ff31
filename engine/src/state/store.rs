//! Where checkpoints lie: put-if-absent, get, list, delete.
//!
//! The log needs nothing else, so that an object store with conditional writes can stand in for a
//! directory. Names are `log/…` and `data/…`: one class, a slash, one plain name.
//!
//! [`LocalStore`] puts like this: write a temporary file, sync it, link it to its name (which fails if
//! the name is taken), unlink the temporary name, sync the directory. So a name is only ever seen with
//! all of its bytes, and a put that has answered survives a power cut. A failed sync is final: the
//! kernel may have dropped the pages, so the store refuses every later put until it is opened anew.

use super::fs::{Fs, Held};
use super::sabotage;
use crate::failpoint;
use crate::problem::{Domain, Place, Problem, Result, Retry};
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a put came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The name is new and durable.
    Created,
    /// The name was taken; nothing has changed.
    Exists,
}

/// One name in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The whole name, such as `log/000000000001`.
    pub name: String,
    /// Bytes.
    pub len: u64,
}

/// A flat set of immutable named objects. Calls block.
pub trait Store: Send + Sync + 'static {
    /// Creates an object unless the name is taken. When it returns `Created` the object is durable.
    ///
    /// # Errors
    /// `STATE-DISK-FULL` can be tried again; where [`Retry::Unknown`] stands the object may be there.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<PutOutcome>;
    /// All bytes of an object; `None` = there is none.
    fn get(&self, name: &str) -> Result<Option<Bytes>>;
    /// Up to `len` bytes from `offset`; fewer where the object ends, `None` = there is none.
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Bytes>> {
        Ok(self.get(name)?.map(|all| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
            all.slice(from..from.saturating_add(len).min(all.len()))
        }))
    }
    /// All objects whose name begins with `prefix`, in name order.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>>;
    /// Removes an object; none there is fine. Durable at some later time.
    fn delete(&self, name: &str) -> Result<()>;
    /// The length of an object; `None` = there is none.
    fn size(&self, name: &str) -> Result<Option<u64>>;
    /// Where it is, for people.
    fn describe(&self) -> String;
    /// Where an object is, for people.
    fn place(&self, name: &str) -> Place {
        Place::Path { path: format!("{}/{name}", self.describe()) }
    }
}

/// The classes, each a directory of a [`LocalStore`].
const CLASSES: [&str; 2] = ["log", "data"];

/// A store in a local directory.
pub struct LocalStore {
    dir: PathBuf,
    fs: Arc<dyn Fs>,
    temporary: AtomicU64,
    poison: Mutex<Option<Problem>>,
    lock: Option<Box<dyn Held>>,
}

impl LocalStore {
    /// Opens a directory for one writer, making it if it is not there.
    ///
    /// # Errors
    /// `STATE-IN-USE` if another process has it open; `STATE-DIR` if the directory belongs to another
    /// user, cannot be written, or can be written by everybody.
    pub fn open(dir: impl Into<PathBuf>, fs: Arc<dyn Fs>) -> Result<Arc<LocalStore>> {
        let dir = dir.into();
        let wrap = |what: &str, e: io::Error| failed(what, &dir, &e, 0);
        fs.make_dir(&dir).map_err(|e| wrap("cannot make the state directory", e))?;
        check_dir(&dir, &*fs)?;
        let lock = lock(&dir, &*fs)?;
        fs.make_dir(&dir.join("tmp")).map_err(|e| wrap("cannot make a directory", e))?;
        for class in CLASSES.map(|class| dir.join(class)) {
            fs.make_dir(&class).map_err(|e| wrap("cannot make a directory", e))?;
            // A killed predecessor may have left names that are seen but not durable. Nothing may be built
            // on them before they are: a later name could survive a power cut that they do not.
            fs.sync_dir(&class).map_err(|e| wrap("cannot sync a directory", e))?;
        }
        let tmp = dir.join("tmp");
        for (name, _) in fs.list(&tmp).map_err(|e| wrap("cannot list", e))? {
            fs.unlink(&tmp.join(name)).map_err(|e| wrap("cannot clean up", e))?;
        }
        fs.sync_dir(&dir).map_err(|e| wrap("cannot sync the directory", e))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs.sync_dir(parent).map_err(|e| wrap("cannot sync the parent directory", e))?;
        }
        Ok(Arc::new(LocalStore { dir, fs, temporary: AtomicU64::new(0), poison: Mutex::default(), lock: Some(lock) }))
    }

    /// Opens a directory for looking only, also while a pipeline runs on it: puts and deletes fail.
    pub fn open_read_only(dir: impl Into<PathBuf>, fs: Arc<dyn Fs>) -> Result<Arc<LocalStore>> {
        let dir = dir.into();
        let info = fs.dir_info(&dir).map_err(|e| failed("cannot read the state directory", &dir, &e, 0))?;
        if !info.is_dir {
            return Err(dir_problem(&dir, "not a directory"));
        }
        let (temporary, poison) = (AtomicU64::new(0), Mutex::default());
        Ok(Arc::new(LocalStore { dir, fs, temporary, poison, lock: None }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn check_writable(&self) -> Result<()> {
        if self.lock.is_none() {
            return Err(Problem::internal("a store opened for looking was written to").at(Place::path(&self.dir)));
        }
        match &*self.poison.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        }
    }

    /// A sync has failed: what is on the disk is no longer known, by anyone.
    fn poisoned(&self, what: &str, path: &Path, error: &io::Error, retry: Retry) -> Problem {
        let problem = Problem::outside("STATE-SYNC", what)
            .at(Place::path(path))
            .found(error.to_string())
            .help("the disk refused to make data durable: look at the kernel log, then start again; the last checkpoint is kept")
            .kind(Domain::Outside, retry);
        *self.poison.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem.clone());
        problem
    }

    /// Writes and syncs a temporary file. Nothing is left of it when this fails.
    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let needed = bytes.len() as u64;
        let cleanup = |problem: Problem| {
            // What cannot be removed now is removed at the next start.
            let _ = self.fs.unlink(path);
            problem
        };
        let mut file = self.fs.create(path).map_err(|e| failed("cannot make a file", path, &e, needed))?;
        failpoint!("store.put.created");
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write(first).map_err(|e| cleanup(failed("cannot write", path, &e, needed)))?;
        failpoint!("store.put.half_written");
        file.write(second).map_err(|e| cleanup(failed("cannot write", path, &e, needed)))?;
        failpoint!("store.put.written");
        match file.sync() {
            Ok(()) => {}
            // Delayed allocation: no page was lost that anybody counts on.
            Err(e) if is_full(&e) => return Err(cleanup(failed("cannot write", path, &e, needed))),
            Err(e) => return Err(cleanup(self.poisoned("cannot sync a file", path, &e, Retry::No))),
        }
        failpoint!("store.put.synced");
        Ok(())
    }
}

impl Store for LocalStore {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<PutOutcome> {
        self.check_writable()?;
        failpoint!("store.put.begin");
        let (class, path) = (self.path(class_of(name)?), self.path(name));
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path(&format!("tmp/{}-{number}", std::process::id()));
        self.write_temporary(&temporary, bytes)?;
        let linked = if sabotage::planted("overwrite_instead_of_put_if_absent") {
            self.fs.rename(&temporary, &path)
        } else {
            self.fs.link(&temporary, &path)
        };
        failpoint!("store.put.linked");
        // A temporary name that stays is removed at the next start.
        let _ = self.fs.unlink(&temporary);
        failpoint!("store.put.unlinked");
        match linked {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(PutOutcome::Exists),
            Err(e) if is_full(&e) => {
                return Err(failed("cannot link a file to its name", &path, &e, bytes.len() as u64));
            }
            // Whether the name is there is for the next start to find out.
            Err(e) => {
                let problem = failed("cannot link a file to its name", &path, &e, 0);
                return Err(problem.kind(Domain::Outside, Retry::Unknown));
            }
        }
        if !sabotage::planted("skip_dir_fsync") {
            self.fs
                .sync_dir(&class)
                .map_err(|e| self.poisoned("cannot sync a directory", &class, &e, Retry::Unknown))?;
        }
        failpoint!("store.put.dir_synced");
        Ok(PutOutcome::Created)
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.get_range(name, 0, usize::MAX)
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Bytes>> {
        class_of(name)?;
        match self.fs.read(&self.path(name), offset, len) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read", &self.path(name), &e, 0)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for class in CLASSES {
            let start = format!("{class}/");
            if !prefix.starts_with(&start) && !start.starts_with(prefix) {
                continue;
            }
            match self.fs.list(&self.path(class)) {
                Ok(files) => {
                    found.extend(files.into_iter().map(|(name, len)| Entry { name: format!("{start}{name}"), len }))
                }
                Err(e) if e.kind() == ErrorKind::NotFound && self.lock.is_none() => {}
                Err(e) => return Err(failed("cannot list", &self.path(class), &e, 0)),
            }
        }
        found.retain(|entry| entry.name.starts_with(prefix));
        found.sort();
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        class_of(name)?;
        failpoint!("store.delete.begin");
        match self.fs.unlink(&self.path(name)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed("cannot delete", &self.path(name), &e, 0)),
        }
        failpoint!("store.delete.unlinked");
        Ok(())
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.fs.len(&self.path(name)) {
            Ok(len) => Ok(Some(len)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot look at", &self.path(name), &e, 0)),
        }
    }

    fn describe(&self) -> String {
        self.dir.display().to_string()
    }
}

/// The class of a name. Names come from our own records, but a record may lie.
fn class_of(name: &str) -> Result<&str> {
    let parts = name.split_once('/').filter(|(class, rest)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        CLASSES.contains(class) && !rest.is_empty() && !rest.starts_with('.') && rest.chars().all(plain)
    });
    match parts {
        Some((class, _)) => Ok(class),
        None => Err(Problem::error("STATE-NAME", "not a name of a state file")
            .found(format!("{name:?}"))
            .expected("log/… or data/…")),
    }
}

fn lock(dir: &Path, fs: &dyn Fs) -> Result<Box<dyn Held>> {
    let path = dir.join("lock");
    let holder = format!("{}\n", std::process::id());
    match fs.lock(&path, &holder).map_err(|e| failed("cannot lock the state directory", &path, &e, 0))? {
        Some(held) => Ok(held),
        None => {
            let holder = fs.read(&path, 0, 64).unwrap_or_default();
            let pid = String::from_utf8_lossy(&holder).trim().to_string();
            Err(Problem::error("STATE-IN-USE", "another process runs on this state directory")
                .at(Place::path(dir))
                .found(if pid.is_empty() { "an unknown process".into() } else { format!("process {pid}") })
                .help("stop that process, or give this pipeline a state directory of its own")
                .kind(Domain::User, Retry::Backoff))
        }
    }
}

fn check_dir(dir: &Path, fs: &dyn Fs) -> Result<()> {
    let info = fs.dir_info(dir).map_err(|e| failed("cannot read the state directory", dir, &e, 0))?;
    if !info.is_dir {
        return Err(dir_problem(dir, "not a directory"));
    }
    if !info.is_ours {
        return Err(dir_problem(dir, "it belongs to another user"));
    }
    if info.mode & 0o200 == 0 {
        return Err(dir_problem(dir, &format!("it is read-only (mode {:04o})", info.mode)));
    }
    if info.mode & 0o002 != 0 {
        return Err(dir_problem(dir, &format!("everybody can write to it (mode {:04o})", info.mode)));
    }
    Ok(())
}

fn dir_problem(dir: &Path, found: &str) -> Problem {
    Problem::error("STATE-DIR", "the state directory cannot be used")
        .at(Place::path(dir))
        .found(found)
        .expected("a directory of this user with mode 0700")
        .help(format!("chown it to this user and `chmod 700 {}`, or name another directory", dir.display()))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A failed call as a problem. `needed` is what was to be written, in bytes.
fn failed(what: &str, path: &Path, error: &io::Error, needed: u64) -> Problem {
    let problem = match error.kind() {
        _ if is_full(error) => {
            let need = if needed > 0 { format!(", {needed} bytes are needed") } else { String::new() };
            Problem::outside("STATE-DISK-FULL", format!("{what}: the disk is full{need}"))
                .help("free space on this disk; a pipeline that runs goes on by itself, one that could not start is started again")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Problem::error("STATE-DIR", what).help("the state directory must belong to this user and be writable")
        }
        _ => Problem::outside("STATE-IO", what),
    };
    problem.at(Place::path(path)).found(error.to_string())
}
