//! A store in memory, for tests of pipelines and of the log itself: what an object store would be.

use super::store::{Entry, PutOutcome, Store};
use crate::problem::Result;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A [`Store`] that is gone with the process. State lives as long as the value: give the same one to two jobs,
/// one after the other, and the second goes on where the first has ended.
#[derive(Debug, Default)]
pub struct MemStore(Mutex<BTreeMap<String, Bytes>>);

impl MemStore {
    /// All objects by name.
    pub(crate) fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemStore {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<PutOutcome> {
        let mut all = self.objects();
        if all.contains_key(name) && !super::sabotage::planted("overwrite_instead_of_put_if_absent") {
            return Ok(PutOutcome::Exists);
        }
        all.insert(name.into(), Bytes::copy_from_slice(bytes));
        Ok(PutOutcome::Created)
    }
    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.objects().get(name).cloned())
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let all = self.objects();
        let found = all.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, bytes)| Entry { name: name.clone(), len: bytes.len() as u64 }).collect())
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.objects().remove(name);
        Ok(())
    }
    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.objects().get(name).map(|b| b.len() as u64))
    }
    fn describe(&self) -> String {
        "memory:".into()
    }
}
