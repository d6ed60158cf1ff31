//! The plan of a test run, and the run itself.

use super::collect::{Collected, Collector};
use super::feed::{Fed, Feed};
use super::outcome::Outcome;
use crate::batch::Batch;
use crate::connect::{Body, Message, Refused};
use crate::operator::{Emit, Reads, Stage, StageFactory};
use crate::plan::{ERRORS, Input, NodeId, Pipeline, Work};
use crate::problem::nearest;
use crate::runtime::{Job, JobState, Resume, Runtime, Settled};
use crate::state::MemStore;
use crate::time::{ManualClock, Micros, Watermark};
use crate::typed::Row;
use crate::{Place, Problem, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the clock shows at first where nothing says so: 2000-01-01T00:00:00Z.
const START: Micros = 946_684_800_000_000;
/// How long one step may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A run of a pipeline in a test; an example stands at the [module](crate::testing).
///
/// What is fed goes in one record after the other, each in an epoch of its own; the next one is read when
/// the one before has gone through. Without [`TestRun::watermark`] the watermarks go as in production, with
/// the clock of the test, and the end of the feed closes all windows. Timers on the clock fire as the clock
/// is moved; those that are set beyond its last move do not.
#[derive(Clone)]
#[must_use = "nothing happens before `run`"]
pub struct TestRun {
    pipeline: Pipeline,
    start: Option<Micros>,
    steps: Vec<Step>,
    watermark: Option<Watermark>,
    limit: Duration,
    observed: Vec<Observed>,
    problems: Vec<Problem>,
}

#[derive(Clone)]
enum Step {
    Feed(String, Body),
    MoveTo(Micros),
    Advance(Duration),
}

#[derive(Clone)]
struct Observed {
    name: String,
    inputs: Vec<Input>,
    columns: Option<Vec<String>>,
}

/// Where the rows of a port are kept while the job runs.
struct Port {
    name: String,
    schema: SchemaRef,
    rows: Arc<Collected>,
}

impl TestRun {
    /// A run of this pipeline; nothing outside of it is touched.
    pub fn new(pipeline: &Pipeline) -> TestRun {
        TestRun {
            pipeline: pipeline.clone(),
            start: None,
            steps: Vec::new(),
            watermark: None,
            limit: LIMIT,
            observed: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What the clock shows at first; by default the first [`TestRun::at`], or the year 2000.
    pub fn starting_at(mut self, at: impl Into<Micros>) -> Self {
        self.start = Some(at.into());
        self
    }
    /// Moves the clock: time passes up to `at`, or the clock is set back to it. What is fed after this has
    /// it as its arrival time (`_timestamp`).
    pub fn at(mut self, at: impl Into<Micros>) -> Self {
        self.steps.push(Step::MoveTo(at.into()));
        self
    }
    /// Time passes.
    pub fn advance(mut self, by: Duration) -> Self {
        self.steps.push(Step::Advance(by));
        self
    }
    /// Feeds a row to a source. Columns of the source that `T` does not have are NULL.
    pub fn row<T: Row>(self, source: &str, row: T) -> Self {
        self.rows(source, T::to_batch(&[row]))
    }
    /// Feeds rows to a source, all in one epoch; its decoder does not see them.
    pub fn rows(mut self, source: &str, rows: RecordBatch) -> Self {
        self.steps.push(Step::Feed(source.into(), Body::Rows { start: 0, rows }));
        self
    }
    /// Feeds one record to the decoder of a source, as its transport would bring it: a line, or a message.
    pub fn record(mut self, source: &str, payload: impl Into<Bytes>) -> Self {
        let of = |n: &crate::plan::Node| match &n.work {
            Work::Source(found) if &*n.name == source => Some(Arc::clone(found)),
            _ => None,
        };
        let refused = Refused { position: 0, key: None, payload: payload.into() };
        // A source that is not there is told of when the test runs.
        let body = match self.pipeline.nodes.iter().find_map(of) {
            Some(found) => found.body(refused),
            None => Body::Bytes { start: 0, data: refused.payload },
        };
        self.steps.push(Step::Feed(source.into(), body));
        self
    }
    /// Feeds bytes to the decoder of a source; several lines are several records.
    pub fn bytes(mut self, source: &str, data: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Feed(source.into(), Body::Bytes { start: 0, data: data.into() }));
        self
    }
    /// Feeds a message, with its key and headers, to the decoder of a source.
    pub fn message(mut self, source: &str, message: Message) -> Self {
        self.steps.push(Step::Feed(source.into(), Body::Messages(vec![message])));
        self
    }
    /// Holds all watermarks back until everything has been fed, and then sets them. Windows that end later
    /// stay open: the end of the feed closes nothing.
    pub fn watermark(mut self, at: impl Into<Micros>) -> Self {
        self.watermark = Some(Watermark(at.into()));
        self
    }
    /// Observes what a node puts out (`"node"`), or its dead letters (`"node.errors"`), which then do not go
    /// to the store. Sinks are observed anyhow: under their names stands what reaches them.
    pub fn observe(mut self, port: &str) -> Self {
        let (name, errors) = match port.strip_suffix(".errors") {
            Some(name) => (name, true),
            None => (port, false),
        };
        let nodes = self.pipeline.nodes.iter().enumerate().filter(|(_, n)| &*n.name == name);
        let inputs: Vec<Input> = match errors {
            true => nodes
                .filter(|(_, n)| !matches!(n.work, Work::Sink(_) | Work::Union))
                .map(|(at, _)| Input::from(NodeId(at)).port(ERRORS))
                .collect(),
            false => nodes
                .filter(|(_, n)| !n.schemas.is_empty())
                .map(|(at, _)| Input::from(NodeId(at)))
                .next_back()
                .into_iter()
                .collect(),
        };
        if inputs.is_empty() {
            let names: Vec<&str> = self.pipeline.nodes.iter().map(|n| &*n.name).collect();
            self.problems.push(unknown(port, name, &names, "node with this output"));
        }
        self.observe_as(port, inputs, None)
    }
    /// Observes these ports together under a name of one's own; with `columns` only those, so that the
    /// sources decode no more than they do in production.
    pub fn observe_as(mut self, name: &str, inputs: Vec<Input>, columns: Option<Vec<String>>) -> Self {
        self.observed.push(Observed { name: name.into(), inputs, columns });
        self
    }
    /// How long a step may take before the run is given up; one minute by default. This is real time.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// Every problem of the pipeline; names that it does not have; the problem with which the job failed;
    /// `TEST-STUCK` when a step takes longer than the limit, `TEST-RESTLESS` when timers ask for one epoch
    /// after the other and the clock does not move.
    pub fn run(mut self) -> Result<Outcome, Vec<Problem>> {
        let feeds = self.replace_sources();
        let ports = self.replace_sinks();
        self.check_names(&feeds);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let first = self.steps.iter().find_map(|s| if let Step::MoveTo(at) = s { Some(*at) } else { None });
        let clock = ManualClock::at(self.start.or(first).unwrap_or(START));
        let runtime = Runtime::builder()
            .store(Arc::new(MemStore::default()))
            .clock(Arc::<ManualClock>::clone(&clock))
            .hold_watermarks(self.watermark.map(|_| Watermark::UNKNOWN));
        let job = runtime.build().map_err(|p| vec![p])?.start(&self.pipeline, Resume::Fresh)?;
        self.drive(&job, &clock, &feeds).map_err(|p| vec![p])?;
        Outcome::new(ports.into_iter().map(|p| {
            let rows = std::mem::take(&mut *p.rows.lock());
            (p.name, p.schema, rows)
        }))
    }

    fn replace_sources(&mut self) -> BTreeMap<String, Arc<Feed>> {
        let mut feeds = BTreeMap::new();
        for node in &mut self.pipeline.nodes {
            if let Work::Source(source) = &node.work {
                let feed: &Arc<Feed> = feeds.entry(node.name.to_string()).or_default();
                node.work = Work::Source(Arc::new(Fed { feed: Arc::clone(feed), source: Arc::clone(source) }));
            }
        }
        feeds
    }

    /// Puts a collector in the place of every sink, and one behind everything that is observed.
    fn replace_sinks(&mut self) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for at in 0..self.pipeline.nodes.len() {
            let node = &self.pipeline.nodes[at];
            if !matches!(node.work, Work::Sink(_)) {
                continue;
            }
            let schema = self.pipeline.schema(node.inputs[0].from, node.inputs[0].port);
            let rows = port(&mut ports, &node.name, schema);
            self.pipeline.nodes[at].work = Work::Sink(Arc::new(Collector(rows)));
        }
        for observed in std::mem::take(&mut self.observed) {
            for input in observed.inputs {
                let schema = projected(&self.pipeline.schema(input.from, input.port), observed.columns.as_deref());
                let rows = port(&mut ports, &observed.name, Arc::clone(&schema));
                let reads = observed.columns.clone().map_or(Reads::All, Reads::Only);
                let name = format!("{} observed {}", observed.name, self.pipeline.nodes.len());
                let stage = self.pipeline.stage(&name, input, Arc::clone(&schema), reads, project(schema));
                self.pipeline.sink(&name, Input::from(stage), Arc::new(Collector(rows)));
            }
        }
        ports
    }

    fn check_names(&mut self, feeds: &BTreeMap<String, Arc<Feed>>) {
        let names: Vec<&str> = feeds.keys().map(String::as_str).collect();
        for step in &self.steps {
            if let Step::Feed(source, _) = step
                && !feeds.contains_key(source)
            {
                self.problems.push(unknown(source, source, &names, "source"));
            }
        }
    }

    fn drive(&self, job: &Job, clock: &ManualClock, feeds: &BTreeMap<String, Arc<Feed>>) -> Result<()> {
        self.settled(job, job.settle(self.limit))?;
        for step in &self.steps {
            match step {
                Step::MoveTo(at) => clock.move_to(*at),
                Step::Advance(by) => clock.advance(*by),
                Step::Feed(source, body) => {
                    let feed = &feeds[source];
                    feed.push(body.clone());
                    self.settled(job, job.wait_for(self.limit, || feed.is_taken()))?;
                }
            }
            self.settled(job, job.settle(self.limit))?;
        }
        if let Some(watermark) = self.watermark {
            job.hold_watermarks(watermark);
            self.settled(job, job.settle(self.limit))?;
        }
        feeds.values().for_each(|f| f.close());
        match job.wait_timeout(self.limit) {
            Some(JobState::Failed(problem)) => Err(problem),
            Some(_) => Ok(()),
            None => self.settled(job, Settled::TooLong),
        }
    }

    fn settled(&self, job: &Job, settled: Settled) -> Result<()> {
        match (settled, job.state()) {
            (_, JobState::Failed(problem)) => Err(problem),
            (Settled::Quiet, _) => Ok(()),
            (Settled::Ended, _) => Err(Problem::internal("the job has ended before its feed")),
            (Settled::TooLong, _) => {
                Err(Problem::error("TEST-STUCK", format!("nothing has come out after {:?}", self.limit))
                    .help("look for a closure that waits for something, or give the test a longer limit"))
            }
            (Settled::Restless, _) => Err(Problem::error("TEST-RESTLESS", "the pipeline does not come to rest")
                .help("look for a timer that sets itself again to a time that has passed")),
        }
    }
}

/// The collection of that name.
fn port(ports: &mut Vec<Port>, name: &str, schema: SchemaRef) -> Arc<Collected> {
    if let Some(port) = ports.iter().find(|p| p.name == name) {
        return Arc::clone(&port.rows);
    }
    let rows = Arc::<Collected>::default();
    ports.push(Port { name: name.into(), schema, rows: Arc::clone(&rows) });
    rows
}

/// The columns of a schema that are asked for, in its own order.
fn projected(schema: &SchemaRef, columns: Option<&[String]>) -> SchemaRef {
    let Some(columns) = columns else { return Arc::clone(schema) };
    let wanted = schema.fields().iter().filter(|f| columns.contains(f.name())).cloned();
    Arc::new(Schema::new(wanted.collect::<Vec<_>>()))
}

struct Project(SchemaRef);

impl Stage for Project {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let names: Vec<&str> = self.0.fields().iter().map(|f| f.name().as_str()).collect();
        out.send(batch.project(&names));
        Ok(())
    }
}

fn project(schema: SchemaRef) -> StageFactory {
    Arc::new(move |_: &SchemaRef| Ok(Box::new(Project(Arc::clone(&schema))) as Box<dyn Stage>))
}

fn unknown(shown: &str, name: &str, names: &[&str], what: &str) -> Problem {
    let problem = Problem::error("TEST-NAME", format!("there is no {what} `{shown}`")).at(Place::node(name));
    match nearest(name, names.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.expected(format!("one of {}", names.join(", "))),
    }
}
