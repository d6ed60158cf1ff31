//! What a kind of node is to the rest of the program: a catalogue entry, and how to build it.

use crate::file::Access;
use crate::schema;
use arrow::datatypes::SchemaRef;
use millstream::connect::{SinkFactory, Source};
use millstream::operator::{Emit, Operator, Reads, Stage, StageFactory};
use millstream::plan::{EventTime, Input, NodeId, Pipeline, Work};
use millstream::{Batch, Place, Problem, Result};
use millstream_pipelines::catalogue::{Guarantee, Inputs, KindInfo, Role};
use millstream_pipelines::document::Node;
use std::sync::Arc;

/// One kind of node. There is one list of them: [`crate::registry::KINDS`].
pub trait Kind: Send + Sync {
    /// Its entry in the catalogue. Forms, checks and reference pages are made from it.
    fn info(&self) -> KindInfo;
    /// Adds one node of this kind to the graph.
    ///
    /// # Errors
    /// What only the kind itself can check; the catalogue's checks have passed.
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>>;
}

/// A stream that a node reads.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The name under `from`, or the producer's name.
    pub name: String,
    /// Where it comes from.
    pub input: Input,
    /// Its columns.
    pub schema: SchemaRef,
    /// The column that holds its event time, where one does.
    pub event_time: Option<String>,
}

/// An output port of a node that has been built.
#[derive(Clone, Debug)]
pub struct Port {
    /// Empty for the main one.
    pub name: String,
    /// The stream behind it.
    pub stream: Stream,
}

/// Hears of what a job noticed and went on from: a file that was cut, a position given up.
/// Called from the threads of the job, so it must not block.
pub type Events = Arc<dyn Fn(Problem) + Send + Sync>;

/// Everything a kind needs to build one node, and where it puts what it built.
pub struct Build<'a> {
    /// The node as it stands in the file, with references resolved.
    pub node: &'a Node,
    /// What it reads, in order.
    pub inputs: Vec<Stream>,
    /// The graph so far.
    pub pipeline: &'a mut Pipeline,
    /// What files it may reach, and what relative paths are relative to.
    pub access: &'a Access,
    /// How many workers the job will have.
    pub workers: usize,
    /// Hears of what the node notices while it runs; adds the node's name.
    pub events: Events,
    /// Ports that some other node reads.
    pub read: Vec<String>,
    /// What it has put out so far.
    pub ports: Vec<Port>,
}

