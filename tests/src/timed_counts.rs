//! Counts per key and two seconds, from timers in place of windows: what the kill tests hold against the
//! windows. One timer per key is set for the oldest span that is open, and sets that of the next.

use millstream::Problem;
use millstream::plan::Input;
use millstream::typed::{Flow, Micros, Row};
use millstream_connectors::kind::{Build, Kind, entry};
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use std::collections::BTreeMap;
use std::time::Duration;

const SPAN: i64 = 2_000_000;

millstream::row! {
    struct Event { key: String, ts: Micros, n: i64 }
}

millstream::row! {
    struct Count { key: String, start: i64, count: i64, sum: i64 }
}

/// Counts and sums of the spans that are open, by their ends in microseconds.
type Open = BTreeMap<i64, (i64, i64)>;

/// `timed_counts`.
pub struct TimedCounts;

/// Counts and sums the rows of each key over two seconds. Reads `key`, `ts` and `n`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

const EXAMPLE: &str = "version: 1
name: timed
nodes:
  events: { kind: stdin, format: ndjson, schema: { key: string!, ts: timestamp!, n: int64! } }
  timed: { kind: timed_counts, from: events }
  out: { kind: stdout, from: timed }
";

impl Kind for TimedCounts {
    fn info(&self) -> KindInfo {
        entry::<Config>("timed_counts", Role::Transform, Inputs::One, EXAMPLE)
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        build.config::<Config>()?;
        let (name, from) = (build.node.name.clone(), build.input().input.from);
        let node = Flow::within(build.pipeline, |flow| {
            let counts =
                flow.stream::<Event>(from).key_by(|e| e.key.clone()).stateful(&name, |open: &mut Open, e, out| {
                    let span = open.entry((e.ts.0.div_euclid(SPAN) + 1) * SPAN).or_default();
                    *span = (span.0 + 1, span.1 + e.n);
                    out.timer(Micros(*open.keys().next().expect("there is one")));
                });
            let counts = counts.on_timer(|key, open, end, out| {
                if let Some((count, sum)) = open.remove(&end.0) {
                    let start = (end - Duration::from_micros(SPAN.unsigned_abs())).0 / 1_000;
                    out.push(Count { key: key.clone(), start, count, sum });
                }
                match open.keys().next() {
                    Some(next) => out.timer(Micros(*next)),
                    None => out.forget(),
                }
            });
            counts.node()
        });
        build.put("", Input::from(node), Count::schema(), None);
        Ok(())
    }
}
