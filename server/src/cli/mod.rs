//! Commands: one file each.

mod args;
mod check;
mod components;
mod dead;
mod files;
mod metrics;
mod plan;
mod print;
mod run;
mod signals;
mod state;
mod table;
mod test;

use clap::{CommandFactory, Parser};
use millstream_connectors::Registry;
use std::process::ExitCode;

/// What a command comes to.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in what was given; it has been printed.
    Given,
    /// The job failed while it ran; it has been printed.
    Job,
    /// Stopped at once by the user.
    Interrupted,
}

/// The whole program: reads the arguments, runs the command, returns the exit code.
pub fn cli_main(registry: Registry) -> ExitCode {
    let args = args::Args::parse();
    let print = print::Print::new(args.json);
    let outcome = match &args.command {
        args::Command::Run(run) => run::run(run, &registry, &print),
        args::Command::Check(check) => check::check(check, &registry, &print),
        args::Command::Test(test) => test::test(test, &registry, &print),
        args::Command::Plan(plan) => plan::plan(plan, &registry, &print),
        args::Command::Components(components) => components::components(components, &registry, &print),
        args::Command::Schema => components::schema(&registry, &print),
        args::Command::Dead(dead) => dead::dead(dead, &print),
        args::Command::State(state) => state::state(state, &print),
        args::Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut args::Args::command(), "millstream", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Given) => ExitCode::from(1),
        Err(Failure::Job) => ExitCode::from(3),
        Err(Failure::Interrupted) => ExitCode::from(130),
    }
}
