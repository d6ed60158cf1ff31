//! State that cannot be used, and disks that are full: a clear error with a code, or waiting; never a
//! panic, never a wrong result.

use super::harness::{How, Scene, same};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PIPELINE: &str = "
version: 1
name: bad-state
guarantee: exactly_once
checkpoint: { every: 20ms }
nodes:
  numbers: { kind: generator, dataset: bids, rows: 60000, event_time: { field: ts, out_of_order: 0s } }
  counts:
    kind: sql
    from: { b: numbers }
    query: |
      SELECT auction, CAST(window_start AS BIGINT) AS start, count(*) AS count
      FROM tumble(b, ts, INTERVAL '1 second') GROUP BY auction, window_start, window_end
  out: { kind: file_sink, from: counts, path: out/counts, format: ndjson }
";

/// A scene that has crashed after a few checkpoints, and its undisturbed output.
fn crashed() -> (Scene, Vec<String>) {
    let scene = Scene::new(PIPELINE);
    scene.run(&How::workers(1)).fine();
    let expected = scene.lines("out");
    assert!(!expected.is_empty());
    scene.reset();
    crash(&scene);
    (scene, expected)
}

fn crash(scene: &Scene) {
    let ended = scene.run(&How::workers(2).with("MILLSTREAM_FAILPOINT", "state.commit.record_put:2"));
    assert!(ended.struck(), "{}\n{}", ended.status, ended.stderr);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary folder");
    for entry in fs::read_dir(from).expect("a folder of ours").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).expect("a file of ours");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).expect("a folder of ours").flatten().map(|e| e.path()).collect();
    found.sort_unstable();
    found
}

#[test]
fn the_state_of_another_pipeline_is_refused() {
    let (scene, _) = crashed();
    scene.write("pipeline.yaml", PIPELINE.replace("name: bad-state", "name: another"));
    scene.run(&How::workers(1)).refused(&["STATE-FOREIGN"]);
    // Another meaning of the same node, and a node that is gone.
    scene.write("pipeline.yaml", PIPELINE.replace("1 second", "2 seconds"));
    scene.run(&How::workers(1)).refused(&["STATE-CHANGED"]);
    scene.write("pipeline.yaml", PIPELINE.replace("counts", "totals"));
    scene.run(&How::workers(1)).refused(&["STATE-ORPHAN"]);
}

/// Flips and cuts in every file, each file missing: refused or, where nothing of it counts, the right
/// result; afterwards the untouched state still goes on.
#[test]
fn damaged_files_are_refused_or_do_not_matter() {
    let seed = super::harness::number("MILLSTREAM_SEED", 11);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (scene, expected) = crashed();
    let (saved, out) = (scene.path("saved"), scene.path("saved-out"));
    copy(&scene.path("state"), &saved);
    copy(&scene.path("out"), &out);
    let (mut refused, mut harmless) = (0, 0);
    for folder in ["log", "data"] {
        for file in files(&saved.join(folder)) {
            let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
            for damage in ["flip", "cut", "gone"] {
                scene.reset();
                copy(&saved, &scene.path("state"));
                copy(&out, &scene.path("out"));
                let target = scene.path("state").join(folder).join(&name);
                let mut bytes = fs::read(&target).expect("just copied");
                match damage {
                    "flip" => {
                        let at = random.usize(..bytes.len());
                        bytes[at] ^= 1 << random.u8(..8);
                        fs::write(&target, bytes).expect("ours");
                    }
                    "cut" => fs::write(&target, &bytes[..random.usize(..bytes.len())]).expect("ours"),
                    _ => fs::remove_file(&target).expect("ours"),
                }
                let ended = scene.run(&How::workers(1));
                if ended.status.success() {
                    // Only the newest record may go unmissed: it is as if the crash had come before it.
                    let what = format!("{damage} of {folder}/{name}");
                    same(&what, &scene.lines("out"), &expected).unwrap_or_else(|e| panic!("{e}"));
                    harmless += 1;
                } else {
                    ended.refused(&["STATE-"]);
                    refused += 1;
                }
            }
        }
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > harmless, "{refused} refused, {harmless} harmless");
    scene.reset();
    copy(&saved, &scene.path("state"));
    copy(&out, &scene.path("out"));
    scene.run(&How::workers(3)).fine();
    same("untouched", &scene.lines("out"), &expected).expect("goes on");
}

#[test]
fn a_second_process_is_refused_while_the_first_runs() {
    let scene = Scene::new(&PIPELINE.replace("rows: 60000", "rate: 1000"));
    let mut run = scene.start(&How::workers(1));
    run.until("the first checkpoint", || super::kill::newest_record(&scene) > 1);
    scene.run(&How::workers(1)).refused(&["STATE-IN-USE", "STATE-LOCKED", "STATE-HELD"]);
    assert!(run.wait(std::time::Duration::ZERO).is_none(), "the first one goes on");
}

