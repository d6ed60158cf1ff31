//! Whole jobs of several workers whose threads take turns under a seed: crashes between any two turns,
//! and zombies that go on while another incarnation runs.
//!
//! `MILLSTREAM_SEEDS` says how many seeds are tried (60), `MILLSTREAM_SEED` where they begin.

use super::world::{Script, World, counting, expected_counts};
use crate::Result;
use crate::runtime::turns::sim::{Sim, seat};
use crate::runtime::{Job, JobState, Resume, Runtime, Stop};
use crate::state::store::{Entry, PutOutcome};
use crate::state::{MemStore, Store};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PARTITIONS: usize = 3;
const ROWS: i64 = 300;
const KEYS: i64 = 7;

/// A store before whose every call others may have their turn.
struct Slow(Arc<MemStore>);

impl Slow {
    fn fork(&self) -> Arc<Slow> {
        Arc::new(Slow(self.0.copy()))
    }
    fn inner(&self) -> &MemStore {
        seat().inspect(|seat| seat.pass());
        &self.0
    }
}

impl Store for Slow {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<PutOutcome> {
        self.inner().put_if_absent(name, bytes)
    }
    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.inner().get(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner().list(prefix)
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.inner().delete(name)
    }
    fn size(&self, name: &str) -> Result<Option<u64>> {
        self.inner().size(name)
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn start(sim: &Arc<Sim>, store: &Arc<Slow>, world: &Arc<World>, workers: usize) -> Job {
    let clock = Arc::clone(sim) as Arc<dyn crate::time::Clock>;
    let runtime = Runtime::builder().workers(workers).store(store.clone()).clock(clock).build().unwrap();
    runtime.start(&counting(Script::bounded(PARTITIONS, ROWS, KEYS), world, None), Resume::OrFresh).unwrap()
}

fn ended(job: &Job) -> bool {
    matches!(job.state(), JobState::Stopped | JobState::Failed(_))
}

/// Lets the others have turns until `done` holds.
fn until(done: impl Fn() -> bool) {
    let seat = seat().expect("called within a simulation");
    while !done() {
        seat.pass();
    }
}

/// What the seeds have brought about, all together.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    resumed: u64,
    fenced: u64,
    turns: u64,
}

/// One life: incarnations that crash or are left behind as zombies, and a last one that ends by itself.
fn life(seed: u64, tally: &mut Tally) -> (u64, Vec<Vec<i64>>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (sim, turn) = Sim::begin(seed);
    let (mut store, mut world) = (Arc::new(Slow(Arc::default())), Arc::new(World::default()));
    let mut zombies = Vec::new();
    for _ in 0..rng.usize(..4) {
        let job = start(&sim, &store, &world, rng.usize(1..=3));
        tally.resumed += u64::from(job.resumed().is_some());
        let end = sim.turns() + rng.u64(..2_500);
        world.failures.store(rng.usize(..3), Ordering::SeqCst);
        until(|| sim.turns() >= end);
        tally.crashes += 1;
        if rng.bool() {
            // The process is gone: what it does from here on is done to a world that nobody sees.
            (store, world) = (store.fork(), world.fork());
        } else {
            // It goes on, and does not know that it has been given up.
            zombies.push((job, rng.u64(..3_000)));
            continue;
        }
        job.request_stop(Stop::Kill);
        until(|| ended(&job));
    }
    let last = start(&sim, &store, &world, rng.usize(1..=3));
    tally.resumed += u64::from(last.resumed().is_some());
    until(|| ended(&last));
    assert_eq!(last.state(), JobState::Stopped, "seed {seed}");
    for (zombie, turns) in zombies {
        let end = sim.turns() + turns;
        until(|| sim.turns() >= end || ended(&zombie));
        zombie.request_stop(Stop::Kill);
        until(|| ended(&zombie));
        tally.fenced += u64::from(matches!(zombie.state(), JobState::Failed(p) if p.code == "STATE-FENCED"));
    }
    until(|| sim.is_alone());
    tally.turns += sim.turns();
    drop((last, turn));
    assert_eq!(world.published(), expected_counts(PARTITIONS, ROWS, KEYS), "seed {seed}");
    (sim.trace(), world.in_order())
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let first = number("MILLSTREAM_SEED", 1);
    first..first + number("MILLSTREAM_SEEDS", 60)
}

#[test]
fn any_interleaving_with_crashes_and_zombies_publishes_the_same() {
    let mut tally = Tally::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        life(seed, &mut tally);
    }
    println!("seeds {seeds:?}: {tally:?}");
    let lives = seeds.end - seeds.start;
    assert!(tally.resumed * 3 > lives, "too few resumed: {tally:?}");
    assert!(lives < 20 || tally.fenced > 0, "no zombie was fenced: {tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut different = std::collections::BTreeSet::new();
    for seed in seeds().take(12) {
        let first = life(seed, &mut Tally::default());
        assert_eq!(first, life(seed, &mut Tally::default()), "seed {seed}");
        different.insert(first.0);
    }
    assert!(different.len() > 1, "all seeds gave the same run");
}

/// Who tests the tests: each of these mistakes, planted in a process of its own, must be found.
#[test]
fn planted_mistakes_are_found() {
    let test = "runtime::tests::simulated::any_interleaving_with_crashes_and_zombies_publishes_the_same";
    let planted = crate::state::sabotage::RUNTIME.iter().filter(|name| **name != "key_hash_changed");
    for name in planted.chain(&["resume_old", "record_before_files", "overwrite_instead_of_put_if_absent"]) {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = child.args([test, "--exact"]).env("MILLSTREAM_SABOTAGE", name).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(said.contains("running 1 test"), "{said}");
        assert!(!ended.status.success(), "{name} was not found");
    }
}
