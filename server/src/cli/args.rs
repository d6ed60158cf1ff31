//! The arguments of every command.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// Stream processing with exactly-once delivery: pipelines from files.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, about, propagate_version = true)]
pub struct Args {
    /// Print machine-readable JSON lines instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one pipeline in the foreground. Ctrl-C drains it; a second Ctrl-C stops it at once.
    Run(Run),
    /// Write a pipeline file that reads some data: looks at it and guesses format, columns and event time.
    New(New),
    /// Report every problem of pipeline files, with their places.
    Check(Check),
    /// Run the tests of pipeline files: those under `tests:`, and those in NAME.test.yaml beside them.
    ///
    /// Each runs the real pipeline with one worker, a clock of its own and state in memory; its sources give
    /// what the test feeds, its sinks keep what comes. Nothing outside is touched. Exit code 1 when a test
    /// fails, or there is none.
    Test(Test),
    /// Show what a pipeline becomes: operators, exchanges, guarantee per sink; and what a run would keep,
    /// rebuild or lose of the state that is there.
    Plan(Plan),
    /// List the kinds of node; with a name, all about one.
    Components(Components),
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
    /// Look at dead letters, and feed them again.
    Dead(Dead),
    /// What a pipeline's state says of it: last checkpoint, positions, dead letters.
    Status(Status),
    /// Check checkpoints.
    State(State),
    /// Print shell completions.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// What says which file, with which parameters.
#[derive(Clone, Debug, ClapArgs)]
pub struct Given {
    /// The pipeline file.
    pub file: PathBuf,
    /// Sets a parameter of the file.
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
}

/// Where the state of a pipeline lies.
#[derive(Clone, Debug, ClapArgs)]
pub struct StateDir {
    /// The state directory; `.millstream/NAME` beside the file by default.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct Run {
    #[command(flatten)]
    pub given: Given,
    #[command(flatten)]
    pub state: StateDir,
    /// Dataflow workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Start over: removes the state that is there.
    #[arg(long)]
    pub fresh: bool,
    /// Give up what the checkpoint holds of a node that was changed or removed; may stand several times.
    #[arg(long, value_name = "NODE")]
    pub drop_state: Vec<String>,
    /// End once every source has been read to its present end, also where more may come.
    #[arg(long)]
    pub until_done: bool,
    /// Run again on save: a file that has changed for the better takes over from the state; a bad one, or one
    /// that the state does not fit, is reported, and what runs goes on.
    #[arg(long)]
    pub watch: bool,
    /// Print nothing but problems.
    #[arg(long, short)]
    pub quiet: bool,
    /// Answer Prometheus at this address (loopback only), path /metrics.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,
}

#[derive(Debug, ClapArgs)]
pub struct New {
    /// The pipeline file to write.
    pub file: PathBuf,
    /// A file, or a pattern of which the first file is looked at: NDJSON, CSV, Parquet, Arrow IPC, access
    /// logs, logfmt, syslog or plain text; gzip and zstd are seen through.
    #[arg(long, value_name = "DATA")]
    pub from: String,
    /// Do not guess the format: text, ndjson, csv, parquet, arrow_ipc, access_log, logfmt or syslog.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Write over a file that is there.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Check {
    /// The pipeline files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Sets a parameter of the files.
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// Print the schema of every edge as well.
    #[arg(long)]
    pub schemas: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Test {
    /// Pipeline files, or files of tests (NAME.test.yaml).
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Only tests with this text in their names.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Sets a parameter of the files.
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Plan {
    #[command(flatten)]
    pub given: Given,
    #[command(flatten)]
    pub state: StateDir,
    /// Dataflow workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Give up what the checkpoint holds of a node; may stand several times.
    #[arg(long, value_name = "NODE")]
    pub drop_state: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Components {
    /// A kind of node.
    pub kind: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Dead {
    #[command(subcommand)]
    pub command: DeadCommand,
}

#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters, the newest last.
    List(DeadList),
    /// Show one dead letter whole.
    Show(DeadShow),
    /// Feed dead letters again into the nodes that refused them, as those nodes now are.
    ///
    /// The pipeline must not be running. All letters chosen are taken in one checkpoint together with what comes
    /// of them, so each is replayed once, or none is. What is refused again becomes a new dead letter; rows that
    /// are late by now go the way of late rows.
    Replay(DeadReplay),
}

#[derive(Debug, ClapArgs)]
pub struct DeadList {
    /// The pipeline file.
    pub file: PathBuf,
    #[command(flatten)]
    pub state: StateDir,
    #[command(flatten)]
    pub chosen: Chosen,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 100)]
    pub last: usize,
}

/// Which dead letters.
#[derive(Debug, ClapArgs)]
pub struct Chosen {
    /// Only letters of this node.
    #[arg(long)]
    pub node: Option<String>,
    /// Only letters with this code.
    #[arg(long)]
    pub code: Option<String>,
    /// None before this one: its number, or a time such as 2026-01-31 or 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "NUMBER|TIME")]
    pub from: Option<String>,
    /// None behind this one: its number, or a time.
    #[arg(long, value_name = "NUMBER|TIME")]
    pub to: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct DeadReplay {
    #[command(flatten)]
    pub given: Given,
    #[command(flatten)]
    pub state: StateDir,
    #[command(flatten)]
    pub chosen: Chosen,
    /// Only say how many would be fed again, by node and code, and which would stay and why.
    #[arg(long)]
    pub dry_run: bool,
    /// Dataflow workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
}

#[derive(Debug, ClapArgs)]
pub struct DeadShow {
    /// The pipeline file.
    pub file: PathBuf,
    /// The letter's number, as `dead list` prints it.
    pub number: usize,
    #[command(flatten)]
    pub state: StateDir,
}

#[derive(Debug, ClapArgs)]
pub struct Status {
    /// The pipeline file.
    pub file: PathBuf,
    #[command(flatten)]
    pub state: StateDir,
    /// Everything that grows on disk: its size, how large and how old it may become, how much of that is used.
    #[arg(long)]
    pub disk: bool,
}

#[derive(Debug, ClapArgs)]
pub struct State {
    #[command(subcommand)]
    pub command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Read everything that the newest checkpoint needs and report what is wrong.
    Verify {
        /// The pipeline file.
        file: PathBuf,
        #[command(flatten)]
        state: StateDir,
    },
}
