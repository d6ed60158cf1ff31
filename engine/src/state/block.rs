//! The format of a data file: blocks, a directory of them, a trailer.
//!
//! ```text
//!   "MSSTATE" version:u8
//!   block*     header length:u32  body length:u32  CRC32C(header, body):u32  header (JSON)  body (Arrow IPC stream)
//!   directory  JSON: every block's header and place
//!   trailer    directory offset:u64  directory length:u32  CRC32C(directory):u32  "MSSTEND1"
//! ```
//! Integers are little-endian. A block says what it is twice, in its header and in the directory, so
//! that a directory entry can never be taken for another block's. Version 1 is the only one so far; a
//! newer one is refused.

use crate::operator::{Change, StateBlock};
use crate::problem::{Place, Problem, Result};
use crate::state::sabotage;
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

/// The newest format this program reads and writes.
pub const VERSION: u8 = 1;
const MAGIC: &[u8; 7] = b"MSSTATE";
const END: &[u8; 8] = b"MSSTEND1";
const HEAD: usize = 8;
const FRAME: usize = 12;
/// Length of the trailer in bytes.
pub const TRAILER: usize = 24;

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The state it belongs to.
    pub id: String,
    /// The operator's table.
    pub table: String,
    /// What it dies with.
    pub segment: i64,
    /// Rows in it.
    pub rows: u64,
}

/// A block's entry in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// What it is.
    #[serde(flatten)]
    pub header: Header,
    /// Offset of its frame in the file.
    pub at: u64,
    /// Bytes of the frame, the header and the body.
    pub len: u64,
}

/// Writes one data file in memory.
pub struct Writer {
    bytes: Vec<u8>,
    listed: Vec<Listed>,
}

impl Default for Writer {
    fn default() -> Writer {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        Writer { bytes, listed: Vec::new() }
    }
}

