//! Commands: one file each.

mod args;
mod check;
mod components;
mod dead;
mod disk;
mod files;
mod metrics;
mod new;
mod plan;
mod print;
mod replay;
mod restarts;
mod run;
mod signals;
mod state;
mod status;
mod table;
mod test;
mod watch;

use clap::{CommandFactory, Parser};
use millstream_connectors::Registry;
use std::ffi::OsString;
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

/// Panics on the threads of a job are caught and told as problems: no second text of them, unless asked for.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let ours = thread.name().is_some_and(|n| n.starts_with("timely:") || n.starts_with("millstream-"));
        if !ours || std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(panic);
        }
    }));
}

/// The whole program: reads the arguments, runs the command, returns the exit code.
pub fn cli_main(registry: Registry) -> ExitCode {
    cli(registry, std::env::args_os())
}

/// [`cli_main`] with other arguments than those of the process; the first is the program's name.
pub fn cli(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // There is nobody to tell where this fails; the exit code still says it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let print = print::Print::new(args.json);
    quiet_panics();
    let outcome = match &args.command {
        args::Command::Run(run) => run::run(run, &registry, &print),
        args::Command::New(new) => new::new(new, &registry, &print),
        args::Command::Check(check) => check::check(check, &registry, &print),
        args::Command::Test(test) => test::test(test, &registry, &print),
        args::Command::Plan(plan) => plan::plan(plan, &registry, &print),
        args::Command::Components(components) => components::components(components, &registry, &print),
        args::Command::Schema => components::schema(&registry, &print),
        args::Command::Dead(dead) => dead::dead(dead, &registry, &print),
        args::Command::Status(status) => status::status(status, &print),
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
