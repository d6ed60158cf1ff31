//! `check`: every problem of every file.

use super::args::{Check, Given};
use super::print::Print;
use super::{Failure, Outcome, files, test};
use millstream::plan;
use millstream_connectors::{Loaded, Registry, cases};
use serde_json::json;
use std::path::Path;

/// `millstream check FILE...`: every problem of every file.
pub fn check(args: &Check, registry: &Registry, print: &Print) -> Outcome {
    let mut failed = false;
    for file in &args.files {
        if test::is_test_file(file) {
            failed |= check_tests(file, args, registry, print).is_err();
            continue;
        }
        let given = Given { file: file.clone(), parameters: args.parameters.clone() };
        match files::loaded(&given, 1, registry, print) {
            Err(_) => failed = true,
            Ok(loaded) => {
                print.problems(&loaded.notes, Some(&loaded.document.source));
                let wrong = cases::check(&loaded, &loaded.document.source, &loaded.document.tests);
                if !wrong.is_empty() {
                    print.problems(&wrong, Some(&loaded.document.source));
                    failed = true;
                    continue;
                }
                let nodes = loaded.document.nodes.len();
                print.result(
                    || format!("{}: ok, {nodes} nodes", file.display()),
                    || json!({ "file": file.display().to_string(), "ok": true, "nodes": nodes }),
                );
                if args.schemas {
                    schemas(&loaded, print);
                }
            }
        }
    }
    if failed { Err(Failure::Given) } else { Ok(()) }
}

/// A file of tests: its problems, and those of the pipeline that it tests.
fn check_tests(file: &Path, args: &Check, registry: &Registry, print: &Print) -> Outcome {
    let suite = test::suite(file, registry, print)?;
    let given = Given { file: suite.document.source.file().into(), parameters: args.parameters.clone() };
    let loaded = files::loaded(&given, 1, registry, print)?;
    let mut failed = false;
    for (source, case) in &suite.cases {
        let wrong = cases::check(&loaded, source, std::slice::from_ref(case));
        print.problems(&wrong, Some(source));
        failed |= !wrong.is_empty();
    }
    if failed {
        return Err(Failure::Given);
    }
    let tests = suite.cases.len();
    print.result(
        || format!("{}: ok, {tests} {}", file.display(), if tests == 1 { "test" } else { "tests" }),
        || json!({ "file": file.display().to_string(), "ok": true, "tests": tests }),
    );
    Ok(())
}

fn schemas(loaded: &Loaded, print: &Print) {
    for (node, ports) in &loaded.ports {
        for port in ports {
            let name = if port.name.is_empty() { node.clone() } else { format!("{node}.{}", port.name) };
            let schema = plan::describe(&port.stream.schema);
            print.result(|| format!("  {name}: {schema}"), || json!({ "port": name, "schema": schema }));
        }
    }
}
