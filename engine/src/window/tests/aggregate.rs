//! Tumbling, hopping, existing and session windows against models.

use super::super::{Input, LATE, SessionAggregate, WindowAggregate, WindowPartial, partial_keys, partial_schema};
use super::*;
use std::collections::BTreeMap;

fn time() -> Arc<dyn PhysicalExpr> {
    col("ts", &schema()).expect("there")
}

/// Windows `(start, end)` of a time.
type WindowsOf = dyn Fn(i64) -> Vec<(i64, i64)>;

/// Everything recomputed from rows, window by window.
fn model(script: &[Step], lateness: i64, windows_of: &WindowsOf) -> Vec<Vec<Line>> {
    let mut open: BTreeMap<(i64, i64), BTreeMap<Option<i64>, Vec<Option<i64>>>> = BTreeMap::new();
    let mut before = Watermark::UNKNOWN;
    let mut output = Vec::new();
    for step in script {
        let mut lines: Vec<Line> = refused(step).into_iter().collect();
        for row in step.rows(0) {
            let Some(time) = row.time else { continue };
            let windows = windows_of(time);
            if !windows.is_empty() && windows.iter().all(|(_, end)| passed(*end, lateness, before)) {
                lines.push(row.line(LATE as i64));
            }
            for (start, end) in windows.into_iter().filter(|(_, end)| !passed(*end, lateness, before)) {
                open.entry((end, start)).or_default().entry(row.key).or_default().push(row.value);
            }
        }
        before = before.max(step.watermark);
        let closing: Vec<_> = open.keys().copied().filter(|(end, _)| passed(*end, lateness, before)).collect();
        for (end, start) in closing {
            let keys = open.remove(&(end, start)).expect("listed");
            lines.extend(keys.iter().map(|(key, values)| aggregated(*key, start, end, values)));
        }
        output.push(lines);
    }
    output
}

fn check(seed: u64, window: Window, step: i64, windows_of: &WindowsOf) {
    let mut rng = Rng::with_seed(seed);
    let lateness = if rng.bool() { 0 } else { rng.i64(0..30) };
    let script = script(&mut rng, 1, 8, step);
    let spec = aggregate_spec(window, lateness);
    let expected = model(&script, lateness, windows_of);
    let rows = spec.clone();
    let mut fleet =
        Fleet::new(vec![vec![1]], move || Box::new(WindowAggregate::new(rows.clone(), Input::Rows).expect("spec")));
    compare(seed, fleet.run(&mut rng, &script, 3), expected.clone());
    let (keys, merge) = (partial_keys(&spec).collect(), spec.clone());
    let mut fleet =
        Fleet::new(vec![keys], move || Box::new(WindowAggregate::new(merge.clone(), Input::Partials).expect("spec")))
            .behind(move || Box::new(WindowPartial::new(spec.clone()).expect("spec")));
    compare(seed, fleet.run(&mut rng, &script, 3), expected);
}

#[test]
fn tumbling_windows_equal_the_model() {
    for seed in 0..150 {
        let (size_us, offset_us) = (1 + seed as i64 % 20, seed as i64 % (1 + seed as i64 % 20));
        let start = move |t: i64| (t - offset_us).div_euclid(size_us) * size_us + offset_us;
        check(seed, Window::Tumble { time: time(), size_us, offset_us }, 1, &move |t| {
            vec![(start(t), start(t) + size_us)]
        });
    }
}

#[test]
fn hopping_windows_equal_the_model() {
    for seed in 1_000..1_250 {
        let mut rng = Rng::with_seed(seed);
        let (slide_us, size_us) = (rng.i64(1..15), rng.i64(1..40));
        let offset_us = rng.i64(0..slide_us);
        check(seed, Window::Hop { time: time(), slide_us, size_us, offset_us }, 1, &move |t| {
            let starts = (t - size_us - slide_us)..=t;
            let aligned = starts.filter(|s| (s - offset_us).rem_euclid(slide_us) == 0);
            aligned.filter(|s| *s <= t && t < s + size_us).map(|s| (s, s + size_us)).collect()
        });
    }
}

