//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::args::Args;
use crate::needs::{self, COMPILER, STRACE};
use crate::shell::{self, Steps};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Builds with fewer features than the default ones; each must stand alone.
const FEATURES: [&[&str]; 4] = [
    &["test", "-p", "millstream", "--no-default-features"],
    &["check", "-p", "millstream", "--no-default-features", "--features", "failpoints,sabotage"],
    &["check", "-p", "millstream-connectors", "--no-default-features"],
    &["check", "-p", "millstream-pipelines", "--no-default-features"],
];
const WASM: &str = "wasm32-unknown-unknown";

/// Tests passed and failed so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// The command.
pub fn run(given: Vec<String>) -> Result<()> {
    let args = Args::parse(given, &["yes"], &[])?;
    if args.words.len() > 1 {
        bail!("one filter at most, found {}", args.words.join(" "));
    }
    let mut steps = Steps::new();
    let done = all(&mut steps, args.has("yes"), args.words.first().map(String::as_str));
    steps.print();
    done
}

/// All tests whose names hold `filter`, and with no filter also the builds that only have to compile.
pub fn all(steps: &mut Steps, yes: bool, filter: Option<&str>) -> Result<()> {
    needs::ensure(&[COMPILER, STRACE], yes)?;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let workspace: &[&str] = &["test", "--workspace", "--no-fail-fast"];
    for words in std::iter::once(workspace).chain(FEATURES) {
        if filter.is_some() && words[0] != "test" {
            continue;
        }
        let mut command = shell::cargo(words.iter().copied().chain(filter));
        if let Err(error) = steps.step(&shell::shown(&command), || counted(&mut command, &mut tally)) {
            failed.push(format!("{error:#}"));
        }
    }
    if filter.is_none()
        && let Err(error) = wasm(steps)
    {
        failed.push(format!("{error:#}"));
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if !failed.is_empty() {
        bail!("{}", failed.join("\nerror: "));
    }
    Ok(())
}

/// The file format also runs in the browser; checked where the target is installed.
fn wasm(steps: &mut Steps) -> Result<()> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if !std::path::Path::new(&sysroot).join("lib/rustlib").join(WASM).is_dir() {
        println!("not checked: millstream-pipelines for {WASM} (`rustup target add {WASM}` installs it)");
        return Ok(());
    }
    let mut command = shell::cargo(["check", "-p", "millstream-pipelines", "--no-default-features", "--target", WASM]);
    steps.step(&shell::shown(&command), || shell::run(&mut command))
}

/// Runs the command, passes on what it writes and adds up the results it reports.
fn counted(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("the child's output is piped")?);
    let mut line = Vec::new();
    let mut out = std::io::stdout();
    while lines.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        tally.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

impl Tally {
    /// Counts a line like `test result: ok. 3 passed; 0 failed; 1 ignored; ..`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> =
            result.split(|c: char| c.is_whitespace() || c == ';' || c == '.').filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.31s\n");
        tally.add("test result: FAILED. 3 passed; 2 failed; 0 ignored\n");
        tally.add("test it_passed ... ok\n");
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }
}
