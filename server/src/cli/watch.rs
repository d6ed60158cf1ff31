//! `run --watch`: runs again on save.
//!
//! ```text
//!   saved ─► read twice alike ─► checks ─► fits the state? ─► drain the job ─► start the new one from the state
//!                                  └─ no ──────┴─ no: said; what runs goes on
//! ```
//!
//! Nothing is half-applied: the running job is only stopped for a file that has passed everything that can be
//! known beforehand. Should the new one still not start, the one before is started again. The file is looked
//! at every 200 ms; a save counts once two looks have found the same, so that a file is never taken while it
//! is being written.

use super::args::Run;
use super::print::Print;
use super::run::{Runner, Started};
use super::{Failure, Outcome, files, plan, signals};
use millstream::Problem;
use millstream::runtime::compare;
use millstream_connectors::Registry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often the state of a running job is read again, when it changed while it was read.
const READS: usize = 5;

/// Runs the file, and again whenever it is saved; until Ctrl-C.
pub fn watch(args: &Run, registry: &Registry, print: &Print) -> Outcome {
    let first = files::read(&args.given.file, print)?;
    let mut runner = Runner::new(args, registry, print);
    let mut changes = Changes { args, registry, print, saves: Saves::new(args, first.clone()), taken: None };
    let (mut next, mut running) = (Some(first), None);
    loop {
        let started = match next.take() {
            Some(bytes) => start(&mut runner, bytes, &mut running, print)?,
            None => None,
        };
        let Some(mut started) = started else {
            next = changes.wait();
            match next {
                Some(_) => continue,
                None => return Ok(()),
            }
        };
        let state = runner.follow(&mut started, Some(&mut changes))?;
        let outcome = runner.finish(&started, &state);
        if signals::asked() > 0 {
            return outcome;
        }
        next = changes.taken.take();
        if next.is_none() {
            print.say(&format!("waiting for {} to be saved; Ctrl-C ends", args.given.file.display()));
        }
    }
}

/// Starts a file. One that does not start gives way to the one before it, where there is one.
fn start(
    runner: &mut Runner<'_>,
    bytes: Vec<u8>,
    running: &mut Option<Vec<u8>>,
    print: &Print,
) -> Result<Option<Started>, Failure> {
    match (runner.start(&bytes), running.as_ref()) {
        (Ok(started), _) => {
            *running = Some(bytes);
            Ok(Some(started))
        }
        (Err(_), Some(before)) if *before != bytes => {
            print.say("the new file does not start; going on with the one before it");
            runner.start(before).map(Some)
        }
        (Err(_), _) => {
            print.say("waiting for the file to be saved; Ctrl-C ends");
            Ok(None)
        }
    }
}

/// Watches the pipeline file and judges what is saved.
pub(super) struct Changes<'a> {
    args: &'a Run,
    registry: &'a Registry,
    print: &'a Print,
    saves: Saves,
    /// A file that is to take over once the job has been drained.
    taken: Option<Vec<u8>>,
}

impl Changes<'_> {
    /// What has been saved since the last call.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.saves.poll()
    }

    /// True if a file is to take over from the job that runs, once that has ended.
    pub fn are_taken(&self) -> bool {
        self.taken.is_some()
    }

    /// True if the file is to take over from the job that runs; says why it is not.
    pub fn consider(&mut self, started: &Started, bytes: Vec<u8>) -> bool {
        let shown = self.args.given.file.display();
        match self.judge(started, &bytes) {
            Ok(()) => {
                self.print.say(&format!("{shown} was saved: draining, then on with the new one"));
                self.taken = Some(bytes);
            }
            Err(Failure::Given) if self.taken.is_some() => {
                self.print.say(&format!("{shown} was saved, but cannot take over; the one before it will"));
            }
            Err(_) => self.print.say(&format!("{shown} was saved, but cannot take over; what runs goes on")),
        }
        self.taken.is_some()
    }

    fn judge(&self, started: &Started, bytes: &[u8]) -> Outcome {
        let (args, print) = (self.args, self.print);
        let workers = usize::from(args.workers);
        let loaded = files::load_bytes(&args.given, bytes, workers, self.registry, Arc::new(|_| {}), print)?;
        if loaded.document.name != started.name {
            let problem = Problem::error("CLI-WATCH", "another name means another pipeline, with a state of its own")
                .found(loaded.document.name.clone())
                .expected(started.name.clone())
                .help("undo it, or stop this run and start the new one");
            print.problem(&problem);
            return Err(Failure::Given);
        }
        let refused = |problems: &[Problem]| {
            print.problems(problems, None);
            plan::say_the_way_out(problems, &args.given.file, print);
            Failure::Given
        };
        let prepared = loaded.pipeline.prepare().map_err(|problems| refused(&problems))?;
        let tail = self.newest(started).map_err(|problem| refused(&[problem]))?;
        match compare(&prepared, tail.as_ref(), &[]).problems {
            problems if problems.is_empty() => Ok(()),
            problems => Err(refused(&problems)),
        }
    }

    /// The newest checkpoint of the job, which may make and delete files meanwhile.
    fn newest(&self, started: &Started) -> millstream::Result<Option<millstream::state::Committed>> {
        let mut read = plan::newest(&started.dir, &started.name);
        for _ in 1..READS {
            if read.is_ok() {
                break;
            }
            read = plan::newest(&started.dir, &started.name);
        }
        read
    }

    /// Waits for the next save; `None` = Ctrl-C.
    fn wait(&mut self) -> Option<Vec<u8>> {
        loop {
            if signals::asked() > 0 {
                return None;
            }
            if let Some(bytes) = self.poll() {
                return Some(bytes);
            }
            std::thread::sleep(LOOK / 4);
        }
    }
}

/// The content of a file, as far as it is new and whole.
struct Saves {
    file: PathBuf,
    /// What was given out last.
    seen: Vec<u8>,
    /// What the last look found, if that is something else.
    found: Option<Vec<u8>>,
    looked: Instant,
}

impl Saves {
    fn new(args: &Run, seen: Vec<u8>) -> Saves {
        Saves { file: args.given.file.clone(), seen, found: None, looked: Instant::now() }
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        if self.looked.elapsed() < LOOK {
            return None;
        }
        self.looked = Instant::now();
        // A file that is not there is being replaced.
        let now = std::fs::read(&self.file).ok().filter(|now| *now != self.seen);
        if now.is_some() && now == self.found {
            self.seen.clone_from(now.as_ref()?);
            return self.found.take();
        }
        self.found = now;
        None
    }
}
