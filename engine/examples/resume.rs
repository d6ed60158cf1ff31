//! Counts words, and goes on counting at the next start: run it twice.
//!
//! `echo "to be or not to be" | cargo run -p millstream --no-default-features --example resume -- FOLDER`
//! keeps the counts under FOLDER; another start with it goes on from there.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use millstream::runtime::{JobState, Resume, Runtime};
use millstream::typed::{Flow, channel, collect};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

millstream::row! { struct Line { text: String } }
millstream::row! { struct Word { word: String } }
millstream::row! { struct Count { word: String, count: i64 } }

/// Counts the words of `input`, going on from what is under `folder`; returns the newest count of each word.
pub(crate) fn run(folder: &Path, input: impl BufRead) -> Result<BTreeMap<String, i64>, Box<dyn std::error::Error>> {
    let (feed, lines) = channel::<Line>(64);
    let (sink, counts) = collect::<Count>();
    let flow = Flow::new("words");
    flow.channel("lines", lines)
        .flat_map("words", |line| {
            line.text.split_whitespace().map(|w| Word { word: w.to_lowercase() }).collect::<Vec<_>>()
        })
        .key_by(|w: &Word| w.word.clone())
        .stateful("count", |count: &mut i64, w, out| {
            *count += 1;
            out.push(Count { word: w.word, count: *count });
        })
        .to("counts", sink);

    let runtime = Runtime::builder().state_dir(folder).build()?;
    let job = runtime.start(&flow.pipeline(), Resume::OrFresh).map_err(|problems| problems[0].to_string())?;
    match job.resumed() {
        Some(resumed) => println!("going on from checkpoint {}", resumed.checkpoint),
        None => println!("beginning afresh"),
    }
    for line in input.lines() {
        feed.send(Line { text: line? })?;
    }
    drop(feed);
    match job.wait_blocking() {
        JobState::Stopped => {}
        other => return Err(format!("the job ended as {other:?}").into()),
    }
    Ok(counts.take().into_iter().map(|u| (u.row.word, u.row.count)).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the state")?;
    let counts = run(folder.as_ref(), std::io::stdin().lock())?;
    counts.iter().for_each(|(word, count)| println!("{count:>6} {word}"));
    Ok(())
}
