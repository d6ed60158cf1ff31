//! From a pipeline file to the engine's pipeline.
//!
//! ```text
//!   bytes -> Document -> resolved -> checked against the catalogue -> one node after the other, in the
//!   order of the graph, by its kind -> engine Pipeline
//! ```
//!
//! All problems of one stage are reported together; a later stage only runs when the one before found no
//! error, since its findings would be echoes.

use crate::file::Access;
use crate::kind::{Build, Events, Port, Stream};
use crate::registry::Registry;
use millstream::dead;
use millstream::plan::{ERRORS, Input, OnError, Pipeline, Work};
use millstream::{Problem, Result};
use millstream_pipelines::document::{self, Inputs, Node, NodeRef};
use millstream_pipelines::{Document, Secret, check, graph};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What loading needs beside the file.
pub struct LoadOptions<'a> {
    /// Values of parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Looks up a secret.
    pub secrets: &'a dyn Fn(&str) -> Option<Secret>,
    /// How many workers the job will have.
    pub workers: usize,
    /// Hears of what nodes notice while the job runs; each problem names its node.
    pub events: Events,
    /// Nodes and ports that count as read although no node reads them: those that a test looks at.
    pub observed: Vec<(String, String)>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        LoadOptions {
            parameters: BTreeMap::new(),
            env: &|_| None,
            secrets: &|_| None,
            workers: 1,
            events: Arc::new(|_| {}),
            observed: Vec::new(),
        }
    }
}

/// A pipeline file, loaded.
pub struct Loaded {
    /// The document, with references resolved.
    pub document: Document,
    /// What the engine runs.
    pub pipeline: Pipeline,
    /// The output ports of every node with their schemas, in the order of the file.
    pub ports: Vec<(String, Vec<Port>)>,
    /// Warnings and notes.
    pub notes: Vec<Problem>,
}

/// Reads, checks and plans a pipeline file.
///
/// # Errors
/// All problems of the first stage that found an error; warnings and notes among them.
pub fn load(file: &str, bytes: &[u8], registry: &Registry, options: &LoadOptions<'_>) -> Result<Loaded, Vec<Problem>> {
    let document = Document::parse(file, bytes)?;
    load_document(&document, registry, options)
}

/// [`load`] for a document that has been parsed.
///
/// # Errors
/// As [`load`].
pub fn load_document(
    document: &Document,
    registry: &Registry,
    options: &LoadOptions<'_>,
) -> Result<Loaded, Vec<Problem>> {
    let before = check(document, registry.catalogue());
    if before.iter().any(Problem::is_error) {
        return Err(before);
    }
    let document = document.resolve(&options.parameters, options.env, options.secrets)?;
    let mut notes = check(&document, registry.catalogue());
    if notes.iter().any(Problem::is_error) {
        return Err(notes);
    }
    let base = Path::new(document.source.file()).parent().map_or_else(Default::default, Path::to_path_buf);
    let mut loader = Loader {
        document: &document,
        registry,
        access: Access::new(base),
        workers: options.workers,
        events: &options.events,
        observed: &options.observed,
        pipeline: Pipeline::new(document.name.clone()),
        built: BTreeMap::new(),
    };
    loader.settings();
    let problems = loader.nodes();
    if problems.iter().any(Problem::is_error) {
        notes.extend(problems);
        return Err(notes);
    }
    notes.extend(problems);
    let (pipeline, mut built) = (loader.pipeline, loader.built);
    let ports = document
        .nodes
        .iter()
        .map(|n| (n.name.clone(), built.remove(&n.name).map_or_else(Vec::new, |b| b.ports)))
        .collect();
    let prepared = pipeline.prepare();
    if let Err(problems) = prepared {
        notes.extend(problems.into_iter().map(|p| locate(&document, p)));
        return Err(notes);
    }
    Ok(Loaded { document, pipeline, ports, notes })
}

/// `dead_letters:` as the engine has it.
pub fn limits(letters: &document::DeadLetters) -> dead::Limits {
    dead::Limits {
        keep: letters.keep.get(),
        max: letters.max.bytes(),
        when_full: match letters.when_full {
            document::WhenFull::Pause => dead::WhenFull::Pause,
            document::WhenFull::DropOldest => dead::WhenFull::DropOldest,
        },
        guard: letters.guard.map(|g| dead::guard::Guard {
            share: g.share.millionths(),
            rows: g.rows,
            every: g.every.get(),
        }),
    }
}

/// A problem of the engine that names a node, moved to the node's place in the file.
fn locate(document: &Document, mut problem: Problem) -> Problem {
    if let Some(millstream::Place::Node { node, .. }) = &problem.place
        && let Some(found) = document.node(node)
    {
        let name = node.clone();
        problem.place = Some(document.place(found.name_span));
        problem = problem.node(name);
    }
    problem
}

/// The same listener, told which node speaks.
fn named(events: &Events, node: &str) -> Events {
    let (events, node) = (Arc::clone(events), node.to_string());
    Arc::new(move |problem| events(problem.node(&*node)))
}

struct Built {
    ports: Vec<Port>,
    /// The nodes of the graph that can refuse rows.
    errors: Vec<Input>,
}

struct Loader<'a> {
    document: &'a Document,
    registry: &'a Registry,
    access: Access,
    workers: usize,
    events: &'a Events,
    observed: &'a [(String, String)],
    pipeline: Pipeline,
    built: BTreeMap<String, Built>,
}

