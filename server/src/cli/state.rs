//! `state verify` and `state disk`.

use super::args::{State, StateCommand};
use super::print::Print;
use super::{Failure, Outcome, files, table};
use millstream::state::{LocalStore, fs::RealFs, usage, verify};
use serde_json::json;
use std::sync::Arc;

/// `millstream state …`.
pub fn state(args: &State, print: &Print) -> Outcome {
    let (StateCommand::Verify { file, state } | StateCommand::Disk { file, state }) = &args.command;
    let (_, dir) = files::state_of(file, state, print)?;
    let fail = |problem: millstream::Problem| {
        print.problem(&problem);
        Failure::Given
    };
    let store = LocalStore::open_read_only(&dir, Arc::new(RealFs)).map_err(fail)?;
    match args.command {
        StateCommand::Verify { .. } => {
            let report = verify(&*store);
            print.problems(&report.problems, None);
            print.result(|| report.to_string(), || json!({ "ok": report.problems.is_empty(), "report": report.to_string() }));
            if report.problems.iter().any(millstream::Problem::is_error) { Err(Failure::Given) } else { Ok(()) }
        }
        StateCommand::Disk { .. } => {
            let usage = usage(&*store).map_err(fail)?;
            for (what, bytes) in usage.rows() {
                print.result(|| format!("{what:14} {:>12}", table::bytes(bytes)), || json!({ "what": what, "bytes": bytes }));
            }
            Ok(())
        }
    }
}