/// A small file system of its own, where the tests may make one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(at: PathBuf, options: &str) -> Option<Tmpfs> {
        fs::create_dir_all(&at).expect("a temporary folder");
        let mounted = rustix::process::geteuid().is_root() && mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &at);
        if !mounted {
            println!("skipped: making a small file system needs root");
        }
        mounted.then_some(Tmpfs(at))
    }
    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.0), "{options}");
    }
}

fn mount(words: &[&str], at: &Path) -> bool {
    Command::new("mount").args(words).arg(at).output().is_ok_and(|o| o.status.success())
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

#[test]
fn a_read_only_state_directory_is_a_clear_error() {
    let scene = Scene::new(PIPELINE);
    let Some(disk) = Tmpfs::new(scene.path("state"), "size=4m,mode=700") else { return };
    disk.remount("ro");
    scene.run(&How::workers(1)).refused(&["STATE-DIR", "STATE-READ-ONLY", "IO-"]);
}

#[test]
fn a_state_directory_of_somebody_else_is_a_clear_error() {
    let scene = Scene::new(PIPELINE);
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: giving a directory away needs root");
    }
    fs::create_dir(scene.path("state")).expect("a temporary folder");
    std::os::unix::fs::chown(scene.path("state"), Some(65534), None).expect("root may");
    scene.run(&How::workers(1)).refused(&["STATE-DIR"]);
    assert!(!scene.path("out").exists(), "nothing was started");
}

#[test]
fn a_file_system_without_free_inodes_is_a_clear_error() {
    let scene = Scene::new(PIPELINE);
    let Some(_disk) = Tmpfs::new(scene.path("state"), "size=4m,mode=700,nr_inodes=4") else { return };
    let ended = scene.run(&How::workers(1)).refused(&["STATE-DISK-FULL"]);
    assert!(ended.stderr.contains("free space"), "{}", ended.stderr);
}

#[test]
fn a_file_in_the_place_of_the_state_directory_is_a_clear_error() {
    let scene = Scene::new(PIPELINE);
    scene.write("state", "not a directory");
    scene.run(&How::workers(1)).refused(&["STATE-DIR", "STATE-IO"]);
}

/// Fills the disk under `folder` (output or state), lets the run come to a stop, then gives it room.
fn full_disk(folder: &str, size: &str, fill: usize) {
    let scene = Scene::new(PIPELINE);
    scene.run(&How::workers(1)).fine();
    let expected = scene.lines("out");
    scene.reset();
    let Some(disk) = Tmpfs::new(scene.path(folder), size) else { return };
    let filler = scene.path(folder).join("filler");
    // Until nothing more fits.
    let _ = fs::write(&filler, vec![0; fill]);
    let mut run = scene.start(&How::workers(2).argument("--json"));
    let waits = std::time::Duration::from_secs(3);
    if let Some(ended) = run.wait(waits) {
        panic!("{folder}: ended on a full disk: {}\n{}", ended.status, ended.stderr);
    }
    fs::remove_file(&filler).expect("ours");
    disk.remount("size=256m");
    run.end().fine();
    same(folder, &scene.lines("out"), &expected).unwrap_or_else(|e| panic!("{e}"));
    assert!(scene.dead().is_empty());
}

#[test]
fn a_full_disk_under_the_output_is_waited_out() {
    full_disk("out", "size=64k,mode=700", 60 << 10);
}

#[test]
fn a_full_disk_under_the_state_is_waited_out() {
    full_disk("state", "size=64k,mode=700", 44 << 10);
}

/// An older copy of the state directory is put back: what was published since must not be written twice.
#[test]
fn state_older_than_the_output_is_refused() {
    let scene = Scene::new(&PIPELINE.replace("format: ndjson }", "format: ndjson, roll: { rows: 200 } }"));
    crash(&scene);
    let saved = scene.path("saved");
    copy(&scene.path("state"), &saved);
    scene.run(&How::workers(1)).fine();
    let expected = scene.lines("out");
    fs::remove_dir_all(scene.path("state")).expect("ours");
    copy(&saved, &scene.path("state"));
    for _ in 0..2 {
        let ended = scene.run(&How::workers(2)).refused(&["FILE-AHEAD"]);
        assert!(ended.stderr.contains("an older state was put back"), "{}", ended.stderr);
        same("nothing was written", &scene.lines("out"), &expected).expect("refused");
    }
    // A fresh start is another life: it writes everything again, beside what is there.
    fs::remove_dir_all(scene.path("state")).expect("ours");
    scene.run(&How::workers(1)).fine();
    assert_eq!(scene.lines("out").len(), 2 * expected.len());
}
