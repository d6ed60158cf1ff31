//! `dead replay`: feeds dead letters again, in a run of the pipeline whose sources read nothing.

use super::args::DeadReplay;
use super::print::Print;
use super::{Failure, Outcome, dead, files, signals, table};
use millstream::dead::replay::{Group, Plan, ReadRows};
use millstream::plan::Pipeline;
use millstream::runtime::{JobState, Replay, Runtime, Stop};
use millstream::state::{LocalStore, fs::RealFs};
use millstream_connectors::{Registry, format};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a replay that takes its time is drawn on a terminal.
const DRAW: Duration = Duration::from_millis(250);

/// `millstream dead replay FILE`.
pub fn replay(args: &DeadReplay, registry: &Registry, print: &Print) -> Outcome {
    let selection = dead::selection(&args.chosen, print)?;
    let workers = usize::from(args.workers);
    let loaded = files::loaded(&args.given, workers, registry, print)?;
    let dir = files::state_dir(&args.given.file, &args.state, &loaded.document.name);
    let given = |problems: Vec<millstream::Problem>| {
        print.problems(&problems, None);
        Failure::Given
    };
    // First a look from outside: without letters nothing is started, and a dry run locks nothing.
    let prepared = loaded.pipeline.prepare().map_err(given)?;
    let taken = {
        let newest = dead::newest(&dir, print)?;
        let plan = newest.map(|(_, stored)| Plan::new(&prepared, &stored, &selection, &reader()));
        let plan = plan.unwrap_or_default();
        groups(&plan.groups, print);
        plan.taken() as u64
    };
    if args.dry_run || taken == 0 {
        let would = if args.dry_run { "would be replayed" } else { "to be replayed" };
        print.say(&format!("{} dead letters {would}", table::grouped(taken)));
        return Ok(());
    }
    signals::listen();
    let replay = start(&loaded.pipeline, &dir, workers, &selection).map_err(given)?;
    finish(&wait(&replay, print), &replay, print)
}

fn reader() -> ReadRows {
    Arc::new(format::row_reader)
}

fn start(
    pipeline: &Pipeline,
    dir: &Path,
    workers: usize,
    selection: &millstream::dead::stored::Selection,
) -> Result<Replay, Vec<millstream::Problem>> {
    let store = LocalStore::open(dir, Arc::new(RealFs)).map_err(|p| vec![p])?;
    let runtime = Runtime::builder().workers(workers).store(store).build().map_err(|p| vec![p])?;
    runtime.replay(pipeline, selection, &reader())
}

/// Until it has ended. Ctrl-C ends it at once: it happens whole or not at all.
fn wait(replay: &Replay, print: &Print) -> JobState {
    let (mut table, began, mut drawn) = (table::Table::new(), Instant::now(), Instant::now());
    loop {
        if let Some(state) = replay.job.wait_timeout(Duration::from_millis(25)) {
            let _ = std::io::stderr().write_all(table.erase().as_bytes());
            return state;
        }
        if print.terminal && !print.json && drawn.elapsed() >= DRAW {
            drawn = Instant::now();
            super::run::draw(&mut table, &replay.job, print, began);
        }
        if signals::asked() > 0 {
            replay.job.request_stop(Stop::Kill);
        }
    }
}

fn finish(state: &JobState, replay: &Replay, print: &Print) -> Outcome {
    let status = replay.job.status();
    let done = status.checkpoints > 0;
    let (taken, again) = (replay.plan.taken() as u64, status.nodes.iter().map(|n| n.dead_lettered).sum::<u64>());
    if done {
        print.result(
            || {
                format!(
                    "{} dead letters replayed, {} new; checkpoint {}",
                    table::grouped(taken),
                    table::grouped(again),
                    status.checkpoint
                )
            },
            || json!({ "replayed": taken, "new": again, "checkpoint": status.checkpoint }),
        );
    } else {
        print.say("nothing was replayed: the dead letters are where they were");
    }
    match state {
        JobState::Failed(problem) => {
            print.problem(problem);
            Err(Failure::Job)
        }
        _ if done => Ok(()),
        _ => Err(Failure::Interrupted),
    }
}

/// What becomes of the letters chosen, by node and code.
fn groups(groups: &[Group], print: &Print) {
    let width = |of: fn(&Group) -> usize, head: &str| groups.iter().map(of).max().unwrap_or(0).max(head.len());
    let (node, code) = (width(|g| g.node.len(), "node"), width(|g| g.code.len(), "code"));
    if !groups.is_empty() && !print.json {
        print.result(
            || format!("{:node$}  {:code$}  {:>11}  {:>11}", "node", "code", "fed again", "stay"),
            || json!({}),
        );
    }
    for group in groups {
        print.result(
            || {
                let (taken, kept) = (table::grouped(group.taken as u64), table::grouped(group.kept as u64));
                let reason = group.reason.as_ref().map_or_else(String::new, |r| format!("  {r}"));
                format!("{:node$}  {:code$}  {taken:>11}  {kept:>11}{reason}", group.node, group.code)
            },
            || json!({ "node": group.node, "code": group.code, "taken": group.taken, "kept": group.kept, "reason": group.reason }),
        );
    }
}
