//! Timers of keyed state: what fires, when, in which order, once, and over a restart on other workers.

use super::keyed::Keys;
use super::{Collected, Feed, Flow, Micros, channel, collect};
use crate::operator::KeyGroups;
use crate::runtime::{Job, JobState, Resume, Runtime, Stop};
use crate::time::ManualClock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Reading { device: String, at: Micros, what: String }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Alarm { device: String, at: Micros, readings: i64, now: Micros }
}

fn second(s: i64) -> Micros {
    Micros(START + s * 1_000_000)
}

fn reading(device: &str, s: i64, what: &str) -> Reading {
    Reading { device: device.into(), at: second(s), what: what.into() }
}

/// An alarm a minute after the last reading of a device, in event time for `event`, on the clock for `clock`.
fn watching(name: &str) -> (Feed<Reading>, Flow, Collected<Alarm>) {
    let (feed, readings) = channel(64);
    let (sink, alarms) = collect();
    let flow = Flow::new(name);
    flow.settings(|s| s.checkpoint_every = Duration::from_millis(20));
    flow.channel("readings", readings)
        .event_time("at", Duration::ZERO)
        .key_by(|r: &Reading| r.device.clone())
        .stateful("silent", |readings: &mut i64, r, out| {
            *readings += 1;
            match r.what.as_str() {
                "event" => out.timer(r.at + MINUTE),
                "clock" => out.clock_timer(out.now() + MINUTE),
                "off" => {
                    out.cancel_timer();
                    out.cancel_clock_timer();
                }
                "gone" => out.forget(),
                _ => {}
            }
        })
        .on_timer(|device, readings, at, out| {
            out.push(Alarm { device: device.clone(), at, readings: *readings, now: out.now() });
        })
        .on_clock_timer(|device, readings, at, out| {
            out.push(Alarm { device: format!("clock {device}"), at, readings: *readings, now: out.now() });
        })
        .to("alarms", sink);
    (feed, flow, alarms)
}

fn runtime(workers: usize, dir: &Path, clock: &Arc<ManualClock>) -> Runtime {
    Runtime::builder().workers(workers).state_dir(dir).clock(Arc::<ManualClock>::clone(clock)).build().unwrap()
}

fn ended(job: &Job) {
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
}

fn fired(alarms: &Collected<Alarm>) -> Vec<(String, Micros, i64)> {
    alarms.take().into_iter().map(|u| (u.row.device, u.row.at, u.row.readings)).collect()
}

fn alarm(device: &str, s: i64, readings: i64) -> (String, Micros, i64) {
    (device.into(), second(s), readings)
}

#[test]
fn event_time_timers_fire_in_order_once_the_watermark_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(START);
    let (feed, flow, alarms) = watching("order");
    let job = runtime(1, dir.path(), &clock).start(&flow.pipeline(), Resume::Fresh).unwrap();
    for (device, at, what) in [
        ("b", 3, "event"),
        ("a", 3, "event"),
        ("c", 1, "event"),
        ("replaced", 0, "event"),
        ("cancelled", 2, "event"),
        ("forgotten", 2, "event"),
        ("cancelled", 3, "off"),
        ("forgotten", 3, "gone"),
        ("replaced", 4, "event"),
    ] {
        feed.send(reading(device, at, what)).unwrap();
    }
    // The watermark passes all of them but that of `replaced`, which is due at 64.
    feed.send(reading("late", 63, "event")).unwrap();
    assert!(alarms.wait(LIMIT, |rows| rows.len() == 3));
    assert_eq!(fired(&alarms), [alarm("c", 61, 1), alarm("a", 63, 1), alarm("b", 63, 1)]);
    drop(feed);
    ended(&job);
    assert_eq!(fired(&alarms), [alarm("replaced", 64, 2), alarm("late", 123, 1)], "the end passes the rest");
}

