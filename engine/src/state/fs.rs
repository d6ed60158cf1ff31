//! The few file system calls of [`LocalStore`](super::LocalStore), behind a trait.
//!
//! The trait is the seam of the crash tests: a model of a disk that loses what was not synced stands
//! behind it there. What a name means is up to the file system; nothing here retries.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file open for writing.
pub trait NewFile: Send {
    /// Appends all of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable. Says nothing about the name.
    fn sync(&mut self) -> io::Result<()>;
}

/// What keeps a lock; dropping it lets go. The end of the process lets go too.
pub trait Held: Send + Sync {}

/// What a directory is like.
#[derive(Clone, Copy, Debug)]
pub struct DirInfo {
    /// False if it is something else than a directory.
    pub is_dir: bool,
    /// True if it belongs to the user as whom this process makes files.
    pub is_ours: bool,
    /// Permission bits, such as `0o700`.
    pub mode: u32,
}

/// The calls.
pub trait Fs: Send + Sync + 'static {
    /// Makes a directory that only its owner can enter; an existing one is left as it is. The parent
    /// is not synced.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// What a directory is like.
    fn dir_info(&self, path: &Path) -> io::Result<DirInfo>;
    /// Takes the lock file, or says that someone else has it (`None`). `holder` is written into it.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Held>>>;
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// Gives a file a second name. `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what was there. Only planted mistakes use it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Up to `len` bytes from `offset`; fewer where the file ends.
    fn read(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Names and lengths of the files in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>>;
    /// The length of a file.
    fn len(&self, path: &Path) -> io::Result<u64>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

struct RealFile(File);

impl NewFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Held for File {}

impl Fs for RealFs {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(path)
    }

    fn dir_info(&self, path: &Path) -> io::Result<DirInfo> {
        let meta = fs::metadata(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let is_ours = match process_uid() {
                Some(uid) => uid == meta.uid(),
                None => true,
            };
            Ok(DirInfo { is_dir: meta.is_dir(), is_ours, mode: meta.mode() & 0o7777 })
        }
        #[cfg(not(unix))]
        {
            Ok(DirInfo { is_dir: meta.is_dir(), is_ours: true, mode: 0o700 })
        }
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn Held>>> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Some(Box::new(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(RealFile(File::create_new(path)?)))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        let mut bytes = Vec::new();
        file.take(len as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) if meta.is_file() => {
                    found.push((entry.file_name().to_string_lossy().into_owned(), meta.len()));
                }
                Ok(_) => {}
                // Deleted since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
}

/// The user as whom this process makes files, where the system tells.
#[cfg(unix)]
fn process_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}
