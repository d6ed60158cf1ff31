//! `cargo xtask ci`: what must pass before a change goes in, the cheap checks first.

use crate::args::Args;
use crate::shell::{self, Steps};
use crate::{needs, test};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One version for everyone: a newer one may judge differently.
const CARGO_DENY: &str = "cargo-deny@0.20.2";
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// The command.
pub fn run(given: Vec<String>) -> Result<()> {
    let args = Args::parse(given, &["yes"], &[])?;
    args.no_words()?;
    let mut steps = Steps::new();
    let done = all(&mut steps, args.has("yes"));
    steps.print();
    done
}

fn all(steps: &mut Steps, yes: bool) -> Result<()> {
    needs::ensure(&[needs::COMPILER, needs::STRACE], yes)?; // now, not after half an hour
    steps.step("formatting", || shell::run(&mut shell::cargo(["fmt", "--all", "--check"])))?;
    let deny = steps.step("cargo-deny is there", cargo_deny)?;
    let rules = ["check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    steps.step("licences, bans, sources", || shell::run(shell::program(&deny).args(rules)))?;
    steps.step("advisories", || advisories(&deny))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.step("lints", || shell::run(&mut shell::cargo(clippy)))?;
    test::all(steps, yes, None)
}

/// The program's path; built once into a folder outside of any checkout, since that takes minutes.
fn cargo_deny() -> Result<PathBuf> {
    if let Some(installed) = shell::find("cargo-deny") {
        return Ok(installed);
    }
    let cache = cache()?;
    let program = cache.join("bin/cargo-deny");
    if !program.is_file() {
        let mut install = shell::cargo(["install", CARGO_DENY, "--locked", "--root"]);
        // In a target folder of its own: ours need not hold a tool's dependencies.
        shell::run(install.arg(&cache).env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(program)
}

/// Where tools and the target folder of `.ci/run` live.
fn cache() -> Result<PathBuf> {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = from_env("MILLSTREAM_CI_CACHE") {
        return Ok(cache);
    }
    let caches = from_env("XDG_CACHE_HOME").or_else(|| Some(from_env("HOME")?.join(".cache")));
    Ok(caches.context("neither XDG_CACHE_HOME nor HOME says where tools may be kept")?.join("millstream-ci"))
}

/// Known vulnerabilities, where their database can be had.
fn advisories(deny: &PathBuf) -> Result<()> {
    let mut reach = Command::new("git");
    reach.args([
        "-c",
        "http.lowSpeedLimit=1",
        "-c",
        "http.lowSpeedTime=20",
        "ls-remote",
        "--exit-code",
        ADVISORIES,
        "HEAD",
    ]);
    reach.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if reach.status().is_ok_and(|status| status.success()) {
        return shell::run(shell::program(deny).args(["check", "advisories"]));
    }
    println!("not checked: advisories, their database at {ADVISORIES} cannot be reached");
    Ok(())
}
