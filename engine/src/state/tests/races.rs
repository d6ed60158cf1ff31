//! Several openers of one log: one commits, the others learn that they are fenced.

use super::MemStore;
use super::work::{self, Expected};
use crate::problem::Result;
use crate::state::log::{CommitLog, RECORDS_KEPT};
use crate::state::{CommitOutcome, OpenOptions, Opened, Store, sabotage, verify};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};

fn open(store: &Arc<MemStore>) -> Opened {
    CommitLog::open(store.clone(), &work::options()).unwrap()
}

#[test]
fn a_zombie_is_fenced_and_told_by_whom() {
    let store = Arc::new(MemStore::default());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut zombie = open(&store).log;
    let named = OpenOptions { holder: "process 4711 on rome".into(), ..work::options() };
    let mut newer = CommitLog::open(store.clone(), &named).unwrap().log;
    let (body, after) = work::random(&mut rng, &Expected::default());
    match zombie.commit(body.clone()).unwrap() {
        CommitOutcome::Fenced { generation, holder } => assert_eq!((generation, &*holder), (2, "process 4711 on rome")),
        CommitOutcome::Committed(_) => panic!("the zombie committed"),
    }
    assert_eq!(zombie.commit(body.clone()).unwrap_err().code, "STATE-FENCED");
    assert!(matches!(newer.commit(body).unwrap(), CommitOutcome::Committed(_)));
    assert_eq!(zombie.collect().unwrap(), 0, "a zombie must not delete");
    work::check(open(&store).tail.as_ref(), &after).unwrap();
}

/// The zombie sleeps until the number of its next record has been used and deleted again.
#[test]
fn a_zombie_that_slept_through_the_deletion_of_records_is_fenced() {
    let store = Arc::new(MemStore::default());
    let mut rng = fastrand::Rng::with_seed(2);
    let mut zombie = open(&store).log;
    let mut newer = open(&store).log;
    let mut known = Expected::default();
    for _ in 0..2 * RECORDS_KEPT {
        let (body, after) = work::random(&mut rng, &known);
        assert!(matches!(newer.commit(body).unwrap(), CommitOutcome::Committed(_)));
        newer.collect().unwrap();
        known = after;
    }
    let records = |store: &MemStore| store.list("log/").unwrap().len() as u64;
    assert_eq!(records(&store), RECORDS_KEPT);
    assert!(store.get("log/000000000002").unwrap().is_none(), "the zombie's next number is free again");
    let (body, _) = work::random(&mut rng, &Expected::default());
    assert!(matches!(zombie.commit(body).unwrap(), CommitOutcome::Fenced { generation: 2, .. }));
    assert!(store.get("log/000000000002").unwrap().is_some());
    assert!(verify(&*store).unwrap().problems.is_empty());
    let mut again = open(&store);
    work::check(again.tail.as_ref(), &known).unwrap();
    again.log.collect().unwrap();
    assert!(store.get("log/000000000002").unwrap().is_none(), "what the zombie left is deleted");
}

#[test]
fn openers_at_the_same_moment_get_different_generations() {
    for round in 0..20 {
        let store = Arc::new(MemStore::default());
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (store, start) = (store.clone(), start.clone());
                std::thread::spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(round * 10 + n);
                    start.wait();
                    let mut opened = open(&store);
                    let mut known = Expected {
                        checkpoint: opened.tail.as_ref().map_or(0, |t| t.body.checkpoint),
                        ..Expected::default()
                    };
                    let mut committed = Vec::new();
                    for _ in 0..5 {
                        let (body, _) = work::random(&mut rng, &known);
                        let Ok(CommitOutcome::Committed(c)) = opened.log.commit(body) else { break };
                        known.checkpoint = c.body.checkpoint;
                        committed.push(c.number);
                    }
                    (opened.generation, committed)
                })
            })
            .collect();
        let mut generations = Vec::new();
        let mut numbers = Vec::new();
        for (generation, committed) in threads.into_iter().map(|t| t.join().unwrap()) {
            generations.push(generation);
            numbers.extend(committed);
        }
        generations.sort();
        // A generation may be skipped: one that is overtaken between its put and its look around tries again.
        assert!(generations.is_sorted_by(|a, b| a < b), "round {round}: {generations:?}");
        let all = numbers.len();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), all, "round {round}: a number was committed twice");
        assert!(verify(&*store).unwrap().problems.is_empty(), "round {round}");
    }
}

/// Random interleavings of openers: acknowledged checkpoints are in the log, each once.
fn interleave(seed: u64) -> Result<u64, String> {
    let (store, mut rng) = (Arc::new(MemStore::default()), fastrand::Rng::with_seed(seed));
    let mut logs: Vec<(CommitLog, Expected)> = Vec::new();
    let mut acknowledged: BTreeMap<u64, Expected> = BTreeMap::from([(0, Expected::default())]);
    let mut fenced = 0;
    for _ in 0..60 {
        if logs.is_empty() || rng.u32(0..6) == 0 {
            let opened = CommitLog::open(store.clone(), &work::options()).map_err(|p| p.to_string())?;
            let known = acknowledged.last_key_value().unwrap().1.clone();
            work::check(opened.tail.as_ref(), &known)?;
            logs.push((opened.log, known));
        }
        let at = rng.usize(..logs.len());
        let (log, known) = &mut logs[at];
        let (body, after) = work::random(&mut rng, known);
        match log.commit(body).map_err(|p| p.to_string())? {
            CommitOutcome::Committed(_) => {
                if acknowledged.insert(after.checkpoint, after.clone()).is_some() {
                    return Err(format!("checkpoint {} acknowledged twice", after.checkpoint));
                }
                *known = after;
                if rng.bool() {
                    log.collect().map_err(|p| p.to_string())?;
                }
            }
            CommitOutcome::Fenced { .. } => {
                fenced += 1;
                logs.remove(at);
            }
        }
    }
    let last = open(&store);
    work::check(last.tail.as_ref(), acknowledged.last_key_value().unwrap().1)?;
    Ok(fenced)
}

#[test]
fn interleaved_openers_never_commit_twice() {
    let fenced: u64 = (0..200).map(|seed| interleave(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"))).sum();
    assert!(fenced > 200, "only {fenced} openers were fenced");
}

#[test]
fn overwriting_instead_of_put_if_absent_is_caught() {
    let caught = sabotage::with("overwrite_instead_of_put_if_absent", || {
        (0..200).try_for_each(|seed| interleave(seed).map(drop))
    });
    assert!(caught.is_err());
}
