//! Files cut, flipped, removed, exchanged: every damage is noticed, and nothing wrong is ever read.

use super::MemStore;
use super::work::{self, Expected};
use crate::state::log::{CommitLog, file_class};
use crate::state::{CommitOutcome, OpenOptions, record, sabotage, usage, verify};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A store with a file of each class, larger than a few pages, and what each checkpoint holds.
fn patient() -> (Arc<MemStore>, Vec<Expected>) {
    let (store, mut rng) = (Arc::new(MemStore::default()), fastrand::Rng::with_seed(7));
    let mut history = vec![Expected::default()];
    for _ in 0..3 {
        let mut log = CommitLog::open(store.clone(), &work::options()).unwrap().log;
        for _ in 0..4 {
            let (mut body, after) = work::random(&mut rng, history.last().unwrap());
            if history.len() == 11 {
                body.bases.push(work::compact(log.begin_compaction(work::IDS[0]).unwrap()).unwrap());
                body.drop_state.clear();
            }
            assert!(matches!(log.commit(body).unwrap(), CommitOutcome::Committed(_)));
            history.push(after);
        }
        log.collect().unwrap();
    }
    (store, history)
}

/// The files whose damage must be noticed at start, by class.
fn files(store: &MemStore) -> BTreeMap<String, Vec<String>> {
    let tail = CommitLog::open(store.copy(), &work::options()).unwrap().tail.unwrap();
    let mut classes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let named = tail.body.files.iter().chain(tail.body.attached.iter().map(|a| &a.file));
    for file in named {
        classes.entry(file_class(&file.name).unwrap().into()).or_default().push(file.name.clone());
    }
    for name in store.names().into_iter().filter(|n| record::number(n).is_some()) {
        classes.entry("record".into()).or_default().push(name);
    }
    classes
}

/// Opens a damaged copy. `Ok(code)`: refused with it. `Err`: it was not noticed.
fn must_refuse(store: &Arc<MemStore>, history: &[Expected], what: &str) -> Result<String, String> {
    let open = || CommitLog::open(store.copy(), &work::options());
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| format!("{what}: panicked"))?;
    match opened {
        Err(p) if p.code.starts_with("STATE-") && p.place.is_some() && p.help.is_some() => Ok(p.code.to_string()),
        Err(p) => Err(format!("{what}: unclear: {p}")),
        Ok(opened) => {
            let right = work::check(opened.tail.as_ref(), history.last().unwrap());
            Err(format!("{what}: not noticed ({right:?})"))
        }
    }?;
    let report = verify(&**store).map_err(|p| p.to_string())?;
    match report.problems.first() {
        Some(p) => Ok(p.code.to_string()),
        None => Err(format!("{what}: verify finds nothing")),
    }
}

/// With falling back allowed: refused, or right as of some checkpoint, with a warning if not the last.
fn may_fall_back(store: &Arc<MemStore>, history: &[Expected], what: &str) -> Result<bool, String> {
    let options = OpenOptions { allow_fallback: true, ..work::options() };
    let Ok(opened) = CommitLog::open(store.copy(), &options) else { return Ok(false) };
    let tail = opened.tail.as_ref().ok_or(format!("{what}: fell back to nothing"))?;
    let at = tail.body.checkpoint as usize;
    work::check(Some(tail), &history[at]).map_err(|e| format!("{what}: {e}"))?;
    if at + 1 < history.len() && opened.warnings.is_empty() {
        return Err(format!("{what}: fell back without a warning"));
    }
    Ok(true)
}

fn surgery(cuts: usize, flips: usize) -> Result<(usize, usize), String> {
    let (store, history) = patient();
    let (mut rng, mut operations, mut fallbacks) = (fastrand::Rng::with_seed(11), 0, 0);
    let classes = files(&store);
    for class in ["state", "base", "outbox", "dead", "record"] {
        let names = classes.get(class).ok_or(format!("no file of class {class}"))?;
        let original = |name: &str| store.objects()[name].to_vec();
        let mut damaged: Vec<(String, Vec<u8>, String)> = Vec::new();
        for name in names {
            let bytes = original(name);
            for at in (0..bytes.len()).step_by(4096) {
                damaged.push((name.clone(), bytes[..at].to_vec(), format!("{name} cut at {at}")));
            }
        }
        for _ in 0..cuts {
            let name = &names[rng.usize(..names.len())];
            let bytes = original(name);
            let at = rng.usize(..bytes.len().max(1));
            damaged.push((name.clone(), bytes[..at.min(bytes.len())].to_vec(), format!("{name} cut at {at}")));
        }
        for _ in 0..flips {
            let name = &names[rng.usize(..names.len())];
            let mut bytes = original(name);
            if bytes.is_empty() {
                continue;
            }
            let (at, bit) = (rng.usize(..bytes.len()), rng.u8(..8));
            bytes[at] ^= 1 << bit;
            damaged.push((name.clone(), bytes, format!("{name} bit {bit} of byte {at} flipped")));
        }
        for (name, bytes, what) in damaged {
            if bytes == original(&name) {
                continue;
            }
            let copy = store.copy();
            copy.set(&name, &bytes);
            must_refuse(&copy, &history, &what)?;
            fallbacks += usize::from(may_fall_back(&copy, &history, &what)?);
            operations += 1;
        }
    }
    Ok((operations, fallbacks))
}

