//! The store in a real directory.

use super::work::{self, Expected};
use crate::state::fs::RealFs;
use crate::state::log::CommitLog;
use crate::state::{CommitOutcome, LocalStore, PutOutcome, Store, failpoint, verify};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

fn open(dir: &Path) -> crate::Result<Arc<LocalStore>> {
    LocalStore::open(dir, Arc::new(RealFs))
}

#[test]
fn puts_once_and_lists_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("a/state")).unwrap();
    assert_eq!(store.put_if_absent("log/b", b"two").unwrap(), PutOutcome::Created);
    assert_eq!(store.put_if_absent("log/a", b"one").unwrap(), PutOutcome::Created);
    assert_eq!(store.put_if_absent("log/a", b"other").unwrap(), PutOutcome::Exists);
    assert_eq!(store.put_if_absent("data/c", b"three").unwrap(), PutOutcome::Created);
    assert_eq!(store.get("log/a").unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(store.get_range("data/c", 2, 2).unwrap().as_deref(), Some(&b"re"[..]));
    assert_eq!(store.get_range("data/c", 9, 2).unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(store.size("data/c").unwrap(), Some(5));
    let names = |prefix| store.list(prefix).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
    assert_eq!(names(""), ["data/c", "log/a", "log/b"]);
    assert_eq!(names("log/b"), ["log/b"]);
    store.delete("log/a").unwrap();
    store.delete("log/a").unwrap();
    assert_eq!((store.get("log/a").unwrap(), store.size("log/a").unwrap()), (None, None));
    assert_eq!(std::fs::read_dir(dir.path().join("a/state/tmp")).unwrap().count(), 0);
    let mode = std::fs::metadata(dir.path().join("a/state")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn names_cannot_leave_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("state")).unwrap();
    for name in ["log/../x", "log/", "other/x", "/etc/passwd", "log/a/b", "log/.hidden", "x"] {
        assert_eq!(store.put_if_absent(name, b"").unwrap_err().code, "STATE-NAME", "{name}");
        assert_eq!(store.get(name).unwrap_err().code, "STATE-NAME", "{name}");
        assert_eq!(store.delete(name).unwrap_err().code, "STATE-NAME", "{name}");
    }
}

#[test]
fn one_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let first = open(&path).unwrap();
    let problem = open(&path).err().expect("locked");
    assert_eq!(problem.code, "STATE-IN-USE");
    assert!(problem.to_string().contains(&format!("process {}", std::process::id())), "{problem}");
    first.put_if_absent("log/x", b"1").unwrap();
    let looking = LocalStore::open_read_only(&path, Arc::new(RealFs)).unwrap();
    assert_eq!(looking.list("").unwrap().len(), 1);
    assert!(looking.put_if_absent("log/y", b"").is_err() && looking.delete("log/x").is_err());
    drop(first);
    open(&path).unwrap();
}

#[test]
fn directories_that_others_can_touch_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, word) in [(0o777, "everybody can write"), (0o500, "read-only")] {
        let path = dir.path().join(format!("{mode:o}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let problem = open(&path).err().expect("refused");
        assert_eq!(problem.code, "STATE-DIR");
        assert!(problem.to_string().contains(word), "{problem}");
    }
    let path = dir.path().join("foreign");
    std::fs::create_dir(&path).unwrap();
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        let problem = open(&path).err().expect("refused");
        assert!(problem.to_string().contains("another user"), "{problem}");
    }
    let path = dir.path().join("file");
    std::fs::write(&path, b"").unwrap();
    assert!(open(&path).is_err());
}

#[test]
fn what_a_crash_left_is_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    drop(open(&path).unwrap());
    std::fs::write(path.join("tmp/4711-0"), b"half").unwrap();
    drop(open(&path).unwrap());
    assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_real_directory_keeps_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let (mut rng, mut known) = (fastrand::Rng::with_seed(3), Expected::default());
    for generation in 1..=3 {
        let store = open(&path).unwrap();
        let opened = CommitLog::open(store.clone(), &work::options()).unwrap();
        assert_eq!(opened.generation, generation);
        work::check(opened.tail.as_ref(), &known).unwrap();
        let mut log = opened.log;
        for _ in 0..5 {
            let (body, after) = work::random(&mut rng, &known);
            assert!(matches!(log.commit(body).unwrap(), CommitOutcome::Committed(_)));
            known = after;
        }
        log.collect().unwrap();
        assert!(verify(&*store).unwrap().problems.is_empty());
    }
}

#[test]
fn failpoints_are_named_once() {
    let mut names = failpoint::names().to_vec();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), failpoint::names().len());
    crate::failpoint!("state.commit.begin");
}
