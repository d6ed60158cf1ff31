//! Event time: the field must be there, and windows without any go by arrival.

use super::Check;
use crate::codes;
use crate::document::{Fields, Node};
use crate::graph::{followers, spread};
use crate::types::Type;
use millstream_problem::{Problem, nearest};

pub(super) fn check(c: &mut Check<'_>) {
    for node in &c.document.nodes {
        if let (Some(time), Some(schema)) = (&node.event_time, &node.schema)
            && let Some(problem) = field(c, &time.field.value, time.field.span, &schema.value)
        {
            c.report(problem.node(node.name.clone()));
        }
    }
    arrival(c);
}

fn field(c: &Check<'_>, name: &str, span: crate::source::Span, schema: &Fields) -> Option<Problem> {
    if name.starts_with('_') {
        return None;
    }
    let names = || schema.iter().map(|(n, _)| n.value.as_str());
    let Some((_, ty)) = schema.iter().find(|(n, _)| n.value == name) else {
        let problem = c.error(span, codes::DANGLING, format!("event time: there is no field `{name}`"));
        let problem = problem.expected(format!("one of {}", names().collect::<Vec<_>>().join(", ")));
        return Some(match nearest(name, names()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    };
    if matches!(ty.value.ty, Type::Timestamp(_) | Type::Date) {
        return None;
    }
    let problem = c.error(span, codes::TYPE, format!("event time: `{name}` is not a time")).found(ty.value.to_string());
    Some(
        problem
            .expected("timestamp")
            .also(c.place(ty.span), "its type")
            .help("declare it as timestamp; timestamp(ms) where the input is a number"),
    )
}

/// Notes windows that no event time reaches: there arrival counts.
fn arrival(c: &mut Check<'_>) {
    let nodes = &c.document.nodes;
    let pairs = c.edges.iter().filter(|e| e.port != "errors").map(|e| (e.from, e.to));
    let mut timed: Vec<bool> = nodes.iter().map(|n| n.event_time.is_some()).collect();
    spread(&mut timed, &followers(nodes.len(), pairs));
    let silent: Vec<&Node> =
        nodes.iter().zip(&timed).filter(|(n, timed)| !**timed && has_windows(c, n)).map(|(n, _)| n).collect();
    for node in silent {
        let what = format!("no event time reaches `{}`: its windows go by arrival", node.name);
        let problem = Problem::note(codes::EVENT_TIME, what).at(c.place(node.kind.span)).node(node.name.clone());
        c.report(problem.help("name the field at the source: `event_time: { field: …, out_of_order: … }`"));
    }
}

fn has_windows(c: &Check<'_>, node: &Node) -> bool {
    let late = c.kind(node).is_some_and(|k| k.ports.iter().any(|p| p == "late"));
    // Only the words of SQL say whether a query has windows; planning it is the engine's business.
    late && node.config.get(&["query"]).and_then(|q| q.as_str()).is_none_or(|q| {
        let q = q.to_lowercase();
        ["tumble", "hop", "session"]
            .iter()
            .any(|f| q.match_indices(f).any(|(i, _)| q[i + f.len()..].trim_start().starts_with('(')))
    })
}