#[test]
fn clock_timers_fire_when_the_clock_passes_although_nothing_comes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(START);
    let (feed, flow, alarms) = watching("clock");
    let job = runtime(1, dir.path(), &clock).start(&flow.pipeline(), Resume::Fresh).unwrap();
    feed.send(reading("a", 0, "clock")).unwrap();
    feed.send(reading("mark", -60, "event")).unwrap();
    // Both rows have been worked on: the one before the other, on one worker.
    assert!(alarms.wait(LIMIT, |rows| rows.len() == 1));
    assert_eq!(fired(&alarms), [alarm("mark", 0, 1)]);
    clock.advance(MINUTE - Duration::from_micros(1));
    feed.send(reading("mark", -60, "event")).unwrap();
    assert!(alarms.wait(LIMIT, |rows| !rows.is_empty()));
    clock.advance(Duration::from_micros(1));
    assert!(alarms.wait(LIMIT, |rows| rows.len() == 2));
    let rows = alarms.take();
    assert_eq!(rows[0].row.device, "mark", "the clock had not yet passed");
    assert_eq!((rows[1].row.device.as_str(), rows[1].row.at, rows[1].row.now), ("clock a", second(60), second(60)));
    drop(feed);
    ended(&job);
    assert_eq!(fired(&alarms), []);
}

#[test]
fn timers_are_restored_on_other_workers_and_fire_at_the_first_close() {
    for (before, after) in [(1, 3), (3, 2), (2, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let (feed, flow, alarms) = watching("moved");
        let job = runtime(before, dir.path(), &clock).start(&flow.pipeline(), Resume::Fresh).unwrap();
        for n in 0..20 {
            feed.send(reading(&format!("e{n:02}"), n, "event")).unwrap();
            feed.send(reading(&format!("c{n:02}"), n, "clock")).unwrap();
        }
        // One fires before the stop, and must not fire again.
        feed.send(reading("first", -70, "event")).unwrap();
        assert!(alarms.wait(LIMIT, |rows| rows.len() == 1), "all rows have been worked on");
        assert_eq!(fired(&alarms), [alarm("first", -10, 1)]);
        job.request_stop(Stop::Drain);
        ended(&job);
        assert_eq!(fired(&alarms), []);

        clock.advance(MINUTE);
        let (feed, flow, alarms) = watching("moved");
        let job = runtime(after, dir.path(), &clock).start(&flow.pipeline(), Resume::Required).unwrap();
        assert!(alarms.wait(LIMIT, |rows| rows.len() == 20), "the clock has passed while nothing ran");
        let mut found = fired(&alarms);
        found.sort();
        let expected: Vec<_> = (0..20).map(|n| alarm(&format!("clock c{n:02}"), 60, 1)).collect();
        assert_eq!(found, expected, "from {before} to {after} workers");
        feed.send(reading("e00", 1, "event")).unwrap();
        drop(feed);
        ended(&job);
        let mut found = fired(&alarms);
        found.sort();
        let mut expected: Vec<_> = (1..20).map(|n| alarm(&format!("e{n:02}"), 60 + n, 1)).collect();
        expected.insert(0, alarm("e00", 61, 2));
        assert_eq!(found, expected, "from {before} to {after} workers");
    }
}

#[test]
fn a_timer_that_sets_itself_again_does_not_hold_up_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(START);
    let (feed, readings) = channel::<Reading>(64);
    let (sink, alarms) = collect::<Alarm>();
    let flow = Flow::new("again");
    let keyed = flow.channel("readings", readings).event_time("at", Duration::ZERO).key_by(|r| r.device.clone());
    keyed
        .stateful("ticks", |_: &mut i64, r: Reading, out| {
            out.timer(r.at);
            out.clock_timer(out.now());
        })
        .on_timer(|device, fired, at, out| {
            *fired += 1;
            out.push(Alarm { device: device.clone(), at, readings: *fired, now: out.now() });
            // Later ones fire at the same close, those of the past at the next one.
            if !out.has_ended() {
                out.timer(if *fired % 3 == 0 { at } else { at + Duration::from_secs(1) });
            }
        })
        .on_clock_timer(|_, _, at, out| out.clock_timer(at))
        .to("alarms", sink);
    let job = runtime(1, dir.path(), &clock).start(&flow.pipeline(), Resume::Fresh).unwrap();
    feed.send(reading("a", 0, "")).unwrap();
    // At least: 0, 1, 2, and after that close, 2 again.
    feed.send(reading("z", 2, "")).unwrap();
    assert!(alarms.wait(LIMIT, |rows| rows.iter().filter(|u| u.row.device == "a").count() >= 4));
    let rows: Vec<_> = alarms.take().into_iter().filter(|u| u.row.device == "a").collect();
    let times: Vec<i64> = rows.iter().map(|u| (u.row.at.0 - START) / 1_000_000).collect();
    assert_eq!(times[..4], [0, 1, 2, 2]);
    assert!(rows[3].epoch > rows[2].epoch, "not at the close that it was set in");
    drop(feed);
    ended(&job);
}

