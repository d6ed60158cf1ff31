//! The graph of one pipeline, as the builder and the file loader make it.
//!
//! A [`Pipeline`] is a list of nodes in topological order: a node can only name inputs that exist. One
//! node of a file may become several nodes here (a window with a partial aggregate before its
//! exchange); they share `name` and differ in `role`, and their state is kept under
//! `<name>/<role>.<n>`. Before anything starts, [`Pipeline::prepare`] prunes columns: every source
//! decodes only what some sink or operator downstream reads.

use crate::connect::{SinkFactory, Source};
use crate::operator::{OperatorFactory, Reads, StageFactory};
use crate::time::Micros;
use crate::{Place, Problem, Result};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Index of a node in its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The port that carries a node's refused rows; every node has it. Its schema is
/// [`crate::dead::schema`].
pub const ERRORS: usize = usize::MAX;

/// One edge into a node.
#[derive(Clone, Debug)]
pub struct Input {
    /// The producer.
    pub from: NodeId,
    /// Its port, or [`ERRORS`].
    pub port: usize,
    /// Rows are sent to the worker that owns the key group of these columns; `None` = stay.
    pub exchange: Option<Vec<String>>,
}

impl Input {
    /// The first port of `from`, without an exchange.
    pub fn from(from: NodeId) -> Input {
        Input { from, port: 0, exchange: None }
    }
    /// Another port.
    pub fn port(mut self, port: usize) -> Input {
        self.port = port;
        self
    }
    /// Behind an exchange by these columns.
    pub fn by(mut self, columns: Vec<String>) -> Input {
        self.exchange = Some(columns);
        self
    }
}

/// Which column carries event time, and how much disorder to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// A `Timestamp` column of the node's output.
    pub field: String,
    /// The watermark is the greatest event time minus this.
    pub out_of_order: Micros,
    /// A partition that has nothing to read for this long no longer holds the watermark back.
    pub idle_after: Duration,
}

/// What to do with a row that a node cannot process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Send it to the `errors` port (the dead-letter store where nobody connects it).
    #[default]
    DeadLetter,
    /// Count it and go on.
    Drop,
    /// Fail the job.
    Fail,
}

/// What a node does.
#[derive(Clone)]
pub enum Work {
    /// Records enter.
    Source(Arc<dyn Source>),
    /// Without state; fused with its neighbours.
    Stage {
        /// Makes it, for the pruned input schema.
        factory: StageFactory,
        /// The input columns it needs.
        reads: Reads,
    },
    /// With state.
    Operator {
        /// Makes it, for the pruned input schemas.
        factory: OperatorFactory,
        /// The columns it needs, per input.
        reads: Vec<Reads>,
        /// What gives the state its meaning; a change makes old state unreadable on purpose. Empty for an
        /// operator that holds nothing across the close of an epoch: it has no part in checkpoints.
        fingerprint: String,
    },
    /// Several inputs of one schema, as one stream.
    Union,
    /// Records leave.
    Sink(Arc<dyn SinkFactory>),
}

impl Work {
    /// The source that it is.
    pub fn source(&self) -> Option<&Arc<dyn Source>> {
        match self {
            Work::Source(source) => Some(source),
            _ => None,
        }
    }
}

/// One node of the graph.
#[derive(Clone)]
pub struct Node {
    /// The name in the file; state, metrics and problems hang on it.
    pub name: Arc<str>,
    /// What it is within that name: `main` where it is alone.
    pub role: String,
    /// What it does.
    pub work: Work,
    /// Its inputs, by port.
    pub inputs: Vec<Input>,
    /// The schema of each output port.
    pub schemas: Vec<SchemaRef>,
    /// Event time declared here, replacing that of its inputs.
    pub event_time: Option<EventTime>,
    /// What happens to rows it refuses.
    pub on_error: OnError,
}

