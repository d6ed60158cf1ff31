//! Stand-in.
use millstream::{Batch, Result};
pub trait Encode: Send {
    fn header(&mut self, out: &mut Vec<u8>);
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()>;
}
