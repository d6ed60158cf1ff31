//! Stores written by released formats: they must open for ever, with the same content.
//!
//! `golden/v1` was written by `write_golden` (ignored); it is never written again.

use super::MemStore;
use super::work::{self, Expected};
use crate::state::log::CommitLog;
use crate::state::{CommitOutcome, OpenOptions, StateDelta};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn dir(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/tests/golden").join(version)
}

/// Three checkpoints with fixed values: deltas, a base, a dropped segment, an outbox, dead letters.
fn checkpoints(log: &mut CommitLog) -> Expected {
    use crate::operator::{Change, StateBlock};
    use crate::state::record::AttachedKind;
    use crate::state::{Attach, CheckpointBody};
    let mut expected = Expected::default();
    for e in 1..=3u64 {
        let mut body = CheckpointBody { checkpoint: e, epoch: e * 7, wall: 1_000_000, ..CheckpointBody::default() };
        body.extra = serde_json::json!({ "marker": e });
        let mut blocks =
            vec![work::block("rows", 0, &[e, e + 100, u64::MAX - e]), work::block("panes", e as i64, &[e])];
        if e == 3 {
            blocks.push(StateBlock { table: "panes".into(), segment: 1, change: Change::Drop });
            body.bases.push(work::compact(log.begin_compaction(work::IDS[0]).unwrap()).unwrap());
        }
        body.state.push(StateDelta { id: work::IDS[0].into(), fingerprint: "f".into(), blocks });
        let state = expected.state.entry(work::IDS[0].into()).or_default();
        state.entry(("rows".into(), 0)).or_default().extend([e, e + 100, u64::MAX - e]);
        state.entry(("panes".into(), e as i64)).or_default().push(e);
        for kind in [AttachedKind::Outbox, AttachedKind::DeadLetters] {
            let bytes = format!("{kind:?} of {e}").into_bytes();
            expected.attached.insert((kind, "out".into(), e, body.attach.len()), bytes.clone());
            body.attach.push(Attach { kind, owner: "out".into(), bytes });
        }
        assert!(matches!(log.commit(body).unwrap(), CommitOutcome::Committed(_)));
        expected.checkpoint = e;
    }
    expected.state.get_mut(work::IDS[0]).unwrap().remove(&("panes".into(), 1));
    expected
}

fn options() -> OpenOptions {
    OpenOptions { holder: "golden".into(), ..work::options() }
}

#[test]
fn format_1_opens() {
    let store = Arc::new(MemStore::default());
    for class in ["log", "data"] {
        for entry in std::fs::read_dir(dir("v1").join(class)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{class}/{}", entry.file_name().to_str().unwrap());
            store.set(&name, &std::fs::read(entry.path()).unwrap());
        }
    }
    let opened = CommitLog::open(store, &work::options()).unwrap();
    assert_eq!(opened.generation, 2);
    let expected = checkpoints(&mut CommitLog::open(Arc::new(MemStore::default()), &options()).unwrap().log);
    work::check(opened.tail.as_ref(), &expected).unwrap();
}

#[test]
#[ignore = "writes the fixture of the current format; only before its release"]
fn write_golden() {
    let store = Arc::new(MemStore::default());
    checkpoints(&mut CommitLog::open(store.clone(), &options()).unwrap().log);
    for name in store.names() {
        let path = dir("v1").join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &store.objects()[&name]).unwrap();
    }
}
