//! Rows from code, state per key, rows back into code, and a subscription in between.
//!
//! `cargo run -p millstream --no-default-features --example channel`
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use millstream::runtime::{JobState, Resume, Runtime};
use millstream::typed::{Flow, Next, channel, collect};
use std::time::Duration;

millstream::row! {
    /// What a sensor sends.
    struct Reading { device: String, celsius: f64 }
}

millstream::row! {
    /// The highest reading of a device so far.
    #[derive(Debug)]
    pub(crate) struct Record { pub(crate) device: String, pub(crate) celsius: f64, pub(crate) after: i64 }
}

/// What is remembered of a device.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Seen {
    readings: i64,
    highest: Option<f64>,
}

/// Runs it; returns the records, as they were set.
pub(crate) fn run() -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let (feed, readings) = channel::<Reading>(1024);
    let (sink, records) = collect::<Record>();
    let flow = Flow::new("records");
    let plausible = flow.channel("readings", readings).filter("plausible", |r| r.celsius > -90.0);
    let highest = plausible.key_by(|r| r.device.clone()).stateful("highest", |seen: &mut Seen, r, out| {
        seen.readings += 1;
        if seen.highest.is_none_or(|h| r.celsius > h) {
            seen.highest = Some(r.celsius);
            out.push(Record { device: r.device, celsius: r.celsius, after: seen.readings });
        }
    });
    highest.to("records", sink);
    let view = highest.subscribe();

    let dir = tempfile::tempdir()?;
    let runtime = Runtime::builder().state_dir(dir.path()).workers(2).build()?;
    let job = flow.start(&runtime, Resume::OrFresh).map_err(|problems| problems[0].to_string())?;
    for n in 0..1_000_u32 {
        let device = format!("sensor-{}", n % 3);
        feed.send(Reading { device, celsius: f64::from(n * 7919 % 1_000) / 10.0 - 95.0 })?;
    }
    drop(feed);
    loop {
        match view.next(Duration::from_secs(10))? {
            Next::Rows(rows) => println!("epoch {}: {} new records from one worker", rows[0].epoch, rows.len()),
            Next::Quiet => println!("nothing for ten seconds"),
            Next::Ended => break,
        }
    }
    match job.wait_blocking() {
        JobState::Stopped => {}
        other => return Err(format!("the job ended as {other:?}").into()),
    }
    Ok(records.take().into_iter().map(|update| update.row).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run()?.iter().for_each(|record| println!("{record:?}"));
    Ok(())
}
