//! What a user writes behind `kind: file_source` and `kind: file_sink`.

use crate::format::Format;
use millstream_pipelines::units::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// One path or pattern, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(schema_with = "paths_schema")]
pub struct Paths(pub Vec<String>);

fn paths_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Paths, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Paths;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a path, a pattern, or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Paths, E> {
                Ok(Paths(vec![one.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut many: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = many.next_element::<String>()? {
                    paths.push(path);
                }
                if paths.is_empty() {
                    return Err(serde::de::Error::custom("the list of paths is empty"));
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Whether a source follows its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// Read what is there, then end.
    #[default]
    Once,
    /// Go on with what is appended and with new files; follow rotation.
    Watch,
}

/// Where a file begins that no checkpoint knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At its first record.
    #[default]
    Beginning,
    /// Behind what it holds when the pipeline starts; files that appear later are read whole.
    End,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// What fits: by a file's first bytes when reading, by the format when writing.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What happens when a checkpoint's position no longer fits what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// Stop, and say what was expected and what is there.
    #[default]
    Fail,
    /// Read what is there from its beginning; let go of a file that is gone.
    Restart,
}

/// Reads files: logs that grow and rotate, or data that lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSourceConfig {
    /// The file, a pattern (`logs/*.log`, `data/**/*.ndjson`), or a list of them. Relative paths start
    /// at the pipeline file.
    pub path: Paths,
    /// How records are written down: `text`, `ndjson`, `csv`, `parquet` or `arrow_ipc`.
    #[serde(default)]
    pub format: Format,
    /// `once`: read what is there, then end. `watch`: go on with what is appended, follow rotation,
    /// take in new files.
    #[serde(default)]
    pub read: ReadMode,
    /// How files are compressed; `auto` goes by their first bytes, not by their name.
    #[serde(default)]
    pub compression: Compression,
    /// Where to begin in the files that are there at the very first start (later, the checkpoint says).
    #[serde(default)]
    pub start: Start,
    /// The longest line; a longer one becomes one dead letter and is never held in memory whole.
    #[serde(default = "max_line")]
    pub max_line: ByteSize,
    /// Leaves out files that were last changed longer ago than this and are in no checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_older: Option<Duration>,
    /// `watch`: how often to look for more, at most `100ms`.
    #[serde(default = "poll")]
    pub poll: Duration,
    /// `watch`: how long to wait for the last lines of a file that was renamed, after the new one has
    /// appeared under its path.
    #[serde(default = "rotate_wait")]
    pub rotate_wait: Duration,
    /// When the file of a checkpoint's position is gone or another one: `fail`, or `restart` with what is there.
    #[serde(default)]
    pub on_lost: OnLost,
}

fn max_line() -> ByteSize {
    ByteSize::mib(4)
}
fn poll() -> Duration {
    Duration::from_millis(50)
}
fn rotate_wait() -> Duration {
    Duration::from_millis(5_000)
}

/// Writes rows to files in a directory: each shows up whole, under its name, once the checkpoint that
/// closes it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSinkConfig {
    /// The directory, made where it is missing. `${row.field}` puts rows into a directory per value:
    /// `out/${row.country}`; letters, digits, `.`, `_` and `-` of the value are kept, others become `_`.
    pub path: String,
    /// How rows are written down: `ndjson`, `csv`, `parquet`, or `text` for rows of one column.
    #[serde(default)]
    pub format: Format,
    /// When a file is closed and the next one begun.
    #[serde(default)]
    pub roll: Roll,
    /// `none`, `gzip` or `zstd`; `auto` is `none`, and for Parquet zstd inside.
    #[serde(default)]
    pub compression: Compression,
    /// What file names begin with.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// With `${row.field}`: how many files one worker keeps open; beyond it the one that has waited
    /// longest is closed.
    #[serde(default = "open_max")]
    pub open_max: u32,
}

/// When a file is closed: at the first of these. A restart closes it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// At this size, as written (for Parquet: before it is encoded).
    #[serde(default = "roll_size")]
    pub size: ByteSize,
    /// At this age.
    #[serde(default = "roll_every")]
    pub every: Duration,
    /// At this number of rows; a file may have up to one batch (8192 rows) more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Default for Roll {
    fn default() -> Roll {
        Roll { size: roll_size(), every: roll_every(), rows: None }
    }
}

fn roll_size() -> ByteSize {
    ByteSize::mib(128)
}
fn roll_every() -> Duration {
    Duration::from_millis(3_600_000)
}
fn prefix() -> String {
    "part-".to_owned()
}
fn open_max() -> u32 {
    64
}
