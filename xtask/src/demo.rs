//! `cargo xtask demo`: from a clean checkout to numbers that move.
//!
//! Builds the command line with a profile that favours build time, writes access logs with the
//! generator of the benchmarks, and cleanses them with the shipped pipeline in this terminal.

use crate::args::Args;
use crate::bench::generate;
use crate::needs;
use crate::shell;
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const PIPELINE: &str = "pipelines/log-cleansing/pipeline.yaml";
const LINES: u64 = 2_000_000;
/// Enough to learn the rate of this machine, few enough to be done at once.
const PROBE_LINES: u64 = 100_000;
const PARTS: u64 = 2;

/// The command.
pub fn run(given: Vec<String>) -> Result<()> {
    let args = Args::parse(given, &["yes"], &["lines", "seconds"])?;
    args.no_words()?;
    needs::ensure(&[needs::COMPILER], args.has("yes"))?;
    let start = Instant::now();
    println!("Building the command line; the first time takes some minutes.");
    shell::run(&mut shell::cargo(["build", "--profile", "demo", "-p", "millstream-server"]))?;
    println!("Built in {:.0} s.", start.elapsed().as_secs_f64());

    let target = shell::target_dir()?;
    let demo = Demo { binary: target.join("demo/millstream"), folder: target.join("demo-data") };
    let lines = match (args.value::<u64>("lines")?, args.value::<f64>("seconds")?) {
        (Some(lines), _) => lines,
        (None, Some(seconds)) => demo.lines_in(seconds)?,
        (None, None) => LINES,
    };
    println!("\nWriting {lines} lines of access logs and syslog to {}", demo.logs().display());
    demo.write(lines)?;
    println!("Cleansing them with {PIPELINE}:\n");
    shell::run(&mut demo.command())?;
    demo.tell();
    Ok(())
}

struct Demo {
    binary: std::path::PathBuf,
    folder: std::path::PathBuf,
}

impl Demo {
    fn logs(&self) -> std::path::PathBuf {
        self.folder.join("logs")
    }

    /// Replaces what is there by `lines` new lines and no results.
    fn write(&self, lines: u64) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(self.logs())?;
        generate::logs(&self.logs().join("logs"), lines, PARTS)
    }

    fn command(&self) -> Command {
        let mut command = shell::program(&self.binary);
        command.args(["run", PIPELINE, "--fresh", "--state"]).arg(self.folder.join("state"));
        command.arg("-p").arg(parameter("input", &self.logs().join("*.log")));
        command.arg("-p").arg(parameter("output", &self.folder.join("out")));
        command
    }

    /// How many lines this machine cleanses in that time, from a short run nobody sees.
    fn lines_in(&self, seconds: f64) -> Result<u64> {
        self.write(PROBE_LINES)?;
        let start = Instant::now();
        shell::run(self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok((PROBE_LINES as f64 * seconds / start.elapsed().as_secs_f64()).max(1.0) as u64)
    }

    fn tell(&self) {
        let out = self.folder.join("out");
        println!("\nclean lines:   {}", out.join("clean").display());
        println!(
            "errors:        {}  (status 5xx, level error, and what no parser knows)",
            out.join("errors").display()
        );
        println!(
            "dead letters:  {} dead list {PIPELINE} --state {}",
            self.binary.display(),
            self.folder.join("state").display()
        );
    }
}

/// `NAME=PATH`, for `-p`.
pub fn parameter(name: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(name);
    word.push("=");
    word.push(path);
    word
}
