//! One node: the keys common to all nodes, typed; the keys of its kind, as a tree.

use super::read::{GUARANTEES, Reader, simple_name};
use super::{At, Fields};
use crate::catalogue::{COMMON_KEYS, Guarantee};
use crate::codes;
use crate::source::{Source, Span};
use crate::tree::{self, Map, Node as Tree, Value};
use crate::units::{ByteSize, Duration};
use millstream_problem::Problem;

/// The most nodes in one pipeline; those beyond are not read.
pub const NODES_MAX: usize = 1000;

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name: its identity.
    pub name: String,
    /// Where its name stands.
    pub name_span: Span,
    /// What stands behind `kind:`.
    pub kind: At<String>,
    /// Where its records come from.
    pub from: Inputs,
    /// Where the value of `from` stands.
    pub from_span: Option<Span>,
    /// A SQL condition that records must meet; sinks: filters before them.
    pub where_: Option<At<String>>,
    /// What happens to a record that it cannot handle.
    pub on_error: Option<At<OnError>>,
    /// How often and how long it tries again.
    pub retry: Option<At<Retry>>,
    /// From here on this field says when something happened.
    pub event_time: Option<At<EventTime>>,
    /// Columns of the transport that it adds; each begins with an underscore.
    pub metadata: Vec<At<String>>,
    /// `schema:` of a source or `output:` of a transform.
    pub schema: Option<At<Fields>>,
    /// Bounds of its state.
    pub state: Option<At<State>>,
    /// The guarantee that this sink is content with.
    pub guarantee: Option<At<Guarantee>>,
    /// The name it had before: its state stays.
    pub was: Option<At<String>>,
    /// What it is for.
    pub description: Option<String>,
    /// The keys common to all nodes that stand in the file, each with its place.
    pub common: Vec<At<String>>,
    /// The keys of its kind: always a map.
    pub config: Tree,
    /// Where all of it stands.
    pub span: Span,
    pub(crate) source: Source,
}

/// Where a node's records come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Inputs {
    /// Nothing: a source.
    #[default]
    None,
    /// One stream: a node, or a union of several.
    List(Vec<NodeRef>),
    /// Named streams, each of one or several nodes.
    Named(Vec<(At<String>, Vec<NodeRef>)>),
}

impl Inputs {
    /// All references with the input they belong to (empty for the unnamed one), in order.
    pub fn refs(&self) -> impl Iterator<Item = (&str, &NodeRef)> {
        let (list, named) = match self {
            Inputs::None => (&[][..], &[][..]),
            Inputs::List(list) => (list.as_slice(), &[][..]),
            Inputs::Named(named) => (&[][..], named.as_slice()),
        };
        list.iter()
            .map(|r| ("", r))
            .chain(named.iter().flat_map(|(name, list)| list.iter().map(|r| (name.value.as_str(), r))))
    }
}

/// A node's output: `node` or `node.port`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRef {
    /// The node; `*` in `*.errors`.
    pub node: String,
    /// The port; empty for the main one.
    pub port: String,
    /// Where it stands.
    pub span: Span,
}

impl NodeRef {
    /// True for `*.errors`: every `errors` port but those of the consumer and of what comes behind it.
    pub fn is_wildcard(&self) -> bool {
        self.node == "*"
    }
    pub(super) fn parse(text: &str, span: Span) -> NodeRef {
        let (node, port) = text.split_once('.').unwrap_or((text, ""));
        NodeRef { node: node.into(), port: port.into(), span }
    }
}

impl std::fmt::Display for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.node, if self.port.is_empty() { "" } else { "." }, self.port)
    }
}

/// `on_error:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// To the `errors` port, or the pipeline's dead letters.
    #[default]
    DeadLetter,
    /// Counted and gone.
    Drop,
    /// The pipeline stops.
    Fail,
}

/// `retry:`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How many times in all.
    pub attempts: Option<u32>,
    /// The wait after the first failure; it doubles.
    pub wait: Option<Duration>,
    /// The longest wait.
    pub wait_max: Option<Duration>,
}

/// `event_time:`
#[derive(Clone, Debug, PartialEq)]
pub struct EventTime {
    /// The column.
    pub field: At<String>,
    /// How late a record may come.
    pub out_of_order: Duration,
    /// After this long without records the watermark follows the clock.
    pub idle_after: Option<Duration>,
}

/// `state:`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// The most memory or disk it may take.
    pub budget: Option<ByteSize>,
    /// What has not been touched for this long goes.
    pub ttl: Option<Duration>,
}

