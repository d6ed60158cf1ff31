//! The protocol of the log and of a two-phase sink, searched exhaustively.
//!
//! Three incarnations interleave freely, so every schedule of a zombie is among them. Each opens (reads
//! the tail, puts a generation record, reads the files, recovers the sink), and then, checkpoint by
//! checkpoint: writes the sink's hidden bytes, writes its state file, puts the record, publishes,
//! deletes. Two of them may crash, anywhere. Records are deleted beneath a window of two, so that a
//! zombie can meet its next number free again.
//!
//! What a run may leave to the next one is only what is durable, so a crash is simply the end of an
//! incarnation; torn and lost bytes are the matter of `tests::crash`.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// Checkpoints to be made.
const CHECKPOINTS: u8 = 3;
/// Records kept; the real log keeps 64.
const KEPT: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
enum Record {
    Deleted,
    Generation {
        g: u8,
        data: u8,
    },
    /// Checkpoint `e` of generation `g`; its state file and that of the checkpoint before are live.
    Checkpoint {
        g: u8,
        e: u8,
        before: Option<(u8, u8)>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Off,
    PutGeneration,
    ReadFiles,
    Recover,
    Ready,
    Hidden,
    File,
    Put,
    /// The record is there; it remains to be seen whether a higher one is.
    Listed,
    Publish,
    /// Looks whether it still is the newest.
    Collect,
    /// And deletes, perhaps much later.
    Delete,
    Dead,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Process {
    step: Step,
    g: u8,
    /// Length of the log as this one knows it.
    known: usize,
    /// The checkpoint it goes on from, with the generation that wrote it, and the one before that.
    tail: Option<(u8, u8)>,
    before: Option<(u8, u8)>,
    /// What it works on.
    e: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    log: Vec<Record>,
    /// State files (generation, checkpoint).
    files: BTreeSet<(u8, u8)>,
    /// Hidden bytes of the sink by checkpoint and the generation in their name; the value is whose bytes.
    hidden: BTreeSet<(u8, u8, u8)>,
    /// What readers of the sink see: checkpoint, and whose bytes.
    published: Vec<(u8, u8)>,
    /// Acknowledged to the source.
    confirmed: u8,
    processes: Vec<Process>,
    crashes: u8,
    broken: Option<&'static str>,
}

/// Order rules that can be dropped, one at a time.
const MUTANTS: [&str; 11] = [
    "record_before_file",
    "record_before_hidden",
    "publish_before_record",
    "confirm_before_record",
    "overwrite",
    "no_look_after_put",
    "resume_at_tail",
    "resume_old",
    "no_recover",
    "collect_before_record",
    "collect_newer_generations",
];

fn checkpoints(log: &[Record]) -> impl DoubleEndedIterator<Item = (u8, u8, Option<(u8, u8)>)> {
    log.iter().filter_map(|r| match r {
        Record::Checkpoint { g, e, before } => Some((*g, *e, *before)),
        _ => None,
    })
}

/// The record that counts for a checkpoint, seen from a reader of the whole log.
fn newest(log: &[Record]) -> Option<(u8, u8)> {
    checkpoints(contiguous(log)).next_back().map(|(g, e, _)| (g, e))
}

/// The newest records without a gap: what lies beneath a deleted one is what a late zombie put.
fn contiguous(log: &[Record]) -> &[Record] {
    let from = log.iter().rposition(|r| *r == Record::Deleted).map_or(0, |i| i + 1);
    &log[from..]
}

impl World {
    fn new(processes: usize, crashes: u8) -> World {
        let off = Process { step: Step::Off, g: 0, known: 0, tail: None, before: None, e: 0 };
        World {
            log: Vec::new(),
            files: BTreeSet::new(),
            hidden: BTreeSet::new(),
            published: Vec::new(),
            confirmed: 0,
            processes: vec![off; processes],
            crashes,
            broken: None,
        }
    }

    /// What must hold in every state.
    fn violation(&self) -> Option<String> {
        if let Some(broken) = self.broken {
            return Some(broken.into());
        }
        if self.published.iter().enumerate().any(|(i, (e, _))| *e as usize != i + 1) {
            return Some(format!("published {:?} is not each checkpoint once, in order", self.published));
        }
        let committed = newest(&self.log).map_or(0, |(_, e)| e);
        if self.published.len() > committed as usize {
            return Some(format!("published {:?} without a record", self.published));
        }
        for (g, e, _) in checkpoints(contiguous(&self.log)) {
            if let Some((_, whose)) = self.published.iter().find(|(p, _)| *p == e)
                && *whose != g
            {
                return Some(format!("checkpoint {e} of generation {g} was published with bytes of {whose}"));
            }
        }
        if self.confirmed > committed {
            return Some(format!("confirmed {} with {committed} committed", self.confirmed));
        }
        if let Some((g, e, before)) = checkpoints(contiguous(&self.log)).next_back() {
            for file in [Some((g, e)), before].into_iter().flatten() {
                if !self.files.contains(&file) {
                    return Some(format!("file {file:?} of the newest record is missing"));
                }
            }
            if e as usize > self.published.len() + 1 {
                return Some(format!("checkpoint {e} committed with {} published", self.published.len()));
            }
        }
        None
    }

    fn publish(&mut self, g: u8, e: u8) {
        if let Some((_, whose)) = self.published.iter().find(|(p, _)| *p == e) {
            if *whose != g {
                self.broken = Some("a checkpoint is published a second time, with other bytes");
            }
            return;
        }
        match self.hidden.iter().find(|(he, name, _)| *he == e && *name == g) {
            Some((_, _, whose)) => self.published.push((e, *whose)),
            None => self.broken = Some("a committed checkpoint has no hidden bytes: lost"),
        }
    }

    /// Deletes what neither of a process's last two checkpoints names, and old records.
    fn collect(&mut self, i: usize, mutant: &str, keep: [Option<(u8, u8)>; 3]) {
        let p = self.processes[i].clone();
        let newer = mutant == "collect_newer_generations";
        self.files.retain(|f| keep.contains(&Some(*f)) || (f.0 > p.g && !newer));
        self.hidden.retain(|(e, g, _)| p.tail.is_none_or(|t| *e >= t.1) || *g > p.g);
        let last_two =
            self.log[..p.known].iter().enumerate().rev().filter(|(_, r)| matches!(r, Record::Checkpoint { .. })).nth(1);
        let oldest = p.known.saturating_sub(KEPT).min(last_two.map_or(0, |(i, _)| i));
        for record in &mut self.log[..oldest] {
            *record = Record::Deleted;
        }
    }

    /// Puts a record at the number behind what the process knows. True = created.
    fn put(&mut self, i: usize, record: Record, mutant: &str) -> bool {
        let at = self.processes[i].known;
        let free = at == self.log.len() || self.log[at] == Record::Deleted;
        if at == self.log.len() {
            self.log.push(record);
        } else if self.log[at] == Record::Deleted {
            // It lies beneath deleted ones, where no reader goes.
        } else if mutant == "overwrite" {
            self.log[at] = record;
            return true;
        }
        free
    }
}

/// All that can happen next.
fn next(world: &World, mutant: &str) -> Vec<(String, World)> {
    let mut all = Vec::new();
    for i in 0..world.processes.len() {
        let p = &world.processes[i];
        if p.step == Step::Dead || (p.step == Step::Ready && p.e >= CHECKPOINTS) {
            continue;
        }
        if p.step != Step::Off && world.crashes > 0 {
            let mut w = world.clone();
            (w.crashes, w.processes[i].step) = (w.crashes - 1, Step::Dead);
            all.push((format!("{i} crashes"), w));
        }
        let mut w = world.clone();
        advance(&mut w, i, mutant);
        all.push((format!("{i} {:?}", p.step), w));
    }
    all
}

fn advance(w: &mut World, i: usize, mutant: &str) {
    let p = w.processes[i].clone();
    let (g, e) = (p.g, p.e + 1);
    let late = |s: &str| mutant == s;
    w.processes[i].step = match p.step {
        Step::Off => read_tail(w, i, mutant),
        Step::PutGeneration => {
            let data = p.tail.map_or(0, |t| t.1);
            let created = w.put(i, Record::Generation { g, data }, mutant);
            w.processes[i].known += 1;
            if created && w.log.len() == p.known + 1 { Step::ReadFiles } else { Step::Off }
        }
        Step::ReadFiles => {
            let there = [p.tail, p.before].into_iter().flatten().all(|f| w.files.contains(&f));
            // A newer one may have deleted them: then this one is told so at its next put.
            if !there && w.log.len() == p.known {
                w.broken = Some("a start finds a file missing");
            }
            if there { Step::Recover } else { Step::Dead }
        }
        Step::Recover => {
            // A zombie publishes what its record says, which is what the newer one publishes too.
            if let (Some((g, e)), false) = (p.tail, late("no_recover")) {
                w.publish(g, e);
            }
            Step::Ready
        }
        Step::Ready if late("record_before_hidden") => Step::File,
        Step::Ready => Step::Hidden,
        Step::Hidden => {
            w.hidden.insert((e, g, g));
            if late("publish_before_record") {
                w.publish(g, e);
            }
            if late("record_before_file") { Step::Put } else { Step::File }
        }
        Step::File if late("record_before_file") => {
            w.files.insert((g, e));
            Step::Listed
        }
        Step::File => {
            w.files.insert((g, e));
            if late("confirm_before_record") {
                w.confirmed = w.confirmed.max(e);
            }
            if late("collect_before_record") {
                w.collect(i, mutant, [Some((g, e)), p.tail.filter(|_| false), None]);
            }
            Step::Put
        }
        Step::Put => {
            let created = w.put(i, Record::Checkpoint { g, e, before: p.tail }, mutant);
            match created {
                false => Step::Dead,
                true if late("record_before_file") => Step::File,
                true => Step::Listed,
            }
        }
        Step::Listed if w.log.len() > p.known + 1 && !late("no_look_after_put") && !late("overwrite") => Step::Dead,
        Step::Listed => {
            let process = &mut w.processes[i];
            (process.before, process.tail, process.e, process.known) = (p.tail, Some((g, e)), e, p.known + 1);
            if late("record_before_hidden") {
                w.hidden.insert((e, g, g));
            }
            Step::Publish
        }
        Step::Publish => {
            w.publish(g, p.e);
            w.confirmed = w.confirmed.max(p.e);
            Step::Collect
        }
        Step::Collect if w.log.len() == p.known || late("collect_newer_generations") => Step::Delete,
        Step::Collect => Step::Ready,
        Step::Delete => {
            let older = checkpoints(&w.log).find(|(g, e, _)| Some((*g, *e)) == p.before).and_then(|(_, _, b)| b);
            w.collect(i, mutant, [p.tail, p.before, older]);
            Step::Ready
        }
        Step::Dead => Step::Dead,
    };
}

fn read_tail(w: &mut World, i: usize, mutant: &str) -> Step {
    let generation = w.log.iter().map(|r| match r {
        Record::Generation { g, .. } | Record::Checkpoint { g, .. } => *g,
        Record::Deleted => 0,
    });
    let g = generation.max().unwrap_or(0) + 1;
    let skip = usize::from(mutant == "resume_old" && checkpoints(contiguous(&w.log)).count() > 1);
    let tail = checkpoints(contiguous(&w.log)).rev().nth(skip);
    let process = &mut w.processes[i];
    (process.g, process.known) = (g, w.log.len());
    process.tail = tail.map(|(g, e, _)| (g, e));
    process.before = tail.and_then(|(_, _, before)| before);
    let at = process.tail.map_or(0, |t| t.1);
    process.e = if mutant == "resume_at_tail" { at.saturating_sub(1) } else { at };
    Step::PutGeneration
}

/// Breadth first, so that a trace is a shortest one.
fn search(mutant: &str, processes: usize, crashes: u8) -> Result<(usize, usize), String> {
    let start = World::new(processes, crashes);
    let mut seen: HashSet<World> = HashSet::from([start.clone()]);
    let mut from: HashMap<World, (World, String)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    let mut complete = 0;
    while let Some(world) = queue.pop_front() {
        let all = next(&world, mutant);
        complete += usize::from(all.is_empty() && world.published.len() == CHECKPOINTS as usize);
        for (what, w) in all {
            if seen.contains(&w) {
                continue;
            }
            if let Some(violation) = w.violation() {
                return Err(format!("{violation}: {}", trace(&from, &world, what)));
            }
            seen.insert(w.clone());
            if !mutant.is_empty() {
                from.insert(w.clone(), (world.clone(), what));
            }
            queue.push_back(w);
        }
    }
    Ok((seen.len(), complete))
}

fn trace(from: &HashMap<World, (World, String)>, last: &World, what: String) -> String {
    let (mut steps, mut at) = (vec![what], last);
    while let Some((before, what)) = from.get(at) {
        steps.push(what.clone());
        at = before;
    }
    steps.reverse();
    steps.join(", ")
}

#[test]
fn the_protocol_holds_in_every_schedule() {
    let (states, complete) = search("", 3, 2).unwrap_or_else(|e| panic!("{e}"));
    assert!(states > 10_000 && complete > 0, "{states} states, {complete} complete ends");
}

#[test]
fn every_dropped_rule_is_caught() {
    for mutant in MUTANTS {
        let found = search(mutant, 3, 2);
        assert!(found.is_err(), "{mutant} was not caught: {found:?}");
    }
}
