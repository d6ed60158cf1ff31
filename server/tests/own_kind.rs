//! A program with a kind of its own has the whole command line: the example does what it says.

#[path = "../examples/own_kind/main.rs"]
#[allow(dead_code, reason = "its main is not what is tested")]
mod own_kind;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn run(words: &[&str], file: &Path) -> String {
    let words = std::iter::once("example").chain(words.iter().copied()).map(OsString::from);
    format!("{:?}", own_kind::run(words.chain([file.into()])))
}

/// An exit code as [`run`] gives it: there is no other way to compare two.
fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn a_pipeline_with_a_kind_of_ones_own_runs() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own_kind");
    let dir = tempfile::tempdir().unwrap();
    for name in ["near.yaml", "sightings.ndjson"] {
        fs::copy(example.join(name), dir.path().join(name)).unwrap();
    }
    let file = dir.path().join("near.yaml");
    assert_eq!(run(&["check"], &file), code(0));
    assert_eq!(run(&["run", "--quiet"], &file), code(0));
    let mut found = String::new();
    for entry in fs::read_dir(dir.path().join("out")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found += &fs::read_to_string(path).unwrap();
        }
    }
    let birds = ["goshawk", "nightingale"];
    assert!(birds.iter().all(|b| found.contains(b)) && found.lines().count() == birds.len(), "{found}");
    assert_eq!(run(&["components"], Path::new("near")), code(0));

    let wrong = fs::read_to_string(&file).unwrap().replace("within: 20", "within: -1");
    fs::write(&file, wrong).unwrap();
    assert_eq!(run(&["check"], &file), code(1));
}
