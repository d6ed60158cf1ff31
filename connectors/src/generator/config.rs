//! What a user writes behind `kind: generator`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// What is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Bids of an auction house: `ts`, `auction`, `bidder`, `price`, `channel`, `url`, `extra`.
    Bids,
    /// Auctions that are opened: `ts`, `id`, `item`, `description`, `initial_bid`, `reserve`, `expires`,
    /// `seller`, `category`, `extra`.
    Auctions,
    /// Persons who join: `ts`, `id`, `name`, `email`, `card`, `city`, `state`, `extra`.
    Persons,
    /// All three in one stream (2% persons, 6% auctions, 92% bids), told apart by `type`, with the columns
    /// of all; 10,000 events per second of event time.
    Nexmark,
    /// Lines of a web server's access log (combined format), as `value`.
    AccessLog,
    /// 70% access log, 29.5% syslog (RFC 3164) with key=value, 0.5% rubbish, as `value`.
    Logs,
}

/// Makes up records: the same ones for the same seed, every time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// What to make up.
    pub dataset: Dataset,
    /// Another seed gives other records. By default the one that the benchmarks use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many records to make, in all partitions together; without it the source never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Records per second, of all partitions together; without it as fast as they are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU64>,
    /// How many partitions share the work: each gets every nth record.
    #[serde(default = "one")]
    pub partitions: NonZeroU32,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}
