//! `check`: every problem of every file.

use super::args::{Check, Given};
use super::print::Print;
use super::{Failure, Outcome, files};
use millstream::plan;
use millstream_connectors::{Loaded, Registry};
use serde_json::json;

/// `millstream check FILE...`: every problem of every file.
pub fn check(args: &Check, registry: &Registry, print: &Print) -> Outcome {
    let mut failed = false;
    for file in &args.files {
        let given = Given { file: file.clone(), parameters: args.parameters.clone() };
        match files::loaded(&given, 1, registry, print) {
            Err(_) => failed = true,
            Ok(loaded) => {
                print.problems(&loaded.notes, Some(&loaded.document.source));
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

fn schemas(loaded: &Loaded, print: &Print) {
    for (node, ports) in &loaded.ports {
        for port in ports {
            let name = if port.name.is_empty() { node.clone() } else { format!("{node}.{}", port.name) };
            let schema = plan::describe(&port.stream.schema);
            print.result(|| format!("  {name}: {schema}"), || json!({ "port": name, "schema": schema }));
        }
    }
}
