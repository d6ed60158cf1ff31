//! Replay: letters are fed again into the node that refused them, as that node now is.
//!
//! ```text
//!   store --Selection--> letters --plan--> bytes -> the source's decoder   \
//!                                          rows  -> the node's input        +-> the pipeline, whose sources
//!                                          neither -> stays, with a reason /    read nothing -> one commit
//! ```
//!
//! A replay is a run of the pipeline in which no source reads; in the place of its readers stand the bytes
//! that its decoder refused, and beside the input of every other node the rows that this node refused. When
//! they are through, the run ends with its one and only checkpoint: it holds what came of the letters (rows
//! in the sinks, state, new letters of what was refused again) and no longer holds the letters themselves.
//! So a replay happens whole, once, or not at all: killed in the middle it has changed nothing.
//!
//! Positions and the watermarks of sources stay what they were. A row that is late by now is late: it takes
//! the way of all late rows, to the port `late` or back into the store.
//!
//! The whole store is in memory while the replay runs, about as large as on disk.
//!
//! A letter stays where it is, and is counted with a reason, when its payload was cut, its node is gone, or
//! its row has not the columns that the node now reads.

use super::stored::{Letter, Selection, Stored};
use crate::batch::{Batch, Origin, Slab};
use crate::connect::{PartitionId, Payload, Refused, Source};
use crate::plan::{ERRORS, Node, Prepared, Work};
use crate::{Problem, Result};
use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Reads one row of a schema from the JSON that a dead letter keeps of it.
pub type ReadRow = Box<dyn FnMut(&str) -> Result<RecordBatch>>;

/// Makes the reader for a schema. The engine writes rows as JSON and leaves reading them to the formats.
pub type ReadRows = Arc<dyn Fn(&SchemaRef) -> Result<ReadRow> + Send + Sync>;

/// In the place of an input's number: the decoder of a source.
pub(crate) const DECODER: usize = usize::MAX;

/// One letter that is fed: its batch, and its row there.
#[derive(Clone, Debug)]
pub(crate) struct Fed(Arc<RecordBatch>, usize);

impl Fed {
    fn letter(&self) -> Letter<'_> {
        Letter { number: 0, file: "", at: 0, rows: &self.0, row: self.1 }
    }

    /// What the decoder of its source is given again.
    pub fn payload(&self, source: &dyn Source) -> Option<Payload> {
        payload(&self.letter(), source)
    }

    /// What an input is given again.
    pub fn batch(&self, read: &mut ReadRow) -> Result<Batch> {
        let letter = self.letter();
        let rows = read(letter.input().unwrap_or_default())?;
        Ok(Batch { origin: origin(&letter), ..Batch::new(rows) })
    }
}

/// What a replay would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// By node of the graph and input.
    pub(crate) feeds: BTreeMap<(usize, usize), Vec<Fed>>,
    /// The rows taken, by file.
    pub(crate) taken: BTreeMap<String, BTreeSet<usize>>,
    /// What becomes of the letters that were meant, by node and code.
    pub groups: Vec<Group>,
}

/// Letters of one node and code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The node that refused them.
    pub node: String,
    /// Why.
    pub code: String,
    /// How many are fed again.
    pub taken: usize,
    /// How many stay.
    pub kept: usize,
    /// Why those stay: the reason of the last one.
    pub reason: Option<String>,
}

impl Plan {
    /// Looks at every letter that is meant; also reads its row, so that one that does not fit stays.
    pub fn new(prepared: &Prepared, stored: &Stored, selection: &Selection, read: &ReadRows) -> Plan {
        let mut planner = Planner { prepared, read, readers: HashMap::new(), plan: Plan::default() };
        for letter in stored.letters().filter(|l| selection.holds(l)) {
            planner.take(&letter);
        }
        planner.plan
    }

    /// How many letters are fed again.
    pub fn taken(&self) -> usize {
        self.groups.iter().map(|g| g.taken).sum()
    }

    /// How many of those that were meant stay.
    pub fn kept(&self) -> usize {
        self.groups.iter().map(|g| g.kept).sum()
    }
}

struct Planner<'a> {
    prepared: &'a Prepared,
    read: &'a ReadRows,
    readers: HashMap<(usize, usize), std::result::Result<ReadRow, String>>,
    plan: Plan,
}