/// A flow with timers that set the next one `times` times.
fn chained(times: i64) -> (Feed<Reading>, Flow, Collected<Alarm>) {
    let (feed, readings) = channel(4);
    let (sink, alarms) = collect();
    let flow = Flow::new("chained");
    flow.channel("readings", readings)
        .event_time("at", Duration::ZERO)
        .key_by(|r: &Reading| r.device.clone())
        .stateful("chain", |_: &mut i64, r, out| out.timer(r.at))
        .on_timer(move |device, fired, at, out| {
            *fired += 1;
            out.push(Alarm { device: device.clone(), at, readings: *fired, now: out.now() });
            if *fired < times {
                out.timer(at + Duration::from_secs(1));
            }
        })
        .to("alarms", sink);
    (feed, flow, alarms)
}

#[test]
fn the_end_fires_what_timers_set_and_notices_those_that_never_stop() {
    let run = |times| {
        let dir = tempfile::tempdir().unwrap();
        let (feed, flow, alarms) = chained(times);
        let job = runtime(1, dir.path(), &ManualClock::at(START)).start(&flow.pipeline(), Resume::Fresh).unwrap();
        feed.send(reading("a", 0, "")).unwrap();
        drop(feed);
        (job.wait_timeout(LIMIT), fired(&alarms))
    };
    let (end, found) = run(3);
    assert_eq!(end, Some(JobState::Stopped));
    assert_eq!(found, [alarm("a", 0, 1), alarm("a", 1, 2), alarm("a", 2, 3)]);
    match run(i64::MAX).0 {
        Some(JobState::Failed(problem)) => assert_eq!(problem.code, "STATEFUL-ENDLESS", "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_timer_that_nobody_hears_fails_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, readings) = channel::<Reading>(4);
    let flow = Flow::new("unheard");
    flow.channel("readings", readings)
        .key_by(|r| r.device.clone())
        .stateful("silent", |_: &mut i64, r: Reading, out| {
            out.clock_timer(r.at);
            out.push(r);
        })
        .to("out", collect::<Reading>().0);
    let job = Runtime::builder().state_dir(dir.path()).build().unwrap();
    let job = job.start(&flow.pipeline(), Resume::Fresh).unwrap();
    feed.send(reading("a", 0, "")).unwrap();
    match job.wait_timeout(LIMIT) {
        Some(JobState::Failed(problem)) => assert_eq!(problem.code, "STATEFUL-TIMER", "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deltas_and_bases_hold_the_timers() {
    let mut keys = Keys::<i64>::default();
    let set = |keys: &mut Keys<i64>, key: &[u8], state, timer, clock_timer| {
        let (key, entry) = keys.entry(key);
        entry.state = state;
        keys.schedule(&key, timer, clock_timer);
    };
    set(&mut keys, b"a", 1, Some(10), None);
    set(&mut keys, b"b", 2, Some(5), Some(7));
    set(&mut keys, b"gone", 3, Some(1), Some(1));
    let first = keys.delta().unwrap().unwrap();
    set(&mut keys, b"a", 4, None, Some(3));
    keys.entry(b"gone");
    keys.remove(b"gone");
    let second = keys.delta().unwrap().unwrap();
    assert!(keys.delta().unwrap().is_none(), "nothing has changed since");
    let mut merged = Keys::<i64>::default();
    merged.restore(&first, &KeyGroups::ALL).unwrap();
    merged.restore(&second, &KeyGroups::ALL).unwrap();
    let base = merged.base().unwrap().unwrap();
    let mut shares = [0, 1].map(|worker| {
        let mut share = Keys::<i64>::default();
        share.restore(&base, &KeyGroups::of(worker, 2)).unwrap();
        share
    });
    let timers = |keys: &Keys<i64>| (keys.timers().clone(), keys.clock_timers().clone());
    let (mut left, right) = (timers(&shares[0]), timers(&shares[1]));
    left.0.extend(right.0);
    left.1.extend(right.1);
    assert_eq!(left, timers(&keys));
    assert_eq!(left.0.len() + left.1.len(), 3);
    let states: i64 = shares.iter_mut().map(|k| k.entry(b"a").1.state + k.entry(b"b").1.state).sum();
    assert_eq!(states, 4 + 2, "each key is on one worker");
}