impl Build<'_> {
    /// The node's own keys as the kind's config type.
    pub fn config<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        self.node.config()
    }

    /// The one stream of a node that reads one.
    ///
    /// # Panics
    /// For a source: the catalogue says which kinds have an input.
    pub fn input(&self) -> &Stream {
        &self.inputs[0]
    }

    /// Moves a problem that names a key of this node (or nothing) to its place in the file.
    pub fn locate(&self, mut problem: Problem) -> Problem {
        let path = match &problem.place {
            Some(Place::Node { field, .. }) => field.clone(),
            Some(Place::Text { file, .. }) if file.is_empty() || file.starts_with('<') => String::new(),
            Some(_) => return problem.node(&*self.node.name),
            None => String::new(),
        };
        let keys: Vec<&str> = path.split('.').filter(|k| !k.is_empty()).collect();
        let place = self.node.error(&keys, "", "").place.clone();
        problem.place = place;
        problem.node(&*self.node.name)
    }

    /// [`Build::locate`] for one problem as a list.
    pub fn refuse<T>(&self, problem: Problem) -> Result<T, Vec<Problem>> {
        Err(vec![self.locate(problem)])
    }

    /// Adds a source; its columns come from `schema:` (or `fallback`) and `metadata:`.
    pub fn source(&mut self, source: Arc<dyn Source>, schema: SchemaRef) {
        let event_time = self.event_time();
        let field = event_time.as_ref().map(|e| e.field.clone());
        let id = self.pipeline.source(&self.node.name, source, Arc::clone(&schema), event_time);
        self.put("", Input::from(id), schema, field);
    }

    /// The columns of a source: `schema:`, or `fallback` where the format has columns of its own, and then
    /// what `metadata:` and `event_time:` ask of the transport.
    pub fn source_schema(&self, fallback: Option<SchemaRef>) -> Result<SchemaRef, Vec<Problem>> {
        schema::of_source(self.node, fallback)
    }

    /// Adds a stage behind the one input.
    pub fn stage(&mut self, output: SchemaRef, reads: Reads, stage: StageFactory) -> NodeId {
        let from = self.input().input.clone();
        let id = self.pipeline.stage(&self.node.name, from, Arc::clone(&output), reads, stage);
        let event_time = self.event_time();
        let field = match &event_time {
            Some(event_time) => Some(event_time.field.clone()),
            None => self.kept_event_time(&output),
        };
        self.pipeline.nodes[id.0].event_time = event_time;
        self.put("", Input::from(id), output, field);
        id
    }

    /// Adds a sink behind the one input, and the filter of its `where:` in front of it.
    pub fn sink(&mut self, sink: Arc<dyn SinkFactory>) -> Result<(), Vec<Problem>> {
        let mut from = self.input().input.clone();
        if let Some(condition) = &self.node.where_ {
            let planned = millstream::sql::filter(condition, &self.input().schema)
                .map_err(|p| vec![self.at(condition.span, p)])?;
            from =
                Input::from(self.pipeline.stage(&self.node.name, from, planned.output, planned.reads, planned.stage));
        }
        self.pipeline.sink(&self.node.name, from, sink);
        Ok(())
    }

    /// Adds an operator; one schema per port, the first is the main one. Rows of port `late` become dead
    /// letters where no node reads them.
    pub fn operator(&mut self, role: &str, inputs: Vec<Input>, schemas: Vec<SchemaRef>, work: Work) -> NodeId {
        self.pipeline.operator(&self.node.name, role, inputs, schemas, work)
    }

    /// Declares an output port.
    pub fn put(&mut self, port: &str, input: Input, schema: SchemaRef, event_time: Option<String>) {
        let stream = Stream { name: self.node.name.clone(), input, schema, event_time };
        self.ports.push(Port { name: port.into(), stream });
    }

    /// Declares the `late` port: read by a node, or turned into dead letters.
    pub fn late(&mut self, streams: Vec<(NodeId, usize)>) {
        let inputs: Vec<Input> = streams.iter().map(|(node, port)| Input::from(*node).port(*port)).collect();
        if self.read.iter().any(|r| r == "late") {
            let schema = inputs.first().map(|i| self.pipeline.schema(i.from, i.port));
            let Some(schema) = schema else { return };
            let input = match inputs.len() {
                1 => inputs[0].clone(),
                _ => Input::from(self.pipeline.union(&self.node.name, inputs)),
            };
            self.put("late", input, schema, None);
            return;
        }
        for input in inputs {
            let schema = self.pipeline.schema(input.from, input.port);
            let stage: StageFactory = Arc::new(|_| Ok(Box::new(TooLate)));
            self.pipeline.stage(&self.node.name, input, schema, Reads::All, stage);
        }
    }

    /// A problem inside a text of the file, such as a condition or a query: moved to where it stands there.
    pub fn at(&self, span: millstream_pipelines::Span, mut problem: Problem) -> Problem {
        problem.place = Some(self.node.place(span));
        problem.node(&*self.node.name)
    }

    fn event_time(&self) -> Option<EventTime> {
        self.node.event_time.as_ref().map(|e| schema::event_time(e))
    }

    fn kept_event_time(&self, output: &SchemaRef) -> Option<String> {
        self.inputs[0].event_time.clone().filter(|field| output.index_of(field).is_ok())
    }
}

/// Rows that came after their window had closed, where no node reads them.
struct TooLate;

impl Stage for TooLate {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        for row in 0..batch.len() {
            out.reject(&batch, row, "WINDOW-LATE", "the row came after its window had closed; raise `out_of_order` or `allowed_lateness`, or read the port `late`");
        }
        Ok(())
    }
}

/// An operator that a factory makes, boxed.
pub fn boxed<T: Operator>(operator: T) -> Box<dyn Operator> {
    Box::new(operator)
}

/// Begins a catalogue entry from a config type: its doc comment is the documentation, its fields the options.
pub fn entry<C: schemars::JsonSchema>(name: &str, role: Role, inputs: Inputs, example: &str) -> KindInfo {
    let config = serde_json::to_value(schemars::schema_for!(C)).expect("a JSON Schema is JSON");
    let docs = config["description"].as_str().unwrap_or_default().to_string();
    let summary = docs.split_terminator(". ").next().unwrap_or_default().trim_end_matches('.').replace('\n', " ") + ".";
    let common = match role {
        Role::Source => vec!["event_time", "metadata", "schema"],
        Role::Transform => vec![],
        Role::Sink => vec!["where", "guarantee"],
    };
    KindInfo {
        name: name.into(),
        role,
        inputs,
        ports: if role == Role::Sink { vec![] } else { vec![String::new()] },
        ports_from: None,
        common: common.into_iter().map(String::from).collect(),
        guarantee: Guarantee::ExactlyOnce,
        summary,
        docs,
        config,
        example: example.into(),
    }
}

/// Narrows the schema of a config with a `format` to the formats that the kind can use, so that forms and
/// reference pages offer no other.
///
/// # Panics
/// When the config has no `format`, or the schema of formats no longer begins with their names.
pub fn with_formats(mut info: KindInfo, formats: &[&str]) -> KindInfo {
    let names =
        info.config.pointer_mut("/$defs/Format/oneOf/0/enum").expect("the schema of formats begins with their names");
    *names = formats.into();
    info
}

/// Adds keys common to all nodes that make sense for the kind.
pub fn allowing(mut info: KindInfo, keys: &[&str]) -> KindInfo {
    info.common.extend(keys.iter().map(|k| k.to_string()));
    info
}
