//! Test runs of small flows: order, clock, watermarks, ports, and what goes wrong.

use super::TestRun;
use crate::typed::{Flow, Micros, channel, collect};
use std::time::Duration;

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Event { key: String, at: Micros }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Seen { key: String, rows: i64, now: Micros, watermark: Option<Micros> }
}

const SECOND: Duration = Duration::from_secs(1);

fn second(s: i64) -> Micros {
    Micros(s * 1_000_000)
}

fn event(key: &str, s: i64) -> Event {
    Event { key: key.into(), at: second(s) }
}

/// What the closure saw for each row, and what the timers saw a second after each row on either clock.
fn flow() -> Flow {
    let flow = Flow::new("seen");
    let seen = flow
        .channel("events", channel::<Event>(16).1)
        .event_time("at", Duration::ZERO)
        .key_by(|e| e.key.clone())
        .stateful("seen", |rows: &mut i64, e, out| {
            *rows += 1;
            out.timer(e.at + SECOND);
            out.clock_timer(out.now() + SECOND);
            out.push(Seen { key: e.key, rows: *rows, now: out.now(), watermark: out.watermark() });
        })
        .on_timer(|key, rows, _, out| {
            out.push(Seen { key: format!("{key} event"), rows: *rows, now: out.now(), watermark: out.watermark() });
        })
        .on_clock_timer(|key, rows, _, out| {
            out.push(Seen { key: format!("{key} clock"), rows: *rows, now: out.now(), watermark: out.watermark() });
        });
    seen.map("twice", |s| Seen { rows: s.rows * 2, ..s }).to("out", collect::<Seen>().0);
    flow
}

fn brief(rows: &[Seen]) -> Vec<(&str, i64, i64, Option<i64>)> {
    let seconds = |at: Micros| at.0.div_euclid(1_000_000);
    rows.iter().map(|s| (s.key.as_str(), s.rows, seconds(s.now), s.watermark.map(seconds))).collect()
}

#[test]
fn every_record_goes_through_before_the_next_and_the_clock_moves_when_it_is_said() {
    for _ in 0..20 {
        let outcome = TestRun::new(&flow().pipeline())
            .at(second(100))
            .row("events", event("a", 1))
            .row("events", event("a", 2))
            .advance(SECOND)
            .row("events", event("b", 3))
            .at(second(90)) // set back: no time passes
            .row("events", event("a", 9))
            .observe("seen")
            .run()
            .unwrap();
        let seen = outcome.rows::<Seen>("seen");
        let end = i64::MAX / 1_000_000;
        let expected = [
            ("a", 1, 100, None),
            ("a", 2, 100, Some(1)),
            ("a clock", 2, 101, Some(2)),
            ("b", 1, 101, Some(2)),
            ("a event", 2, 101, Some(3)),
            ("a", 3, 90, Some(3)),
            ("b event", 1, 90, Some(9)),
            ("a event", 3, 90, Some(end)),
        ];
        assert_eq!(brief(&seen), expected);
        let out = outcome.rows::<Seen>("out");
        assert!(out.iter().zip(&seen).all(|(o, s)| o.rows == 2 * s.rows) && out.len() == seen.len());
    }
}

#[test]
fn watermarks_are_held_back_and_then_set() {
    let outcome = TestRun::new(&flow().pipeline())
        .at(second(0))
        .row("events", event("a", 1))
        .row("events", event("b", 5))
        .watermark(second(2))
        .run()
        .unwrap();
    let found = outcome.rows::<Seen>("out");
    assert_eq!(brief(&found), [("a", 2, 0, None), ("b", 2, 0, None), ("a event", 2, 0, Some(2))]);
    assert_eq!(outcome.count("out"), 3);
    assert_eq!(outcome.json("out")[2]["key"], "a event");
}

#[test]
fn dead_letters_can_be_observed() {
    use crate::batch::Batch;
    use arrow::array::Int64Array;
    let flow = Flow::new("changes");
    // A changelog is no input for a closure with state.
    flow.channel("events", channel::<Event>(16).1)
        .map_batches::<Event>("taken", |batch| {
            Ok(Batch { diff: Some(Int64Array::from(vec![-1; batch.len()])), ..batch })
        })
        .key_by(|e| e.key.clone())
        .stateful("seen", |_: &mut i64, e: Event, out| out.push(e))
        .to("out", collect::<Event>().0);
    let outcome = TestRun::new(&flow.pipeline()).row("events", event("a", 1)).observe("seen.errors").run().unwrap();
    assert_eq!(outcome.count("out"), 0);
    let letters = outcome.json("seen.errors");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["code"], &letters[0]["node"]), (&"STATEFUL-DIFF".into(), &"seen".into()));
}

#[test]
fn what_is_taken_back_is_not_there() {
    use crate::batch::Batch;
    use arrow::array::Int64Array;
    let flow = |weights: &'static [i64]| {
        let flow = Flow::new("changes");
        flow.channel("events", channel::<Event>(16).1)
            .map_batches::<Event>("weighted", move |batch| {
                let diff = (0..batch.len()).map(|r| weights[r]).collect::<Vec<_>>();
                Ok(Batch { diff: Some(Int64Array::from(diff)), ..batch })
            })
            .to("out", collect::<Event>().0);
        flow.pipeline()
    };
    let rows = || {
        use crate::typed::Row;
        Event::to_batch(&[event("a", 1), event("b", 1), event("a", 1), event("c", 1)])
    };
    let outcome = TestRun::new(&flow(&[1, 2, -1, 1])).rows("events", rows()).run().unwrap();
    assert_eq!(outcome.rows::<Event>("out"), [event("b", 1), event("b", 1), event("c", 1)]);
    let problems = TestRun::new(&flow(&[1, 1, -2, 1])).rows("events", rows()).run().unwrap_err();
    assert_eq!(problems[0].code, "TEST-RETRACTION", "{}", problems[0]);
}

#[test]
fn what_cannot_be_run_is_said() {
    let code = |run: TestRun| run.run().unwrap_err()[0].code.to_string();
    let run = || TestRun::new(&flow().pipeline());
    assert_eq!(code(run().row("event", event("a", 1))), "TEST-NAME");
    assert_eq!(code(run().record("event", "a")), "TEST-NAME");
    assert_eq!(code(run().observe("sean")), "TEST-NAME");
    assert_eq!(code(run().observe("out.errors")), "TEST-NAME");
    crate::row! { struct Half { key: String } }
    assert_eq!(code(run().row("events", Half { key: "a".into() })), "TEST-ROW");

    let restless = Flow::new("restless");
    restless
        .channel("events", channel::<Event>(16).1)
        .key_by(|e| e.key.clone())
        .stateful("again", |_: &mut i64, e: Event, out| {
            out.clock_timer(out.now());
            out.push(e);
        })
        .on_clock_timer(|_, _, at, out| out.clock_timer(at))
        .to("out", collect::<Event>().0);
    assert_eq!(code(TestRun::new(&restless.pipeline()).row("events", event("a", 1))), "TEST-RESTLESS");

    let failing = Flow::new("failing");
    failing
        .channel("events", channel::<Event>(16).1)
        .map_batches::<Event>("fails", |_| Err(crate::Problem::error("MINE", "planted")))
        .to("out", collect::<Event>().0);
    assert_eq!(code(TestRun::new(&failing.pipeline()).row("events", event("bad", 1))), "MINE");
}
