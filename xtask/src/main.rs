//! Everything a developer runs: `cargo xtask test | demo | dist | ci | bench`.
//!
//! Each command finds out by itself what it needs, says what it does and how long it took, and never
//! waits for an answer when nobody can give one. It drives `cargo` and the `millstream` binary from the
//! outside and knows nothing of the crates behind them, so it builds in seconds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod args;
mod bench;
mod ci;
mod demo;
mod dist;
mod needs;
mod notices;
mod shell;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [--yes] [FILTER]      install what the tests need, then run all of them
  demo [--lines N] [--seconds N] [--yes]
                             build the command line and cleanse generated access logs with it
  ci [--yes]                 what .ci/run does: formatting, licences, lints, test
  dist                       the optimised binary, packed, with its checksum, under dist/
  bench [w1|w2|w5|engine].. [--events N] [--runs N] [--workers N] [--seconds N] [--quick]
        [--binary FILE]      measure the release binary (or FILE, built elsewhere); writes bench/results/

  --yes  install missing programs without asking (also when root, or when CI is set)
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let done = match command.as_str() {
        "test" => test::run(rest),
        "demo" => demo::run(rest),
        "ci" => ci::run(rest),
        "dist" => dist::run(rest),
        "bench" => bench::run(rest),
        "measure" => bench::measure::child(rest),
        "help" | "--help" | "-h" | "" => {
            print!("{HELP}");
            return if command.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
        other => Err(anyhow::anyhow!("no command `{other}`\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
