//! Names that must be unique or must exist: `was`, the layout, tests, credentials of connections.

use super::{Check, config, ports};
use crate::catalogue::Role;
use crate::codes;
use crate::document::{Case, NodeRef};
use crate::source::Source;
use millstream_problem::Problem;
use std::collections::HashMap;

pub(super) fn check(c: &mut Check<'_>) {
    was(c);
    layout(c);
    for connection in &c.document.connections {
        let mut found = Vec::new();
        config::urls(&connection.config, &mut found);
        for n in found {
            let problem = c.warning(n.span, codes::SECRET, "a password stands in the file");
            let problem = problem.found(crate::tree::quote(n.as_str().unwrap_or_default()));
            c.report(problem.expected("{ secret: name } or { env: NAME }").help("whoever reads the file reads it too"));
        }
    }
}

fn was(c: &mut Check<'_>) {
    let mut taken = HashMap::new();
    for node in &c.document.nodes {
        let Some(was) = &node.was else { continue };
        let problem = if was.value == node.name {
            let problem = c.error(was.span, codes::DUPLICATE, format!("`was: {}` names the node itself", was.value));
            Some(problem.expected("the name that the node had before"))
        } else if let Some(other) = c.document.node(was) {
            let what = format!("`was: {}` names a node that is there", was.value);
            let problem =
                c.error(was.span, codes::DUPLICATE, what).also(c.place(other.name_span), "this one keeps that state");
            Some(problem.help("`was` is the name that the node had before; remove it once the state has moved"))
        } else if let Some(first) = taken.insert(was.value.clone(), was.span) {
            let problem = c.error(was.span, codes::DUPLICATE, format!("two nodes say `was: {}`", was.value));
            Some(problem.also(c.place(first), "first here").help("only one of them can keep the state"))
        } else {
            None
        };
        if let Some(problem) = problem {
            c.report(problem.node(node.name.clone()));
        }
    }
}

fn layout(c: &mut Check<'_>) {
    let entries = c.document.root.get(&["layout"]).and_then(|n| n.as_map()).into_iter().flatten();
    for e in entries {
        if let Err(mut problem) = c.find(&c.document.source, &e.key, e.key_span) {
            problem.severity = millstream_problem::Severity::Warning;
            c.report(problem);
        }
    }
}

/// What tests feed and expect. They may stand in another file.
pub(super) fn tests(c: &mut Check<'_>, source: &Source, cases: &[Case]) {
    for case in cases {
        for feed in &case.feed {
            if let Some(problem) = fed(c, source, &feed.into) {
                c.report(problem);
            }
        }
        for (r, _) in &case.expect {
            if let Some(problem) = expected(c, source, r) {
                c.report(problem);
            }
        }
    }
}

fn fed(c: &Check<'_>, source: &Source, r: &NodeRef) -> Option<Problem> {
    let node = match c.find(source, &r.node, r.span) {
        Ok(node) => node,
        Err(problem) => return Some(problem),
    };
    let kind = c.kind(node)?;
    if kind.role != Role::Source {
        let problem = source.error(r.span, codes::TEST, format!("`{}` is not a source", r.node));
        let sources = c.document.nodes.iter().filter(|n| c.kind(n).is_some_and(|k| k.role == Role::Source));
        let names: Vec<&str> = sources.map(|n| n.name.as_str()).collect();
        return Some(problem.expected(format!("one of {}", names.join(", "))));
    }
    let ports = ports(node, kind)?;
    (!ports.contains(&r.port) || r.port == "errors").then(|| no_port(source, r, &ports))
}

fn expected(c: &Check<'_>, source: &Source, r: &NodeRef) -> Option<Problem> {
    let node = match c.find(source, &r.node, r.span) {
        Ok(node) => node,
        Err(problem) => return Some(problem),
    };
    let kind = c.kind(node)?;
    let ports = ports(node, kind)?;
    // A sink stands for what reaches it.
    let known = ports.contains(&r.port) || (kind.role == Role::Sink && r.port.is_empty());
    (!known).then(|| no_port(source, r, &ports))
}

fn no_port(source: &Source, r: &NodeRef, ports: &[String]) -> Problem {
    let names: Vec<String> = ports.iter().map(|p| NodeRef { port: p.clone(), ..r.clone() }.to_string()).collect();
    let what = if r.port.is_empty() {
        format!("`{}` has several outputs; name one", r.node)
    } else {
        format!("`{}` has no port `{}`", r.node, r.port)
    };
    source.error(r.span, codes::DANGLING, what).expected(format!("one of {}", names.join(", ")))
}
