//! Against a map from key to what was last seen, over random scripts with crashes.

use super::*;
use std::collections::HashMap;

fn rows(keys: &[Option<i64>], times: &[Option<i64>]) -> Batch {
    let times = arrow::array::TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
    let ids = Int64Array::from_iter_values(0..keys.len() as i64);
    let columns: [(&str, ArrayRef); 3] =
        [("key", Arc::new(Int64Array::from(keys.to_vec()))), ("ts", Arc::new(times)), ("id", Arc::new(ids))];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
    Batch::new(rows.expect("columns of one length"))
}

fn dedupe(remember: Remember) -> Dedupe {
    let input = rows(&[], &[]).schema();
    Dedupe::new(DedupeSpec { input, keys: vec![0], remember }).expect("spec")
}

/// Ids of the rows that pass.
fn passed(operator: &mut Dedupe, epoch: Epoch, batch: Batch) -> (Vec<i64>, u64, usize) {
    let mut out = Emit::default();
    operator.on_batch(0, epoch, batch, &mut out).expect("batch");
    let ids = out.out.iter().flat_map(|(_, b)| b.rows.column(2).as_primitive::<Int64Type>().values().to_vec());
    (ids.collect(), out.filtered, out.rejected.len())
}

/// Hands state over and takes it back on `workers` instances; drops are applied as the engine does.
fn restart(store: &[StateBlock], remember: Remember, workers: usize, watermark: Watermark) -> Vec<Dedupe> {
    let one = |worker| {
        let mut operator = dedupe(remember);
        for block in store {
            operator.restore(block.clone(), &KeyGroups::of(worker, workers)).expect("restore");
        }
        operator.on_close(0, watermark, &mut Emit::default()).expect("close");
        operator
    };
    (0..workers).map(one).collect()
}

fn checkpoint(store: &mut Vec<StateBlock>, operators: &mut [Dedupe]) {
    let mut new = Vec::new();
    for operator in operators {
        let mut blocks = Vec::new();
        operator.delta(&mut blocks).expect("delta");
        for block in blocks {
            match &block.change {
                Change::Rows(_) => new.push(block),
                Change::Drop => store.retain(|b| (&b.table, b.segment) != (&block.table, block.segment)),
            }
        }
    }
    store.extend(new);
}

#[test]
fn within_a_time_the_first_row_wins() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let within_us = rng.i64(1..60);
        let remember = Remember::Within { time: 1, within_us };
        let mut operators = restart(&[], remember, rng.usize(1..4), Watermark::UNKNOWN);
        let mut model: HashMap<Option<i64>, i64> = HashMap::new();
        let (mut store, mut watermark) = (Vec::new(), Watermark::UNKNOWN);
        for epoch in 1..40 {
            let base = epoch as i64 * 8;
            let count = rng.usize(1..12);
            let keys: Vec<_> = (0..count).map(|_| (rng.u8(..) > 20).then(|| rng.i64(0..9))).collect();
            let times: Vec<_> = (0..count).map(|_| (rng.u8(..) > 9).then(|| base + rng.i64(-40..20))).collect();
            let mut expected = Vec::new();
            for (id, (key, time)) in keys.iter().zip(&times).enumerate() {
                let Some(time) = time else { continue };
                let live = |at: i64| watermark == Watermark::UNKNOWN || at + within_us > watermark.0;
                if !model.get(key).is_some_and(|at| live(*at)) {
                    expected.push(id as i64);
                }
                if live(*time) {
                    let seen = model.entry(*key).or_insert(*time);
                    *seen = (*seen).max(*time);
                }
            }
            let batch = rows(&keys, &times);
            let mut hashes = Vec::new();
            crate::key::hash_batch(&batch.rows, &[0], &mut hashes).expect("keys");
            let (mut found, mut filtered, mut refused) = (Vec::new(), 0, 0);
            for (worker, part) in crate::key::partition(batch, &hashes, operators.len()) {
                let (ids, f, r) = passed(&mut operators[worker], epoch, part);
                found.extend(ids);
                (filtered, refused) = (filtered + f, refused + r);
            }
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}, epoch {epoch}");
            assert_eq!(found.len() + filtered as usize + refused, count, "seed {seed}: every row is accounted for");
            watermark = Watermark(base - 10).max(watermark);
            for operator in &mut operators {
                operator.on_close(epoch, watermark, &mut Emit::default()).expect("close");
            }
            if rng.bool() {
                checkpoint(&mut store, &mut operators);
                match rng.u8(0..4) {
                    0 => operators = restart(&store, remember, rng.usize(1..4), watermark),
                    1 => {
                        let mut all = restart(&store, remember, 1, Watermark::UNKNOWN);
                        store.clear();
                        all[0].base(&mut store).expect("base");
                    }
                    _ => {}
                }
            }
        }
        let held: u64 = operators.iter().map(|o| o.size().keys).sum();
        assert!(held <= 10, "seed {seed}: {held} keys for nine and NULL");
    }
}

#[test]
fn only_so_many_keys_are_remembered() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let most = rng.usize(1..6);
        let remember = Remember::MaxKeys(most);
        let mut operator = dedupe(remember);
        let (mut model, mut store) = (Vec::<Option<i64>>::new(), Vec::new());
        for epoch in 1..200 {
            // One key per epoch, so that the order in which keys are forgotten is known.
            let key = (rng.u8(..) > 20).then(|| rng.i64(0..8));
            let count = rng.usize(1..4);
            let expected = if model.contains(&key) { vec![] } else { vec![0] };
            model.retain(|k| *k != key);
            model.push(key);
            model.drain(..model.len().saturating_sub(most));
            let (found, ..) = passed(&mut operator, epoch, rows(&vec![key; count], &vec![None; count]));
            assert_eq!(found, expected, "seed {seed}, epoch {epoch}");
            operator.on_close(epoch, Watermark::UNKNOWN, &mut Emit::default()).expect("close");
            assert_eq!(operator.size().keys as usize, model.len());
            if rng.u8(..) < 60 {
                checkpoint(&mut store, std::slice::from_mut(&mut operator));
                if rng.bool() {
                    operator = restart(&store, remember, 1, Watermark::UNKNOWN).remove(0);
                }
            }
        }
    }
}

#[test]
fn forgotten_keys_leave_the_table() {
    let mut operator = dedupe(Remember::Within { time: 1, within_us: 100 });
    for epoch in 1..200i64 {
        let keys: Vec<_> = (0..100).map(|k| Some(epoch * 100 + k)).collect();
        let (found, ..) = passed(&mut operator, epoch as u64, rows(&keys, &vec![Some(epoch * 50); 100]));
        assert_eq!(found.len(), 100);
        operator.on_close(epoch as u64, Watermark(epoch * 50), &mut Emit::default()).expect("close");
    }
    assert!(operator.size().keys <= 500, "{:?}", operator.size());
    assert!(operator.groups.len() < 3_000, "{}", operator.groups.len());
}
