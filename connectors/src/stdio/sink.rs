//! `stdout`: one output for all workers, whole batches, written at every flush.
//!
//! When the other end goes away (`| head`), the rest is let go: the sink reports
//! [`is_broken_pipe`] problems, on which a program ends quietly.

use super::config::StdoutConfig;
use crate::format::{Encode, Format};
use arrow::datatypes::SchemaRef;
use millstream::connect::{Sink, SinkFactory, SinkMode};
use millstream::problem::{Domain, Retry};
use millstream::{Batch, Epoch, Problem, Result};
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

const WRITE_AT: usize = 64 << 10;

/// Where the lines go.
pub type Output = Arc<Mutex<dyn Write + Send>>;

/// Rows to standard output.
pub struct Stdout {
    format: Format,
    output: Output,
    /// The header of CSV goes out once, whichever worker writes first.
    header_written: Arc<Mutex<bool>>,
}

impl Stdout {
    /// Writes to the process's standard output.
    ///
    /// # Errors
    /// `STDOUT-FORMAT` for formats of whole files.
    pub fn new(config: StdoutConfig) -> Result<Stdout> {
        Stdout::with_output(config, Arc::new(Mutex::new(Unbuffered)))
    }

    /// Writes somewhere else instead.
    ///
    /// # Errors
    /// `STDOUT-FORMAT` for formats of whole files.
    pub fn with_output(config: StdoutConfig, output: Output) -> Result<Stdout> {
        if config.format.is_whole_file() {
            return Err(Problem::error("STDOUT-FORMAT", "standard output is written line by line")
                .found(config.format.name())
                .expected("ndjson, csv or text"));
        }
        Ok(Stdout { format: config.format, output, header_written: Arc::default() })
    }
}

/// The standard library's own standard output flushes at line ends; we have whole buffers.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        rustix::io::write(rustix::stdio::stdout(), bytes).map_err(Into::into)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// True if a problem only says that nobody reads the output any more.
pub fn is_broken_pipe(problem: &Problem) -> bool {
    problem.code == "STDOUT-CLOSED"
}

impl SinkFactory for Stdout {
    fn mode(&self) -> SinkMode {
        SinkMode::Direct
    }

    fn open(&self, _worker: usize, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(StdoutSink {
            encoder: self.format.encoder(schema)?,
            output: Arc::clone(&self.output),
            header_written: Arc::clone(&self.header_written),
            buf: Vec::new(),
        }))
    }
}

struct StdoutSink {
    encoder: Box<dyn Encode>,
    output: Output,
    header_written: Arc<Mutex<bool>>,
    buf: Vec<u8>,
}

impl StdoutSink {
    fn drain(&mut self) -> Result<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let mut header_written = self.header_written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut header = Vec::new();
        if !*header_written {
            self.encoder.header(&mut header);
        }
        let done = output.write_all(&header).and_then(|()| output.write_all(&self.buf)).and_then(|()| output.flush());
        *header_written = true;
        self.buf.clear();
        done.map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => Problem::error("STDOUT-CLOSED", "nobody reads standard output any more")
                .kind(Domain::Outside, Retry::No),
            // Part of it may be out: writing it again would double lines.
            _ => Problem::io("cannot write to standard output", "/dev/stdout", &e).kind(Domain::Outside, Retry::No),
        })
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, _epoch: Epoch, batch: Batch) -> Result<()> {
        let before = self.buf.len();
        if let Err(problem) = self.encoder.encode(&batch, &mut self.buf) {
            self.buf.truncate(before);
            return Err(problem);
        }
        if self.buf.len() >= WRITE_AT { self.drain() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.drain()
    }

    fn prepare(&mut self, _checkpoint: Epoch) -> Result<millstream::connect::Handle> {
        self.drain()?;
        Ok(millstream::connect::Handle(serde_json::Value::Null))
    }

    fn finish(&mut self) -> Result<()> {
        self.drain()
    }
}
