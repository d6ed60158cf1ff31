//! What a changed pipeline does to the last checkpoint: kept, migrated, begun anew, given up, refused.
//!
//! One comparison for everybody who asks: a start carries it out or refuses with its problems, `plan` shows
//! it. What the checkpoint holds of a node are its states, the positions of a source, and what a sink has
//! still to publish. Each must find its node again, under the same name or through [`Pipeline::was`]; nothing
//! is ever left behind unsaid.
//!
//! [`Pipeline::was`]: crate::plan::Pipeline::was

use crate::Problem;
use crate::meaning::{self, Fit};
use crate::plan::{Node, Prepared, Work};
use crate::state::{Committed, Evolution};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of one thing that a checkpoint holds, or of a node that is to hold something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Goes on as it is.
    Kept,
    /// Goes on, read in other columns.
    Migrated,
    /// Begins empty: the checkpoint holds nothing of it.
    New,
    /// Was there, is given up, and begins empty.
    Rebuilt,
    /// Was there, is given up, and nothing takes its place.
    Lost,
    /// Cannot go on: the start is refused.
    Refused,
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The node: its name in the pipeline, or in the checkpoint where the pipeline has none.
    pub node: String,
    /// The state's role in the node, or `positions` of a source, or `output` of a sink.
    pub what: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The name that the checkpoint knows it by, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Bytes of a state on disk; partitions of a source; parts of a sink's output.
    pub size: u64,
    /// What changes, or why it is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

/// The whole comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// In the order of the pipeline; what has no node there comes last.
    pub changes: Vec<Change>,
    /// Why a start would be refused.
    pub problems: Vec<Problem>,
    pub(crate) evolution: Evolution,
}

/// Compares a pipeline with the checkpoint it would go on from; `drop_state` names nodes that are given up.
pub fn compare(prepared: &Prepared, tail: Option<&Committed>, drop_state: &[String]) -> Comparison {
    let mut compare = Compare { prepared, tail, held: held(tail), found: Comparison::default() };
    compare.drop(drop_state);
    compare.rename();
    compare.nodes();
    compare.left_over();
    compare.found
}

/// What a checkpoint holds of one node.
#[derive(Clone, Debug, Default)]
struct Held {
    /// State ids.
    states: Vec<String>,
    /// Partitions of a source.
    partitions: usize,
    /// True if it was a source: one without partitions has a position, too.
    source: bool,
    /// Parts of a sink that are perhaps not published.
    parts: usize,
    sink: bool,
}

fn held(tail: Option<&Committed>) -> BTreeMap<String, Held> {
    let mut all: BTreeMap<String, Held> = BTreeMap::new();
    let Some(tail) = tail else { return all };
    for (id, _) in tail.ids() {
        all.entry(node_of(id).into()).or_default().states.push(id.into());
    }
    for (node, partitions) in &tail.body.sources {
        let held = all.entry(node.clone()).or_default();
        (held.source, held.partitions) = (true, partitions.len());
    }
    for (node, handles) in &tail.body.sinks {
        let held = all.entry(node.clone()).or_default();
        (held.sink, held.parts) = (true, handles.iter().map(|h| leaves(&h.0)).sum());
    }
    all
}

fn node_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

fn role_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, role)| role)
}

/// How many things a sink's handle lists: a sink that has nothing open hands over null, or empty lists.
fn leaves(handle: &serde_json::Value) -> usize {
    match handle {
        serde_json::Value::Null => 0,
        serde_json::Value::Array(all) => all.len(),
        serde_json::Value::Object(all) => {
            all.values().filter(|v| v.is_array() || v.is_object()).map(leaves).sum::<usize>()
        }
        _ => 1,
    }
}

struct Compare<'a> {
    prepared: &'a Prepared,
    tail: Option<&'a Committed>,
    /// By the name in the checkpoint; what has been dealt with is taken out.
    held: BTreeMap<String, Held>,
    found: Comparison,
}

