//! `state verify`.

use super::args::{State, StateCommand};
use super::print::Print;
use super::{Failure, Outcome, files, table};
use millstream::state::{LocalStore, fs::RealFs, verify};
use std::sync::Arc;

/// `millstream state …`.
pub fn state(args: &State, print: &Print) -> Outcome {
    let StateCommand::Verify { file, state } = &args.command;
    let (_, dir) = files::state_of(file, state, print)?;
    let fail = |problem: millstream::Problem| {
        print.problem(&problem);
        Failure::Given
    };
    let store = LocalStore::open_read_only(&dir, Arc::new(RealFs)).map_err(fail)?;
    let report = verify(&*store).map_err(fail)?;
    print.problems(&report.problems, None);
    print.result(
        || {
            let verdict = if report.problems.is_empty() { "whole" } else { "damaged" };
            format!(
                "{verdict}: checkpoint {}, {} records, {} files, {} blocks, {} read; {} files that no record names",
                report.checkpoint,
                report.records,
                report.files,
                report.blocks,
                table::bytes(report.bytes),
                report.extra.len()
            )
        },
        || serde_json::to_value(&report).expect("a report is JSON"),
    );
    if report.problems.is_empty() { Ok(()) } else { Err(Failure::Given) }
}
