//! `millstream` as the tests run it: the same program, with failpoints and planted mistakes compiled in, and
//! with kinds of node that only tests need.

mod planted;
mod timed_counts;

use millstream::Problem;
use millstream::calls::{self, Call, Calls};
use millstream::operator::Emit;
use millstream::plan::Input;
use millstream_connectors::kind::{Build, Kind, entry};
use millstream_connectors::registry::Registry;
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rows pass as they are, through calls of up to four milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DelayConfig {
    /// How many calls are in flight at once.
    in_flight: usize,
    /// How many rows a call takes.
    rows: usize,
}

struct Delay;

const EXAMPLE: &str = "version: 1
name: delayed
nodes:
  bids: { kind: generator, dataset: bids, rows: 1000 }
  later: { kind: delay, from: bids, in_flight: 8, rows: 100 }
  out: { kind: discard, from: later }
";

impl Kind for Delay {
    fn info(&self) -> KindInfo {
        entry::<DelayConfig>("delay", Role::Transform, Inputs::One, EXAMPLE)
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: DelayConfig = build.config()?;
        let stream = build.input().clone();
        let made = Arc::new(AtomicU64::new(0));
        let call = move |call: Call| {
            let n = made.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_micros(n * 7919 % 4_000)).await;
                let mut out = Emit::default();
                out.send(call.batch);
                Ok(out)
            }
        };
        let calls = Calls::new(config.in_flight).unordered();
        let work = calls::asynchronous(calls, config.rows, &stream.schema, call);
        let node = build.operator("calls", vec![stream.input], vec![Arc::clone(&stream.schema)], work);
        build.put("", Input::from(node), stream.schema, stream.event_time);
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    millstream_server::cli_main(
        Registry::builtin()
            .with(Delay)
            .with(timed_counts::TimedCounts)
            .with(planted::PlantedFilter)
            .with(planted::PlantedDedupe),
    )
}
