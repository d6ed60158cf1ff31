//! A real process on a real directory, aborted at each failpoint: the next start finds what was acknowledged.

use super::work::{self, Expected};
use crate::state::fs::RealFs;
use crate::state::log::CommitLog;
use crate::state::{CommitOutcome, LocalStore, failpoint};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const DIR: &str = "MILLSTREAM_TEST_STATE";
const UPTO: &str = "MILLSTREAM_TEST_UPTO";
const COMMITS: u64 = 8;

/// The same checkpoints in every process.
fn history() -> Vec<(crate::state::CheckpointBody, Expected)> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut all: Vec<(_, Expected)> = Vec::new();
    for _ in 0..COMMITS {
        let before = all.last().map(|(_, e)| e.clone()).unwrap_or_default();
        all.push(work::random(&mut rng, &before));
    }
    all
}

/// Goes on where the directory is, and notes each acknowledged checkpoint.
#[test]
#[ignore = "runs as the child of `every_failpoint_leaves_what_was_acknowledged`"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = LocalStore::open(Path::new(&dir).join("state"), Arc::new(RealFs)).unwrap();
    let mut log = CommitLog::open(store, &work::options()).unwrap().log;
    let done = log.tail().map_or(0, |t| t.body.checkpoint) as usize;
    let upto = std::env::var(UPTO).map_or(COMMITS as usize, |n| n.parse().unwrap());
    for (mut body, _) in history().into_iter().take(upto).skip(done) {
        if body.checkpoint % 3 == 0
            && let Some(compaction) = log.begin_compaction(work::IDS[0])
        {
            body.bases.push(work::compact(compaction).unwrap());
        }
        let e = body.checkpoint;
        assert!(matches!(log.commit(body).unwrap(), CommitOutcome::Committed(_)));
        fs::write(Path::new(&dir).join("acknowledged"), e.to_string()).unwrap();
        log.collect().unwrap();
    }
}

fn run_child(dir: &Path, upto: u64, failpoint: Option<String>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["state::tests::failpoints::child", "--exact", "--ignored"]).env(DIR, dir).env(UPTO, upto.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(failpoint) = failpoint {
        command.env("MILLSTREAM_FAILPOINT", failpoint);
    }
    command.status().unwrap().success()
}

/// What is there now, against what was acknowledged.
fn check(dir: &Path, what: &str) {
    let acknowledged: u64 = fs::read_to_string(dir.join("acknowledged")).map_or(0, |n| n.parse().unwrap());
    let store = LocalStore::open(dir.join("state"), Arc::new(RealFs)).unwrap_or_else(|p| panic!("{what}: {p}"));
    let opened = CommitLog::open(store, &work::options()).unwrap_or_else(|p| panic!("{what}: {p}"));
    let found = opened.tail.as_ref().map_or(0, |t| t.body.checkpoint);
    assert!(found == acknowledged || found == acknowledged + 1, "{what}: {found} found, {acknowledged} acknowledged");
    let history = history();
    let expected = (found as usize).checked_sub(1).map(|i| history[i].1.clone()).unwrap_or_default();
    work::check(opened.tail.as_ref(), &expected).unwrap_or_else(|e| panic!("{what}: {e}"));
}

#[test]
fn every_failpoint_leaves_what_was_acknowledged() {
    let mut killed = 0;
    let mut never = Vec::new();
    for name in failpoint::names().iter().filter(|n| n.starts_with("state.") || n.starts_with("store.")) {
        let mut reached = false;
        for hit in [1, 2, 5, 9] {
            let dir = tempfile::tempdir().unwrap();
            let what = format!("{name}:{hit}");
            // The kill of a start is worth more where there is something to read.
            assert!(!name.starts_with("state.open") || run_child(dir.path(), 4, None), "{what}: cannot begin");
            if !run_child(dir.path(), COMMITS, Some(what.clone())) {
                (killed, reached) = (killed + 1, true);
            }
            check(dir.path(), &what);
            assert!(run_child(dir.path(), COMMITS, None), "{what}: cannot go on");
            check(dir.path(), &what);
        }
        if !reached {
            never.push(*name);
        }
    }
    // Records are deleted only after more checkpoints than are made here.
    assert_eq!(never, ["state.collect.record_deleted"]);
    assert!(killed > 60, "only {killed} kills");
}
