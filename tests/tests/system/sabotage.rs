//! Who tests the tests: every planted mistake must show in the kill test, as a wrong output, as a
//! refusal, or as a damaged state. (Mistakes of the state store alone are caught in the engine's own tests.)

use super::harness::{How, LIMIT, Scene};
use super::kill::{Expected, judge, scene};
use millstream::state::sabotage;

/// Several lives, each ended at a failpoint after so many passes; the mistake is planted in all of them,
/// or only in those that resume.
fn lives(scene: &Scene, expected: &Expected, mistake: Option<&str>, round: u64) -> Result<(), String> {
    scene.reset();
    let points = ["state.commit.record_put", "state.commit.files_done", "store.put.linked", "state.commit.record_put"];
    let mut resumed = false;
    for (i, point) in points.iter().map(Some).chain([None]).enumerate() {
        let mut how = How::workers(1 + (i + round as usize) % 3);
        if let Some(point) = point {
            how = how.with("MILLSTREAM_FAILPOINT", format!("{point}:{}", 1 + (round + i as u64) % 4));
        }
        if let Some(mistake) = mistake.filter(|m| *m != "key_hash_changed" || i > 0) {
            how = how.with("MILLSTREAM_SABOTAGE", mistake);
        }
        let ended = scene.start(&how).wait(LIMIT).ok_or("it hangs")?;
        resumed |= ended.resumed() > 0;
        if ended.struck() {
            continue;
        }
        if !ended.status.success() {
            return Err(format!("refused: {}", ended.stderr));
        }
        break;
    }
    assert!(resumed || mistake.is_some(), "no life has gone on from a checkpoint");
    judge(scene, expected)
}

#[test]
fn planted_mistakes_are_caught() {
    let (scene, expected) = scene();
    for round in 0..2 {
        lives(&scene, &expected, None, round).expect("without a mistake all is well");
    }
    let mut missed = Vec::new();
    for mistake in sabotage::RUNTIME.iter().chain(&["resume_old"]) {
        match (0..10).find_map(|round| lives(&scene, &expected, Some(mistake), round).err()) {
            Some(how) => println!("{mistake}: caught: {}", how.lines().next().unwrap_or_default()),
            None => missed.push(*mistake),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