#[test]
fn existing_windows_equal_the_model() {
    for seed in 2_000..2_100 {
        let window = Window::Existing { start: None, end: Some(2), size_us: Some(10) };
        check(seed, window, 5, &|end| vec![(end - 10, end)]);
        let window = Window::Existing { start: Some(2), end: None, size_us: Some(10) };
        check(seed, window, 5, &|start| vec![(start, start + 10)]);
    }
}

struct Open {
    start: i64,
    end: i64,
    rows: Vec<Row>,
    was_open: bool,
}

/// Sessions by merging whatever touches until nothing does.
fn session_model(script: &[Step], lateness: i64, gap: i64) -> Vec<Vec<Line>> {
    let mut open: BTreeMap<Option<i64>, Vec<Open>> = BTreeMap::new();
    let mut before = Watermark::UNKNOWN;
    let mut output = Vec::new();
    for step in script {
        let mut lines: Vec<Line> = refused(step).into_iter().collect();
        for row in step.rows(0) {
            let Some(start) = row.time else { continue };
            let session = Open { start, end: start + gap, rows: vec![*row], was_open: false };
            open.entry(row.key).or_default().push(session);
        }
        let now = before.max(step.watermark);
        for (key, sessions) in &mut open {
            merge_all(sessions);
            for session in sessions.iter_mut() {
                if !session.was_open && passed(session.end, lateness, before) {
                    lines.extend(session.rows.drain(..).map(|row| row.line(LATE as i64)));
                } else if passed(session.end, lateness, now) {
                    let values: Vec<_> = session.rows.drain(..).map(|r| r.value).collect();
                    lines.push(aggregated(*key, session.start, session.end, &values));
                }
                session.was_open = true;
            }
            sessions.retain(|s| !s.rows.is_empty());
        }
        before = now;
        output.push(lines);
    }
    output
}

fn merge_all(sessions: &mut Vec<Open>) {
    loop {
        let mut pairs = (0..sessions.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let touching =
            |&(a, b): &(usize, usize)| sessions[a].start <= sessions[b].end && sessions[b].start <= sessions[a].end;
        let Some((a, b)) = pairs.find(touching) else { return };
        let from = sessions.remove(a);
        let into = &mut sessions[b];
        (into.start, into.end) = (into.start.min(from.start), into.end.max(from.end));
        into.was_open |= from.was_open;
        into.rows.extend(from.rows);
    }
}

#[test]
fn sessions_equal_the_model() {
    for seed in 3_000..3_200 {
        let mut rng = Rng::with_seed(seed);
        let (lateness, gap_us) = (rng.i64(0..20), rng.i64(1..25));
        let script = script(&mut rng, 1, 6, 1);
        let spec = aggregate_spec(Window::Session { time: time(), gap_us }, lateness);
        let mut fleet = Fleet::new(vec![vec![1]], move || Box::new(SessionAggregate::new(spec.clone()).expect("spec")));
        compare(seed, fleet.run(&mut rng, &script, 3), session_model(&script, lateness, gap_us));
    }
}

#[test]
fn keys_may_be_dictionaries_and_strings() {
    let values: DictionaryArray<Int32Type> = [Some("a"), Some("b"), None, Some("a")].into_iter().collect();
    let times = TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 2] = [("k", Arc::new(values)), ("ts", Arc::new(times))];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).expect("columns");
    let input = rows.schema();
    let key = Arc::clone(&input.fields()[0]);
    let spec = AggregateSpec {
        window: Window::Tumble { time: col("ts", &input).expect("there"), size_us: 10, offset_us: 0 },
        keys: vec![KeyColumn { expr: col("k", &input).expect("there"), field: Arc::clone(&key) }],
        aggregates: vec![aggregate(count::count_udaf(), lit(1i64), "n", false)],
        start: None,
        end: None,
        output: Arc::new(Schema::new(vec![key.as_ref().clone(), Field::new("n", DataType::Int64, false)])),
        input,
        allowed_lateness_us: 0,
    };
    assert_eq!(partial_schema(&spec).expect("schema").field(2).data_type(), &DataType::Utf8);
    let mut operator = WindowAggregate::new(spec, Input::Rows).expect("spec");
    let mut out = Emit::default();
    operator.on_batch(0, 1, Batch::new(rows), &mut out).expect("batch");
    operator.on_close(1, Watermark::END, &mut out).expect("close");
    let found = sent(&out, 0).expect("rows");
    assert!(matches!(found.column(0).data_type(), DataType::Dictionary(_, _)));
    assert_eq!(found.column(1).as_primitive::<Int64Type>().values(), &[2, 1, 1]);
}

