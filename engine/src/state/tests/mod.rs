//! Tests of the store and the log. Every random test prints its seed when it fails.

mod crash;
mod disk;
#[cfg(feature = "failpoints")]
mod failpoints;
mod golden;
mod local;
mod races;
mod random;
mod surgery;
mod work;

use super::store::{Entry, PutOutcome, Store};
use crate::problem::Result;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A store in memory: what an object store would be.
#[derive(Default)]
pub struct MemStore(pub Mutex<BTreeMap<String, Bytes>>);

impl MemStore {
    pub fn copy(&self) -> Arc<MemStore> {
        Arc::new(MemStore(Mutex::new(self.0.lock().unwrap().clone())))
    }
    pub fn set(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.into(), Bytes::copy_from_slice(bytes));
    }
    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

impl Store for MemStore {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<PutOutcome> {
        let mut all = self.0.lock().unwrap();
        if all.contains_key(name) && !super::sabotage::planted("overwrite_instead_of_put_if_absent") {
            return Ok(PutOutcome::Exists);
        }
        all.insert(name.into(), Bytes::copy_from_slice(bytes));
        Ok(PutOutcome::Created)
    }
    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let all = self.0.lock().unwrap();
        let found = all.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, bytes)| Entry { name: name.clone(), len: bytes.len() as u64 }).collect())
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.0.lock().unwrap().get(name).map(|b| b.len() as u64))
    }
    fn describe(&self) -> String {
        "memory:".into()
    }
}