impl Writer {
    /// Adds a block of rows.
    pub fn add(&mut self, id: &str, table: &str, segment: i64, rows: &RecordBatch) -> Result<()> {
        let header = Header { id: id.into(), table: table.into(), segment, rows: rows.num_rows() as u64 };
        let head = serde_json::to_vec(&header).map_err(|e| Problem::internal(e.to_string()))?;
        let at = self.bytes.len();
        self.bytes.extend([0; FRAME]);
        self.bytes.extend(&head);
        let body = self.bytes.len();
        write_rows(&mut self.bytes, rows)
            .map_err(|e| Problem::internal(format!("cannot encode a state block: {e}")))?;
        let too_big = |_| Problem::error("STATE-BLOCK-SIZE", "a state block is over 4 GiB").node(id);
        let body_len = u32::try_from(self.bytes.len() - body).map_err(too_big)?;
        let crc = crc32c::crc32c(&self.bytes[at + FRAME..]);
        let head_len = u32::try_from(head.len()).map_err(too_big)?;
        for (i, word) in [head_len, body_len, crc].into_iter().enumerate() {
            self.bytes[at + 4 * i..at + 4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
        self.listed.push(Listed { header, at: at as u64, len: (self.bytes.len() - at) as u64 });
        Ok(())
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The whole file, and its directory.
    pub fn finish(mut self) -> Result<(Vec<u8>, Vec<Listed>)> {
        let directory = serde_json::to_vec(&self.listed).map_err(|e| Problem::internal(e.to_string()))?;
        let at = self.bytes.len() as u64;
        self.bytes.extend(&directory);
        self.bytes.extend(at.to_le_bytes());
        let len = u32::try_from(directory.len()).map_err(|_| Problem::internal("a state file has too many blocks"))?;
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(crc32c::crc32c(&directory).to_le_bytes());
        self.bytes.extend(END);
        Ok((self.bytes, self.listed))
    }
}

fn write_rows(to: &mut Vec<u8>, rows: &RecordBatch) -> arrow::error::Result<()> {
    let mut writer = StreamWriter::try_new(to, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()
}

/// What is wrong with a file, before its name is known.
fn bad(found: impl Into<String>) -> Problem {
    Problem::outside("STATE-CORRUPT-FILE", "a state file is damaged").found(found)
}

/// Where the directory lies, from the last [`TRAILER`] bytes of a file of `len` bytes: offset and length.
pub fn read_trailer(trailer: &[u8], len: u64) -> Result<(u64, usize)> {
    if trailer.len() != TRAILER || &trailer[16..] != END {
        return Err(bad("no end mark"));
    }
    let (at, size) = (u64_at(trailer, 0), u64::from(u32_at(trailer, 8)));
    let ends = at.checked_add(size).and_then(|end| end.checked_add(TRAILER as u64));
    if at < HEAD as u64 || ends != Some(len) {
        return Err(bad("a directory outside the file"));
    }
    Ok((at, usize::try_from(size).map_err(|_| bad("a directory outside the file"))?))
}

/// The directory, from its bytes and the trailer's.
pub fn read_directory(directory: &[u8], trailer: &[u8]) -> Result<Vec<Listed>> {
    if trailer.len() != TRAILER || directory.len() != u32_at(trailer, 8) as usize {
        return Err(bad("a short directory"));
    }
    if !sabotage::planted("skip_checksum") && crc32c::crc32c(directory) != u32_at(trailer, 12) {
        return Err(bad("a wrong checksum of the directory"));
    }
    serde_json::from_slice(directory).map_err(|e| bad(format!("an unreadable directory: {e}")))
}

/// Checks the first bytes of a file.
pub fn check_head(head: &[u8]) -> Result<()> {
    match head.strip_prefix(MAGIC) {
        Some([version, ..]) if *version > VERSION => {
            Err(Problem::error("STATE-NEWER-FORMAT", "a state file was written by a newer Millstream")
                .found(format!("format {version}"))
                .expected(format!("format {VERSION} or older"))
                .help("start the version that wrote it, or a newer one"))
        }
        Some([VERSION, ..]) => Ok(()),
        _ => Err(bad("no state file's beginning")),
    }
}

/// Decodes one block from the bytes of its frame.
pub fn read_block(listed: &Listed, bytes: &[u8]) -> Result<StateBlock> {
    let short = || bad("a short block");
    if bytes.len() as u64 != listed.len || bytes.len() < FRAME {
        return Err(short());
    }
    let (head, body) = (u32_at(bytes, 0) as usize, u32_at(bytes, 4) as usize);
    if head.checked_add(body).and_then(|n| n.checked_add(FRAME)) != Some(bytes.len()) {
        return Err(bad("wrong lengths in a block"));
    }
    if !sabotage::planted("skip_checksum") && crc32c::crc32c(&bytes[FRAME..]) != u32_at(bytes, 8) {
        return Err(bad("a wrong checksum of a block"));
    }
    let (head, body) = bytes[FRAME..].split_at(head);
    let header: Header = serde_json::from_slice(head).map_err(|e| bad(format!("an unreadable block header: {e}")))?;
    if header != listed.header {
        return Err(bad("a block that is not the one its directory names"));
    }
    let rows = read_rows(body)?;
    if rows.num_rows() as u64 != header.rows {
        return Err(bad(format!("{} rows in a block of {}", rows.num_rows(), header.rows)));
    }
    Ok(StateBlock { table: header.table, segment: header.segment, change: Change::Rows(rows) })
}

fn read_rows(body: &[u8]) -> Result<RecordBatch> {
    let undecodable = |e: arrow::error::ArrowError| bad(format!("an undecodable block: {e}"));
    let mut reader = StreamReader::try_new(body, None).map_err(undecodable)?;
    match (reader.next().transpose().map_err(undecodable)?, reader.next()) {
        (Some(rows), None) => Ok(rows),
        _ => Err(bad("not exactly one batch in a block")),
    }
}

/// All blocks of a whole file, in order: for `verify`.
pub fn read_all(file: &[u8]) -> Result<Vec<(Listed, StateBlock)>> {
    check_head(file)?;
    let trailer = file.len().checked_sub(TRAILER).map(|at| &file[at..]).ok_or_else(|| bad("a short file"))?;
    let (at, len) = read_trailer(trailer, file.len() as u64)?;
    let at = usize::try_from(at).map_err(|_| bad("a directory outside the file"))?;
    let mut blocks = Vec::new();
    for listed in read_directory(&file[at..at + len], trailer)? {
        let frame = usize::try_from(listed.at).ok().zip(usize::try_from(listed.len).ok());
        let bytes = frame
            .and_then(|(at, len)| file.get(at..at.checked_add(len)?))
            .ok_or_else(|| bad("a block outside the file"))?;
        let block = read_block(&listed, bytes)?;
        blocks.push((listed, block));
    }
    Ok(blocks)
}

/// Says in which file, and what to do.
pub fn in_file(mut problem: Problem, place: Place) -> Problem {
    problem.place = Some(place);
    if problem.help.is_none() {
        problem = problem.help(super::record::DAMAGE_HELP);
    }
    problem
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