/// Settings of a pipeline; each has a default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long between two checkpoints.
    pub checkpoint_every: Duration,
    /// A checkpoint that takes longer fails the job.
    pub checkpoint_timeout: Duration,
    /// How long between two epochs while records flow.
    pub epoch: Duration,
    /// Bytes of batches alive at which sources stop reading.
    pub memory: u64,
    /// Limits of the dead-letter store.
    pub dead_letters: crate::dead::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            checkpoint_every: Duration::from_secs(1),
            checkpoint_timeout: Duration::from_secs(600),
            epoch: Duration::from_millis(10),
            memory: 16 << 20,
            dead_letters: crate::dead::Limits::default(),
        }
    }
}

/// The graph of one pipeline.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name; its state is kept under it.
    pub name: String,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Settings.
    pub settings: Settings,
    /// Nodes that had another name before, by the present one: they take over what a checkpoint holds of it.
    pub was: BTreeMap<String, String>,
    /// What kind of thing sources and sinks are, by name, where somebody has said it: positions of one kind are
    /// nothing to another.
    pub kinds: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Pipeline {
    /// An empty pipeline.
    pub fn new(name: impl Into<String>) -> Pipeline {
        Pipeline {
            name: name.into(),
            nodes: Vec::new(),
            settings: Settings::default(),
            was: BTreeMap::new(),
            kinds: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Adds a node.
    ///
    /// # Panics
    /// When an input names a node that does not exist yet: the order of the calls is the order of the graph.
    pub fn add(&mut self, node: Node) -> NodeId {
        assert!(
            node.inputs.iter().all(|i| i.from.0 < self.nodes.len()),
            "inputs are added before the nodes that read them"
        );
        let same =
            |n: &&Node| n.name == node.name && n.role.rsplit_once('.').is_some_and(|(role, _)| role == node.role);
        let role = format!("{}.{}", node.role, self.nodes.iter().filter(same).count());
        self.nodes.push(Node { role, ..node });
        NodeId(self.nodes.len() - 1)
    }

    /// Adds a node of one input and one output.
    pub fn stage(&mut self, name: &str, from: Input, output: SchemaRef, reads: Reads, factory: StageFactory) -> NodeId {
        self.add(Node {
            name: name.into(),
            role: "stage".into(),
            work: Work::Stage { factory, reads },
            inputs: vec![from],
            schemas: vec![output],
            event_time: None,
            on_error: OnError::default(),
        })
    }

    /// Adds a source with its full schema.
    pub fn source(
        &mut self,
        name: &str,
        source: Arc<dyn Source>,
        schema: SchemaRef,
        event_time: Option<EventTime>,
    ) -> NodeId {
        self.add(Node {
            name: name.into(),
            role: "source".into(),
            work: Work::Source(source),
            inputs: Vec::new(),
            schemas: vec![schema],
            event_time,
            on_error: OnError::default(),
        })
    }

    /// Adds a sink.
    pub fn sink(&mut self, name: &str, from: Input, sink: Arc<dyn SinkFactory>) -> NodeId {
        self.add(Node {
            name: name.into(),
            role: "sink".into(),
            work: Work::Sink(sink),
            inputs: vec![from],
            schemas: Vec::new(),
            event_time: None,
            on_error: OnError::default(),
        })
    }

    /// Several streams of the same columns as one. A column may be null where it may be in any of them.
    pub fn union(&mut self, name: &str, inputs: Vec<Input>) -> NodeId {
        let mut schemas = inputs.iter().map(|i| self.schema(i.from, i.port));
        let first = schemas.next().unwrap_or_else(|| Arc::new(Schema::empty()));
        let schema = schemas.fold(first, |all, one| widened(&all, &one));
        self.add(Node {
            name: name.into(),
            role: "union".into(),
            work: Work::Union,
            inputs,
            schemas: vec![schema],
            event_time: None,
            on_error: OnError::default(),
        })
    }

    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The schema of a port before pruning.
    pub fn schema(&self, id: NodeId, port: usize) -> SchemaRef {
        if port == ERRORS { crate::dead::schema() } else { Arc::clone(&self.nodes[id.0].schemas[port]) }
    }

    /// Adds an operator; one schema per output port.
    pub fn operator(
        &mut self,
        name: &str,
        role: &str,
        inputs: Vec<Input>,
        schemas: Vec<SchemaRef>,
        work: Work,
    ) -> NodeId {
        self.add(Node {
            name: name.into(),
            role: role.into(),
            work,
            inputs,
            schemas,
            event_time: None,
            on_error: OnError::default(),
        })
    }

    /// Remembers a problem found while building; `prepare` returns all of them.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Checks the graph and prunes its columns.
    ///
    /// # Errors
    /// Every problem found, not just the first.
    pub fn prepare(&self) -> Result<Prepared, Vec<Problem>> {
        let mut problems = self.problems.clone();
        if self.nodes.is_empty() {
            problems.push(Problem::error("PLAN-EMPTY", "the pipeline has no nodes"));
        }
        for node in &self.nodes {
            self.check_node(node, &mut problems);
        }
        self.check_was(&mut problems);
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        let wanted = self.wanted();
        Ok(Prepared { schemas: self.pruned(&wanted), pipeline: self.clone() })
    }

    /// An old name is nobody's any more, and one node's alone.
    fn check_was(&self, problems: &mut Vec<Problem>) {
        for (name, old) in &self.was {
            let claims = self.was.values().filter(|o| *o == old).count();
            if claims > 1 || self.nodes.iter().any(|n| *n.name == **old) {
                problems.push(
                    Problem::error("PLAN-WAS", "the old name of a node is another's, too")
                        .at(Place::node(name))
                        .found(old.clone())
                        .help("only one node can keep the state of an old name"),
                );
            }
        }
    }

    fn check_node(&self, node: &Node, problems: &mut Vec<Problem>) {
        let place = || Place::node(&*node.name);
        if let Work::Union = node.work {
            for input in &node.inputs {
                let schema = self.schema(input.from, input.port);
                if !same_columns(&schema, &node.schemas[0]) {
                    problems.push(
                        Problem::error("PLAN-UNION-SCHEMA", "the inputs of a union have different schemas")
                            .at(place())
                            .found(describe(&schema))
                            .expected(describe(&node.schemas[0])),
                    );
                }
            }
        }
        if let Some(event_time) = &node.event_time {
            let found = node.schemas.first().and_then(|s| s.field_with_name(&event_time.field).ok());
            let is_time = found.is_some_and(|f| matches!(f.data_type(), arrow::datatypes::DataType::Timestamp(..)));
            if !is_time {
                problems.push(
                    Problem::error("PLAN-EVENT-TIME", format!("`{}` is not a timestamp column", event_time.field))
                        .at(place())
                        .found(found.map_or_else(|| "no such column".into(), |f| f.data_type().to_string()))
                        .expected("a timestamp column of this node's output"),
                );
            }
            if let Some(why) = self.no_event_time(node) {
                problems.push(
                    Problem::error("PLAN-EVENT-TIME", "event time cannot be declared here")
                        .at(place())
                        .found(why)
                        .expected("a source, or a node without state that only such nodes part from its sources")
                        .help("declare it further up; behind a window, the window's end is the event time"),
                );
            }
        }
    }

    /// Why the rows of a node cannot be given another event time: it is followed per partition of a source.
    fn no_event_time(&self, node: &Node) -> Option<String> {
        let (mut todo, mut seen) = (vec![node], BTreeSet::new());
        let (mut sources, mut refused) = (0, None);
        while let Some(node) = todo.pop() {
            match node.work {
                Work::Source(_) => sources += 1,
                Work::Operator { .. } => return Some(format!("`{}` keeps state", node.name)),
                Work::Sink(_) => return Some(format!("`{}` is a sink", node.name)),
                Work::Stage { .. } | Work::Union => {}
            }
            for input in &node.inputs {
                match input.port == ERRORS {
                    true => {
                        refused = Some(format!("refused rows of `{}` have no partition", self.node(input.from).name))
                    }
                    false if seen.insert(input.from.0) => todo.push(self.node(input.from)),
                    false => {}
                }
            }
        }
        refused.filter(|_| sources == 0)
    }

    /// What each node's output must provide: `None` = all columns.
    fn wanted(&self) -> Vec<Option<BTreeSet<String>>> {
        let mut wanted: Vec<Option<BTreeSet<String>>> = vec![Some(BTreeSet::new()); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if let (Some(event_time), Some(set)) = (&node.event_time, wanted[index].as_mut()) {
                set.insert(event_time.field.clone());
            }
            let own = wanted[index].clone();
            for (n, input) in node.inputs.iter().enumerate().filter(|(_, i)| i.port != ERRORS) {
                let mut demand = match &node.work {
                    Work::Source(_) | Work::Sink(_) => None,
                    Work::Union => own.clone(),
                    Work::Stage { reads, .. } => reads.demand(&own),
                    Work::Operator { reads, .. } => reads[n].demand(&own),
                };
                if let (Some(demand), Some(keys)) = (demand.as_mut(), &input.exchange) {
                    demand.extend(keys.iter().cloned());
                }
                let target = &mut wanted[input.from.0];
                match (target.as_mut(), demand) {
                    (Some(set), Some(demand)) => set.extend(demand),
                    _ => *target = None,
                }
            }
        }
        wanted
    }

    /// The schema of each port after pruning.
    fn pruned(&self, wanted: &[Option<BTreeSet<String>>]) -> Vec<Vec<SchemaRef>> {
        let mut out: Vec<Vec<SchemaRef>> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let keep = |schema: &SchemaRef, keep: &dyn Fn(&str) -> bool| -> SchemaRef {
                let fields: Vec<_> = schema.fields().iter().filter(|f| keep(f.name())).cloned().collect();
                Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
            };
            let is_wanted = |name: &str| wanted[index].as_ref().is_none_or(|set| set.contains(name));
            let schemas = match &node.work {
                Work::Source(_) | Work::Union => node.schemas.iter().map(|s| keep(s, &is_wanted)).collect(),
                Work::Stage { reads: Reads::Extra(_), .. } => {
                    let input = &node.inputs[0];
                    let full = self.schema(input.from, input.port);
                    let actual = if input.port == ERRORS {
                        crate::dead::schema()
                    } else {
                        Arc::clone(&out[input.from.0][input.port])
                    };
                    let there = |name: &str| actual.index_of(name).is_ok() || full.index_of(name).is_err();
                    node.schemas.iter().map(|s| keep(s, &there)).collect()
                }
                _ => node.schemas.clone(),
            };
            out.push(schemas);
        }
        out
    }
}

/// True if both have the same names and types in the same order; what may be null may differ.
fn same_columns(a: &Schema, b: &Schema) -> bool {
    let same = |(x, y): (&FieldRef, &FieldRef)| x.name() == y.name() && x.data_type() == y.data_type();
    a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(same)
}

/// `all`, with every column nullable that is so in `one`.
fn widened(all: &SchemaRef, one: &SchemaRef) -> SchemaRef {
    if !same_columns(all, one) {
        return Arc::clone(all);
    }
    let either = |(a, b): (&FieldRef, &FieldRef)| a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable());
    let fields: Vec<_> = all.fields().iter().zip(one.fields()).map(either).collect();
    Arc::new(Schema::new_with_metadata(fields, all.metadata().clone()))
}

/// A pipeline that has been checked, with its pruned schemas.
#[derive(Clone)]
pub struct Prepared {
    /// The graph.
    pub pipeline: Pipeline,
    /// The schema of each port of each node, after pruning.
    pub schemas: Vec<Vec<SchemaRef>>,
}

impl Prepared {
    /// The schema of what an input delivers.
    pub fn input_schema(&self, input: &Input) -> SchemaRef {
        if input.port == ERRORS { crate::dead::schema() } else { Arc::clone(&self.schemas[input.from.0][input.port]) }
    }

    /// Nodes by user-visible name, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut seen = BTreeMap::new();
        let mut names = Vec::new();
        for node in &self.pipeline.nodes {
            if seen.insert(Arc::clone(&node.name), ()).is_none() {
                names.push(Arc::clone(&node.name));
            }
        }
        names
    }
}

/// A schema in one line: `a: Int64, b: Utf8`.
pub fn describe(schema: &Schema) -> String {
    schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ")
}
