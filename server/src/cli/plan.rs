//! `plan`: what the engine will run, and what a start would keep, rebuild or lose of the state that is there.

use super::args::Plan;
use super::print::Print;
use super::{Failure, Outcome, files, table};
use millstream::plan::{self, Node, Prepared, Work};
use millstream::runtime::{Change, Comparison, Fate, compare};
use millstream::state::{Committed, LocalStore, Store, fs::RealFs};
use millstream::{Problem, meaning};
use millstream_connectors::{Loaded, Registry};
use millstream_pipelines::catalogue::Role;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// `millstream plan FILE`.
pub fn plan(args: &Plan, registry: &Registry, print: &Print) -> Outcome {
    let loaded = files::loaded(&args.given, usize::from(args.workers), registry, print)?;
    print.problems(&loaded.notes, Some(&loaded.document.source));
    let prepared = loaded.pipeline.prepare().map_err(|problems| {
        print.problems(&problems, None);
        Failure::Given
    })?;
    for index in 0..prepared.pipeline.nodes.len() {
        show_node(&prepared, index, args.workers > 1, print);
    }
    guarantees(&loaded, registry, print);
    let dir = files::state_dir(&args.given.file, &args.state, &loaded.document.name);
    let tail = newest(&dir, &loaded.document.name).map_err(|problem| {
        print.problem(&problem);
        Failure::Given
    })?;
    let Some(tail) = tail else {
        print.result(
            || format!("\nno state in {}: a run starts fresh", dir.display()),
            || json!({ "state": dir.display().to_string(), "checkpoint": null }),
        );
        return Ok(());
    };
    let compared = compare(&prepared, Some(&tail), &args.drop_state);
    show_comparison(&compared, &tail, &dir, print);
    if compared.problems.is_empty() {
        return Ok(());
    }
    print.problems(&compared.problems, None);
    say_the_way_out(&compared.problems, &args.given.file, print);
    Err(Failure::Given)
}

/// The newest checkpoint of a pipeline in a state directory, where there is one.
pub fn newest(dir: &Path, pipeline: &str) -> millstream::Result<Option<Committed>> {
    if !dir.exists() {
        return Ok(None);
    }
    let store: Arc<dyn Store> = LocalStore::open_read_only(dir, Arc::new(RealFs))?;
    Committed::newest_of(&store, Some(pipeline))
}

/// The command that starts the pipeline although state is lost by it.
pub fn say_the_way_out(problems: &[Problem], file: &Path, print: &Print) {
    // A position or handle of another kind is only found when the node reads it.
    let refused = [
        "STATE-CHANGED",
        "STATE-ORPHAN",
        "STATE-WAS",
        "STATE-SCHEMA",
        "FILE-POSITION",
        "FILE-HANDLE",
        "GENERATOR-POSITION",
    ];
    let mut nodes: Vec<&str> =
        problems.iter().filter(|p| refused.contains(&&*p.code)).filter_map(|p| p.node.as_deref()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.is_empty() {
        return;
    }
    let flags: Vec<String> = nodes.iter().map(|n| format!("--drop-state {n}")).collect();
    print.say(&format!(
        "nothing was changed; to give up what is refused: millstream run {} {}",
        file.display(),
        flags.join(" ")
    ));
}

fn show_node(prepared: &Prepared, index: usize, several: bool, print: &Print) {
    let node = &prepared.pipeline.nodes[index];
    let inputs = inputs(prepared, node, several);
    let (what, state) = match &node.work {
        Work::Source(_) => ("source", None),
        Work::Stage { .. } => ("stage", None),
        Work::Operator { fingerprint, .. } if fingerprint.is_empty() => ("operator", None),
        Work::Operator { fingerprint, .. } => ("operator", Some(meaning::describe(fingerprint))),
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
                line.push_str(&format!("\n    state: {state}"));
            }
            if let Some(schema) = &schema {
                line.push_str(&format!("\n    {schema}"));
            }
            line
        },
        || json!({ "node": &*node.name, "role": node.role, "what": what, "inputs": inputs, "state": state, "schema": schema }),
    );
}

fn inputs(prepared: &Prepared, node: &Node, several: bool) -> Vec<String> {
    let one = |i: &plan::Input| {
        let from = prepared.pipeline.node(i.from);
        let exchange = i.exchange.as_ref().filter(|_| several).map(|by| format!(" by key ({})", by.join(", ")));
        let port = match i.port {
            plan::ERRORS => ".errors".to_string(),
            0 => String::new(),
            port => format!(":{port}"),
        };
        format!("{}/{}{port}{}", from.name, from.role, exchange.unwrap_or_default())
    };
    node.inputs.iter().map(one).collect()
}

/// What becomes of everything that the checkpoint holds.
pub fn show_comparison(compared: &Comparison, tail: &Committed, dir: &Path, print: &Print) {
    let wall = tail.body.extra["wall"].as_i64().unwrap_or(0);
    print.result(
        || format!("\nstate of checkpoint {} ({}) in {}", tail.body.checkpoint, table::instant(wall), dir.display()),
        || json!({ "state": dir.display().to_string(), "checkpoint": tail.body.checkpoint, "at": table::instant(wall) }),
    );
    let width = compared.changes.iter().map(|c| c.node.len()).max().unwrap_or(0);
    for change in &compared.changes {
        print.result(
            || format!("  {:8}  {:width$}  {:12}  {}", word(change.fate), change.node, change.what, says(change)),
            || json!({ "change": change }),
        );
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Migrated => "migrated",
        Fate::New => "new",
        Fate::Rebuilt => "rebuilt",
        Fate::Lost => "lost",
        Fate::Refused => "refused",
    }
}

/// One thing of a checkpoint in words.
fn says(change: &Change) -> String {
    let some = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let size = match change.what.as_str() {
        "positions" => some(change.size, "partition"),
        "output" => some(change.size, "part"),
        _ => table::bytes(change.size),
    };
    let mut words = match (change.fate, change.what.as_str()) {
        (Fate::New, "positions") => vec!["read from its start".to_string()],
        (Fate::New, "output") => vec!["nothing to publish".to_string()],
        (Fate::New, _) => vec!["begins empty".to_string()],
        (Fate::Rebuilt, "positions") => vec![format!("{size} given up, read from its start")],
        (Fate::Rebuilt, _) => vec![format!("{size} given up, begins empty")],
        (Fate::Lost, _) => vec![format!("{size} given up")],
        _ => vec![size],
    };
    words.extend(change.was.iter().map(|was| format!("was {was}")));
    words.extend(change.detail.iter().cloned());
    words.join("; ")
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
        let (guarantee, because) = weakest.clone().filter(|w| w.0 < own.0).unwrap_or(own);
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
