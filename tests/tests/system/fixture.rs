//! A state folder that version 1 of the format has written goes on to the right result, for ever.
//!
//! `tests/fixtures/state-v1` holds the pipeline, its state and its output as a crash left them right
//! after the second checkpoint (one source partition half read, windows and output files open), and the
//! output of an undisturbed run.

use super::harness::{How, Scene, repository, same};
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary folder");
    for entry in fs::read_dir(from).expect("the fixture is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).expect("the fixture is there");
        }
    }
}

#[test]
fn state_v1_goes_on_with_any_number_of_workers() {
    let fixture = repository().join("tests/fixtures/state-v1");
    let read = |name: &str| fs::read_to_string(fixture.join(name)).expect("the fixture is there");
    let expected: Vec<String> = read("expected.ndjson").lines().map(str::to_owned).collect();
    let scene = Scene::new(&read("pipeline.yaml"));
    for workers in [1, 2, 3] {
        scene.reset();
        copy(&fixture.join("state"), &scene.path("state"));
        copy(&fixture.join("out"), &scene.path("out"));
        let verified = scene.command(&["state", "verify"], &[]).fine();
        assert!(verified.stdout.starts_with("whole: checkpoint 2,"), "{}", verified.stdout);
        let ended = scene.run(&How::workers(workers)).fine();
        assert_eq!(ended.resumed(), 2, "{}", ended.stderr);
        same("output", &scene.lines("out"), &expected).unwrap_or_else(|e| panic!("{workers} workers: {e}"));
    }
    scene.reset();
    scene.run(&How::workers(2)).fine();
    same("undisturbed", &scene.lines("out"), &expected).unwrap_or_else(|e| panic!("{e}"));
}
