//! Reading pipeline files, and where their state lies.

use super::args::{Given, StateDir};
use super::print::Print;
use super::{Failure, Outcome};
use millstream::problem::{Place, Problem};
use millstream_connectors::{Events, LoadOptions, Loaded, Registry, load};
use millstream_pipelines::{Document, Secret, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads, checks and plans a file that is not going to run; prints what is wrong with it.
pub fn loaded(given: &Given, workers: usize, registry: &Registry, print: &Print) -> Result<Loaded, Failure> {
    let bytes = read(&given.file, print)?;
    load_bytes(given, &bytes, workers, registry, Arc::new(|_| {}), print)
}

/// [`loaded`] for a text that is going to run: `events` hears of what its nodes notice.
pub fn load_bytes(
    given: &Given,
    bytes: &[u8],
    workers: usize,
    registry: &Registry,
    events: Events,
    print: &Print,
) -> Result<Loaded, Failure> {
    let parameters = parameters(&given.parameters, print)?;
    let file = given.file.display().to_string();
    let options = LoadOptions {
        parameters,
        env: &|name| std::env::var(name).ok(),
        secrets: &secret,
        workers,
        events,
        observed: Vec::new(),
    };
    match load(&file, bytes, registry, &options) {
        Ok(loaded) => Ok(loaded),
        Err(problems) => {
            print.problems(&problems, Some(&source(&file, bytes)));
            Err(Failure::Given)
        }
    }
}

/// A secret, for programs run by hand: the environment variable `MILLSTREAM_SECRET_<NAME>`.
fn secret(name: &str) -> Option<Secret> {
    let name = name.to_uppercase().replace(['-', '.'], "_");
    std::env::var(format!("MILLSTREAM_SECRET_{name}")).ok().map(Secret::new)
}

/// A secret, or something in its place: a test reaches nothing that would ask for it.
pub fn secret_or_stand_in(name: &str) -> Option<Secret> {
    secret(name).or_else(|| Some(Secret::new("stand-in")))
}

/// The text of a file, for drawing problems in it; what is not UTF-8 is shown as such.
pub fn source(file: &str, bytes: &[u8]) -> Source {
    Source::new(file, String::from_utf8_lossy(bytes).into_owned())
}

/// The bytes of a file.
pub fn read(file: &Path, print: &Print) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| {
        print.problem(&Problem::io("cannot read the pipeline file", file, &e));
        Failure::Given
    })
}

/// `NAME=VALUE` pairs.
pub fn parameters(pairs: &[String], print: &Print) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            print.problem(
                &Problem::error("CLI-PARAMETER", "a parameter has no value")
                    .found(pair.clone())
                    .expected("-p NAME=VALUE"),
            );
            return Err(Failure::Given);
        };
        all.insert(name.to_string(), value.to_string());
    }
    Ok(all)
}

/// Where the state of the pipeline of that name lies.
pub fn state_dir(file: &Path, state: &StateDir, name: &str) -> PathBuf {
    match &state.state {
        Some(dir) => dir.clone(),
        None => file.parent().unwrap_or(Path::new("")).join(".millstream").join(name),
    }
}

/// The state directory of a file of which only the name matters.
pub fn state_of(file: &Path, state: &StateDir, print: &Print) -> Result<(String, PathBuf), Failure> {
    document_of(file, state, print).map(|(document, dir)| (document.name, dir))
}

/// A file that is only looked at, and its state directory.
pub fn document_of(file: &Path, state: &StateDir, print: &Print) -> Result<(Document, PathBuf), Failure> {
    let bytes = read(file, print)?;
    let shown = file.display().to_string();
    match Document::parse(&shown, &bytes) {
        Ok(document) => {
            let dir = state_dir(file, state, &document.name);
            Ok((document, dir))
        }
        Err(problems) => {
            print.problems(&problems, Some(&source(&shown, &bytes)));
            Err(Failure::Given)
        }
    }
}

/// Removes a state directory, but only one that is ours.
pub fn remove_state(dir: &Path, print: &Print) -> Outcome {
    if !dir.exists() {
        return Ok(());
    }
    if !dir.join("log").is_dir() {
        print.problem(
            &Problem::error("CLI-FRESH", "the directory holds no state of Millstream, so it is not removed")
                .at(Place::path(dir))
                .help("name another directory with --state"),
        );
        return Err(Failure::Given);
    }
    std::fs::remove_dir_all(dir).map_err(|e| {
        print.problem(&Problem::io("cannot remove the old state", dir, &e));
        Failure::Given
    })
}
