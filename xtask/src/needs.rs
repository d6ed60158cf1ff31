//! What must be on the machine beside Rust, and how to get it.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, IsTerminal};
use std::process::Command;

/// A program that some step needs.
pub struct Need {
    /// Any one of these will do.
    programs: &'static [&'static str],
    why: &'static str,
    /// Its packages, in the order of [`CLIENTS`]; empty where the system has it or has none.
    packages: [&'static str; 6],
}

/// The ordinary package clients, with the words that install without a question.
const CLIENTS: [(&str, &[&str]); 6] = [
    ("apt-get", &["apt-get", "install", "-y", "--no-install-recommends"]),
    ("dnf", &["dnf", "install", "-y"]),
    ("apk", &["apk", "add"]),
    ("pacman", &["pacman", "-S", "--noconfirm", "--needed"]),
    ("zypper", &["zypper", "--non-interactive", "install"]),
    ("brew", &["brew", "install"]),
];

/// For every build: zstd and blake3 hold C and assembler, Rust itself links with it.
pub const COMPILER: Need = Need {
    programs: &["cc", "gcc", "clang"],
    why: "a C compiler and linker, for zstd, blake3 and for Rust itself",
    packages: ["gcc libc6-dev", "gcc glibc-devel", "build-base", "gcc", "gcc glibc-devel", "llvm"],
};

/// For tests that make system calls of a child fail.
pub const STRACE: Need = Need {
    programs: &["strace"],
    why: "faults injected into system calls (full disk, failing fsync)",
    packages: ["strace", "strace", "strace", "strace", "strace", ""],
};

/// Makes sure that all `needs` are met: installs what is missing when allowed, asks when somebody can
/// answer, and otherwise fails with the line to run.
pub fn ensure(needs: &[Need], yes: bool) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("missing: {} ({})", need.programs[0], need.why);
    }
    let client = CLIENTS.iter().position(|(client, _)| shell::find(client).is_some());
    let client = client
        .context("no package client that I know (apt-get, dnf, apk, pacman, zypper, brew); install them by hand")?;
    let lines = install_lines(client, &missing, is_root());
    let line = lines.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" && ");
    if !(yes || is_root() || in_ci() || agreed(&line)?) {
        bail!("nothing was installed; run\n\n    {line}\n\nor give --yes");
    }
    for words in lines {
        shell::run(Command::new(&words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    match missing.iter().find(|need| !need.met()) {
        Some(need) => bail!("`{}` is still missing after `{line}`", need.programs[0]),
        None => Ok(()),
    }
}

impl Need {
    fn met(&self) -> bool {
        // Nothing to install and nothing to run elsewhere: strace is Linux alone, and so are its tests.
        (self.programs == ["strace"] && !cfg!(target_os = "linux"))
            || self.programs.iter().any(|program| shell::find(program).is_some())
    }
}

/// The commands that install `missing` with the client of that number.
fn install_lines(client: usize, missing: &[&Need], root: bool) -> Vec<Vec<String>> {
    let (name, install) = CLIENTS[client];
    // Homebrew refuses to run as root and needs no such right.
    let sudo: &[&str] = if root || name == "brew" { &[] } else { &["sudo"] };
    let line = |words: &[&str]| sudo.iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let packages = missing.iter().flat_map(|need| need.packages[client].split_whitespace()).map(str::to_owned);
    let mut lines = Vec::new();
    if name == "apt-get" {
        lines.push(line(&["apt-get", "update"])); // a fresh image has no lists
    }
    lines.push(line(install).into_iter().chain(packages).collect());
    lines
}

fn is_root() -> bool {
    shell::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

/// Is this a build server?
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// Asks whether to run `line`; without a person at the terminal the answer is no.
fn agreed(line: &str) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    eprint!("run `{line}`? [y/N] ");
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_client_and_all_packages() {
        let apt = install_lines(0, &[&COMPILER, &STRACE], false);
        assert_eq!(apt[0].join(" "), "sudo apt-get update");
        assert_eq!(apt[1].join(" "), "sudo apt-get install -y --no-install-recommends gcc libc6-dev strace");
        let apk = install_lines(2, &[&STRACE], true);
        assert_eq!(apk.iter().map(|words| words.join(" ")).collect::<Vec<_>>(), ["apk add strace"]);
    }
}
