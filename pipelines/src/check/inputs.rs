//! Where the records of a node come from, and who reads what it gives.

use super::{Check, ports};
use crate::catalogue::{Inputs as Takes, KindInfo, Role};
use crate::codes;
use crate::document::{Inputs, Node, NodeRef};
use millstream_problem::{Problem, nearest};
use std::collections::HashSet;

pub(super) fn check(c: &mut Check<'_>, node: &Node) {
    for (_, r) in node.from.refs() {
        if let Some(problem) = reference(c, r) {
            c.report(problem.node(node.name.clone()));
        }
    }
    if let Some(kind) = c.kind(node)
        && let Some(problem) = shape(c, node, kind)
    {
        c.report(problem.node(node.name.clone()));
    }
}

/// The node and the port behind `from`.
fn reference(c: &Check<'_>, r: &NodeRef) -> Option<Problem> {
    if r.is_wildcard() {
        let wrong = r.port != "errors";
        let problem = || c.error(r.span, codes::DANGLING, format!("unknown wildcard `{r}`")).expected("`*.errors`");
        return wrong.then(problem);
    }
    let node = match c.find(&c.document.source, &r.node, r.span) {
        Ok(node) => node,
        Err(problem) => return Some(problem),
    };
    let kind = c.kind(node)?;
    if kind.role == Role::Sink && r.port.is_empty() {
        let problem = c.error(r.span, codes::INPUTS, format!("`{}` is a sink: nothing comes out of it", r.node));
        return Some(problem.help(format!("read what it reads, or its failures: `{}.errors`", r.node)));
    }
    port(c, r, node, kind)
}

fn port(c: &Check<'_>, r: &NodeRef, node: &Node, kind: &KindInfo) -> Option<Problem> {
    let ports = ports(node, kind)?;
    if ports.contains(&r.port) {
        return None;
    }
    let names: Vec<&str> = ports.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    let listed = names.iter().map(|p| format!("{}.{p}", r.node)).collect::<Vec<_>>().join(", ");
    if r.port.is_empty() {
        let problem = c.error(r.span, codes::DANGLING, format!("`{}` has several outputs; name one", r.node));
        return Some(problem.expected(format!("one of {listed}")));
    }
    let problem = c.error(r.span, codes::DANGLING, format!("`{}` has no port `{}`", r.node, r.port));
    let main = if ports.iter().any(String::is_empty) { format!("{}, ", r.node) } else { String::new() };
    let problem = problem.expected(format!("one of {main}{listed}"));
    Some(match nearest(&r.port, names) {
        Some(near) => problem.help(format!("did you mean `{}.{near}`?", r.node)),
        None => problem,
    })
}

/// Whether what stands behind `from` fits what the kind takes.
fn shape(c: &Check<'_>, node: &Node, kind: &KindInfo) -> Option<Problem> {
    let span = node.from_span.unwrap_or(node.name_span);
    match (kind.inputs, &node.from, node.from_span) {
        (Takes::None, _, Some(_)) => {
            let key = node.common.iter().find(|k| k.value == "from").map_or(span, |k| k.span);
            Some(
                c.error(key, codes::INPUTS, format!("a `{}` is a source: it takes no input", kind.name))
                    .help("remove `from`"),
            )
        }
        (Takes::None, ..) => None,
        (_, _, None) => {
            let problem = c
                .error(node.name_span, codes::INPUTS, format!("a `{}` needs an input", kind.name))
                .expected("key `from`");
            Some(problem.help("write `from: node`"))
        }
        (Takes::One, Inputs::Named(named), _) => {
            let problem = c.error(span, codes::INPUTS, format!("a `{}` takes one stream, not named ones", kind.name));
            let first = named.first().and_then(|(_, refs)| refs.first()).map_or("node".into(), NodeRef::to_string);
            Some(problem.expected("a node, node.port, or a list of them").help(format!("write `from: {first}`")))
        }
        (Takes::Named, Inputs::List(list), _) if list.len() > 1 => {
            let problem = c.error(span, codes::INPUTS, format!("a `{}` needs a name for each input", kind.name));
            let names: Vec<String> = list.iter().map(|r| format!("{}: {r}", r.node)).collect();
            Some(problem.expected("a map of named inputs").help(format!("write `from: {{ {} }}`", names.join(", "))))
        }
        (Takes::Named, Inputs::List(list), _) if list.first().is_some_and(NodeRef::is_wildcard) => {
            let problem = c.error(span, codes::INPUTS, format!("a `{}` needs a name for each input", kind.name));
            Some(problem.help("write `from: { errors: \"*.errors\" }`"))
        }
        _ => None,
    }
}

/// Sources and transforms whose records nobody reads.
pub(super) fn unused(c: &mut Check<'_>) {
    let taken: HashSet<(usize, &str)> = c.edges.iter().map(|e| (e.from, e.port.as_str())).collect();
    let mut found = Vec::new();
    for (i, node) in c.document.nodes.iter().enumerate() {
        let Some(kind) = c.kind(node).filter(|k| k.role != Role::Sink) else {
            continue;
        };
        let Some(ports) = ports(node, kind) else {
            continue;
        };
        let read = |port: &str| taken.contains(&(i, port));
        let idle: Vec<&str> =
            ports.iter().map(String::as_str).filter(|p| *p != "errors" && *p != "late" && !read(p)).collect();
        let all = ports.iter().filter(|p| *p != "errors" && *p != "late").count();
        if idle.is_empty() {
            continue;
        }
        let problem = if idle.len() == all {
            c.warning(node.name_span, codes::UNUSED, format!("nobody reads `{}`", node.name))
                .help("connect it to a sink, or remove it")
        } else {
            let names: Vec<String> = idle
                .iter()
                .map(|p| if p.is_empty() { node.name.clone() } else { format!("{}.{p}", node.name) })
                .collect();
            let what = format!("nobody reads {}", names.join(", "));
            c.warning(node.name_span, codes::UNUSED, what)
                .help("its records go nowhere; connect it to `discard` if that is meant")
        };
        found.push(problem.node(node.name.clone()));
    }
    found.into_iter().for_each(|p| c.report(p));
}
