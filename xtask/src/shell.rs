//! Running other programs: say what runs, fail with its name, keep the time of each step.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    // Cargo sets the variable at run time too; the one of the build may belong to another checkout.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).parent().expect("the package lies in a folder of the workspace").to_owned()
}

/// A program that starts in the workspace's folder.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// The cargo that runs this.
pub fn cargo<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    // What `cargo run` set for this package must not look like a change to build scripts of others.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// The folder cargo builds into, wherever the configuration puts it.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1", "--offline"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target folder")?.into())
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let name = PathBuf::from(command.get_program());
    let mut words = vec![name.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs the command with this terminal as its own; an exit code other than zero is an error.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// What the command writes to its standard output, without blanks at the ends.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !done.status.success() {
        bail!("`{}` failed: {}\n{}", shown(command), done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Where the program of that name is, if it can be run from here.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The steps of a longer command with the time that each took.
pub struct Steps {
    start: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Starts the clock.
    pub fn new() -> Self {
        Steps { start: Instant::now(), done: Vec::new() }
    }

    /// Runs one step; its time counts also when it fails.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = work();
        self.done.push((name.to_owned(), start.elapsed()));
        result.with_context(|| name.to_owned())
    }

    /// Prints all times.
    pub fn print(&self) {
        eprintln!();
        for (name, time) in &self.done {
            eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        eprintln!("{:>8.1} s  in all", self.start.elapsed().as_secs_f64());
    }
}
