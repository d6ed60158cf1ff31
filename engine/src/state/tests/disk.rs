//! A disk that forgets: what was not synced may be lost, torn or reordered by a power cut.
//!
//! * A file's bytes are safe once the file was synced; before that each block of 512 B to 4 KiB is,
//!   each for itself, there, zero, or noise, and the length is anything.
//! * A name is safe once its directory was synced; before that each name is in any of the states it
//!   went through, each for itself: so links, unlinks and renames reorder.
//! * The `n`th call can be the one at which the machine goes off, or can fail with `ENOSPC` or `EIO`. A
//!   sync that failed drops the dirty blocks: a second sync answers well and saves nothing.

use crate::state::fs::{DirInfo, Fs, Held, NewFile};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    safe: Vec<u8>,
    /// A sync has failed: what is dirty now is never written.
    lost: bool,
}

#[derive(Clone, Default)]
struct Dir {
    now: BTreeMap<String, usize>,
    safe: BTreeMap<String, usize>,
    /// States of names since the last sync, in order.
    pending: Vec<(String, Option<usize>)>,
}

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Off,
    Full,
    Eio,
}

#[derive(Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    /// Faults that took place.
    pub faults: u64,
}

/// A [`Disk`] as a file system; clones share it.
#[derive(Clone, Default)]
pub struct ModelFs(pub Arc<Mutex<Disk>>);

struct Open(ModelFs, usize);
struct Lock;
impl Held for Lock {}

impl ModelFs {
    /// Lets `fault` happen at the `after`th changing call from now (from 1).
    pub fn plan(&self, after: u64, fault: Fault) {
        let mut disk = self.0.lock().unwrap();
        disk.fault = Some((disk.calls + after, fault));
    }
    pub fn is_off(&self) -> bool {
        self.0.lock().unwrap().off
    }
    pub fn faults(&self) -> u64 {
        self.0.lock().unwrap().faults
    }
    /// The machine comes back after a power cut: what was not safe is decided by `rng`.
    pub fn power_cut(&self, rng: &mut fastrand::Rng) {
        let mut disk = self.0.lock().unwrap();
        let disk = &mut *disk;
        for dir in disk.dirs.values_mut() {
            let mut names: BTreeMap<String, Vec<Option<usize>>> = BTreeMap::new();
            for (name, state) in dir.pending.drain(..) {
                names.entry(name).or_default().push(state);
            }
            for (name, states) in names {
                match rng.usize(0..=states.len()).checked_sub(1) {
                    None => {}
                    Some(i) => {
                        match states[i] {
                            Some(inode) => dir.safe.insert(name, inode),
                            None => dir.safe.remove(&name),
                        };
                    }
                }
            }
            dir.now = dir.safe.clone();
        }
        for inode in &mut disk.inodes {
            if inode.bytes != inode.safe {
                inode.bytes = torn(inode, rng);
            }
            inode.safe = inode.bytes.clone();
            inode.lost = false;
        }
        (disk.off, disk.fault) = (false, None);
    }
    /// The process is killed and the machine goes on: nothing is lost.
    pub fn kill(&self) {
        let mut disk = self.0.lock().unwrap();
        (disk.off, disk.fault) = (false, None);
    }

    /// Counts a changing call; fails if its time has come.
    fn call(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.off {
            return Err(io::Error::other("the machine is off"));
        }
        disk.calls += 1;
        match disk.fault {
            Some((at, fault)) if at == disk.calls => {
                disk.fault = None;
                disk.faults += 1;
                match fault {
                    Fault::Off => {
                        disk.off = true;
                        Err(io::Error::other("the machine is off"))
                    }
                    Fault::Full => Err(ErrorKind::StorageFull.into()),
                    Fault::Eio => Err(io::Error::from_raw_os_error(5)),
                }
            }
            _ => Ok(()),
        }
    }
    fn in_dir<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&mut Dir, String, &mut Vec<Inode>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.0.lock().unwrap();
        let Disk { dirs, inodes, off, .. } = &mut *disk;
        if *off {
            return Err(io::Error::other("the machine is off"));
        }
        let dir = dirs.get_mut(path.parent().unwrap()).ok_or(ErrorKind::NotFound)?;
        work(dir, path.file_name().unwrap().to_str().unwrap().to_string(), inodes)
    }
}

