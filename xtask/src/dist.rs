//! `cargo xtask dist`: the optimised, stripped binary with README, licences and checksum.

use crate::args::Args;
use crate::needs;
use crate::notices;
use crate::shell::{self, Steps};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAPERS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// The command.
pub fn run(given: Vec<String>) -> Result<()> {
    let args = Args::parse(given, &["yes"], &[])?;
    args.no_words()?;
    needs::ensure(&[needs::COMPILER], args.has("yes"))?;
    let mut steps = Steps::new();
    let build = ["build", "--release", "--locked", "-p", "millstream-server"];
    steps.step("build", || shell::run(&mut shell::cargo(build)))?;
    let name = format!("millstream-{}-{}", version()?, host()?);
    let dist = shell::root().join("dist");
    steps.step("pack", || pack(&dist, &name))?;
    steps.print();

    let binary = fs::metadata(dist.join(&name).join("millstream"))?.len();
    let archive = dist.join(format!("{name}.tar.gz"));
    println!("{}: {}, the binary in it {}", archive.display(), mib(fs::metadata(&archive)?.len()), mib(binary));
    println!("{}.sha256: {}", archive.display(), fs::read_to_string(format!("{}.sha256", archive.display()))?.trim());
    Ok(())
}

/// Fills `dist/NAME`, packs it and writes the checksum beside the archive.
fn pack(dist: &Path, name: &str) -> Result<()> {
    let folder = dist.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::copy(shell::target_dir()?.join("release/millstream"), folder.join("millstream"))
        .context("the binary that was built")?;
    for paper in PAPERS {
        fs::copy(shell::root().join(paper), folder.join(paper)).with_context(|| paper.to_owned())?;
    }
    fs::write(folder.join("THIRD-PARTY.txt"), notices::third_party()?)?;
    let archive = format!("{name}.tar.gz");
    shell::run(Command::new("tar").current_dir(dist).args(["-czf", &archive, name]))?;
    let sum = if shell::find("sha256sum").is_some() {
        shell::output(Command::new("sha256sum").current_dir(dist).arg(&archive))?
    } else {
        shell::output(Command::new("shasum").current_dir(dist).args(["-a", "256", &archive]))?
    };
    fs::write(dist.join(format!("{archive}.sha256")), sum + "\n")?;
    Ok(())
}

fn version() -> Result<String> {
    let id = shell::output(&mut shell::cargo(["pkgid", "-p", "millstream-server"]))?;
    let version = id.rsplit(['#', '@']).next().context("a package has a version")?;
    Ok(version.to_owned())
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let about = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
