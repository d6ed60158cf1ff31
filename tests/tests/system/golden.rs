//! Nexmark queries over files give the known answers: with one worker and with two, and with a kill in
//! the middle and a resume at another number of workers.

use super::data::{answers, generate};
use super::harness::{How, Scene};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

const EVENTS: u64 = 200_000;

/// Rows and hash, as an independent program found them.
const ANSWERS: [(&str, u64, u64); 6] = [
    ("q0", 184_000, 0xf19d_183c_6c1d_cd4e),
    ("q1", 184_000, 0x2905_e89f_6855_d816),
    ("q2", 1_555, 0x2ea9_9d2c_a63b_2c11),
    ("q5", 14, 0xe9a7_ff69_d78d_a1b7),
    ("q7", 2, 0xac51_8cdd_cf38_8898),
    ("q8", 2_338, 0xb11d_c622_f3fb_d2bc),
];

/// The events, made once for all tests.
fn input() -> PathBuf {
    static EVENTS_FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = TempDir::with_prefix("millstream-nexmark-").expect("a temporary folder");
        generate::nexmark(&folder.path().join("nexmark"), EVENTS, 2).expect("temporary files");
        folder
    });
    EVENTS_FOLDER.path().join("*.ndjson")
}

fn how(scene: &Scene, workers: usize) -> How {
    How::workers(workers).parameter("input", &input()).parameter("output", &scene.path("out"))
}

fn judge(query: &str, rows: u64, hash: u64, out: &Path, what: &str) {
    let found = answers::nexmark(query, out).expect("the output can be read");
    assert_eq!(found, answers::Answer { rows, hash }, "{query}, {what}");
}

fn query(name: &str) {
    let (_, rows, hash) = *ANSWERS.iter().find(|a| a.0 == name).expect("known");
    let scene = Scene::of(&format!("pipelines/nexmark/{name}.yaml"));
    for workers in [1, 2] {
        scene.reset();
        scene.run(&how(&scene, workers)).fine();
        judge(name, rows, hash, &scene.path("out"), &format!("{workers} workers"));
    }
    killed(name, rows, hash, &scene);
}

/// Kills a run right after its first checkpoint, and goes on with another number of workers.
fn killed(name: &str, rows: u64, hash: u64, scene: &Scene) {
    for (before, after) in [(2, 1), (1, 2)] {
        scene.reset();
        let first = scene.run(&how(scene, before).with("MILLSTREAM_FAILPOINT", "state.commit.record_put:1"));
        assert!(first.struck(), "{}\n{}", first.status, first.stderr);
        let second = scene.run(&how(scene, after)).fine();
        assert_eq!(second.resumed(), 1, "{}", second.stderr);
        judge(name, rows, hash, &scene.path("out"), &format!("killed with {before} workers, resumed with {after}"));
    }
}

#[test]
fn q0() {
    query("q0");
}

#[test]
fn q1() {
    query("q1");
}

#[test]
fn q2() {
    query("q2");
}

#[test]
fn q5() {
    query("q5");
}

#[test]
fn q7() {
    query("q7");
}

#[test]
fn q8() {
    query("q8");
}
