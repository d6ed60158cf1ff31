//! The edges of a document: who reads whom.

use crate::document::{Document, Node, NodeRef};
use crate::source::Span;
use std::collections::HashMap;

/// Records go from a port of one node into an input of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Index of the node that gives, in [`Document::nodes`].
    pub from: usize,
    /// Its port; empty for the main one.
    pub port: String,
    /// Index of the node that takes.
    pub to: usize,
    /// Its input; empty for the unnamed one.
    pub input: String,
    /// Where the reference stands, in `to`.
    pub span: Span,
}

/// All edges whose nodes exist, in the order of the file; `*.errors` written out. Ports are not checked.
///
/// `*.errors` takes the `errors` port of every node but of those behind a `*.errors`: otherwise a node would
/// feed itself. Their own errors go to the dead-letter store.
pub fn edges(document: &Document) -> Vec<Edge> {
    let index: HashMap<&str, usize> =
        document.nodes.iter().enumerate().rev().map(|(i, n)| (n.name.as_str(), i)).collect();
    let plain = plain_edges(document, &index);
    let behind = behind_wildcards(document, &plain);
    let mut all = Vec::new();
    for (to, node) in document.nodes.iter().enumerate() {
        for (input, r) in node.from.refs() {
            if r.is_wildcard() && r.port == "errors" {
                let others = (0..document.nodes.len()).filter(|i| !behind[*i]);
                all.extend(others.map(|from| edge(from, r, to, input)));
            } else if let Some(from) = index.get(r.node.as_str()) {
                all.push(edge(*from, r, to, input));
            }
        }
    }
    all
}

fn edge(from: usize, r: &NodeRef, to: usize, input: &str) -> Edge {
    Edge { from, port: r.port.clone(), to, input: input.into(), span: r.span }
}

fn plain_edges(document: &Document, index: &HashMap<&str, usize>) -> Vec<(usize, usize)> {
    let refs = |(to, node): (usize, &Node)| {
        let from: Vec<usize> = node.from.refs().filter_map(|(_, r)| index.get(r.node.as_str()).copied()).collect();
        from.into_iter().map(move |from| (from, to))
    };
    document.nodes.iter().enumerate().flat_map(refs).collect()
}

fn behind_wildcards(document: &Document, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut behind: Vec<bool> = document.nodes.iter().map(|n| n.from.refs().any(|(_, r)| r.is_wildcard())).collect();
    spread(&mut behind, &followers(document.nodes.len(), edges.iter().copied()));
    behind
}

/// For each node those that follow it, each once.
pub(crate) fn followers(nodes: usize, pairs: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let mut next = vec![Vec::new(); nodes];
    pairs.for_each(|(from, to)| next[from].push(to));
    next.iter_mut().for_each(|list: &mut Vec<usize>| {
        list.sort_unstable();
        list.dedup();
    });
    next
}

/// Marks everything that is reached from what is marked.
pub(crate) fn spread(marked: &mut [bool], next: &[Vec<usize>]) {
    let mut open: Vec<usize> = (0..marked.len()).filter(|i| marked[*i]).collect();
    while let Some(i) = open.pop() {
        for to in &next[i] {
            if !std::mem::replace(&mut marked[*to], true) {
                open.push(*to);
            }
        }
    }
}

/// The nodes so that each comes behind those it reads, otherwise in the order of the file.
///
/// # Errors
/// A cycle: its nodes in the direction of the records, the first one not repeated.
pub fn order(nodes: usize, edges: &[Edge]) -> Result<Vec<usize>, Vec<usize>> {
    let mut inputs = vec![Vec::new(); nodes];
    edges.iter().for_each(|e| inputs[e.to].push(e.from));
    let mut done = vec![false; nodes];
    let mut order = Vec::with_capacity(nodes);
    loop {
        let before = order.len();
        for i in 0..nodes {
            if !done[i] && inputs[i].iter().all(|from| done[*from]) {
                done[i] = true;
                order.push(i);
            }
        }
        if order.len() == nodes {
            return Ok(order);
        }
        if order.len() == before {
            return Err(cycle(&inputs, &done));
        }
    }
}

/// Every node that is not done has an input that is not done: going back must come round.
fn cycle(inputs: &[Vec<usize>], done: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = done.iter().position(|d| !d).expect("called only where something is left");
    while !path.contains(&at) {
        path.push(at);
        at = *inputs[at].iter().find(|i| !done[**i]).expect("what is not done waits for something not done");
    }
    let start = path.iter().position(|i| *i == at).expect("it is in the path");
    let mut cycle = path.split_off(start);
    cycle.reverse();
    let first = cycle.iter().enumerate().min_by_key(|(_, i)| **i).map_or(0, |(at, _)| at);
    cycle.rotate_left(first);
    cycle
}