fn torn(inode: &Inode, rng: &mut fastrand::Rng) -> Vec<u8> {
    let block = 512 << rng.u32(0..4);
    let len = rng.usize(inode.safe.len().min(inode.bytes.len())..=inode.bytes.len());
    let mut bytes = inode.bytes[..len].to_vec();
    for (i, chunk) in bytes.chunks_mut(block).enumerate() {
        let safe = inode.safe.get(i * block..i * block + chunk.len()).is_some_and(|s| s == chunk);
        match rng.u32(0..4) {
            _ if safe => {}
            0 => chunk.fill(0),
            1 => chunk.iter_mut().for_each(|b| *b = rng.u8(..)),
            _ => {}
        }
    }
    bytes
}

impl Dir {
    fn set(&mut self, name: String, inode: Option<usize>) {
        match inode {
            Some(inode) => self.now.insert(name.clone(), inode),
            None => self.now.remove(&name),
        };
        self.pending.push((name, inode));
    }
}

impl NewFile for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let failed = self.0.call();
        let mut disk = self.0.0.lock().unwrap();
        // A write that fails may have written a part.
        let len = if failed.is_ok() { bytes.len() } else { bytes.len() / 3 };
        disk.inodes[self.1].bytes.extend(&bytes[..len]);
        failed
    }
    fn sync(&mut self) -> io::Result<()> {
        let failed = self.0.call();
        let mut disk = self.0.0.lock().unwrap();
        let inode = &mut disk.inodes[self.1];
        if failed.is_err() {
            inode.lost = true;
        } else if !inode.lost {
            inode.safe = inode.bytes.clone();
        }
        failed
    }
}

impl Fs for ModelFs {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        if !self.0.lock().unwrap().dirs.contains_key(path) {
            self.call()?;
        }
        // Directories are not what is tested: they are safe at once.
        self.0.lock().unwrap().dirs.entry(path.into()).or_default();
        Ok(())
    }
    fn dir_info(&self, _: &Path) -> io::Result<DirInfo> {
        Ok(DirInfo { is_dir: true, is_ours: true, mode: 0o700 })
    }
    fn lock(&self, _: &Path, _: &str) -> io::Result<Option<Box<dyn Held>>> {
        Ok(Some(Box::new(Lock)))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.call()?;
        let inode = self.in_dir(path, |dir, name, inodes| {
            if dir.now.contains_key(&name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            inodes.push(Inode::default());
            dir.set(name, Some(inodes.len() - 1));
            Ok(inodes.len() - 1)
        })?;
        Ok(Box::new(Open(self.clone(), inode)))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        let inode = self.in_dir(from, |dir, name, _| dir.now.get(&name).copied().ok_or(ErrorKind::NotFound.into()))?;
        self.in_dir(to, |dir, name, _| {
            if dir.now.contains_key(&name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            dir.set(name, Some(inode));
            Ok(())
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        let inode = self.in_dir(from, |dir, name, _| {
            let inode = dir.now.get(&name).copied().ok_or(ErrorKind::NotFound)?;
            dir.set(name, None);
            Ok(inode)
        })?;
        self.in_dir(to, |dir, name, _| {
            dir.set(name, Some(inode));
            Ok(())
        })
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        self.in_dir(path, |dir, name, _| {
            if !dir.now.contains_key(&name) {
                return Err(ErrorKind::NotFound.into());
            }
            dir.set(name, None);
            Ok(())
        })
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        let mut disk = self.0.lock().unwrap();
        if let Some(dir) = disk.dirs.get_mut(path) {
            dir.safe = dir.now.clone();
            dir.pending.clear();
        }
        Ok(())
    }
    fn read(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.in_dir(path, |dir, name, inodes| {
            let bytes = &inodes[*dir.now.get(&name).ok_or(ErrorKind::NotFound)?].bytes;
            let from = (offset as usize).min(bytes.len());
            Ok(bytes[from..from.saturating_add(len).min(bytes.len())].to_vec())
        })
    }
    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        self.in_dir(&path.join("x"), |dir, _, inodes| {
            Ok(dir.now.iter().map(|(name, i)| (name.clone(), inodes[*i].bytes.len() as u64)).collect())
        })
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.read(path, 0, usize::MAX).map(|b| b.len() as u64)
    }
}
