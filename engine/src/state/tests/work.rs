//! Random checkpoints, and a plain map that says what they must come to.

use crate::connect::Position;
use crate::operator::{Change, StateBlock};
use crate::problem::Result;
use crate::state::record::AttachedKind;
use crate::state::{Attach, CheckpointBody, CommitLog, Committed, Compaction, OpenOptions, StateBase, StateDelta};
use arrow::array::{RecordBatch, UInt8Array, UInt64Array};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by table and segment, in hand-over order.
type Tables = BTreeMap<(String, i64), Vec<u64>>;

/// What a checkpoint must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub checkpoint: u64,
    pub state: BTreeMap<String, Tables>,
    pub attached: BTreeMap<(AttachedKind, String, u64, usize), Vec<u8>>,
}

pub const IDS: [&str; 3] = ["count/reduce.0", "join/left.0", "join/right.0"];
const TABLES: [&str; 2] = ["panes", "rows"];

pub fn options() -> OpenOptions {
    OpenOptions::new("orders", 0)
}

pub fn rows(values: &[u64]) -> RecordBatch {
    let groups = UInt8Array::from_iter_values(values.iter().map(|v| *v as u8));
    let values = UInt64Array::from_iter_values(values.iter().copied());
    RecordBatch::try_from_iter([("_group", Arc::new(groups) as _), ("value", Arc::new(values) as _)]).unwrap()
}

pub fn block(table: &str, segment: i64, values: &[u64]) -> StateBlock {
    StateBlock { table: table.into(), segment, change: Change::Rows(rows(values)) }
}

fn values(block: &StateBlock) -> Vec<u64> {
    match &block.change {
        Change::Rows(rows) => rows.column(1).as_any().downcast_ref::<UInt64Array>().unwrap().values().to_vec(),
        Change::Drop => panic!("a drop in a restore"),
    }
}

/// Blocks as tables.
pub fn tables(blocks: &[StateBlock]) -> Tables {
    let mut tables = Tables::new();
    for b in blocks {
        tables.entry((b.table.clone(), b.segment)).or_default().extend(values(b));
    }
    tables
}

/// One block per table and segment, as `base` of an operator would make them.
pub fn compact(compaction: Compaction) -> Result<StateBase> {
    let blocks = tables(&compaction.restore()?);
    Ok(compaction.finish(blocks.iter().map(|((table, segment), v)| block(table, *segment, v)).collect()))
}

/// The next checkpoint, and what holds once it is committed.
pub fn random(rng: &mut fastrand::Rng, before: &Expected) -> (CheckpointBody, Expected) {
    let mut after = before.clone();
    after.checkpoint += 1;
    let e = after.checkpoint;
    let mut body = CheckpointBody { checkpoint: e, epoch: e * 10, wall: e as i64, ..CheckpointBody::default() };
    body.extra = serde_json::json!({ "marker": e });
    let position = Position(serde_json::json!({ "offset": e }));
    body.sources.entry("in".into()).or_default().insert("p0".into(), position);
    for id in IDS {
        if rng.u32(0..20) == 0 {
            body.drop_state.push(id.into());
            after.state.remove(id);
        }
        if rng.u32(0..3) > 0 {
            let blocks = random_blocks(rng, after.state.entry(id.into()).or_default());
            body.state.push(StateDelta { id: id.into(), fingerprint: format!("fp {id}"), blocks });
        }
    }
    for kind in [AttachedKind::Outbox, AttachedKind::DeadLetters] {
        if rng.bool() {
            let upto = e.saturating_sub(rng.u64(1..4));
            body.release.push((kind, "out".into(), upto));
            after.attached.retain(|(k, _, at, _), _| *k != kind || *at > upto);
        }
        if rng.bool() {
            let bytes: Vec<u8> = (0..rng.usize(0..3000)).map(|_| rng.u8(..)).collect();
            after.attached.insert((kind, "out".into(), e, body.attach.len()), bytes.clone());
            body.attach.push(Attach { kind, owner: "out".into(), bytes });
        }
    }
    (body, after)
}

fn random_blocks(rng: &mut fastrand::Rng, tables: &mut Tables) -> Vec<StateBlock> {
    let mut blocks = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let (table, segment) = (TABLES[rng.usize(..2)], rng.i64(0..4));
        let key = (table.to_string(), segment);
        if rng.u32(0..4) == 0 {
            tables.remove(&key);
            blocks.push(StateBlock { table: table.into(), segment, change: Change::Drop });
        } else {
            let values: Vec<u64> = (0..rng.usize(1..60)).map(|_| rng.u64(..)).collect();
            blocks.push(block(table, segment, &values));
            tables.entry(key).or_default().extend(values);
        }
    }
    blocks
}

/// Begins a compaction now and then, and finishes those that were begun into a body.
pub fn random_compaction(
    rng: &mut fastrand::Rng,
    log: &mut CommitLog,
    running: &mut Vec<Compaction>,
    body: &mut CheckpointBody,
) -> Result<()> {
    if rng.bool()
        && let Some(compaction) = running.pop()
    {
        if rng.u32(0..5) == 0 {
            log.abandon_compaction(compaction.id());
        } else {
            body.bases.push(compact(compaction)?);
        }
    }
    if rng.u32(0..3) == 0
        && let Some(compaction) = log.begin_compaction(IDS[rng.usize(..3)])
    {
        running.push(compaction);
    }
    Ok(())
}

/// Says what a checkpoint holds that it must not, or lacks.
pub fn check(found: Option<&Committed>, expected: &Expected) -> Result<(), String> {
    let Some(found) = found else {
        return if expected.checkpoint == 0 {
            Ok(())
        } else {
            Err(format!("nothing, where checkpoint {} is acknowledged", expected.checkpoint))
        };
    };
    if found.body.checkpoint != expected.checkpoint || found.body.extra["marker"] != expected.checkpoint {
        return Err(format!("checkpoint {} where {} is acknowledged", found.body.checkpoint, expected.checkpoint));
    }
    for id in IDS {
        let blocks = found.restore(id).map_err(|p| format!("{id}: {p}"))?;
        if tables(&blocks) != expected.state.get(id).cloned().unwrap_or_default() {
            return Err(format!("wrong rows in {id} at checkpoint {}", expected.checkpoint));
        }
    }
    let mut attached = Vec::new();
    for kind in [AttachedKind::Outbox, AttachedKind::DeadLetters] {
        for a in found.attached(kind) {
            attached.push((kind, a.file.checkpoint, found.read_attached(a).map_err(|p| p.to_string())?.to_vec()));
        }
    }
    let wanted: Vec<_> =
        expected.attached.iter().map(|((kind, _, at, _), bytes)| (*kind, *at, bytes.clone())).collect();
    if attached != wanted {
        return Err(format!("wrong attached files at checkpoint {}", expected.checkpoint));
    }
    Ok(())
}