impl Loader<'_> {
    fn settings(&mut self) {
        let micros =
            |d: millstream_pipelines::units::Duration| Duration::from_micros(u64::try_from(d.micros()).unwrap_or(0));
        let settings = &mut self.pipeline.settings;
        settings.checkpoint_every = micros(self.document.checkpoint.every);
        settings.checkpoint_timeout = micros(self.document.checkpoint.timeout);
        settings.dead_letters = limits(&self.document.dead_letters);
    }

    /// Builds every node; a node whose inputs failed is left out, since it would only echo.
    fn nodes(&mut self) -> Vec<Problem> {
        let edges = graph::edges(self.document);
        let mut problems = Vec::new();
        let order = match graph::order(self.document.nodes.len(), &edges) {
            Ok(order) => order,
            Err(_) => return vec![Problem::internal("a cycle was not found by the checks")],
        };
        for index in order {
            let node = &self.document.nodes[index];
            if let Err(found) = self.node(node, &edges) {
                problems.extend(found);
            }
        }
        problems
    }

    fn node(&mut self, node: &Node, edges: &[graph::Edge]) -> Result<(), Vec<Problem>> {
        if let Some(was) = &node.was {
            self.pipeline.was.insert(node.name.clone(), was.value.clone());
        }
        self.pipeline.kinds.insert(node.name.clone(), node.kind.value.clone());
        let Some(inputs) = self.inputs(node, edges)? else { return Ok(()) };
        let kind = self.registry.kind(&node.kind).expect("the checks know every kind");
        let first = self.pipeline.nodes.len();
        let index = self.document.nodes.iter().position(|n| n.name == node.name);
        let observed = self.observed.iter().filter(|(n, _)| *n == node.name).map(|(_, port)| port.clone());
        let read = edges.iter().filter(|e| Some(e.from) == index).map(|e| e.port.clone()).chain(observed).collect();
        let mut build = Build {
            node,
            inputs,
            pipeline: &mut self.pipeline,
            access: &self.access,
            workers: self.workers,
            events: named(self.events, &node.name),
            read,
            ports: Vec::new(),
        };
        kind.build(&mut build)?;
        let ports = build.ports;
        let mut errors = Vec::new();
        for (at, made) in self.pipeline.nodes.iter_mut().enumerate().skip(first) {
            made.on_error = match node.on_error.as_ref().map(|o| o.value) {
                Some(document::OnError::Drop) => OnError::Drop,
                Some(document::OnError::Fail) => OnError::Fail,
                Some(document::OnError::DeadLetter) | None => OnError::DeadLetter,
            };
            if !matches!(made.work, Work::Sink(_) | Work::Union) {
                errors.push(Input::from(millstream::plan::NodeId(at)).port(ERRORS));
            }
        }
        self.built.insert(node.name.clone(), Built { ports, errors });
        Ok(())
    }

    /// The streams that a node reads; `None` where one of them failed to build.
    fn inputs(&mut self, node: &Node, edges: &[graph::Edge]) -> Result<Option<Vec<Stream>>, Vec<Problem>> {
        let mut by_name: Vec<(String, Vec<Stream>)> = Vec::new();
        for (name, reference) in node.from.refs() {
            let Some(streams) = self.resolve(node, reference, edges) else { return Ok(None) };
            let name = if name.is_empty() { reference.node.clone() } else { name.to_string() };
            let single = matches!(node.from, Inputs::List(_));
            match by_name.iter_mut().find(|(n, _)| single || *n == name) {
                Some((_, list)) => list.extend(streams),
                None => by_name.push((name, streams)),
            }
        }
        let mut inputs = Vec::new();
        for (name, streams) in by_name {
            inputs.push(self.union(node, name, streams)?);
        }
        Ok(Some(inputs))
    }

    fn resolve(&self, node: &Node, reference: &NodeRef, edges: &[graph::Edge]) -> Option<Vec<Stream>> {
        if reference.is_wildcard() {
            let own = self.document.nodes.iter().position(|n| n.name == node.name)?;
            let from = edges.iter().filter(|e| e.to == own && e.port == "errors");
            let mut all = Vec::new();
            for edge in from {
                all.extend(self.errors(&self.document.nodes[edge.from].name)?);
            }
            return Some(all);
        }
        if reference.port == "errors" {
            return self.errors(&reference.node);
        }
        let built = self.built.get(&reference.node)?;
        let port = built.ports.iter().find(|p| p.name == reference.port)?;
        Some(vec![port.stream.clone()])
    }

    fn errors(&self, node: &str) -> Option<Vec<Stream>> {
        let built = self.built.get(node)?;
        let stream = |input: &Input| Stream {
            name: format!("{node}.errors"),
            input: input.clone(),
            schema: dead::schema(),
            event_time: Some("time".into()),
        };
        Some(built.errors.iter().map(stream).collect())
    }

    /// Several streams under one name are their union: their schemas must be equal.
    fn union(&mut self, node: &Node, name: String, mut streams: Vec<Stream>) -> Result<Stream, Vec<Problem>> {
        if streams.len() == 1 {
            return Ok(Stream { name, ..streams.remove(0) });
        }
        let Some(first) = streams.first().cloned() else {
            return Err(vec![node.error(&["from"], "PIPE-DANGLING", "nothing puts out errors before this node")]);
        };
        let named: Vec<(&str, _)> = streams.iter().map(|s| (s.name.as_str(), s.schema.clone())).collect();
        let schema = crate::transforms::union::schema(&named)
            .map_err(|p| vec![p.at(node.place(node.from_span.unwrap_or(node.name_span))).node(&*node.name)])?;
        let event_time = first.event_time.clone().filter(|e| streams.iter().all(|s| s.event_time.as_ref() == Some(e)));
        let id = self.pipeline.union(&node.name, streams.into_iter().map(|s| s.input).collect());
        Ok(Stream { name, input: Input::from(id), schema, event_time })
    }
}
