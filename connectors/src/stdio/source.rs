//! `stdin`: one partition, lines in the order in which they come.
//!
//! A read returns what is there at once and waits for the rest of nothing but a half line, so a line is
//! on its way as soon as its line end is.

use super::config::StdinConfig;
use crate::file::cut::{Cut, Lines};
use crate::format::DecodeOptions;
use arrow::datatypes::SchemaRef;
use millstream::connect::{Body, Decoder, PartitionId, Payload, Polled, Position, Reader, Source};
use millstream::{Problem, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const READ_BYTES: usize = 64 << 10;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 90_000_000 };

/// Lines from standard input.
pub struct Stdin {
    config: StdinConfig,
    input: OwnedFd,
}

impl Stdin {
    /// Reads the process's standard input.
    ///
    /// # Errors
    /// `STDIN-FORMAT` for formats of whole files, `IO` where there is no standard input.
    pub fn new(config: StdinConfig) -> Result<Stdin> {
        let input = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| Problem::io("cannot open standard input", "/dev/stdin", &e))?;
        Stdin::with_input(config, input)
    }

    /// Reads another descriptor instead.
    ///
    /// # Errors
    /// `STDIN-FORMAT` for formats of whole files.
    pub fn with_input(config: StdinConfig, input: OwnedFd) -> Result<Stdin> {
        if config.format.is_whole_file() {
            return Err(Problem::error("STDIN-FORMAT", "standard input is read line by line")
                .found(config.format.name())
                .expected("text, ndjson or csv"));
        }
        Ok(Stdin { config, input })
    }
}

impl Source for Stdin {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec![PartitionId::from("stdin")])
    }

    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        let max_line = usize::try_from(self.config.max_line.bytes()).unwrap_or(usize::MAX - 1);
        // After a restart the count goes on; the input itself cannot be sought.
        let start = from.and_then(|p| p.0.as_u64()).unwrap_or(0);
        Ok(Box::new(StdinReader {
            partition: Arc::clone(partition),
            input: self.input.try_clone().map_err(|e| Problem::io("cannot open standard input", "/dev/stdin", &e))?,
            lines: Lines::new(start, max_line, matches!(self.config.format, crate::format::Format::Csv(_))),
            ended: false,
        }))
    }

    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        let line_bytes_max = usize::try_from(self.config.max_line.bytes()).unwrap_or(usize::MAX - 1);
        self.config.format.decoder(schema, &DecodeOptions { line_bytes_max, ..DecodeOptions::default() })
    }

    fn bounded(&self) -> bool {
        true
    }

    fn replayable(&self) -> bool {
        false
    }
}

struct StdinReader {
    partition: PartitionId,
    input: OwnedFd,
    lines: Lines,
    ended: bool,
}

impl StdinReader {
    fn data(&self, cut: Cut) -> Polled {
        let body = Body::Bytes { start: cut.start, data: cut.data };
        let payload = Payload::new(&self.partition, body);
        Polled::Data(payload, Position(cut.next.into()))
    }

    /// False if nothing came in time.
    fn wait(&self) -> Result<bool> {
        let mut fds = [PollFd::new(&self.input, PollFlags::IN)];
        match poll(&mut fds, Some(&WAIT)) {
            Ok(n) => Ok(n > 0),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(Problem::io("cannot wait for standard input", "/dev/stdin", &e.into())),
        }
    }
}

impl Reader for StdinReader {
    fn next(&mut self, budget: usize) -> Result<Polled> {
        loop {
            if let Some(cut) = self.lines.take() {
                return Ok(self.data(cut));
            }
            if self.ended {
                return Ok(match self.lines.rest() {
                    Some(cut) => self.data(cut),
                    None => Polled::End(Position(self.lines.next().into())),
                });
            }
            if !self.wait()? {
                return Ok(Polled::Idle);
            }
            let buf = self.lines.buffer(READ_BYTES.min(budget.max(4_096)));
            match rustix::io::read(&self.input, spare_capacity(buf)) {
                Ok(0) => self.ended = true,
                Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
                Err(e) => return Err(Problem::io("cannot read standard input", "/dev/stdin", &e.into())),
            }
        }
    }
}