#[test]
fn a_row_that_cannot_be_evaluated_is_refused_alone() {
    let input = schema();
    let v = col("v", &input).expect("there");
    let key = binary(lit(12i64), datafusion_expr::Operator::Divide, v, &input).expect("numbers");
    let mut spec = aggregate_spec(Window::Tumble { time: time(), size_us: 10, offset_us: 0 }, 0);
    spec.keys[0].expr = key;
    let row = |id, value| Row { id, key: None, time: Some(id), value: Some(value) };
    let rows = batch(&[row(1, 3), row(2, 0), row(3, 4), row(4, 0), row(5, 3)]);
    let mut operator = WindowAggregate::new(spec, Input::Rows).expect("spec");
    let mut out = Emit::default();
    operator.on_batch(0, 1, rows, &mut out).expect("batch");
    operator.on_close(1, Watermark::END, &mut out).expect("close");
    let refused: Vec<_> = out.rejected.iter().flat_map(|r| lines(0, &r.row.rows)).map(|l| l[1]).collect();
    assert_eq!(refused, [Some(2), Some(4)]);
    let keys: Vec<_> = lines(0, &sent(&out, 0).expect("rows")).iter().map(|l| (l[1], l[4])).collect();
    assert_eq!(keys, [(Some(4), Some(2)), (Some(3), Some(1))]);
}

#[test]
fn late_partials_of_an_operator_without_a_watermark_are_refused() {
    let spec = aggregate_spec(Window::Tumble { time: time(), size_us: 10, offset_us: 0 }, 0);
    let mut merge = WindowAggregate::new(spec.clone(), Input::Partials).expect("spec");
    merge.on_close(1, Watermark(100), &mut Emit::default()).expect("close");
    let mut fresh = WindowPartial::new(spec).expect("spec");
    let (mut partials, mut out) = (Emit::default(), Emit::default());
    let row = |id, time| Row { id, key: Some(id), time: Some(time), value: None };
    fresh.on_batch(0, 2, batch(&[row(1, 5), row(2, 105), row(3, 95)]), &mut partials).expect("batch");
    fresh.on_close(2, Watermark(100), &mut partials).expect("close");
    for (_, batch) in partials.out {
        merge.on_batch(0, 2, batch, &mut out).expect("batch");
    }
    merge.on_close(2, Watermark::END, &mut out).expect("close");
    assert_eq!(out.rejected.iter().map(|r| r.code).collect::<Vec<_>>(), ["WINDOW-LATE"; 2]);
    assert_eq!(lines(0, &sent(&out, 0).expect("rows")).len(), 1);
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    for window in [
        Window::Tumble { time: time(), size_us: 10, offset_us: 3 },
        Window::Hop { time: time(), slide_us: 3, size_us: 10, offset_us: 1 },
        Window::Session { time: time(), gap_us: 10 },
    ] {
        let mut operator = super::super::aggregate(aggregate_spec(window, 5)).expect("spec");
        let row = |id, time| Row { id, key: None, time: Some(time), value: None };
        let rows = batch(&[row(1, i64::MAX), row(2, i64::MIN), row(3, i64::MIN + 1), row(4, 0)]);
        let mut out = Emit::default();
        operator.on_batch(0, 1, rows, &mut out).expect("batch");
        operator.on_close(1, Watermark(100), &mut out).expect("close");
        operator.on_close(2, Watermark::END, &mut out).expect("close");
        let rows = out.out.iter().flat_map(|(_, b)| lines(0, &b.rows)).filter(|l| l[4] > Some(0));
        assert!(rows.count() >= 2);
    }
}
