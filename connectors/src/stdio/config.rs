//! What a user writes behind `kind: stdin` and `kind: stdout`.

use crate::format::Format;
use millstream_pipelines::units::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads lines from standard input until it ends. They cannot be read again after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdinConfig {
    /// `text`, `ndjson` or `csv`.
    #[serde(default)]
    pub format: Format,
    /// The longest line; a longer one becomes one dead letter and is never held in memory whole.
    #[serde(default = "max_line")]
    pub max_line: ByteSize,
}

fn max_line() -> ByteSize {
    ByteSize::mib(4)
}

/// Writes rows to standard output as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// `ndjson`, `csv`, or `text` for rows of one column.
    #[serde(default)]
    pub format: Format,
}
