//! Starting a job: what the checkpoint says is read, sinks are brought to it, threads and workers are started.

use super::checkpoint::{self, Committer, Saved};
use super::clock::Ticker;
use super::dead::Guarded;
use super::intake;
use super::job::{Job, JobState, Progress, Resumed, Runtime, Watch};
use super::shared::{Shared, lock};
use super::sink::{Command, Mailbox, Writer};
use super::suspects::Suspects;
use super::turns;
use super::watch::Watches;
use super::worker::{self, Blueprint, Letters, Restored};
use crate::connect::{Handle, PartitionId, Position};
use crate::dead::Keeper;
use crate::dead::guard::Counter;
use crate::dead::replay::{DECODER, Plan};
use crate::metrics::{Metrics, NodeMetrics};
use crate::plan::{Prepared, Work};
use crate::state::record::AttachedKind;
use crate::state::{CommitLog, Committed};
use crate::time::Epoch;
use crate::{Problem, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a run that makes its only checkpoint at its end waits for the next: for ever.
const NO_CHECKPOINT: Duration = Duration::from_secs(u32::MAX as u64);

/// What a job is started from.
pub(super) struct Launch<'a> {
    pub runtime: &'a Runtime,
    pub prepared: Prepared,
    /// What it goes on from, under the names of this pipeline.
    pub tail: Option<Arc<Committed>>,
    pub watches: Vec<Watch>,
    pub replay: Option<Letters>,
}

