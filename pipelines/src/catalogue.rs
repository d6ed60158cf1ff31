//! The catalogue: what kinds of node there are, as plain data.
//!
//! The registry of `millstream-connectors` fills it; checks, forms, the reference pages,
//! `millstream components` and the JSON Schema of pipeline files read it. It holds no code, so the
//! editor checks with the very catalogue the server has.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All kinds that a program knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// In the order of the registry.
    pub kinds: Vec<KindInfo>,
}

impl Catalogue {
    /// The kind of that name.
    pub fn kind(&self, name: &str) -> Option<&KindInfo> {
        self.kinds.iter().find(|k| k.name == name)
    }
}

/// What a node of a kind is in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Records enter; no inputs.
    Source,
    /// Inputs and outputs.
    Transform,
    /// Records leave; no outputs but `errors`.
    Sink,
}

/// How many inputs a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// None: a source.
    None,
    /// One stream; a list of nodes is their union (equal schemas).
    One,
    /// A map of named inputs (`from: { a: x, b: y }`); a single name stands for itself.
    Named,
}

/// What a sink or source can promise by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// A record may be lost.
    AtMostOnce,
    /// A record may come twice.
    AtLeastOnce,
    /// Neither.
    ExactlyOnce,
}

/// One kind of node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindInfo {
    /// What stands behind `kind:`.
    pub name: String,
    /// Source, transform or sink.
    pub role: Role,
    /// How many inputs.
    pub inputs: Inputs,
    /// Fixed output ports beside `errors`: `[""]` for the main one only; `["", "late"]` for windows.
    pub ports: Vec<String>,
    /// The key of the config whose entries name further output ports (`routes` of `route`), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports_from: Option<String>,
    /// Which of the keys common to all nodes make sense here, beyond `kind`, `description`, `was`,
    /// `on_error` and, where there are inputs, `from`.
    pub common: Vec<String>,
    /// The best it can promise.
    pub guarantee: Guarantee,
    /// One sentence.
    pub summary: String,
    /// The reference page's text, Markdown.
    pub docs: String,
    /// JSON Schema of its own keys (an object schema; `additionalProperties: false`).
    pub config: Value,
    /// A complete pipeline file that uses it and passes `check`.
    pub example: String,
}

/// The keys common to all nodes: a closed list. Whatever else stands in a node belongs to its kind.
pub const COMMON_KEYS: [&str; 13] = [
    "kind",
    "from",
    "was",
    "description",
    "where",
    "on_error",
    "retry",
    "event_time",
    "metadata",
    "schema",
    "output",
    "state",
    "guarantee",
];
