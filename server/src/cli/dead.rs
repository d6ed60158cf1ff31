//! `dead list` and `dead show`; `dead replay` is in [`super::replay`].

use super::args::{Chosen, Dead, DeadCommand, DeadList, DeadShow, StateDir};
use super::print::Print;
use super::{Failure, Outcome, files, replay};
use millstream::Problem;
use millstream::dead::stored::{Bound, Letter, Selection, Stored};
use millstream::state::{Committed, LocalStore, Store, fs::RealFs};
use millstream_connectors::Registry;
use std::path::Path;
use std::sync::Arc;

/// `millstream dead …`.
pub fn dead(args: &Dead, registry: &Registry, print: &Print) -> Outcome {
    match &args.command {
        DeadCommand::List(list) => self::list(list, print),
        DeadCommand::Show(show) => self::show(show, print),
        DeadCommand::Replay(args) => replay::replay(args, registry, print),
    }
}

fn list(args: &DeadList, print: &Print) -> Outcome {
    let selection = selection(&args.chosen, print)?;
    let stored = stored(&args.file, &args.state, print)?;
    let all = stored.letters().count();
    let chosen: Vec<Letter<'_>> = stored.letters().filter(|l| selection.holds(l)).collect();
    let skip = chosen.len().saturating_sub(args.last);
    for letter in &chosen[skip..] {
        let text = || {
            let place = letter.partition().map_or_else(String::new, |p| format!(" {p}"));
            let time = super::table::instant(letter.time());
            let (number, node, code) = (letter.number, letter.node(), letter.code());
            format!("{number:>6}  {time}  {node}  {code}{place}  {}", letter.message())
        };
        print.result(text, || json(letter));
    }
    print.say(&format!("{} of {all} dead letters", chosen.len() - skip));
    Ok(())
}

fn show(args: &DeadShow, print: &Print) -> Outcome {
    let stored = stored(&args.file, &args.state, print)?;
    let Some(letter) = stored.letters().nth(args.number) else {
        print.problem(
            &Problem::error("DEAD-NUMBER", "there is no such dead letter")
                .found(args.number.to_string())
                .expected(format!("less than {}", stored.letters().count())),
        );
        return Err(Failure::Given);
    };
    let json = json(&letter);
    print.result(|| serde_json::to_string_pretty(&json).expect("a dead letter is JSON"), || json.clone());
    Ok(())
}

fn json(letter: &Letter<'_>) -> serde_json::Value {
    let line = millstream::json::row_json(letter.rows, letter.row);
    let mut value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    if let Some(payload) = letter.payload() {
        value["payload"] = String::from_utf8_lossy(payload).into();
    }
    value["number"] = letter.number.into();
    value
}

/// The letters that the arguments mean.
pub fn selection(chosen: &Chosen, print: &Print) -> Result<Selection, Failure> {
    let bound = |text: &Option<String>| text.as_deref().map(|t| bound(t, print)).transpose();
    let (node, code) = (chosen.node.clone(), chosen.code.clone());
    Ok(Selection { node, code, from: bound(&chosen.from)?, to: bound(&chosen.to)? })
}

fn bound(text: &str, print: &Print) -> Result<Bound, Failure> {
    if let Ok(number) = text.parse() {
        return Ok(Bound::Number(number));
    }
    let day = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let time = chrono::DateTime::parse_from_rfc3339(text).map(|t| t.timestamp_micros()).ok();
    match time.or_else(|| day().map(|d| d.and_utc().timestamp_micros())) {
        Some(time) => Ok(Bound::Time(time)),
        None => {
            print.problem(
                &Problem::error("CLI-BOUND", "neither the number of a dead letter nor a time")
                    .found(text)
                    .expected("a number as `dead list` prints it, 2026-01-31, or 2026-01-31T12:00:00Z"),
            );
            Err(Failure::Given)
        }
    }
}

/// All letters of a pipeline's store, oldest first.
fn stored(file: &Path, state: &StateDir, print: &Print) -> Result<Stored, Failure> {
    let (_, dir) = files::state_of(file, state, print)?;
    Ok(newest(&dir, print)?.map(|(_, stored)| stored).unwrap_or_default())
}

/// The newest checkpoint in a state directory with its letters; `None` where there is none.
pub fn newest(dir: &Path, print: &Print) -> Result<Option<(Committed, Stored)>, Failure> {
    if !dir.exists() {
        return Ok(None);
    }
    let read = || -> millstream::Result<_> {
        let store: Arc<dyn Store> = LocalStore::open_read_only(dir, Arc::new(RealFs))?;
        let Some(tail) = Committed::newest(&store)? else { return Ok(None) };
        let stored = Stored::read(&tail)?;
        Ok(Some((tail, stored)))
    };
    read().map_err(|problem| {
        print.problem(&problem);
        Failure::Given
    })
}
