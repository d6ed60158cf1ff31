//! One dataflow worker: builds the graph, steps it, and leaves cleanly or at once.

use super::chain::{self, Link};
use super::checkpoint::{Participants, Saved};
use super::intake::Partitions;
use super::isolate::{Decoding, Guarded, words};
use super::ports::{Outlet, Surround};
use super::replay::ReplaySpec;
use super::shared::{NEVER, Shared};
use super::sink::{self, Mailbox};
use super::source::{self, Reached, SourceSpec};
use super::stateful::{self, StatefulSpec};
use super::stream::{Mark, Status};
use super::suspects::Suspects;
use super::track::{self, TrackSpec};
use super::{dead, replay, turns, watch};
use crate::batch::{Batch, record_batch};
use crate::connect::PartitionId;
use crate::dead::replay::{DECODER, Plan, ReadRows};
use crate::metrics::{Metrics, NodeMetrics};
use crate::operator::{Emit, KeyGroups, StageFactory};
use crate::plan::{ERRORS, Input, Node, NodeId, OnError, Prepared, Work};
use crate::problem::{Domain, Retry};
use crate::state::Committed;
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::operators::core::{Concatenate, ToStream};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::worker::Worker;

/// How long a worker sleeps when nothing wakes it. Peers do not learn of a panic by themselves: this
/// bounds how long they wait before they look at the poison flag.
const PARK: Duration = Duration::from_millis(100);

/// Everything that all workers build from; the same for each.
pub(crate) struct Blueprint {
    pub shared: Arc<Shared>,
    pub prepared: Prepared,
    pub metrics: Arc<Metrics>,
    pub participants: Participants,
    pub partitions: BTreeMap<usize, Arc<Partitions>>,
    pub mailboxes: BTreeMap<(usize, usize), Arc<Mailbox>>,
    pub start: Epoch,
    pub restored: Restored,
    pub watches: watch::Watches,
    /// Operators that have panicked lately.
    pub suspects: Arc<Suspects>,
    /// Watches the rate of dead letters.
    pub guard: Option<dead::Guarded>,
    /// Sources read nothing; these letters are fed instead.
    pub replay: Option<Letters>,
}

/// The letters of a replay, and how their rows are read.
#[derive(Clone)]
pub(crate) struct Letters {
    pub plan: Arc<Plan>,
    pub read: ReadRows,
}

/// What the last checkpoint says.
#[derive(Default)]
pub(crate) struct Restored {
    pub tail: Option<Arc<Committed>>,
    /// By node, then partition.
    pub positions: BTreeMap<String, BTreeMap<PartitionId, Saved>>,
    pub watermarks: BTreeMap<String, i64>,
}

impl Restored {
    /// The watermark at which an operator goes on. One that the last run did not have (a partial aggregate,
    /// which there is with several workers only) begins with the lowest of its node's other operators.
    fn watermark(&self, id: &str) -> Option<Watermark> {
        let of_node = |other: &str| other.split('/').next() == id.split('/').next();
        let others = || self.watermarks.iter().filter(|(other, _)| of_node(other)).map(|(_, w)| w).min();
        self.watermarks.get(id).or_else(others).copied().map(Watermark)
    }
}

/// What surrounds a node's code, before the operator has its `errors` port.
#[derive(Clone)]
pub(crate) struct AroundSpec {
    pub shared: Arc<Shared>,
    pub metrics: Arc<NodeMetrics>,
    pub on_error: OnError,
}

impl AroundSpec {
    pub fn with(self, errors: Outlet) -> Surround {
        Surround { time: None, shared: self.shared, metrics: self.metrics, on_error: self.on_error, errors }
    }
}

/// The lowest epoch that some input may still bring; [`NEVER`] when all have ended.
pub(crate) fn low(frontiers: &[MutableAntichain<Epoch>]) -> Epoch {
    frontiers.iter().filter_map(|f| f.frontier().iter().copied().min()).min().unwrap_or(NEVER)
}

/// A panic in our own or the user's code, as a problem.
pub(crate) fn panic_problem(who: &str, panic: &(dyn std::any::Any + Send)) -> Problem {
    Problem::internal(format!("{who} panicked")).found(words(panic)).kind(Domain::Internal, Retry::Backoff)
}