impl Node {
    /// The keys of the node's kind as a config type.
    ///
    /// Derive `Deserialize` with `deny_unknown_fields` and without untagged, internally tagged and flattened
    /// parts: they lose the place of an error.
    ///
    /// # Errors
    /// The first key that does not fit, with its place; [`crate::check`] finds all of them by the schema.
    pub fn config<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        config(&self.source, &self.config, &self.name)
    }
    /// An error at a key of its kind (at the node where the key is not there), for what only the kind can check.
    pub fn error(&self, path: &[&str], code: &'static str, what: impl Into<String>) -> Problem {
        let span = self.config.get(path).map_or(self.name_span, |n| n.span);
        self.source.error(span, code, what).node(self.name.clone())
    }
    /// The place of a span of its file.
    pub fn place(&self, span: Span) -> millstream_problem::Place {
        self.source.place(span)
    }
}

pub(super) fn config<T: serde::de::DeserializeOwned>(
    source: &Source,
    config: &Tree,
    name: &str,
) -> Result<T, Vec<Problem>> {
    T::deserialize(config).map_err(|e| vec![e.into_problem(source, config.span).node(name.to_string())])
}

pub(super) fn nodes(r: &mut Reader, tree: &Tree) -> Vec<Node> {
    let Some(map) = r.map(tree, "nodes", "a map of named nodes") else {
        return Vec::new();
    };
    if map.is_empty() {
        r.error(tree.span, codes::MISSING_KEY, "there is no node");
    }
    if map.len() > NODES_MAX {
        let problem = r.source.error(map.0[0].key_span, codes::LIMIT, "too many nodes").found(map.len().to_string());
        r.report(problem.expected(format!("at most {NODES_MAX}")).help("split the pipeline"));
    }
    let mut all = Vec::new();
    for entry in map.iter().take(NODES_MAX) {
        r.node = Some(entry.key.clone());
        simple_name(r, &entry.key, entry.key_span, "node");
        if let Some(keys) = r.map(&entry.value, &entry.key, "a map with `kind` and its keys") {
            all.push(node(r, entry, keys));
        }
    }
    r.node = None;
    all
}

fn node(r: &mut Reader, entry: &tree::Entry, keys: &Map) -> Node {
    let kind = match keys.get("kind") {
        Some(k) => r.string(k, "kind"),
        None => {
            r.missing(entry.key_span, "kind", "the kind of the node");
            None
        }
    };
    let is_common = |e: &&tree::Entry| COMMON_KEYS.contains(&e.key.as_str());
    let own = keys.iter().filter(|e| !is_common(e)).cloned().collect();
    if let (Some(_), Some(output)) = (keys.get("schema"), keys.entry("output")) {
        r.error(output.key_span, codes::DUPLICATE, "`schema` and `output` mean the same; write one of them");
    }
    Node {
        name: entry.key.clone(),
        name_span: entry.key_span,
        kind: kind.unwrap_or(At { value: String::new(), span: entry.key_span }),
        from: keys.get("from").map(|n| inputs(r, n)).unwrap_or_default(),
        from_span: keys.get("from").map(|n| n.span),
        where_: keys.get("where").and_then(|n| r.string(n, "where")),
        on_error: keys.get("on_error").and_then(|n| {
            r.choice(
                n,
                "on_error",
                &[("dead_letter", OnError::DeadLetter), ("drop", OnError::Drop), ("fail", OnError::Fail)],
            )
        }),
        retry: keys.get("retry").and_then(|n| retry(r, n)),
        event_time: keys.get("event_time").and_then(|n| event_time(r, n)),
        metadata: keys.get("metadata").map(|n| metadata(r, n)).unwrap_or_default(),
        schema: ["schema", "output"]
            .iter()
            .find_map(|key| keys.get(key).map(|n| At { value: r.fields(n, key), span: n.span })),
        state: keys.get("state").and_then(|n| state(r, n)),
        guarantee: keys.get("guarantee").and_then(|n| r.choice(n, "guarantee", &GUARANTEES)),
        was: keys.get("was").and_then(|n| r.string(n, "was")),
        description: keys.get("description").and_then(|n| r.string(n, "description")).map(|s| s.value),
        common: keys.iter().filter(is_common).map(|e| At { value: e.key.clone(), span: e.key_span }).collect(),
        config: Tree::new(Value::Map(Map(own)), entry.value.span),
        span: entry.span(),
        source: r.source.clone(),
    }
}

fn inputs(r: &mut Reader, node: &Tree) -> Inputs {
    match &node.value {
        Value::Map(map) => {
            let mut named = Vec::new();
            for e in map {
                simple_name(r, &e.key, e.key_span, "input");
                named.push((At { value: e.key.clone(), span: e.key_span }, refs(r, &e.value)));
            }
            Inputs::Named(named)
        }
        _ => Inputs::List(refs(r, node)),
    }
}

