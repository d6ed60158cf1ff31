//! Alarms from readings: state per device finds them, an asynchronous look-up tells whom to call, and the
//! program sees them while the job runs.
//!
//! `cargo run -p millstream --no-default-features --example alarms`
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use millstream::calls::Calls;
use millstream::runtime::{JobState, Resume, Runtime};
use millstream::typed::{Attempt, Flow, Next, channel};
use std::time::Duration;

millstream::row! {
    /// What a sensor sends.
    struct Reading { device: String, celsius: f64 }
}

millstream::row! {
    /// A device that has been too warm three times in a row.
    struct Alarm { device: String, celsius: f64 }
}

millstream::row! {
    /// An alarm, and who must hear of it.
    #[derive(Debug)]
    struct Notice { device: String, celsius: f64, to: String }
}

/// A service that takes a moment to answer. It only reads, so asking it again after a restart does no harm;
/// otherwise `attempt.again` would be the place to look first whether the work has been done.
async fn on_duty(alarm: Alarm, attempt: Attempt) -> Result<Notice, String> {
    tokio::time::sleep(Duration::from_millis(if attempt.again { 1 } else { 20 })).await;
    let to = match alarm.device.as_str() {
        "boiler" => "heating@example.org",
        "freezer" => "kitchen@example.org",
        // Not for the others to wait for: the alarm becomes a dead letter, with this text.
        other => return Err(format!("nobody is on duty for {other}")),
    };
    Ok(Notice { device: alarm.device, celsius: alarm.celsius, to: to.into() })
}

/// Runs it; returns how many notices there were, and how many alarms nobody was on duty for.
pub(crate) fn run() -> Result<(usize, u64), Box<dyn std::error::Error>> {
    let (feed, readings) = channel::<Reading>(1024);
    let flow = Flow::new("alarms");
    let alarms =
        flow.channel("readings", readings).key_by(|r| r.device.clone()).stateful("hot", |times: &mut i64, r, out| {
            *times = if r.celsius > 70.0 { *times + 1 } else { 0 };
            if *times == 3 {
                out.push(Alarm { device: r.device, celsius: r.celsius });
            }
        });
    let calls = Calls::new(16).timeout(Duration::from_secs(5));
    let notices = alarms.map_async("on-duty", calls, on_duty).subscribe();

    let dir = tempfile::tempdir()?;
    let runtime = Runtime::builder().state_dir(dir.path()).workers(2).build()?;
    let job = flow.start(&runtime, Resume::OrFresh).map_err(|problems| problems[0].to_string())?;
    for n in 0..120_u32 {
        for (device, peak) in [("boiler", 95.0), ("freezer", 72.0), ("oven", 240.0), ("fridge", 9.0)] {
            // Warm for ten readings, then cool for ten.
            let celsius = if n / 10 % 2 == 0 { peak } else { peak / 4.0 };
            feed.send(Reading { device: device.into(), celsius })?;
        }
    }
    drop(feed);
    let mut found = 0;
    loop {
        match notices.next(Duration::from_secs(10))? {
            Next::Rows(rows) => {
                found += rows.len();
                rows.iter().for_each(|update| println!("{:?}", update.row));
            }
            Next::Quiet => println!("nothing for ten seconds"),
            Next::Ended => break,
        }
    }
    match job.wait_blocking() {
        JobState::Stopped => {}
        other => return Err(format!("the job ended as {other:?}").into()),
    }
    let unheard = job.status().nodes.iter().map(|node| node.dead_lettered).sum();
    println!("{found} notices; {unheard} alarms with nobody on duty are dead letters");
    Ok((found, unheard))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().map(|_| ())
}
