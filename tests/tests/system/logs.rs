//! Log cleansing, on generated logs and on real ones where they are: every line is in the output or in
//! the dead letters, totals add up, and no e-mail address is left.

use super::data::{answers, generate};
use super::harness::{How, Scene, repository};
use std::fs;
use std::path::Path;

fn cleanse(input: &Path, workers: usize) -> (u64, answers::Cleansed) {
    let scene = Scene::of("pipelines/log-cleansing/pipeline.yaml");
    let how = How::workers(workers).parameter("input", input).parameter("output", &scene.path("out"));
    scene.run(&how).fine();
    for branch in ["clean", "errors"] {
        // A branch may have had nothing to write.
        fs::create_dir_all(scene.path("out").join(branch)).expect("a temporary folder");
    }
    (scene.dead().len() as u64, answers::cleansed(&scene.path("out")).expect("the output can be read"))
}

#[test]
fn generated() {
    let folder = tempfile::TempDir::with_prefix("millstream-logs-").expect("a temporary folder");
    generate::logs(&folder.path().join("logs"), 50_000, 2).expect("temporary files");
    let mut debug = 0;
    for part in 0..2 {
        let text = fs::read_to_string(folder.path().join(format!("logs-{part}.log"))).expect("just written");
        debug += text.lines().filter(|l| l.contains(": level=debug ")).count() as u64;
    }
    for workers in [1, 2] {
        let (dead, found) = cleanse(&folder.path().join("*.log"), workers);
        println!("{found:?}, {dead} dead letters, {debug} debug lines");
        assert_eq!(found.clean + found.errors + dead + debug, 50_000);
        assert_eq!((found.emails_left, found.addresses_left), (0, 0));
        assert!(found.errors > 1_000 && found.clean > 30_000, "{found:?}");
    }
}

#[test]
fn real() {
    let log = repository().join("../shared/data/logs/apache_combined_10k.log");
    if !log.exists() {
        println!("skipped: ../shared/data/logs/apache_combined_10k.log is not there");
        return;
    }
    let lines = fs::read(&log).expect("it is there").split(|b| *b == b'\n').filter(|l| !l.is_empty()).count() as u64;
    let (dead, found) = cleanse(&log, 2);
    println!("{lines} lines: {found:?}, {dead} dead letters");
    assert_eq!(found.clean + found.errors + dead, lines);
    assert_eq!(found.emails_left, 0);
}
