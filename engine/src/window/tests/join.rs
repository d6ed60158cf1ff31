//! Joins against nested loops.

use super::super::{LATE, LATE_RIGHT, WindowJoin};
use super::*;

/// Pairs rows by key where ends (`ts + plus`) agree and, with a residual, `left.v < right.v`.
fn spec(kind: JoinKind, plus: [i64; 2], residual: bool, allowed_lateness_us: i64) -> JoinSpec {
    let one = schema();
    let nullable = |f: &FieldRef| f.as_ref().clone().with_nullable(true);
    let output: Vec<Field> = one.fields().iter().chain(one.fields()).map(nullable).collect();
    let output = Arc::new(Schema::new(output));
    let at =
        |i: usize| -> Arc<dyn PhysicalExpr> { Arc::new(datafusion_physical_expr::expressions::Column::new("v", i)) };
    let less = binary(at(3), datafusion_expr::Operator::Lt, at(7), &output).expect("numbers");
    let key = || vec![col("key", &one).expect("there")];
    JoinSpec {
        left: schema(),
        right: schema(),
        left_keys: key(),
        right_keys: key(),
        left_end: WindowEnd { column: 2, plus_us: plus[0] },
        right_end: WindowEnd { column: 2, plus_us: plus[1] },
        window_us: None,
        kind,
        residual: residual.then_some(less),
        output,
        allowed_lateness_us,
    }
}

fn model(script: &[Step], spec: &JoinSpec) -> Vec<Vec<Line>> {
    let lateness = spec.allowed_lateness_us;
    let end = |row: &Row, side: usize| row.time.map(|t| t + [spec.left_end, spec.right_end][side].plus_us);
    let mut open: [Vec<Row>; 2] = [Vec::new(), Vec::new()];
    let mut before = Watermark::UNKNOWN;
    let mut output = Vec::new();
    for step in script {
        let mut lines: Vec<Line> = refused(step).into_iter().collect();
        for side in 0..2 {
            for row in step.rows(side) {
                match end(row, side) {
                    Some(end) if passed(end, lateness, before) => {
                        lines.push(row.line([LATE, LATE_RIGHT][side] as i64));
                    }
                    Some(_) => open[side].push(*row),
                    None => {}
                }
            }
        }
        before = before.max(step.watermark);
        let [left, right] = [0, 1].map(|side| {
            let due = |row: &mut Row| end(row, side).is_some_and(|end| passed(end, lateness, before));
            open[side].extract_if(.., due).collect::<Vec<_>>()
        });
        for l in left {
            let partner = |r: &&Row| {
                let less = l.value.zip(r.value).is_some_and(|(l, r)| l < r);
                end(&l, 0) == end(r, 1) && l.key.is_some() && l.key == r.key && (spec.residual.is_none() || less)
            };
            let partners: Vec<_> = right.iter().filter(partner).collect();
            lines.extend(partners.iter().map(|r| [l.line(0), r.line(0)[1..].to_vec()].concat()));
            if partners.is_empty() && spec.kind == JoinKind::Left {
                lines.push([l.line(0), vec![None; 4]].concat());
            }
        }
        output.push(lines);
    }
    output
}

#[test]
fn joins_equal_nested_loops() {
    for seed in 4_000..4_300 {
        let mut rng = Rng::with_seed(seed);
        let kind = if rng.bool() { JoinKind::Inner } else { JoinKind::Left };
        let spec = spec(kind, [0, rng.i64(0..2) * 10], rng.bool(), rng.i64(0..20));
        let script = script(&mut rng, 2, 4, 10);
        let expected = model(&script, &spec);
        let mut fleet =
            Fleet::new(vec![vec![1], vec![1]], move || Box::new(WindowJoin::new(spec.clone()).expect("spec")));
        compare(seed, fleet.run(&mut rng, &script, 3), expected);
    }
}

#[test]
fn many_pairs_leave_in_batches() {
    let mut operator = WindowJoin::new(spec(JoinKind::Inner, [0, 0], false, 0)).expect("spec");
    let rows: Vec<Row> = (0..150).map(|id| Row { id, key: Some(1), time: Some(5), value: None }).collect();
    let mut out = Emit::default();
    operator.on_batch(0, 1, batch(&rows), &mut out).expect("batch");
    operator.on_batch(1, 1, batch(&rows), &mut out).expect("batch");
    assert_eq!(operator.size().keys, 300);
    operator.on_close(1, Watermark::END, &mut out).expect("close");
    assert_eq!(out.out.iter().map(|(_, b)| b.len()).sum::<usize>(), 150 * 150);
    assert!(out.out.iter().all(|(_, b)| b.len() <= crate::batch::BATCH_ROWS));
    assert_eq!(operator.size().keys, 0);
}