impl Launch<'_> {
    pub fn run(self, log: CommitLog) -> Result<Job> {
        let settings = self.prepared.pipeline.settings.clone();
        let start: Epoch = self.tail.as_ref().map_or(1, |t| t.body.epoch + 1);
        let workers = self.runtime.workers;
        let shared = Shared::new(Arc::clone(&self.runtime.clock), workers, start, settings.memory);
        shared.hold_watermarks(self.runtime.held);
        let metrics = Arc::new(Metrics {
            nodes: self.prepared.pipeline.nodes.iter().map(|n| Arc::new(NodeMetrics::new(&n.name, &n.role))).collect(),
            checkpoints: Default::default(),
        });
        let (participants, inbox) = checkpoint::participants();
        let waiting: Vec<Arc<Mutex<Option<Problem>>>> = Vec::new();
        let mut parts =
            Parts { shared, metrics, participants, waiting, threads: Vec::new(), mailboxes: BTreeMap::new() };
        let restored = self.restored()?;
        let newest = self.tail.as_ref().map_or((0, 0), |t| (t.body.checkpoint, t.body.epoch));
        self.suspects().restart(newest.0, newest.1);
        let partitions = match &self.replay {
            Some(letters) => {
                self.expect_feeds(&letters.plan, &parts.shared);
                BTreeMap::new()
            }
            None => self.discover(&parts.shared, &restored)?,
        };
        self.open_sinks(&mut parts, start)?;
        let progress = Arc::new(Progress::default());
        self.start_committer(&mut parts, log, inbox, &progress, settings.checkpoint_timeout);
        let guard = self.guard(&parts);
        let suspects = self.suspects();
        let mut watches = Watches::default();
        for (node, port, sender) in self.watches {
            watches.add(node, port, sender);
        }
        let resumed = self
            .tail
            .as_ref()
            .map(|t| Resumed { checkpoint: t.body.checkpoint, at: t.body.extra["wall"].as_i64().unwrap_or(0) });
        let blueprint = Blueprint {
            shared: Arc::clone(&parts.shared),
            prepared: self.prepared,
            metrics: Arc::clone(&parts.metrics),
            participants: parts.participants.clone(),
            partitions,
            mailboxes: parts.mailboxes.clone(),
            start,
            restored,
            watches,
            suspects,
            guard,
            replay: self.replay.clone(),
        };
        let every = if self.replay.is_some() { NO_CHECKPOINT } else { settings.checkpoint_every };
        let ticker = Ticker::new(Arc::clone(&parts.shared), settings.epoch, every);
        parts.start_workers(blueprint, ticker, &progress)?;
        Ok(Job { shared: parts.shared, metrics: parts.metrics, progress, resumed, waiting: parts.waiting })
    }

    fn restored(&self) -> Result<Restored> {
        let Some(tail) = &self.tail else { return Ok(Restored::default()) };
        let mut positions: BTreeMap<String, BTreeMap<PartitionId, Saved>> = BTreeMap::new();
        for (node, partitions) in &tail.body.sources {
            if crate::state::sabotage::planted("forget_positions") {
                continue;
            }
            let saved = positions.entry(node.clone()).or_default();
            for (partition, position) in partitions {
                let position: Saved = serde_json::from_value(position.0.clone()).map_err(|e| {
                    Problem::error(
                        "STATE-POSITION",
                        format!("the checkpoint holds a position that cannot be read: {e}"),
                    )
                    .node(node.clone())
                    .found(position.0.to_string())
                })?;
                saved.insert(partition.as_str().into(), position);
            }
        }
        let watermarks = tail.body.watermarks.clone();
        Ok(Restored { tail: Some(Arc::clone(tail)), positions, watermarks })
    }

    /// A replay makes one checkpoint, at its end, which is when all feeds are through.
    fn expect_feeds(&self, plan: &Plan, shared: &Shared) {
        shared.one_checkpoint();
        let sources = self.prepared.pipeline.nodes.iter().filter(|n| matches!(n.work, Work::Source(_))).count();
        let beside = plan.feeds.keys().filter(|(_, input)| *input != DECODER).count();
        (0..sources + beside).for_each(|_| shared.expect_source());
    }

    /// Finds the partitions of every source; those of the checkpoint that have not ended count as there.
    fn discover(&self, shared: &Arc<Shared>, restored: &Restored) -> Result<BTreeMap<usize, Arc<intake::Partitions>>> {
        let mut all = BTreeMap::new();
        for (index, node) in self.prepared.pipeline.nodes.iter().enumerate() {
            if let Work::Source(source) = &node.work {
                shared.expect_source();
                let saved = restored.positions.get(&*node.name);
                let known: Vec<PartitionId> =
                    saved.into_iter().flatten().filter(|(_, s)| !s.ended).map(|(id, _)| Arc::clone(id)).collect();
                if let Some(saved) = saved.filter(|s| !s.is_empty()) {
                    let positions: Vec<(PartitionId, Position)> =
                        saved.iter().map(|(id, s)| (Arc::clone(id), s.at.clone())).collect();
                    source.resume(&positions).map_err(|p| p.node(&*node.name))?;
                }
                let found = intake::discover(shared, source, &known).map_err(|p| p.node(&*node.name))?;
                all.insert(index, found);
            }
        }
        Ok(all)
    }

    fn open_sinks(&self, parts: &mut Parts, start: Epoch) -> Result<()> {
        for (index, node) in self.prepared.pipeline.nodes.iter().enumerate() {
            let Work::Sink(factory) = &node.work else { continue };
            let named = |p: Problem| p.node(&*node.name);
            let handles: Vec<Handle> =
                self.tail.as_ref().and_then(|t| t.body.sinks.get(&*node.name).cloned()).unwrap_or_default();
            if !crate::state::sabotage::planted("skip_sink_recovery") {
                factory.recover(handles).map_err(named)?;
            }
            let schema = self.prepared.input_schema(&node.inputs[0]);
            for worker in 0..self.runtime.workers {
                let sink = factory.open(worker, &schema).map_err(named)?;
                parts.start_sink(index, worker, sink, start);
            }
        }
        Ok(())
    }

    /// The dead-letter store as the last checkpoint left it.
    fn letters(&self) -> Keeper {
        let limits = self.prepared.pipeline.settings.dead_letters.clone();
        let mut segments = BTreeMap::new();
        if let Some(tail) = &self.tail {
            let clocks = &tail.body.extra["dead_letters"];
            for segment in tail.attached(AttachedKind::DeadLetters) {
                let wall = clocks[segment.file.checkpoint.to_string()].as_i64().unwrap_or(0);
                let entry = segments.entry(segment.file.checkpoint).or_insert((wall, 0));
                entry.1 += segment.file.len;
            }
        }
        Keeper::new(limits, segments)
    }

    fn suspects(&self) -> Arc<Suspects> {
        Arc::clone(lock(&self.runtime.suspects).entry(self.prepared.pipeline.name.clone()).or_default())
    }

    /// A replay feeds only what was refused already: its rate says nothing.
    fn guard(&self, parts: &Parts) -> Option<Guarded> {
        let limits = self.prepared.pipeline.settings.dead_letters.guard.filter(|_| self.replay.is_none())?;
        let nodes = self.prepared.pipeline.nodes.iter().zip(&parts.metrics.nodes);
        let sources: Vec<_> = nodes.filter_map(|(n, m)| Some((n.work.source()?, m))).collect();
        Some(Guarded {
            counter: Arc::new(Counter::new(limits, parts.shared.clock.monotonic())),
            bounded: sources.iter().all(|(source, _)| source.bounded()),
            sources: sources.into_iter().map(|(_, metrics)| Arc::clone(metrics)).collect(),
        })
    }

    fn replaying(&self) -> Option<checkpoint::Replaying> {
        let (letters, tail) = self.replay.as_ref().zip(self.tail.as_ref())?;
        Some(checkpoint::Replaying {
            sources: tail.body.sources.clone(),
            watermarks: tail.body.watermarks.clone(),
            taken: letters.plan.taken.clone(),
        })
    }

    fn start_committer(
        &self,
        parts: &mut Parts,
        log: CommitLog,
        inbox: checkpoint::Inbox,
        progress: &Arc<Progress>,
        timeout: Duration,
    ) {
        let nodes = &self.prepared.pipeline.nodes;
        let newest = self.tail.as_ref().map_or(0, |t| t.body.checkpoint);
        progress.set_newest(newest);
        let (on_commit, suspects, dropped) =
            (Arc::clone(progress), self.suspects(), Arc::clone(&self.runtime.drop_state));
        let waiting = parts.new_waiting();
        let committer = Committer {
            shared: Arc::clone(&parts.shared),
            log,
            newest,
            sinks: parts.mailboxes.iter().map(|((n, w), m)| (Arc::clone(&nodes[*n].name), *w, Arc::clone(m))).collect(),
            sources: nodes
                .iter()
                .filter_map(|n| match &n.work {
                    Work::Source(source) => Some((Arc::clone(&n.name), Arc::clone(source))),
                    _ => None,
                })
                .collect(),
            operators: nodes
                .iter()
                .filter_map(|n| match &n.work {
                    Work::Operator { factory, .. } => {
                        let schemas = n.inputs.iter().map(|i| self.prepared.input_schema(i)).collect();
                        Some((format!("{}/{}", n.name, n.role), (Arc::clone(factory), schemas)))
                    }
                    _ => None,
                })
                .collect(),
            metrics: Arc::clone(&parts.metrics),
            letters: self.letters(),
            kinds: self.prepared.pipeline.kinds.clone(),
            replay: self.replaying(),
            timeout,
            on_commit: Box::new(move |n| {
                lock(&dropped).clear();
                suspects.committed(n);
                on_commit.set_newest(n);
            }),
            waiting,
        };
        parts.thread("commit", move || committer.run(inbox));
    }
}

