//! The keys of one node: its kind, the keys common to all, the keys of the kind.

use super::Check;
use crate::catalogue::{COMMON_KEYS, Inputs, KindInfo};
use crate::codes;
use crate::document::Node;
use crate::tree::{self, Value, quote, userinfo_password};
use crate::validate::Validator;
use millstream_problem::nearest;

pub(super) fn check(c: &mut Check<'_>, node: &Node) {
    credentials(c, node, &node.config);
    let Some(kind) = c.kind(node) else {
        return unknown_kind(c, node);
    };
    let allowed = allowed(kind);
    common(c, node, kind, &allowed);
    let v =
        Validator { source: &c.document.source, root: &kind.config, resolved: c.document.resolved, beside: &allowed };
    let problems = v.check(&node.config, &kind.config, &node.name, Some(node.name_span));
    c.problems.extend(problems.into_iter().map(|p| p.node(node.name.clone())));
    connection(c, node);
}

/// The common keys that stand in a node of this kind.
pub(crate) fn allowed(kind: &KindInfo) -> Vec<&str> {
    let fits = |key: &&str| match *key {
        "kind" | "description" | "was" | "on_error" => true,
        "from" => kind.inputs != Inputs::None,
        key => kind.common.iter().any(|k| k == key),
    };
    COMMON_KEYS.into_iter().filter(fits).collect()
}

fn unknown_kind(c: &mut Check<'_>, node: &Node) {
    if node.kind.is_empty() {
        return; // Missing, or no string: reported where it was read.
    }
    let names = || c.catalogue.kinds.iter().map(|k| k.name.as_str());
    let problem = c
        .error(node.kind.span, codes::UNKNOWN_KIND, format!("unknown kind `{}`", node.kind.value))
        .node(node.name.clone());
    let problem = match nearest(&node.kind, names()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("`millstream components` lists all kinds"),
    };
    let problem = problem.expected(format!("one of {}", names().collect::<Vec<_>>().join(", ")));
    c.report(problem);
}

fn common(c: &mut Check<'_>, node: &Node, kind: &KindInfo, allowed: &[&str]) {
    for key in &node.common {
        // `from` at a source has a message of its own.
        if key.value == "from" || allowed.contains(&key.value.as_str()) {
            continue;
        }
        let what = format!("`{}` makes no sense for a `{}`", key.value, kind.name);
        let problem = c.error(key.span, codes::KEY_NOT_ALLOWED, what).node(node.name.clone());
        let twin = match key.value.as_str() {
            "schema" => allowed.contains(&"output").then_some("write `output`"),
            "output" => allowed.contains(&"schema").then_some("write `schema`"),
            _ => None,
        };
        c.report(problem.help(
            twin.map_or_else(|| format!("remove it; common keys here are {}", allowed.join(", ")), str::to_string),
        ));
    }
}

fn connection(c: &mut Check<'_>, node: &Node) {
    let Some(value) = node.config.get(&["connection"]) else {
        return;
    };
    let Some(name) = value.as_str().filter(|s| !s.contains("${")) else {
        return;
    };
    if c.document.connection(name).is_some() {
        return;
    }
    let problem =
        c.error(value.span, codes::DANGLING, format!("there is no connection `{name}`")).node(node.name.clone());
    let problem = match nearest(name, c.document.connections.iter().map(|c| c.name.as_str())) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("declare it: `connections: {{ {name}: {{ kind: … }} }}`")),
    };
    c.report(problem);
}

/// Passwords in URLs, anywhere in a node's or connection's keys.
pub(super) fn credentials(c: &mut Check<'_>, node: &Node, tree: &tree::Node) {
    let mut found = Vec::new();
    urls(tree, &mut found);
    for n in found {
        let problem = c
            .warning(n.span, codes::SECRET, "a password stands in the file")
            .found(quote(n.as_str().unwrap_or_default()));
        let problem = problem.expected("{ secret: name } or { env: NAME }").help("whoever reads the file reads it too");
        c.report(problem.node(node.name.clone()));
    }
}

pub(super) fn urls<'a>(tree: &'a tree::Node, found: &mut Vec<&'a tree::Node>) {
    match &tree.value {
        Value::String(s) if userinfo_password(s).is_some_and(|r| !s[r].contains("${")) => found.push(tree),
        Value::List(list) => list.iter().for_each(|n| urls(n, found)),
        Value::Map(map) => map.iter().for_each(|e| urls(&e.value, found)),
        _ => {}
    }
}