/// The body of a worker thread: builds, steps until the dataflow is complete or the job is poisoned.
pub(crate) fn run(worker: &mut Worker, blueprint: &Blueprint) {
    let shared = &blueprint.shared;
    let guarded = std::panic::AssertUnwindSafe(|| -> Result<()> {
        worker.dataflow::<Epoch, _, _>(|scope| Builder::new(scope, blueprint).build())?;
        blueprint.participants.built();
        while worker.has_dataflows() && !shared.poisoned() {
            turns::step(worker, PARK);
        }
        Ok(())
    });
    match std::panic::catch_unwind(guarded) {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => shared.fail(problem),
        Err(panic) => shared.fail(panic_problem("an operator", &*panic)),
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

/// The streams of one node that has been built.
#[derive(Clone, Default)]
struct Built<'s> {
    ports: Vec<Option<Stream<'s, Epoch, Batch>>>,
    errors: Option<Stream<'s, Epoch, Batch>>,
    /// What decides the watermark behind this node, where someone asks.
    time: Time<'s>,
}

/// Where the watermark of a stream comes from.
#[derive(Clone, Default)]
struct Time<'s> {
    marks: Vec<Stream<'s, Epoch, Vec<Mark>>>,
    trackers: Vec<(usize, usize)>,
    /// Before a tracker: what the partitions are doing, for the tracker to come.
    status: Vec<Stream<'s, Epoch, Vec<Status>>>,
    reached: Vec<Reached>,
    sources: Vec<usize>,
}

impl<'s> Time<'s> {
    fn merge(&mut self, other: &Time<'s>) {
        self.status.extend(other.status.iter().cloned());
        self.reached.extend(other.reached.iter().cloned());
        for tracker in &other.trackers {
            if !self.trackers.contains(tracker) {
                self.trackers.push(*tracker);
            }
        }
        for (marks, source) in other.marks.iter().zip(&other.sources) {
            if !self.sources.contains(source) {
                self.sources.push(*source);
                self.marks.push(marks.clone());
            }
        }
    }
}

struct Builder<'s, 'b> {
    scope: Scope<'s, Epoch>,
    plan: &'b Blueprint,
    worker: usize,
    workers: usize,
    built: Vec<Built<'s>>,
    /// Nodes whose output some operator reads with a watermark, or that declare event time.
    timed: Vec<bool>,
    dead: Vec<(String, Stream<'s, Epoch, Batch>)>,
}

impl<'s, 'b> Builder<'s, 'b> {
    fn new(scope: Scope<'s, Epoch>, plan: &'b Blueprint) -> Self {
        let (worker, workers) = (scope.worker().index(), scope.worker().peers());
        let nodes = &plan.prepared.pipeline.nodes;
        Builder {
            scope,
            plan,
            worker,
            workers,
            built: vec![Built::default(); nodes.len()],
            timed: timed(nodes),
            dead: Vec::new(),
        }
    }

    fn node(&self, index: usize) -> &'b Node {
        &self.plan.prepared.pipeline.nodes[index]
    }

    fn build(mut self) -> Result<()> {
        let mut index = 0;
        while index < self.built.len() {
            let last = match self.node(index).work {
                Work::Stage { .. } => self.build_chain(index)?,
                _ => {
                    self.build_one(index)?;
                    index
                }
            };
            for done in index..=last {
                self.keep_errors(done);
                self.watch(done);
            }
            index = last + 1;
        }
        let dead = std::mem::take(&mut self.dead);
        if !dead.is_empty() {
            let (shared, guard) = (Arc::clone(&self.plan.shared), self.plan.guard.clone());
            dead::build(self.scope, dead, shared, guard, self.plan.participants.join());
        }
        Ok(())
    }

    fn build_one(&mut self, index: usize) -> Result<()> {
        let node = self.node(index);
        match &node.work {
            Work::Source(_) => self.build_source(index),
            Work::Operator { .. } => self.build_operator(index),
            Work::Sink(_) => {
                self.build_sink(index);
                Ok(())
            }
            Work::Union => self.build_union(index),
            Work::Stage { .. } => unreachable!("stages are built as chains"),
        }
    }

    fn around(&self, index: usize) -> AroundSpec {
        AroundSpec {
            shared: Arc::clone(&self.plan.shared),
            metrics: Arc::clone(&self.plan.metrics.nodes[index]),
            on_error: self.node(index).on_error,
        }
    }

