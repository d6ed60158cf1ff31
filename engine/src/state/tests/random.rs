//! Random commits, compactions, deletions and starts against a plain map.

use super::MemStore;
use super::work::{self, Expected};
use crate::state::log::CommitLog;
use crate::state::{CheckpointBody, CommitOutcome, StateDelta, usage, verify};
use std::sync::Arc;

fn run_seed(seed: u64) -> Result<usize, String> {
    let (store, mut rng) = (Arc::new(MemStore::default()), fastrand::Rng::with_seed(seed));
    let (mut known, mut compacted) = (Expected::default(), 0);
    for _ in 0..5 {
        let opened = CommitLog::open(store.clone(), &work::options()).map_err(|p| p.to_string())?;
        work::check(opened.tail.as_ref(), &known)?;
        let (mut log, mut running) = (opened.log, Vec::new());
        for _ in 0..rng.usize(0..25) {
            let (mut body, after) = work::random(&mut rng, &known);
            work::random_compaction(&mut rng, &mut log, &mut running, &mut body).map_err(|p| p.to_string())?;
            compacted += body.bases.len();
            match log.commit(body).map_err(|p| p.to_string())? {
                CommitOutcome::Committed(c) => work::check(Some(&c), &after)?,
                CommitOutcome::Fenced { .. } => return Err("fenced by nobody".into()),
            }
            known = after;
            if rng.u32(0..3) == 0 {
                log.collect().map_err(|p| p.to_string())?;
            }
        }
        // At rest nothing but the live files, those of the checkpoint before, and what runs, is kept.
        log.collect().map_err(|p| p.to_string())?;
        let report = verify(&*store).map_err(|p| p.to_string())?;
        if !report.problems.is_empty() || (running.is_empty() && !report.extra.is_empty()) {
            return Err(format!("{report:?}"));
        }
    }
    Ok(compacted)
}

#[test]
fn random_work_agrees_with_a_map() {
    let compacted: usize = (0..150).map(|seed| run_seed(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"))).sum();
    assert!(compacted > 500, "only {compacted} compactions");
}

fn append(id: &str, e: u64, rows: usize) -> CheckpointBody {
    let values: Vec<u64> = (0..rows as u64).map(|i| i * 2_654_435_761 + e).collect();
    let blocks = vec![work::block("rows", 0, &values)];
    let delta = StateDelta { id: id.into(), fingerprint: "f".into(), blocks };
    CheckpointBody { checkpoint: e, epoch: e, state: vec![delta], ..CheckpointBody::default() }
}

#[test]
fn compaction_is_due_by_size_and_by_number() {
    let store = Arc::new(MemStore::default());
    let mut log = CommitLog::open(store.clone(), &work::options()).unwrap().log;
    for e in 1..=65 {
        assert!(!log.should_compact("a/rows.0"), "at {e}");
        log.commit(append("a/rows.0", e, 10)).unwrap();
    }
    assert!(log.should_compact("a/rows.0"), "deltas lie in 65 files");
    let compaction = log.begin_compaction("a/rows.0").unwrap();
    assert!(!log.should_compact("a/rows.0"), "one is running");
    assert!(log.begin_compaction("a/rows.0").is_none());
    let mut body = append("a/rows.0", 66, 200_000);
    body.bases.push(work::compact(compaction).unwrap());
    let CommitOutcome::Committed(c) = log.commit(body).unwrap() else { panic!("fenced") };
    assert_eq!(work::tables(&c.restore("a/rows.0").unwrap()).values().map(Vec::len).sum::<usize>(), 65 * 10 + 200_000);
    let (base, deltas) = c.bytes("a/rows.0");
    assert!(base > 5_000 && deltas > 1 << 20, "{base} {deltas}");
    assert!(log.should_compact("a/rows.0"), "deltas exceed half of the base and 1 MiB");
    log.collect().unwrap();
    log.commit(CheckpointBody { checkpoint: 67, ..CheckpointBody::default() }).unwrap();
    log.collect().unwrap();
    let files = store.names().iter().filter(|n| n.starts_with("data/")).count();
    assert_eq!(files, 2, "one base, one delta");
    assert!(usage(&*store).unwrap().state > 1 << 20);
}

#[test]
fn a_segment_dropped_while_its_base_is_computed_stays_dropped() {
    use crate::operator::{Change, StateBlock};
    let store = Arc::new(MemStore::default());
    let mut log = CommitLog::open(store.clone(), &work::options()).unwrap().log;
    let commit = |log: &mut CommitLog, checkpoint: u64, blocks: Vec<StateBlock>, bases: Vec<_>| {
        let state = vec![StateDelta { id: "w/panes.0".into(), fingerprint: "f".into(), blocks }];
        match log.commit(CheckpointBody { checkpoint, state, bases, ..CheckpointBody::default() }).unwrap() {
            CommitOutcome::Committed(c) => work::tables(&c.restore("w/panes.0").unwrap()),
            CommitOutcome::Fenced { .. } => panic!("fenced"),
        }
    };
    commit(&mut log, 1, vec![work::block("panes", 1, &[1]), work::block("panes", 2, &[2])], vec![]);
    let compaction = log.begin_compaction("w/panes.0").unwrap();
    let gone = StateBlock { table: "panes".into(), segment: 1, change: Change::Drop };
    commit(&mut log, 2, vec![gone], vec![]);
    let base = work::compact(compaction).unwrap();
    let found = commit(&mut log, 3, vec![work::block("panes", 3, &[3])], vec![base]);
    assert_eq!(found.into_values().collect::<Vec<_>>(), [vec![2], vec![3]]);
}