#[test]
fn every_damage_is_noticed() {
    let (operations, fallbacks) = surgery(200, 200).unwrap_or_else(|e| panic!("{e}"));
    assert!(operations > 1_500 && fallbacks > 10, "{operations} operations, {fallbacks} fall-backs");
}

#[test]
fn a_skipped_checksum_is_caught() {
    let caught = sabotage::with("skip_checksum", || surgery(20, 200));
    assert!(caught.is_err(), "{caught:?}");
}

#[test]
fn missing_files_are_noticed() {
    let (store, history) = patient();
    for name in files(&store).into_values().flatten() {
        let copy = store.copy();
        copy.objects().remove(&name);
        let newest = store.names().into_iter().filter(|n| record::number(n).is_some()).max().unwrap();
        if name == newest {
            // Without its newest record the log is the older log that it was; sinks notice that.
            let opened = CommitLog::open(copy, &work::options()).unwrap();
            work::check(opened.tail.as_ref(), &history[history.len() - 2]).unwrap();
            continue;
        }
        assert_eq!(must_refuse(&copy, &history, &format!("{name} removed")).unwrap(), "STATE-MISSING-FILE");
    }
    let copy = store.copy();
    copy.objects().retain(|name, _| !name.starts_with("log/"));
    let problem = CommitLog::open(copy, &work::options()).unwrap_err();
    assert_eq!(problem.code, "STATE-MISSING-FILE");
}

#[test]
fn extra_files_are_left_alone() {
    let (store, history) = patient();
    for name in ["data/notes.txt", "log/readme", "data/state-x-1", "data/state-99-1"] {
        store.set(name, b"not ours");
    }
    store.set("data/state-1-99", b"an orphan of ours");
    let report = verify(&*store).unwrap();
    assert!(report.problems.is_empty() && report.extra.len() >= 5, "{report:?}");
    let opened = CommitLog::open(store.clone(), &work::options()).unwrap();
    work::check(opened.tail.as_ref(), history.last().unwrap()).unwrap();
    let mut log = opened.log;
    log.collect().unwrap();
    let names = store.names();
    for name in ["data/notes.txt", "log/readme", "data/state-x-1", "data/state-99-1"] {
        assert!(names.iter().any(|n| n == name), "{name} was deleted");
    }
    assert!(!names.iter().any(|n| n == "data/state-1-99"), "the orphan is still there");
    assert!(verify(&*store).unwrap().problems.is_empty());
}

#[test]
fn another_pipelines_log_is_refused() {
    let (store, _) = patient();
    let before = store.names();
    let problem = CommitLog::open(store.clone(), &OpenOptions::new("customers", 0)).unwrap_err();
    assert_eq!(problem.code, "STATE-FOREIGN");
    assert!(
        problem.to_string().contains("pipeline orders") && problem.to_string().contains("pipeline customers"),
        "{problem}"
    );
    assert_eq!(store.names(), before, "nothing may be written into another pipeline's log");
}

#[test]
fn mixed_times_break_the_chain() {
    let (store, history) = patient();
    let (other, _) = {
        let (other, mut rng) = (Arc::new(MemStore::default()), fastrand::Rng::with_seed(8));
        let mut log = CommitLog::open(other.clone(), &work::options()).unwrap().log;
        let (body, _) = work::random(&mut rng, &Expected::default());
        log.commit(body).unwrap();
        (other, ())
    };
    let old = other.get_bytes("log/000000000002");
    store.set("log/000000000002", &old);
    assert_eq!(must_refuse(&store, &history, "record 2 exchanged").unwrap(), "STATE-CHAIN");
}

#[test]
fn a_newer_format_is_refused() {
    let (store, _) = patient();
    let newest = store.names().into_iter().filter(|n| record::number(n).is_some()).max().unwrap();
    let text = String::from_utf8(store.get_bytes(&newest)).unwrap();
    let line = text.lines().next().unwrap().replace("\"millstream_log\":1", "\"millstream_log\":2");
    store.set(&newest, format!("{line}\nblake3 {}\n", record::hash(line.as_bytes())).as_bytes());
    let problem = CommitLog::open(store, &work::options()).unwrap_err();
    assert_eq!(problem.code, "STATE-NEWER-FORMAT");
    assert!(problem.to_string().contains("found format 2; expected format 1 or older"), "{problem}");
}

#[test]
fn usage_counts_every_byte_once() {
    let (store, _) = patient();
    let usage = usage(&*store).unwrap();
    let all: u64 = store.objects().values().map(|b| b.len() as u64).sum();
    assert_eq!(usage.records + usage.state + usage.outboxes + usage.dead_letters + usage.other, all);
    assert!(
        usage.records > 0 && usage.state > 0 && usage.outboxes > 0 && usage.dead_letters > 0 && usage.other == 0,
        "{usage:?}"
    );
    let report = verify(&*store).unwrap();
    assert!(report.problems.is_empty() && report.blocks > 10 && report.checkpoint == 12, "{report:?}");
}

impl MemStore {
    fn get_bytes(&self, name: &str) -> Vec<u8> {
        self.objects()[name].to_vec()
    }
}