    fn stream(&self, input: &Input) -> Stream<'s, Epoch, Batch> {
        let from = &self.built[input.from.0];
        let stream = if input.port == ERRORS { from.errors.clone() } else { from.ports[input.port].clone() };
        stream.expect("nodes are built in topological order, and a chain ends where its output is read twice")
    }

    /// What an input of a node delivers, with the dead letters that are fed into it again.
    fn stream_into(&self, index: usize, input: usize) -> Result<Stream<'s, Epoch, Batch>> {
        let stream = self.stream(&self.node(index).inputs[input]);
        let Some(replaying) = self.plan.replay.as_ref().filter(|_| self.is_fed(index, input)) else {
            return Ok(stream);
        };
        let into =
            replay::Into::Input((replaying.read)(&self.plan.prepared.input_schema(&self.node(index).inputs[input]))?);
        let (rows, _) = self.feed(index, input, into);
        Ok(self.scope.concatenate([stream, rows]))
    }

    fn is_fed(&self, index: usize, input: usize) -> bool {
        self.plan.replay.as_ref().is_some_and(|r| r.plan.feeds.contains_key(&(index, input)))
    }

    fn feed(
        &self,
        index: usize,
        input: usize,
        into: replay::Into,
    ) -> (Stream<'s, Epoch, Batch>, Stream<'s, Epoch, Batch>) {
        let feeds = self.plan.replay.as_ref().filter(|_| self.worker == 0);
        let feeds = feeds.and_then(|r| r.plan.feeds.get(&(index, input)).cloned()).unwrap_or_default();
        replay::build(self.scope, ReplaySpec { around: self.around(index), feeds, into, start: self.plan.start })
    }

    fn schemas(&self, node: &Node) -> Vec<SchemaRef> {
        node.inputs.iter().map(|i| self.plan.prepared.input_schema(i)).collect()
    }

    // --- sources and event time ---

    fn build_source(&mut self, index: usize) -> Result<()> {
        let node = self.node(index);
        let Work::Source(source) = &node.work else { unreachable!("called for sources") };
        let reached = self.timed[index].then(Reached::default);
        let schema = &self.plan.prepared.schemas[index][0];
        let decoder = Decoding::new(source, schema).map_err(|p| p.node(&*node.name))?;
        if self.plan.replay.is_some() {
            // Nobody says what the partitions do: the watermark stays what it was.
            let (rows, errors) = self.feed(index, DECODER, replay::Into::Decoder(Arc::clone(source), decoder));
            let status = vec![Vec::<Status>::new().to_stream(self.scope)];
            let time = Time { status, ..Time::default() };
            self.built[index] = Built { ports: vec![Some(rows)], errors: Some(errors), time };
            self.track_if_due(index);
            return Ok(());
        }
        let (rows, errors, status) = source::build(
            self.scope,
            SourceSpec {
                around: self.around(index),
                source: Arc::clone(source),
                partitions: Arc::clone(&self.plan.partitions[&index]),
                decoder,
                from: self.plan.restored.positions.get(&*node.name).cloned().unwrap_or_default(),
                start: self.plan.start,
                worker: self.worker,
                participant: self.plan.participants.join(),
                reached: reached.clone(),
            },
        );
        let mut time = Time::default();
        if let Some(reached) = reached {
            time.status.push(status);
            time.reached.push(reached);
        }
        self.built[index] = Built { ports: vec![Some(rows)], errors: Some(errors), time };
        self.track_if_due(index);
        Ok(())
    }

    /// Puts the tracker behind this node if it is the one whose event time counts.
    fn track_if_due(&mut self, index: usize) {
        let node = self.node(index);
        let is_source = matches!(node.work, Work::Source(_));
        let declared = node.event_time.is_some();
        let later = self.declared_downstream(index);
        if !self.timed[index] || later || !(declared || is_source) {
            return;
        }
        let time = std::mem::take(&mut self.built[index].time);
        let rows = self.built[index].ports[0].take().expect("the node has just been built");
        let status = self.scope.concatenate(time.status);
        let prefix = format!("{}/", node.name);
        let restored = self.plan.restored.watermarks.iter();
        let restored = restored.filter_map(|(k, w)| Some((Arc::from(k.strip_prefix(&prefix)?), *w))).collect();
        let (rows, marks) = track::build(
            rows,
            status,
            TrackSpec {
                shared: Arc::clone(&self.plan.shared),
                metrics: Arc::clone(&self.plan.metrics.nodes[index]),
                tracker: index,
                worker: self.worker,
                workers: self.workers,
                event_time: node.event_time.clone(),
                reached: time.reached,
                restored,
                participant: self.plan.participants.join(),
            },
        );
        self.built[index].ports[0] = Some(rows);
        self.built[index].time = Time {
            marks: vec![marks],
            trackers: (0..self.workers).map(|w| (index, w)).collect(),
            sources: vec![index],
            ..Time::default()
        };
    }

    /// True if a stage downstream of `index`, with only stages and unions in between, declares event time.
    fn declared_downstream(&self, index: usize) -> bool {
        let nodes = &self.plan.prepared.pipeline.nodes;
        let mut reached = vec![false; nodes.len()];
        reached[index] = true;
        for (n, node) in nodes.iter().enumerate().skip(index + 1) {
            let stateless = matches!(node.work, Work::Stage { .. } | Work::Union);
            if stateless && node.inputs.iter().any(|i| i.port != ERRORS && reached[i.from.0]) {
                if node.event_time.is_some() {
                    return true;
                }
                reached[n] = true;
            }
        }
        false
    }

    // --- stages ---

    /// Builds the longest chain of stages that begins at `first`; returns its last node.
    fn build_chain(&mut self, first: usize) -> Result<usize> {
        let mut last = first;
        while self.fuses(last, last + 1) {
            last += 1;
        }
        let mut links = Vec::new();
        for index in first..=last {
            let node = self.node(index);
            let Work::Stage { factory, .. } = &node.work else { unreachable!("fuses() only takes stages") };
            let schema = self.plan.prepared.input_schema(&node.inputs[0]);
            let stage = Guarded::new(factory, &schema).map_err(|p| p.node(&*node.name))?;
            links.push(Link { stage, around: self.around(index) });
        }
        let input = &self.node(first).inputs[0];
        let time = if input.port == ERRORS { Time::default() } else { self.built[input.from.0].time.clone() };
        let stream = self.stream_into(first, 0)?;
        let ports = self.node(last).schemas.len();
        let streams = chain::build(&format!("chain {}", self.node(first).name), stream, links, ports);
        for (index, errors) in (first..=last).zip(streams.errors) {
            self.built[index].errors = Some(errors);
        }
        self.built[last].ports = streams.ports.into_iter().map(Some).collect();
        self.built[last].time = time;
        self.track_if_due(last);
        Ok(last)
    }

    /// True if `next` is a stage that alone reads the only port of stage `index`.
    fn fuses(&self, index: usize, next: usize) -> bool {
        let nodes = &self.plan.prepared.pipeline.nodes;
        let readers =
            |n: usize| nodes.iter().flat_map(|m| &m.inputs).filter(|i| i.from == NodeId(n) && i.port != ERRORS).count();
        next < nodes.len()
            && matches!(nodes[next].work, Work::Stage { .. })
            && nodes[index].schemas.len() == 1
            && nodes[index].event_time.is_none()
            && nodes[next].inputs[0].from == NodeId(index)
            && nodes[next].inputs[0].port == 0
            && readers(index) == 1
            && !self.plan.watches.is_watched(NodeId(index))
            && !self.is_fed(next, 0)
    }

    fn build_union(&mut self, index: usize) -> Result<()> {
        let node = self.node(index);
        let schema = Arc::clone(&self.plan.prepared.schemas[index][0]);
        let mut time = Time::default();
        let mut streams = Vec::new();
        for input in &node.inputs {
            // Every side passes a stage, also one that is aligned already: that is where rows are counted.
            streams.push(self.align(index, self.stream(input), &schema)?);
            if input.port != ERRORS {
                time.merge(&self.built[input.from.0].time);
            }
        }
        self.built[index] = Built { ports: vec![Some(self.scope.concatenate(streams))], errors: None, time };
        Ok(())
    }

    /// One side of a union may carry columns that nobody downstream wants, or never be null where another is.
    fn align(
        &self,
        index: usize,
        stream: Stream<'s, Epoch, Batch>,
        schema: &SchemaRef,
    ) -> Result<Stream<'s, Epoch, Batch>> {
        struct Align(SchemaRef);
        impl crate::operator::Stage for Align {
            fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
                let names: Vec<&str> = self.0.fields().iter().map(|f| f.name().as_str()).collect();
                let batch = batch.project(&names);
                let rows = record_batch(Arc::clone(&self.0), batch.rows.columns().to_vec(), batch.len());
                out.send(Batch { rows, ..batch });
                Ok(())
            }
        }
        let factory: StageFactory = Arc::new(|schema| Ok(Box::new(Align(Arc::clone(schema)))));
        let links = vec![Link { stage: Guarded::new(&factory, schema)?, around: self.around(index) }];
        Ok(chain::build("align", stream, links, 1).ports.remove(0))
    }

    // --- state and sinks ---

    fn build_operator(&mut self, index: usize) -> Result<()> {
        let node = self.node(index);
        let Work::Operator { factory, fingerprint, .. } = &node.work else { unreachable!("called for operators") };
        let id = format!("{}/{}", node.name, node.role);
        let mut operator = factory(&self.schemas(node)).map_err(|p| p.node(&*node.name))?;
        let restored = self.restore(&id, &mut *operator).map_err(|p| p.node(&*node.name))?;
        // What is in flight, and with it the watermark, is another on each worker.
        let trackers = if operator.pending().is_some() { self.workers } else { 1 };
        let mut time = Time::default();
        let inputs = node.inputs.iter().enumerate().map(|(n, i)| Ok((self.stream_into(index, n)?, i.exchange.clone())));
        let inputs = inputs.collect::<Result<_>>()?;
        for input in node.inputs.iter().filter(|i| i.port != ERRORS) {
            time.merge(&self.built[input.from.0].time);
        }
        let marks = match time.marks.is_empty() {
            true => Vec::<Mark>::new().to_stream(self.scope),
            false => self.scope.concatenate(time.marks),
        };
        let streams = stateful::build(
            self.scope,
            inputs,
            marks,
            StatefulSpec {
                around: self.around(index),
                operator,
                id,
                fingerprint: fingerprint.clone(),
                trackers: time.trackers,
                tracker: index,
                worker: self.worker,
                ports: node.schemas.len(),
                restored,
                participant: self.plan.participants.join(),
                suspects: Arc::clone(&self.plan.suspects),
            },
        );
        self.built[index] = Built {
            ports: streams.ports.into_iter().map(Some).collect(),
            errors: Some(streams.errors),
            time: Time {
                marks: vec![streams.marks],
                trackers: (0..trackers).map(|w| (index, w)).collect(),
                sources: vec![index],
                ..Time::default()
            },
        };
        Ok(())
    }

    /// Gives an operator back its share of the last checkpoint, and its watermark.
    fn restore(&self, id: &str, operator: &mut dyn crate::operator::Operator) -> Result<Option<Watermark>> {
        let Some(tail) = &self.plan.restored.tail else { return Ok(None) };
        let groups = KeyGroups::of(self.worker, self.workers);
        for block in tail.restore(id)? {
            operator.restore(block, &groups)?;
        }
        let Some(watermark) = self.plan.restored.watermark(id) else { return Ok(None) };
        let mut emit = Emit::default();
        operator.on_close(self.plan.start - 1, watermark, &mut emit)?;
        if !emit.out.is_empty() {
            return Err(Problem::internal(format!("state {id} put out rows while it was restored")));
        }
        Ok(Some(watermark))
    }

    fn build_sink(&mut self, index: usize) {
        let node = self.node(index);
        let stream = self.stream(&node.inputs[0]);
        sink::build(stream, &self.around(index), Arc::clone(&self.plan.mailboxes[&(index, self.worker)]));
    }

    // --- dead letters and watchers ---

    /// Errors that no node reads go to the dead-letter store.
    fn keep_errors(&mut self, index: usize) {
        let nodes = &self.plan.prepared.pipeline.nodes;
        let read = nodes.iter().flat_map(|n| &n.inputs).any(|i| i.from == NodeId(index) && i.port == ERRORS);
        if let (false, Some(errors)) = (read, self.built[index].errors.clone()) {
            self.dead.push((self.node(index).role.clone(), errors));
        }
    }

    fn watch(&mut self, index: usize) {
        for (port, watchers) in self.plan.watches.of(NodeId(index)) {
            let stream =
                if port == ERRORS { self.built[index].errors.clone() } else { self.built[index].ports[port].clone() };
            let stream = stream.expect("a watched node ends its chain");
            watch::build(stream, Arc::clone(&self.plan.shared), watchers, self.worker);
        }
    }
}

/// Nodes whose rows need a watermark: those that declare event time, and all upstream of an operator.
fn timed(nodes: &[Node]) -> Vec<bool> {
    let mut timed: Vec<bool> =
        nodes.iter().map(|n| n.event_time.is_some() || matches!(n.work, Work::Operator { .. })).collect();
    for index in (0..nodes.len()).rev() {
        if timed[index] {
            for input in nodes[index].inputs.iter().filter(|i| i.port != ERRORS) {
                timed[input.from.0] = true;
            }
        }
    }
    timed
}
