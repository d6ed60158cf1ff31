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

use super::memory::MemStore;
use bytes::Bytes;
use std::sync::Arc;

impl MemStore {
    pub(crate) fn copy(&self) -> Arc<MemStore> {
        let copy = MemStore::default();
        copy.objects().clone_from(&self.objects());
        Arc::new(copy)
    }
    pub(super) fn set(&self, name: &str, bytes: &[u8]) {
        self.objects().insert(name.into(), Bytes::copy_from_slice(bytes));
    }
    pub(super) fn names(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }
}