/// What is put together while a job starts.
struct Parts {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    participants: checkpoint::Participants,
    waiting: Vec<Arc<Mutex<Option<Problem>>>>,
    /// Sinks first, then the committer.
    threads: Vec<(turns::Group, JoinHandle<()>)>,
    mailboxes: BTreeMap<(usize, usize), Arc<Mailbox>>,
}

impl Parts {
    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) {
        let group = turns::Group::default();
        let handle = group.spawn(name, run);
        self.threads.push((group, handle));
    }

    fn new_waiting(&mut self) -> Arc<Mutex<Option<Problem>>> {
        let waiting = Arc::new(Mutex::new(None));
        self.waiting.push(Arc::clone(&waiting));
        waiting
    }

    fn start_sink(&mut self, index: usize, worker: usize, sink: Box<dyn crate::connect::Sink>, start: Epoch) {
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.insert((index, worker), Arc::clone(&mailbox));
        let writer = Writer {
            shared: Arc::clone(&self.shared),
            metrics: Arc::clone(&self.metrics.nodes[index]),
            sink,
            mailbox,
            worker,
            participant: self.participants.join(),
            done: self.shared.sink_opened(start),
            waiting: self.new_waiting(),
        };
        self.thread("sink", move || writer.run());
    }

    fn start_workers(&mut self, blueprint: Blueprint, ticker: Ticker, progress: &Arc<Progress>) -> Result<()> {
        let (shared, workers) = (Arc::clone(&self.shared), self.shared.workers);
        let blueprint = Arc::new(blueprint);
        let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
        let group = turns::Group::default();
        let members = group.of(workers);
        let run = move |w: &mut timely::worker::Worker| {
            let _here = members[w.index()].enter();
            worker::run(w, &blueprint);
        };
        let guards = timely::execute(config, run)
            .map_err(|e| Problem::internal(format!("the dataflow workers could not start: {e}")))?;
        self.clock(ticker);
        let threads = std::mem::take(&mut self.threads);
        let mailboxes: Vec<Arc<Mailbox>> = self.mailboxes.values().cloned().collect();
        let (participants, progress) = (self.participants.clone(), Arc::clone(progress));
        turns::spawn("job", move || {
            group.ended();
            for outcome in guards.join() {
                if let Err(text) = outcome {
                    shared.fail(Problem::internal("a worker thread panicked").found(text));
                }
            }
            // The workers are done. Sinks may still be writing for the last checkpoint; when it is
            // durable the committer ends, and then the sinks publish it.
            while shared.in_flight() > 0 && !shared.poisoned() {
                progress.wait_until(Some(Duration::from_millis(50)), |_| shared.in_flight() == 0);
            }
            participants.stop();
            let join = |(group, thread): (turns::Group, JoinHandle<()>)| {
                group.ended();
                drop(thread.join());
            };
            let mut sinks = threads;
            sinks.pop().into_iter().for_each(join);
            mailboxes.iter().for_each(|m| m.push(Command::Stop));
            sinks.into_iter().for_each(join);
            progress.finish(match shared.failure() {
                Some(problem) => JobState::Failed(problem),
                None => JobState::Stopped,
            });
        });
        Ok(())
    }

    /// The clock begins when the workers have been started; it ends with the job, by itself.
    fn clock(&self, ticker: Ticker) {
        let shared = Arc::clone(&self.shared);
        turns::spawn("clock", move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ticker.run()));
            if let Err(panic) = outcome {
                shared.fail(worker::panic_problem("the clock", &*panic));
            }
        });
    }
}
