//! `check` and `plan`.

use super::args::{Check, Given, Plan};
use super::print::Print;
use super::{Failure, Outcome, files};
use millstream::plan::{self, Work};
use millstream_connectors::{Loaded, Registry};
use millstream_pipelines::catalogue::Role;
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

/// `millstream plan FILE`: what the engine will run.
pub fn plan(args: &Plan, registry: &Registry, print: &Print) -> Outcome {
    let loaded = files::loaded(&args.given, usize::from(args.workers), registry, print)?;
    let prepared = loaded.pipeline.prepare().map_err(|problems| {
        print.problems(&problems, None);
        Failure::Given
    })?;
    for (index, node) in prepared.pipeline.nodes.iter().enumerate() {
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|i| {
                let from = prepared.pipeline.node(i.from);
                let exchange =
                    i.exchange.as_ref().filter(|_| args.workers > 1).map(|by| format!(" by key ({})", by.join(", ")));
                let port = if i.port == plan::ERRORS {
                    ".errors".to_string()
                } else if i.port == 0 {
                    String::new()
                } else {
                    format!(":{}", i.port)
                };
                format!("{}/{}{port}{}", from.name, from.role, exchange.unwrap_or_default())
            })
            .collect();
        let (what, state) = match &node.work {
            Work::Source(_) => ("source", None),
            Work::Stage { .. } => ("stage", None),
            Work::Operator { fingerprint, .. } if fingerprint.is_empty() => ("operator", None),
            Work::Operator { fingerprint, .. } => ("operator", Some(fingerprint.clone())),
            Work::Union => ("union", None),
            Work::Sink(_) => ("sink", None),
        };
        let schema = prepared.schemas[index].first().map(|s| plan::describe(s));
        print.result(
            || {
                let mut line = format!("{}/{} ({what})", node.name, node.role);
                if !inputs.is_empty() {
                    line.push_str(&format!(" <- {}", inputs.join(", ")));
                }
                if let Some(state) = &state {
                    line.push_str(&format!("\n    state {state}"));
                }
                if let Some(schema) = &schema {
                    line.push_str(&format!("\n    {schema}"));
                }
                line
            },
            || json!({ "node": &*node.name, "role": node.role, "what": what, "inputs": inputs, "state": state, "schema": schema }),
        );
    }
    guarantees(&loaded, registry, print);
    Ok(())
}

/// The guarantee of each sink, end to end: no better than the weakest source of the file.
fn guarantees(loaded: &Loaded, registry: &Registry, print: &Print) {
    let kinds = |role: Role| {
        loaded
            .document
            .nodes
            .iter()
            .filter_map(move |n| Some((n, registry.catalogue().kind(&n.kind)?)))
            .filter(move |(_, k)| k.role == role)
    };
    let weakest = kinds(Role::Source).map(|(n, k)| (k.guarantee, n.name.clone())).min();
    for (node, kind) in kinds(Role::Sink) {
        let own = (node.guarantee.as_ref().map_or(kind.guarantee, |g| g.value.min(kind.guarantee)), node.name.clone());
        let (guarantee, because) = weakest.clone().map_or(own.clone(), |w| w.min(own));
        let label = serde_json::to_value(guarantee).expect("a guarantee is JSON");
        let label = label.as_str().unwrap_or_default().replace('_', "-");
        print.result(
            || {
                format!(
                    "{}: {label}{}",
                    node.name,
                    if because == node.name { String::new() } else { format!(", because of {because}") }
                )
            },
            || json!({ "sink": node.name, "guarantee": label, "because": because }),
        );
    }
}
