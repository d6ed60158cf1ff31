//! `run`: one pipeline in the foreground.

use super::args::Run;
use super::metrics::Shown;
use super::print::Print;
use super::restarts::{self, Restarts};
use super::table::{self, Table};
use super::watch::{self, Changes};
use super::{Failure, Outcome, files, metrics, plan, signals};
use millstream::Problem;
use millstream::runtime::{Job, JobState, Resume, Runtime, Stop};
use millstream::state::{LocalStore, fs::RealFs};
use millstream_connectors::{Loaded, Registry};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often the table is drawn on a terminal.
const DRAW: Duration = Duration::from_millis(250);
/// How often a line is printed without one.
const LINE: Duration = Duration::from_secs(5);
/// The longest that an ended job may take to let go of its state directory.
const LET_GO: Duration = Duration::from_secs(5);

/// `millstream run FILE`.
pub fn run(args: &Run, registry: &Registry, print: &Print) -> Outcome {
    signals::listen();
    if args.watch {
        return watch::watch(args, registry, print);
    }
    let bytes = files::read(&args.given.file, print)?;
    let mut runner = Runner::new(args, registry, print);
    let mut started = runner.start(&bytes)?;
    let state = runner.follow(&mut started, None)?;
    runner.finish(&started, &state)
}

/// Starts pipelines as the arguments say, and shows them.
pub(super) struct Runner<'a> {
    args: &'a Run,
    registry: &'a Registry,
    print: &'a Print,
    metrics: Option<metrics::Served>,
    /// What is asked of the state is asked once.
    first: bool,
}

/// A pipeline under way.
pub(super) struct Started {
    pub job: Arc<Job>,
    /// The pipeline's name.
    pub name: String,
    /// Where its state lies.
    pub dir: PathBuf,
    heard: mpsc::Receiver<Problem>,
    began: Instant,
    /// The file as it was read, the runtime that knows why the job has failed before, and how often it may.
    bytes: Vec<u8>,
    runtime: Runtime,
    restarts: Restarts,
}

