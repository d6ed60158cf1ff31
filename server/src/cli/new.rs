//! `new`: a pipeline file for some data.

use super::args::New;
use super::print::Print;
use super::{Failure, Outcome};
use millstream::problem::{Place, Problem};
use millstream_connectors::guess::{self, Form, Guess};
use millstream_connectors::{LoadOptions, Registry, load};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// `millstream new FILE --from DATA`.
pub fn new(args: &New, registry: &Registry, print: &Print) -> Outcome {
    make(args, registry, print).map_err(|problems| {
        print.problems(&problems, None);
        Failure::Given
    })
}

fn make(args: &New, registry: &Registry, print: &Print) -> Result<(), Vec<Problem>> {
    let one = |p: Problem| vec![p];
    let form = args.format.as_deref().map(Form::named).transpose().map_err(one)?;
    let guess = guess::guess(&args.from, form).map_err(one)?;
    let written = guess::write(&guess, &args.file, &args.from).map_err(one)?;
    // What is written must run: it passes the same checks, before it is there.
    let shown = args.file.display().to_string();
    let options = LoadOptions::default();
    load(&shown, written.text.as_bytes(), registry, &options)?;
    put(&args.file, written.text.as_bytes(), args.force).map_err(one)?;
    let columns: Vec<_> =
        guess.columns.iter().map(|(name, ty)| json!({ "name": name, "type": ty.to_string() })).collect();
    print.result(
        || said(&guess, &shown),
        || {
            json!({
                "file": shown, "sampled": guess.file.display().to_string(), "format": guess.form.name(),
                "compressed": guess.compressed, "columns": columns, "event_time": guess.event_time,
            })
        },
    );
    print.say(&format!("next: millstream run {shown}"));
    Ok(())
}

/// What was guessed, in a few lines.
fn said(guess: &Guess, file: &str) -> String {
    let compressed = guess.compressed.map_or_else(String::new, |c| format!(", {c}"));
    let lines = if guess.lines > 0 { format!(" from {} lines", guess.lines) } else { String::new() };
    let mut text = format!("{}: {}{compressed}, guessed{lines}\n", guess.file.display(), guess.form.name());
    let width = guess.columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, ty) in &guess.columns {
        text.push_str(&format!("  {name:width$}  {ty}\n"));
    }
    for (name, why) in &guess.left_out {
        text.push_str(&format!("  {name} is left out: {why}\n"));
    }
    match &guess.event_time {
        Some(column) => text.push_str(&format!("event time: {column}\n")),
        None => text.push_str("event time: none found\n"),
    }
    text + &format!("wrote {file}")
}

/// Writes the file; one that is there is only replaced when that is asked for.
fn put(file: &Path, bytes: &[u8], force: bool) -> millstream::Result<()> {
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Problem::io("cannot make the folder", folder, &e))?;
    }
    let opened = match force {
        true => File::create(file),
        false => OpenOptions::new().write(true).create_new(true).open(file),
    };
    match opened {
        Ok(mut opened) => opened.write_all(bytes).map_err(|e| Problem::io("cannot write the pipeline file", file, &e)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            Err(Problem::error("NEW-EXISTS", "there is a file of this name already")
                .at(Place::path(file))
                .help("choose another name, or say --force to write over it"))
        }
        Err(e) => Err(Problem::io("cannot write the pipeline file", file, &e)),
    }
}
