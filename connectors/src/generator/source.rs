//! The source: every partition makes all records in its head and gives out every nth.

use super::config::{Dataset, GeneratorConfig};
use super::logs::{LOGS_SEED, log_line};
use super::nexmark::{Kind, NEXMARK_SEED, skip};
use super::rng::Rng;
use super::table::{Table, schema};
use crate::format::{DecodeOptions, Format};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millstream::batch::BATCH_ROWS;
use millstream::connect::{Body, Decoder, PartitionId, Payload, Polled, Position, Reader, Source};
use millstream::{Problem, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest a reader waits for its next record.
const WAIT: Duration = Duration::from_millis(90);
/// With a rate: how often records are given out, at most.
const TICK: Duration = Duration::from_millis(1);

/// Made-up records.
pub struct Generator {
    config: GeneratorConfig,
}

impl Generator {
    /// A source.
    pub fn new(config: GeneratorConfig) -> Generator {
        Generator { config }
    }

    /// The columns of its rows.
    pub fn schema(&self) -> SchemaRef {
        schema(self.config.dataset)
    }

    fn is_text(&self) -> bool {
        matches!(self.config.dataset, Dataset::AccessLog | Dataset::Logs)
    }

    fn start(&self) -> State {
        let seed = if self.is_text() { LOGS_SEED } else { NEXMARK_SEED };
        State { event: 0, row: 0, own: 0, bytes: 0, rng: self.config.seed.unwrap_or(seed) }
    }
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Number of the next event, of all kinds.
    event: u64,
    /// Number of the next record of the dataset, of all partitions.
    row: u64,
    /// Records given out by this partition.
    own: u64,
    /// Bytes given out by this partition, for lines.
    bytes: u64,
    /// State of the random numbers.
    rng: u64,
}

impl Source for Generator {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok((0..self.config.partitions.get()).map(|p| PartitionId::from(p.to_string())).collect())
    }

    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        let number = partition.parse().map_err(|_| {
            Problem::error("GENERATOR-PARTITION", "no such partition")
                .found(format!("`{partition}`"))
                .expected("a number")
        })?;
        let state = match from {
            None => self.start(),
            Some(position) => serde_json::from_value(position.0.clone()).map_err(|e| {
                Problem::error("GENERATOR-POSITION", "the checkpoint's position is not one of a generator")
                    .found(e.to_string())
            })?,
        };
        let partitions = u64::from(self.config.partitions.get());
        Ok(Box::new(GeneratorReader {
            partition: Arc::clone(partition),
            number,
            partitions,
            dataset: self.config.dataset,
            rows_max: self.config.rows.unwrap_or(u64::MAX),
            rng: Rng::new(state.rng),
            table: (!self.is_text()).then(|| Table::new(self.config.dataset)),
            pace: self.config.rate.map(|rate| Pace::new(rate.get() as f64 / partitions as f64)),
            line: Vec::new(),
            state,
        }))
    }

    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        // Nexmark comes as columns, which the decoder only has to pick.
        let format = if self.is_text() { Format::Text } else { Format::Parquet };
        format.decoder(schema, &DecodeOptions::default())
    }

    fn bounded(&self) -> bool {
        self.config.rows.is_some()
    }
}

/// How many records are due.
struct Pace {
    per_second: f64,
    began: Instant,
    given: u64,
}

impl Pace {
    fn new(per_second: f64) -> Pace {
        Pace { per_second, began: Instant::now(), given: 0 }
    }

    /// Waits until at least one record is due; 0 if that takes too long.
    fn wait(&mut self) -> usize {
        let next = Duration::from_secs_f64((self.given + 1) as f64 / self.per_second);
        let pause = next.saturating_sub(self.began.elapsed());
        if pause > WAIT {
            std::thread::sleep(WAIT);
            return 0;
        }
        if !pause.is_zero() {
            std::thread::sleep(pause.max(TICK));
        }
        let due = (self.began.elapsed().as_secs_f64() * self.per_second) as u64;
        usize::try_from(due.saturating_sub(self.given)).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
    }
}

struct GeneratorReader {
    partition: PartitionId,
    number: u64,
    partitions: u64,
    dataset: Dataset,
    rows_max: u64,
    state: State,
    rng: Rng,
    /// `None` for lines.
    table: Option<Table>,
    pace: Option<Pace>,
    line: Vec<u8>,
}

impl GeneratorReader {
    /// The next record of the dataset; true if it is this partition's, and then it has been kept.
    fn step(&mut self, lines: &mut Vec<u8>) -> bool {
        let event = self.state.event;
        self.state.event += 1;
        let mine = self.state.row % self.partitions == self.number;
        let wanted = match &mut self.table {
            Some(table) => {
                let wanted = match self.dataset {
                    Dataset::Bids => Kind::of(event) == Kind::Bid,
                    Dataset::Auctions => Kind::of(event) == Kind::Auction,
                    Dataset::Persons => Kind::of(event) == Kind::Person,
                    _ => true,
                };
                if wanted && mine {
                    table.push(event, &mut self.rng);
                } else {
                    skip(event, &mut self.rng);
                }
                wanted
            }
            None => {
                self.line.clear();
                let access = log_line(event, &mut self.rng, &mut self.line);
                let wanted = access || self.dataset == Dataset::Logs;
                if wanted && mine {
                    lines.extend_from_slice(&self.line);
                }
                wanted
            }
        };
        self.state.row += u64::from(wanted);
        wanted && mine
    }

    fn position(&self) -> Position {
        let state = State { rng: self.rng.state(), ..self.state.clone() };
        Position(serde_json::to_value(state).expect("integers always serialise"))
    }
}

impl Reader for GeneratorReader {
    fn next(&mut self, budget: usize) -> Result<Polled> {
        if self.state.row >= self.rows_max {
            return Ok(Polled::End(self.position()));
        }
        let due = self.pace.as_mut().map_or(BATCH_ROWS, Pace::wait);
        if due == 0 {
            return Ok(Polled::Idle);
        }
        let (own, start) = (self.state.own, self.state.bytes);
        let (mut made, mut lines) = (0, Vec::new());
        while made < due && self.state.row < self.rows_max && lines.len() < budget {
            made += usize::from(self.step(&mut lines));
        }
        self.state.own += made as u64;
        self.state.bytes += lines.len() as u64;
        if let Some(pace) = &mut self.pace {
            pace.given += made as u64;
        }
        if made == 0 {
            return Ok(Polled::End(self.position()));
        }
        let body = match &mut self.table {
            Some(table) => Body::Rows { start: own, rows: table.take() },
            None => Body::Bytes { start, data: Bytes::from(lines) },
        };
        let payload = Payload::new(&self.partition, body);
        Ok(Polled::Data(payload, self.position()))
    }

    fn lag(&self) -> Option<u64> {
        let left = self.rows_max.checked_sub(self.state.row)?;
        (self.rows_max != u64::MAX).then_some(left.div_ceil(self.partitions))
    }
}