impl Compare<'_> {
    /// Notes what is to be given up; each name must be one that the checkpoint knows.
    fn drop(&mut self, nodes: &[String]) {
        for node in nodes {
            let was = self.prepared.pipeline.was.get(node.as_str());
            let known = [Some(node), was].into_iter().flatten().find(|n| self.held.contains_key(*n));
            match known {
                Some(known) => {
                    self.found.evolution.dropped.insert(known.clone());
                }
                None => {
                    let names = self.held.keys().cloned().collect::<Vec<_>>().join(", ");
                    let problem = Problem::error("STATE-NO-SUCH-NODE", "the checkpoint holds no state of this node")
                        .node(node.clone())
                        .expected(if names.is_empty() { "no --drop-state".into() } else { format!("one of {names}") });
                    self.found.problems.push(problem);
                }
            }
        }
    }

    fn rename(&mut self) {
        for (new, old) in &self.prepared.pipeline.was {
            let kept = |node: &String| self.held.contains_key(node) && !self.found.evolution.dropped.contains(node);
            if !kept(old) {
                continue;
            }
            if kept(new) {
                let problem = Problem::error("STATE-WAS", "the checkpoint holds state under both names")
                    .node(new.clone())
                    .found(format!("state of {old} and of {new}"))
                    .help(format!("take `was: {old}` away, or give one up: run again with --drop-state {old} or --drop-state {new}"));
                self.found.problems.push(problem);
                continue;
            }
            self.found.evolution.renamed.insert(old.clone(), new.clone());
        }
    }

    /// The name in the checkpoint of a node of the pipeline, whether or not it is given up.
    fn name_in_tail(&self, node: &str) -> String {
        let renamed = self.found.evolution.renamed.iter().find(|(_, new)| *new == node);
        renamed.map_or_else(|| node.to_string(), |(old, _)| old.clone())
    }

    fn nodes(&mut self) {
        for node in &self.prepared.pipeline.nodes {
            match &node.work {
                Work::Source(_) => self.source(node),
                Work::Sink(_) => self.sink(node),
                Work::Operator { fingerprint, .. } if !fingerprint.is_empty() => self.state(node, fingerprint),
                _ => {}
            }
        }
    }

    fn state(&mut self, node: &Node, fingerprint: &str) {
        let name = self.name_in_tail(&node.name);
        let id = format!("{name}/{}", node.role);
        let stored = self.tail.and_then(|t| Some((t, t.ids().find(|(i, _)| *i == id)?.1)));
        let Some((tail, stored)) = stored else {
            self.line(node, &node.role, Fate::New, 0, Vec::new());
            return;
        };
        if let Some(held) = self.held.get_mut(&name) {
            held.states.retain(|i| *i != id);
        }
        let (base, deltas) = tail.bytes(&id);
        if self.found.evolution.dropped.contains(&name) {
            self.line(node, &node.role, Fate::Rebuilt, base + deltas, Vec::new());
            return;
        }
        let (fate, detail) = match meaning::fit(stored, fingerprint) {
            Fit::Same => (Fate::Kept, Vec::new()),
            Fit::Migrates(changes) => (Fate::Migrated, changes),
            Fit::Unlike { found, expected } => {
                let detail = vec![format!("found {found}; expected {expected}")];
                self.found.problems.push(meaning::changed(&node.name, found, expected));
                (Fate::Refused, detail)
            }
        };
        if stored != fingerprint && fate != Fate::Refused {
            let id = format!("{}/{}", node.name, node.role);
            self.found.evolution.fingerprints.insert(id, fingerprint.to_string());
        }
        self.line(node, &node.role, fate, base + deltas, detail);
    }

    fn source(&mut self, node: &Node) {
        let name = self.name_in_tail(&node.name);
        let held = self.held.get_mut(&name).filter(|h| h.source);
        let partitions = held.map(|held| {
            held.source = false;
            held.partitions as u64
        });
        self.outside(node, &name, "positions", partitions);
    }

    fn sink(&mut self, node: &Node) {
        let name = self.name_in_tail(&node.name);
        let held = self.held.get_mut(&name).filter(|h| h.sink);
        let parts = held.map(|held| {
            held.sink = false;
            held.parts as u64
        });
        self.outside(node, &name, "output", parts);
    }

    /// What a source or sink left: it is of use to the same kind alone.
    fn outside(&mut self, node: &Node, name: &str, what: &str, held: Option<u64>) {
        let dropped = self.found.evolution.dropped.contains(name);
        let stored = self.tail.and_then(|t| t.body.extra["kinds"][name].as_str());
        let kinds = stored.zip(self.prepared.pipeline.kinds.get(&*node.name)).filter(|(was, now)| was != now);
        let (fate, detail) = match (held, kinds) {
            (None, _) => (Fate::New, Vec::new()),
            (Some(_), _) if dropped => (Fate::Rebuilt, Vec::new()),
            // A sink that has published everything leaves nothing behind.
            (Some(0), Some(_)) if what == "output" => (Fate::New, Vec::new()),
            (Some(_), Some((was, now))) => {
                let detail = vec![format!("found {was}; expected {now}")];
                self.found.problems.push(meaning::changed(&node.name, was.to_string(), now.clone()));
                (Fate::Refused, detail)
            }
            (Some(_), None) => (Fate::Kept, Vec::new()),
        };
        self.line(node, what, fate, held.unwrap_or(0), detail);
    }

    fn line(&mut self, node: &Node, what: &str, fate: Fate, size: u64, detail: Vec<String>) {
        let was = Some(self.name_in_tail(&node.name)).filter(|was| **was != *node.name);
        self.found.changes.push(Change { node: node.name.to_string(), what: what.into(), fate, was, size, detail });
    }

    /// What the checkpoint holds and no node takes.
    fn left_over(&mut self) {
        let names: BTreeSet<&str> = self.prepared.pipeline.nodes.iter().map(|n| &*n.name).collect();
        for (name, held) in std::mem::take(&mut self.held) {
            let mut left: Vec<(String, u64)> = held
                .states
                .iter()
                .map(|id| {
                    let (base, deltas) = self.tail.map_or((0, 0), |t| t.bytes(id));
                    (role_of(id).to_string(), base + deltas)
                })
                .collect();
            if held.source {
                left.push(("positions".into(), held.partitions as u64));
            }
            // A sink that has published everything leaves nothing behind.
            if held.sink && held.parts > 0 {
                left.push(("output".into(), held.parts as u64));
            }
            if left.is_empty() {
                continue;
            }
            let node = self.found.evolution.renamed.get(&name).cloned().unwrap_or_else(|| name.clone());
            let dropped = self.found.evolution.dropped.contains(&name);
            if !dropped {
                let what: Vec<&str> = left.iter().map(|(what, _)| what.as_str()).collect();
                self.found.problems.push(orphan(&node, names.contains(&*node), &what));
            }
            let fate = if dropped { Fate::Lost } else { Fate::Refused };
            let was = Some(name).filter(|was| *was != node);
            self.found.changes.extend(left.into_iter().map(|(what, size)| Change {
                node: node.clone(),
                what,
                fate,
                was: was.clone(),
                size,
                detail: Vec::new(),
            }));
        }
    }
}

fn orphan(node: &str, is_there: bool, left: &[&str]) -> Problem {
    let what = match left {
        ["positions"] => "how far it has been read",
        ["output"] => "output that may not be published yet",
        _ => "state",
    };
    let text = match is_there {
        true => format!("the checkpoint holds {what} that the node no longer has"),
        false => format!("the checkpoint holds {what} of a node that is no longer there"),
    };
    let rename = match (is_there, left) {
        (true, _) => "undo the change",
        (false, ["output"]) => {
            "say `was:` at the node that took its place, or, if the last run ended by itself or was drained, so that all is published"
        }
        (false, _) => "say `was:` at the node that took its place",
    };
    Problem::error("STATE-ORPHAN", text)
        .node(node.to_string())
        .found(left.join(", "))
        .help(format!("{rename}, or give it up: run again with --drop-state {node}"))
}