impl Planner<'_> {
    fn take(&mut self, letter: &Letter<'_>) {
        let fed = match letter.input() {
            None => self.payload(letter),
            Some(row) => self.row(letter, row),
        };
        let groups = &mut self.plan.groups;
        let at = match groups.iter().position(|g| g.node == letter.node() && g.code == letter.code()) {
            Some(at) => at,
            None => {
                groups.push(Group { node: letter.node().into(), code: letter.code().into(), ..Group::default() });
                groups.len() - 1
            }
        };
        match fed {
            Ok(to) => {
                groups[at].taken += 1;
                self.plan.feeds.entry(to).or_default().push(Fed(Arc::clone(letter.rows), letter.row));
                self.plan.taken.entry(letter.file.into()).or_default().insert(letter.at);
            }
            Err(reason) => {
                groups[at].kept += 1;
                groups[at].reason = Some(reason);
            }
        }
    }

    fn nodes(&self) -> &[Node] {
        &self.prepared.pipeline.nodes
    }

    /// The name that the node of a letter has now.
    fn name<'a>(&'a self, letter: &Letter<'a>) -> &'a str {
        let renamed = self.prepared.pipeline.was.iter().find(|(_, was)| *was == letter.node());
        renamed.map_or(letter.node(), |(name, _)| name)
    }

    /// For the decoder of the source.
    fn payload(&self, letter: &Letter<'_>) -> std::result::Result<(usize, usize), String> {
        let name = self.name(letter);
        let found = self.nodes().iter().enumerate().find_map(|(index, node)| match &node.work {
            Work::Source(source) if *node.name == *name => Some((index, source)),
            _ => None,
        });
        let (index, source) = found.ok_or("there is no source of this name any more")?;
        if letter.is_cut() {
            return Err("its payload was too long to be kept whole".into());
        }
        payload(letter, &**source).ok_or("it has no payload")?;
        Ok((index, DECODER))
    }

    /// For an input of the node.
    fn row(&mut self, letter: &Letter<'_>, json: &str) -> std::result::Result<(usize, usize), String> {
        let row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|e| format!("its row cannot be read: {e}"))?;
        let to = self.target(letter, &row)?;
        let schema = self.prepared.input_schema(&self.nodes()[to.0].inputs[to.1]);
        let make = || (self.read)(&schema).map_err(|p| p.to_string());
        let reader = self.readers.entry(to).or_insert_with(make);
        let reader = reader.as_mut().map_err(|p| p.clone())?;
        reader(json).map_err(|p| format!("its row cannot be read: {}", p.what))?;
        Ok(to)
    }

    /// The input of the node that the row fits: of the step that refused it, or else of the first that it fits.
    fn target(
        &self,
        letter: &Letter<'_>,
        row: &serde_json::Map<String, serde_json::Value>,
    ) -> std::result::Result<(usize, usize), String> {
        let nodes = self.nodes();
        let name = self.name(letter);
        let named = |i: &usize| *nodes[*i].name == *name && !nodes[*i].inputs.is_empty();
        let mut steps: Vec<usize> = (0..nodes.len()).filter(named).collect();
        if steps.is_empty() {
            return Err("there is no such node any more".into());
        }
        if let Some(first) = steps.iter().copied().find(|i| Some(nodes[*i].role.as_str()) == letter.role()) {
            // Behind another port of its own operator (late rows) a step only refuses: the operator is meant.
            let input = &nodes[first].inputs[0];
            let behind = input.port != 0 && input.port != ERRORS && nodes[input.from.0].name == nodes[first].name;
            steps.insert(0, if behind { input.from.0 } else { first });
        }
        let fits = |step: usize, input: usize, all: bool| {
            let schema = self.prepared.input_schema(&nodes[step].inputs[input]);
            schema.fields().iter().all(|f| row.contains_key(f.name()) || (!all && f.is_nullable()))
        };
        let inputs = || steps.iter().flat_map(|step| (0..nodes[*step].inputs.len()).map(move |input| (*step, input)));
        let found = inputs().find(|(s, i)| fits(*s, *i, true)).or_else(|| inputs().find(|(s, i)| fits(*s, *i, false)));
        found.ok_or_else(|| "its row has not the columns that the node now reads".into())
    }
}

fn payload(letter: &Letter<'_>, source: &dyn Source) -> Option<Payload> {
    let refused = Refused {
        position: letter.position()?,
        key: letter.key().map(Bytes::copy_from_slice),
        payload: Bytes::copy_from_slice(letter.payload()?),
    };
    Some(Payload { partition: letter.partition()?.into(), received: letter.time(), body: source.body(refused) })
}

fn origin(letter: &Letter<'_>) -> Option<Origin> {
    let (source, partition, position) = (letter.source()?, letter.partition()?, letter.position()?);
    let slab = letter.payload().map(|p| Slab { start: position, bytes: Bytes::copy_from_slice(p) });
    let partition: PartitionId = partition.into();
    Some(Origin { source: source.into(), partition, positions: UInt64Array::from(vec![position]), slab })
}

/// There is nothing to replay from.
pub(crate) fn no_letters() -> Problem {
    Problem::error("DEAD-NONE", "there is no checkpoint, so there are no dead letters")
        .help("run the pipeline first, or name the right state directory")
}
