//! `cargo xtask bench`: the workloads through the release binary, answers checked, figures against bars.
//!
//! Data is generated once under the target folder. Every run is a whole process: from exec to exit,
//! start-up and checkpoints included. A wrong answer fails the command, whatever its speed; a missed bar
//! is printed and written down.

mod answers;
pub mod generate;
mod latency;
pub mod measure;
mod report;
mod workloads;

use crate::args::Args;
use crate::needs;
use crate::shell;
use anyhow::{Result, bail};
use report::{Setting, Table};
use std::path::PathBuf;

/// What there is to run.
const WORKLOADS: [&str; 4] = ["w1", "w2", "w5", "engine"];

/// How much of it, and with what.
pub struct Plan {
    /// The program to measure.
    pub binary: PathBuf,
    /// Where data, results and state go.
    pub folder: PathBuf,
    /// Input records of W1 and W2; `None`: the size for which the bars hold.
    pub events: Option<u64>,
    /// Runs of each case; the median counts.
    pub runs: u64,
    /// Given to `millstream run`; `None`: its own choice.
    pub workers: Option<u64>,
    /// How long W5 lasts after its warm-up.
    pub seconds: u64,
}

/// The command.
pub fn run(given: Vec<String>) -> Result<()> {
    let typed = format!("cargo xtask bench {}", given.join(" ")).trim_end().to_owned();
    let args = Args::parse(given, &["quick", "yes"], &["events", "runs", "workers", "seconds", "binary"])?;
    if let Some(unknown) = args.words.iter().find(|word| !WORKLOADS.contains(&word.as_str())) {
        bail!("no workload `{unknown}`; there are {}", WORKLOADS.join(", "));
    }
    let target = shell::target_dir()?;
    let binary = match args.path("binary") {
        Some(given) => given,
        None => {
            needs::ensure(&[needs::COMPILER], args.has("yes"))?;
            shell::run(&mut shell::cargo(["build", "--release", "-p", "millstream-server"]))?;
            target.join("release/millstream")
        }
    };
    let quick = args.has("quick");
    let plan = Plan {
        binary,
        folder: target.join("bench-data"),
        events: match args.value("events")? {
            None if quick => Some(workloads::QUICK_EVENTS),
            events => events,
        },
        runs: args.number("runs", if quick { 1 } else { 3 })?,
        workers: args.value("workers")?,
        seconds: args.number("seconds", if quick { 3 } else { 20 })?,
    };
    let setting = Setting::here(typed)?;
    let tables = tables(&plan, &args.words)?;
    let file = report::write(&setting, &tables)?;
    for missed in tables.iter().flat_map(Table::missed) {
        println!("{missed}");
    }
    println!("\nwritten: {}", file.display());
    Ok(())
}

/// Runs the workloads that were asked for, all when none was, and prints each as soon as it is there.
fn tables(plan: &Plan, asked: &[String]) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for name in WORKLOADS {
        if !(asked.is_empty() || asked.iter().any(|word| word == name)) {
            continue;
        }
        let table = match name {
            "w1" => workloads::nexmark(plan)?,
            "w2" => workloads::log_cleansing(plan)?,
            "w5" => latency::table(plan)?,
            _ => workloads::engine()?,
        };
        println!("{}", table.markdown());
        tables.push(table);
    }
    Ok(tables)
}
