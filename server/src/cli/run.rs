//! `run`: one pipeline in the foreground.

use super::args::Run;
use super::print::Print;
use super::table::{self, Table};
use super::{Failure, Outcome, files, metrics, plan, signals};
use millstream::Problem;
use millstream::plan::Pipeline;
use millstream::problem::{Retry, Severity};
use millstream::runtime::{Job, JobState, Resume, Runtime, Stop};
use millstream_connectors::{Events, Registry};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often the table is drawn on a terminal.
const DRAW: Duration = Duration::from_millis(250);
/// How often a line is printed without one.
const LINE: Duration = Duration::from_secs(5);

/// `millstream run FILE`.
pub fn run(args: &Run, registry: &Registry, print: &Print) -> Outcome {
    let workers = usize::from(args.workers);
    let (tell, heard) = mpsc::channel();
    // Nobody listens any more once the job has ended.
    let events: Events = Arc::new(move |problem| drop(tell.send(problem)));
    let bytes = files::read(&args.given.file, print)?;
    let load = || files::loaded_from(&bytes, &args.given, workers, registry, Arc::clone(&events), print);
    let loaded = load()?;
    print.problems(&loaded.notes, Some(&loaded.document.source));
    let dir = files::state_dir(&args.given.file, &args.state, &loaded.document.name);
    if args.fresh {
        files::remove_state(&dir, print)?;
    }
    signals::listen();
    let given = |problems: Vec<Problem>| {
        print.problems(&problems, None);
        plan::say_the_way_out(&problems, &args.given.file, print);
        Failure::Given
    };
    let runtime = runtime(&dir, workers, &args.drop_state).map_err(|p| given(vec![p]))?;
    let mut job = Arc::new(runtime.start(&loaded.pipeline, Resume::OrFresh).map_err(given)?);
    begin(&job, &dir, args, print);
    let served = metrics::Served::new(&loaded.document.name, &dir, &loaded.pipeline.settings.dead_letters);
    served.show(&job);
    if let Some(address) = args.metrics {
        metrics::serve(address, Arc::clone(&served)).map_err(|p| given(vec![p]))?;
    }
    let began = Instant::now();
    let mut restarts = Restarts::new(&loaded.pipeline);
    loop {
        let state = watch(&job, args, print, began, &heard)?;
        let JobState::Failed(problem) = &state else { return finish(&job, &state, args, print, began) };
        let Some(pause) = restarts.after(problem, &job) else { return finish(&job, &state, args, print, began) };
        print.problem(&restarting(problem, pause));
        std::thread::sleep(pause);
        // From the file as it was read first: a source remembers where it has been.
        job = Arc::new(runtime.start(&load()?.pipeline, Resume::OrFresh).map_err(|problems| {
            print.problems(&problems, None);
            Failure::Job
        })?);
        served.show(&job);
        begin(&job, &dir, args, print);
    }
}

fn runtime(dir: &Path, workers: usize, drop_state: &[String]) -> Result<Runtime, Problem> {
    let store = millstream::state::LocalStore::open(dir, Arc::new(millstream::state::fs::RealFs))?;
    Runtime::builder().workers(workers).store(store).drop_state(drop_state.iter().cloned()).build()
}

/// Whether a job that has failed is started again.
struct Restarts {
    /// Every source can be read again from the checkpoint.
    possible: bool,
    /// Failures in a row without a checkpoint in between.
    in_a_row: u32,
    newest: u64,
}

impl Restarts {
    /// Failures in a row after which it is left at that.
    const MAX: u32 = 5;

    fn new(pipeline: &Pipeline) -> Restarts {
        let possible = pipeline.nodes.iter().filter_map(|n| n.work.source()).all(|s| s.replayable());
        Restarts { possible, in_a_row: 0, newest: 0 }
    }

    /// How long to wait before the next start; `None` = no more.
    fn after(&mut self, problem: &Problem, job: &Job) -> Option<Duration> {
        if !self.possible || problem.retry != Retry::Backoff || signals::asked() > 0 {
            return None;
        }
        if problem.code == "NODE-PANIC" {
            // Each start finds out more; the engine says when there is nothing more to find out.
            return Some(Duration::ZERO);
        }
        let newest = job.status().checkpoint;
        self.in_a_row = if newest > self.newest { 1 } else { self.in_a_row + 1 };
        self.newest = newest;
        (self.in_a_row <= Self::MAX).then(|| Duration::from_millis(50) * 2u32.pow(self.in_a_row))
    }
}

/// The problem as a warning: what happened, and that it goes on.
fn restarting(problem: &Problem, pause: Duration) -> Problem {
    let mut warning = problem.clone().help(match pause {
        Duration::ZERO => "starting again from the last checkpoint".into(),
        pause => format!("starting again from the last checkpoint in {pause:?}"),
    });
    warning.severity = Severity::Warning;
    warning
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

/// Shows the job until it ends; passes on the user's wish to end it.
fn watch(
    job: &Job,
    args: &Run,
    print: &Print,
    began: Instant,
    heard: &mpsc::Receiver<Problem>,
) -> Result<JobState, Failure> {
    let mut table = Table::new();
    let live = print.terminal && !print.json && !args.quiet;
    let mut drawn = Instant::now();
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
        if live && drawn.elapsed() >= DRAW {
            drawn = Instant::now();
            draw(&mut table, job, print, began);
        } else if !live && !args.quiet && drawn.elapsed() >= LINE {
            drawn = Instant::now();
            line(job, print, began);
        }
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

fn draw(table: &mut Table, job: &Job, print: &Print, began: Instant) {
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
                "{} records read in {seconds:.1} s, {} dead letters, checkpoint {}",
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