fn refs(r: &mut Reader, node: &Tree) -> Vec<NodeRef> {
    let expected = "a node, node.port, a list of them, or a map of named inputs";
    match &node.value {
        Value::String(s) => vec![NodeRef::parse(s, node.span)],
        Value::List(list) if list.is_empty() => {
            r.error(node.span, codes::INPUTS, "`from` lists no node");
            Vec::new()
        }
        Value::List(list) => {
            let mut all: Vec<NodeRef> = Vec::new();
            for item in list {
                match &item.value {
                    Value::String(s) => {
                        let new = NodeRef::parse(s, item.span);
                        if let Some(first) = all.iter().find(|f| f.node == new.node && f.port == new.port) {
                            let problem =
                                r.source.error(item.span, codes::DUPLICATE, format!("`{new}` stands twice in `from`"));
                            let problem = problem.also(r.source.place(first.span), "first here");
                            r.report(problem.help("its records would come twice; remove one"));
                        }
                        all.push(new);
                    }
                    _ => r.wrong(item, "from", "a node or node.port"),
                }
            }
            all
        }
        _ => {
            r.wrong(node, "from", expected);
            Vec::new()
        }
    }
}

fn retry(r: &mut Reader, node: &Tree) -> Option<At<Retry>> {
    let map = r.keys(node, "retry", &["attempts", "wait", "wait_max"])?;
    let attempts =
        map.get("attempts").and_then(|n| r.count(n, "attempts", 1, 1_000_000)).and_then(|n| u32::try_from(n).ok());
    let wait = map.get("wait").and_then(|n| r.duration(n, "wait"));
    let wait_max = map.get("wait_max").and_then(|n| r.duration(n, "wait_max"));
    if let (Some(wait), Some(max)) = (&wait, &wait_max)
        && wait.value > max.value
    {
        r.error(max.span, codes::RANGE, "`wait_max` is shorter than `wait`");
    }
    Some(At {
        value: Retry { attempts, wait: wait.map(|d| d.value), wait_max: wait_max.map(|d| d.value) },
        span: node.span,
    })
}

fn event_time(r: &mut Reader, node: &Tree) -> Option<At<EventTime>> {
    let map = r.keys(node, "event_time", &["field", "out_of_order", "idle_after"])?;
    let field = match map.get("field") {
        Some(n) => r.string(n, "field"),
        None => {
            r.missing(node.span, "field", "the column that says when it happened");
            None
        }
    };
    let out_of_order = map.get("out_of_order").and_then(|n| r.duration(n, "out_of_order"));
    let idle_after = map.get("idle_after").and_then(|n| r.duration(n, "idle_after"));
    for (key, d, min, max) in [
        ("out_of_order", &out_of_order, Duration::ZERO, Duration::from_secs(30 * 86_400)),
        ("idle_after", &idle_after, Duration::from_millis(1), Duration::from_secs(30 * 86_400)),
    ] {
        if let Some(d) = d
            && (d.value < min || d.value > max)
        {
            let problem = r.source.error(d.span, codes::RANGE, format!("`{key}` is out of range")).found(d.to_string());
            r.report(problem.expected(format!("{min} to {max}")));
        }
    }
    let value = EventTime {
        field: field?,
        out_of_order: out_of_order.map_or(Duration::ZERO, |d| d.value),
        idle_after: idle_after.map(|d| d.value),
    };
    Some(At { value, span: node.span })
}

fn metadata(r: &mut Reader, node: &Tree) -> Vec<At<String>> {
    let all = r.strings(node, "metadata");
    for name in all.iter().filter(|n| !n.starts_with('_')) {
        let problem = r.source.error(name.span, codes::NAME, "not a metadata column").found(tree::quote(name));
        let problem = problem.expected("a name that begins with an underscore");
        r.report(
            problem.help(format!("write `_{}`; columns of the payload are there without being listed", name.value)),
        );
    }
    all
}

fn state(r: &mut Reader, node: &Tree) -> Option<At<State>> {
    let map = r.keys(node, "state", &["budget", "ttl"])?;
    let budget = map.get("budget").and_then(|n| r.size(n, "budget"));
    if let Some(budget) = &budget
        && budget.value < ByteSize::mib(1)
    {
        let problem = r.source.error(budget.span, codes::RANGE, "`budget` is too small").found(budget.to_string());
        r.report(problem.expected("at least 1MiB"));
    }
    let ttl = map.get("ttl").and_then(|n| r.duration(n, "ttl"));
    Some(At { value: State { budget: budget.map(|b| b.value), ttl: ttl.map(|d| d.value) }, span: node.span })
}
