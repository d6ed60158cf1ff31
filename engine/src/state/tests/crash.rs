//! Power cuts, kills, full disks and broken disks at every call: what was acknowledged is there.

use super::disk::{Fault, ModelFs};
use super::work::{self, Expected};
use crate::problem::Retry;
use crate::state::log::CommitLog;
use crate::state::{CommitOutcome, LocalStore, Store, sabotage};
use std::sync::Arc;

/// How much happened, so that a campaign cannot pass by doing nothing.
#[derive(Debug, Default)]
struct Seen {
    commits: u64,
    crashes: u64,
    undecided_kept: u64,
    undecided_lost: u64,
    full: u64,
    broken: u64,
    deleted: usize,
}

struct Case {
    rng: fastrand::Rng,
    fs: ModelFs,
    /// Acknowledged.
    known: Expected,
    /// In flight when the machine went off: may be there or not.
    perhaps: Option<Expected>,
    seen: Seen,
}

impl Case {
    /// Opens and checks; `None` = the machine went off meanwhile.
    fn open(&mut self) -> Result<Option<CommitLog>, String> {
        let store: Result<Arc<dyn Store>, _> = LocalStore::open("/state", Arc::new(self.fs.clone())).map(|s| s as _);
        let opened = match store.and_then(|store| CommitLog::open(store, &work::options())) {
            Ok(opened) => opened,
            Err(_) if self.fs.is_off() => return Ok(None),
            // A planned EIO or ENOSPC: the start fails, the next one does not.
            Err(p) if self.fs.faults() > self.seen.full + self.seen.broken + self.seen.crashes => {
                self.count_fault(p.code == "STATE-DISK-FULL");
                return Ok(None);
            }
            Err(p) => return Err(format!("cannot open: {p}")),
        };
        if let Some(perhaps) = self.perhaps.take() {
            if opened.tail.as_ref().is_some_and(|t| t.body.checkpoint == perhaps.checkpoint) {
                self.known = perhaps;
                self.seen.undecided_kept += 1;
            } else {
                self.seen.undecided_lost += 1;
            }
        }
        work::check(opened.tail.as_ref(), &self.known)?;
        Ok(Some(opened.log))
    }

    fn count_fault(&mut self, full: bool) {
        *(if full { &mut self.seen.full } else { &mut self.seen.broken }) += 1;
    }

    /// Commits until something happens.
    fn run(&mut self, mut log: CommitLog) -> Result<(), String> {
        let mut running = Vec::new();
        for _ in 0..self.rng.usize(1..12) {
            let (mut body, after) = work::random(&mut self.rng, &self.known);
            work::random_compaction(&mut self.rng, &mut log, &mut running, &mut body)
                .map_err(|p| format!("cannot read back what is live: {p}"))?;
            loop {
                match log.commit(body.clone()) {
                    Ok(CommitOutcome::Committed(c)) => {
                        work::check(Some(&c), &after)?;
                        self.known = after;
                        self.seen.commits += 1;
                        break;
                    }
                    Ok(CommitOutcome::Fenced { .. }) => return Err("fenced by nobody".into()),
                    Err(_) if self.fs.is_off() => {
                        self.perhaps = Some(after);
                        return Ok(());
                    }
                    Err(p) => {
                        self.count_fault(p.code == "STATE-DISK-FULL");
                        match p.retry {
                            Retry::Backoff => continue,
                            Retry::Unknown => self.perhaps = Some(after),
                            Retry::No => {}
                        }
                        return Ok(());
                    }
                }
            }
            if self.rng.u32(0..4) == 0 {
                match log.collect() {
                    Ok(deleted) => self.seen.deleted += deleted,
                    Err(_) if self.fs.is_off() => return Ok(()),
                    Err(p) => self.count_fault(p.code == "STATE-DISK-FULL"),
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self) {
        let fault = match self.rng.u32(0..10) {
            0 => Fault::Full,
            1 => Fault::Eio,
            _ => Fault::Off,
        };
        let after = if self.rng.u32(0..3) == 0 { self.rng.u64(1..20) } else { self.rng.u64(1..200) };
        self.fs.plan(after, fault);
    }
}

/// One seed: a few lives of one store.
fn run_seed(seed: u64) -> Result<Seen, String> {
    let fs = ModelFs::default();
    let mut case = Case {
        rng: fastrand::Rng::with_seed(seed),
        fs,
        known: Expected::default(),
        perhaps: None,
        seen: Seen::default(),
    };
    for _ in 0..6 {
        case.plan();
        if let Some(log) = case.open()? {
            case.run(log)?;
        }
        case.seen.crashes += u64::from(case.fs.is_off());
        if case.rng.u32(0..4) == 0 {
            case.fs.kill();
        } else {
            case.fs.power_cut(&mut case.rng);
        }
    }
    match case.open()? {
        Some(_) => Ok(case.seen),
        None => Err("cannot open on a machine that is well".into()),
    }
}

fn campaign(seeds: std::ops::Range<u64>) -> Result<Seen, String> {
    let mut all = Seen::default();
    for seed in seeds {
        let seen = run_seed(seed).map_err(|e| format!("seed {seed}: {e}"))?;
        all.commits += seen.commits;
        all.crashes += seen.crashes;
        all.undecided_kept += seen.undecided_kept;
        all.undecided_lost += seen.undecided_lost;
        all.full += seen.full;
        all.broken += seen.broken;
        all.deleted += seen.deleted;
    }
    Ok(all)
}

/// `MILLSTREAM_SEEDS=20000` for a longer campaign.
fn seeds() -> u64 {
    std::env::var("MILLSTREAM_SEEDS").map_or(2_000, |n| n.parse().expect("MILLSTREAM_SEEDS is a number"))
}

#[test]
fn what_was_acknowledged_survives_any_crash() {
    let seen = campaign(0..seeds().max(2_000)).unwrap_or_else(|e| panic!("{e}"));
    assert!(seen.commits > 5_000 && seen.crashes > 2_000, "{seen:?}");
    assert!(seen.undecided_kept > 20 && seen.undecided_lost > 200, "{seen:?}");
    assert!(seen.full > 100 && seen.broken > 100 && seen.deleted > 1_000, "{seen:?}");
}

#[test]
fn planted_mistakes_are_caught() {
    for name in ["skip_dir_fsync", "record_before_files", "resume_old", "gc_too_early"] {
        let caught = sabotage::with(name, || campaign(0..2_000));
        assert!(caught.is_err(), "{name} was not caught: {caught:?}");
    }
}
