//! Stand-in.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByteSize(u64);
impl ByteSize {
    pub const fn new(n: u64) -> Self { Self(n) }
    pub const fn mib(n: u64) -> Self { Self(n << 20) }
    pub const fn bytes(self) -> u64 { self.0 }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Duration(u64);
impl Duration {
    pub const fn from_millis(ms: u64) -> Self { Self(ms) }
    pub const fn get(self) -> std::time::Duration { std::time::Duration::from_millis(self.0) }
}