impl<'a> Runner<'a> {
    pub fn new(args: &'a Run, registry: &'a Registry, print: &'a Print) -> Runner<'a> {
        Runner { args, registry, print, metrics: None, first: true }
    }

    /// Starts the pipeline of this text; prints why it does not.
    pub fn start(&mut self, bytes: &[u8]) -> Result<Started, Failure> {
        let (args, print) = (self.args, self.print);
        let workers = usize::from(args.workers);
        let (loaded, heard) = self.load(bytes)?;
        print.problems(&loaded.notes, Some(&loaded.document.source));
        let name = loaded.document.name.clone();
        let dir = files::state_dir(&args.given.file, &args.state, &name);
        let first = std::mem::take(&mut self.first);
        if args.fresh && first {
            files::remove_state(&dir, print)?;
        }
        let drop_state = if first { args.drop_state.as_slice() } else { &[] };
        let refused = |problems: Vec<Problem>| {
            print.problems(&problems, None);
            plan::say_the_way_out(&problems, &args.given.file, print);
            Failure::Given
        };
        let runtime = runtime(&dir, workers, drop_state).map_err(|p| refused(vec![p]))?;
        let job = Arc::new(runtime.start(&loaded.pipeline, Resume::OrFresh).map_err(refused)?);
        begin(&job, &dir, args, print);
        self.answer_metrics(Shown::new(&name, &dir, &loaded.pipeline.settings.dead_letters, &job))?;
        let (bytes, restarts) = (bytes.to_vec(), Restarts::new(&loaded.pipeline));
        Ok(Started { job, name, dir, heard, began: Instant::now(), bytes, runtime, restarts })
    }

    /// The pipeline of a text, and where one hears of what its nodes notice.
    fn load(&self, bytes: &[u8]) -> Result<(Loaded, mpsc::Receiver<Problem>), Failure> {
        let (tell, heard) = mpsc::channel();
        // Nobody listens any more once the job has ended.
        let events = Arc::new(move |problem| drop(tell.send(problem)));
        let workers = usize::from(self.args.workers);
        let loaded = files::load_bytes(&self.args.given, bytes, workers, self.registry, events, self.print)?;
        Ok((loaded, heard))
    }

    /// Starts a job that has failed again, from its last checkpoint.
    fn restart(&mut self, started: &mut Started) -> Result<(), Failure> {
        // Loaded anew: a source remembers where it has been.
        let (loaded, heard) = self.load(&started.bytes)?;
        let job = started.runtime.start(&loaded.pipeline, Resume::OrFresh).map_err(|problems| {
            self.print.problems(&problems, None);
            Failure::Job
        })?;
        (started.job, started.heard) = (Arc::new(job), heard);
        begin(&started.job, &started.dir, self.args, self.print);
        let limits = &loaded.pipeline.settings.dead_letters;
        self.answer_metrics(Shown::new(&started.name, &started.dir, limits, &started.job))
    }

    fn answer_metrics(&mut self, shown: Shown) -> Result<(), Failure> {
        match (&self.metrics, self.args.metrics) {
            (Some(served), _) => served.now(shown),
            (None, Some(address)) => {
                let served = metrics::serve(address, shown).map_err(|problem| {
                    self.print.problem(&problem);
                    Failure::Given
                })?;
                self.metrics = Some(served);
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Shows the job until it ends; passes on the user's wish to end it, or that of a changed file. One that fails
    /// with what may pass is started again.
    pub fn follow(
        &mut self,
        started: &mut Started,
        mut changes: Option<&mut Changes<'_>>,
    ) -> Result<JobState, Failure> {
        loop {
            let state = follow(started, self.args, self.print, changes.as_deref_mut())?;
            let JobState::Failed(problem) = &state else { return Ok(state) };
            // Another file is about to take over.
            if changes.as_ref().is_some_and(|c| c.are_taken()) {
                return Ok(state);
            }
            let Some(pause) = started.restarts.after(problem, &started.job) else { return Ok(state) };
            self.print.problem(&restarts::warning(problem, pause));
            if signals::wait(pause) {
                return Ok(state);
            }
            self.restart(started)?;
        }
    }

    /// The last word on a job.
    pub fn finish(&self, started: &Started, state: &JobState) -> Outcome {
        finish(&started.job, state, self.args, self.print, started.began)
    }
}

fn runtime(dir: &Path, workers: usize, drop_state: &[String]) -> Result<Runtime, Problem> {
    Runtime::builder().workers(workers).store(open(dir)?).drop_state(drop_state.iter().cloned()).build()
}

/// Opens the state directory. A job of ours that has just ended may hold it for a moment.
fn open(dir: &Path) -> millstream::Result<Arc<LocalStore>> {
    let began = Instant::now();
    loop {
        match LocalStore::open(dir, Arc::new(RealFs)) {
            Err(problem) if problem.code == "STATE-IN-USE" && is_ours(&problem) && began.elapsed() < LET_GO => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

/// True if this very process is the one that has the state directory.
fn is_ours(problem: &Problem) -> bool {
    problem.found.as_ref().is_some_and(|found| found.contains(&std::process::id().to_string()))
}

fn begin(job: &Job, dir: &Path, args: &Run, print: &Print) {
    if args.quiet {
        return;
    }
    match job.resumed() {
        Some(resumed) => {
            let now = chrono::Utc::now().timestamp_micros();
            let age = Duration::from_micros(u64::try_from(now - resumed.at).unwrap_or(0));
            print.say(&format!(
                "resuming from checkpoint {}, {} old (state in {})",
                resumed.checkpoint,
                ago(age),
                dir.display()
            ));
        }
        None => print.say(&format!("starting fresh (state in {})", dir.display())),
    }
}

/// A length of time for people.
pub fn ago(age: Duration) -> String {
    match age.as_secs() {
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

fn follow(
    started: &Started,
    args: &Run,
    print: &Print,
    mut changes: Option<&mut Changes<'_>>,
) -> Result<JobState, Failure> {
    let Started { job, heard, began, .. } = started;
    let began = *began;
    let mut table = Table::new();
    let live = print.terminal && !print.json && !args.quiet;
    let mut drawn = Instant::now();
    let mut waits = Waits::default();
    let mut asked = 0;
    loop {
        let ended = job.wait_timeout(Duration::from_millis(25));
        if pass_on(heard, &mut table, print) && live && ended.is_none() {
            draw(&mut table, job, print, began);
        }
        if let Some(state) = ended {
            if live {
                draw(&mut table, job, print, began);
            }
            return Ok(state);
        }
        match signals::asked() {
            n if n > asked && asked == 0 => {
                asked = 1;
                print.say("draining; Ctrl-C again stops at once");
                job.request_stop(Stop::Drain);
            }
            n if n > 1 => {
                job.request_stop(Stop::Kill);
                job.wait_timeout(Duration::from_secs(2));
                return Err(Failure::Interrupted);
            }
            _ => {}
        }
        if args.until_done && (job.caught_up() || job.alarm().is_some()) {
            job.request_stop(Stop::Drain);
        }
        if let Some(changes) = changes.as_deref_mut()
            && let Some(bytes) = changes.poll()
        {
            let _ = std::io::stderr().write_all(table.erase().as_bytes());
            if changes.consider(started, bytes) {
                job.request_stop(Stop::Drain);
            }
        }
        if live && drawn.elapsed() >= DRAW {
            drawn = Instant::now();
            draw(&mut table, job, print, began);
        } else if !live && !args.quiet && drawn.elapsed() >= LINE {
            drawn = Instant::now();
            line(job, print, began);
        }
        if !live && waits.looked.elapsed() >= DRAW {
            waits.look(job, print);
        }
    }
}

/// Why something waits, told once where there is no table that shows it.
struct Waits {
    looked: Instant,
    told: Vec<Problem>,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { looked: Instant::now(), told: Vec::new() }
    }
}

impl Waits {
    fn look(&mut self, job: &Job, print: &Print) {
        self.looked = Instant::now();
        // What a run ends with is its last word.
        let waiting = if job.state() == JobState::Running { job.status().waiting } else { Vec::new() };
        let is_told = |told: &[Problem], p: &Problem| told.iter().any(|t| t.code == p.code && t.node == p.node);
        waiting.iter().filter(|p| !is_told(&self.told, p)).for_each(|p| print.problem(p));
        self.told = waiting;
    }
}

/// Prints what nodes noticed, above the table; true when there was something.
fn pass_on(heard: &mpsc::Receiver<Problem>, table: &mut Table, print: &Print) -> bool {
    let mut any = false;
    for problem in heard.try_iter() {
        let _ = std::io::stderr().write_all(table.erase().as_bytes());
        print.problem(&problem);
        any = true;
    }
    any
}

pub fn draw(table: &mut Table, job: &Job, print: &Print, began: Instant) {
    let text = table.redraw(&job.status(), began.elapsed(), print.colour);
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn line(job: &Job, print: &Print, began: Instant) {
    let status = job.status();
    if print.json {
        let line = json!({ "seconds": began.elapsed().as_secs_f64(), "checkpoint": status.checkpoint, "memory": status.memory, "nodes": status.nodes, "waiting": status.waiting });
        let _ = writeln!(std::io::stderr(), "{line}");
        return;
    }
    let nodes: Vec<String> = status
        .nodes
        .iter()
        .map(|n| format!("{} {}->{}", n.node, table::grouped(n.rows_in), table::grouped(n.rows_out)))
        .collect();
    print.say(&format!(
        "{:.0} s, checkpoint {}: {}",
        began.elapsed().as_secs_f64(),
        status.checkpoint,
        nodes.join(", ")
    ));
}

/// The last word: what was done, and how it ended.
fn finish(job: &Job, state: &JobState, args: &Run, print: &Print, began: Instant) -> Outcome {
    let status = job.status();
    if !args.quiet {
        let read: u64 = status.nodes.iter().filter(|n| n.bytes_in > 0).map(|n| n.rows_in).sum();
        let dead: u64 = status.nodes.iter().map(|n| n.dead_lettered).sum();
        let seconds = began.elapsed().as_secs_f64();
        if print.json {
            let line =
                json!({ "ended": true, "seconds": seconds, "checkpoint": status.checkpoint, "nodes": status.nodes });
            let _ = writeln!(std::io::stderr(), "{line}");
        } else if status.resumed.is_some() && status.checkpoints == 0 && read == 0 && *state == JobState::Stopped {
            print.say("nothing left to do: every source had been read to its end");
        } else {
            print.say(&format!(
                "{} records read in {seconds:.1} s, {} refused, checkpoint {}",
                table::grouped(read),
                table::grouped(dead),
                status.checkpoint
            ));
        }
    }
    match state {
        JobState::Failed(problem) if problem.code == "STDOUT-CLOSED" => Ok(()),
        JobState::Failed(problem) => {
            print.problem(problem);
            Err(Failure::Job)
        }
        _ => Ok(()),
    }
}
