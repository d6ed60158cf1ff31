//! All problems of a document in one pass: structure, names, keys, edges, guarantees, tests.
//!
//! A document is checked before or after [`Document::resolve`]; before it, values that are not known
//! yet fit everywhere.

mod config;
mod event_time;
mod guarantee;
mod inputs;
mod names;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use config::allowed;
pub use guarantee::{SinkGuarantee, guarantees, problem as guarantee_problem, word as guarantee_word};

use crate::PROBLEMS_MAX;
use crate::catalogue::{Catalogue, KindInfo, Role};
use crate::codes;
use crate::document::{Document, Node, TestFile};
use crate::graph::{Edge, edges, order};
use crate::references;
use crate::source::{Source, Span};
use millstream_problem::{Place, Problem, Severity, nearest};

/// Everything that is wrong, weak or worth knowing, in the order of the file; at most
/// [`PROBLEMS_MAX`], errors before the rest where there are more.
pub fn check(document: &Document, catalogue: &Catalogue) -> Vec<Problem> {
    let mut c = Check { document, catalogue, edges: edges(document), problems: document.problems.clone() };
    references::check(document, &mut c.problems);
    names::check(&mut c);
    for node in &document.nodes {
        config::check(&mut c, node);
        inputs::check(&mut c, node);
    }
    inputs::unused(&mut c);
    // What follows asks who feeds whom, which a cycle leaves without an answer.
    if cycle(&mut c) {
        guarantee::check(&mut c);
        event_time::check(&mut c);
    }
    names::tests(&mut c, &document.source, &document.tests);
    finish(c.problems)
}

/// Checks a `*.test.yaml` file against the pipeline that it tests.
pub fn check_tests(tests: &TestFile, document: &Document, catalogue: &Catalogue) -> Vec<Problem> {
    let mut c = Check { document, catalogue, edges: Vec::new(), problems: tests.problems.clone() };
    names::tests(&mut c, &tests.source, &tests.tests);
    finish(c.problems)
}

/// What the single checks share.
pub(crate) struct Check<'a> {
    pub document: &'a Document,
    pub catalogue: &'a Catalogue,
    pub edges: Vec<Edge>,
    pub problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn kind(&self, node: &Node) -> Option<&'a KindInfo> {
        self.catalogue.kind(&node.kind)
    }
    fn error(&self, span: Span, code: &'static str, what: impl Into<String>) -> Problem {
        self.document.source.error(span, code, what)
    }
    fn warning(&self, span: Span, code: &'static str, what: impl Into<String>) -> Problem {
        self.document.source.warning(span, code, what)
    }
    fn place(&self, span: Span) -> Place {
        self.document.source.place(span)
    }
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
    fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.document.nodes.iter().map(|n| n.name.as_str())
    }
    /// The node of a name, or the problem that there is none.
    fn find(&self, source: &Source, name: &str, span: Span) -> Result<&'a Node, Problem> {
        self.document.node(name).ok_or_else(|| {
            let problem = source.error(span, codes::DANGLING, format!("there is no node `{name}`"));
            // Of very many problems few are shown: no time for suggestions then.
            let near = (self.problems.len() < 2 * PROBLEMS_MAX).then(|| nearest(name, self.names())).flatten();
            match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.expected(format!("one of {}", self.names().take(50).collect::<Vec<_>>().join(", "))),
            }
        })
    }
}

fn finish(mut problems: Vec<Problem>) -> Vec<Problem> {
    let start = |p: &Problem| match &p.place {
        Some(Place::Text { line, column, .. }) => (*line, *column),
        _ => (0, 0),
    };
    problems.sort_by_key(start);
    let mut seen = std::collections::HashSet::new();
    problems.retain(|p| seen.insert((start(p), p.code.clone(), p.what.clone())));
    if problems.len() > PROBLEMS_MAX {
        let all = problems.len();
        problems.sort_by_key(|p| std::cmp::Reverse(p.severity));
        problems.truncate(PROBLEMS_MAX - 1);
        problems.sort_by_key(start);
        let errors = problems.iter().any(Problem::is_error);
        let what = format!("{} more problems are not shown", all - problems.len());
        let mut more = Problem::note(codes::MORE, what);
        more.severity = if errors { Severity::Error } else { Severity::Warning };
        problems.push(more.help("mend the first ones and check again"));
    }
    problems
}

/// The ports of a node: `""` for the main one; `errors` last. `None` where only the values of references say.
pub fn ports(node: &Node, kind: &KindInfo) -> Option<Vec<String>> {
    let mut all = kind.ports.clone();
    if let Some(value) = kind.ports_from.as_ref().and_then(|key| node.config.get(&[key])) {
        match (value.as_map(), value.as_list()) {
            (Some(_), _) if references::is_deferred(value) => return None,
            (Some(map), _) => all.extend(map.iter().map(|e| e.key.clone())),
            (_, Some(list)) => {
                let name =
                    |n: &crate::tree::Node| n.as_str().or_else(|| n.get(&["name"])?.as_str()).map(str::to_string);
                all.extend(list.iter().filter_map(name));
            }
            _ => return None,
        }
    }
    if kind.role == Role::Sink {
        all.retain(|p| !p.is_empty());
    }
    if !all.iter().any(|p| p == "errors") {
        all.push("errors".into());
    }
    Some(all)
}

/// True without a cycle.
fn cycle(c: &mut Check<'_>) -> bool {
    let Err(nodes) = order(c.document.nodes.len(), &c.edges) else {
        return true;
    };
    let all = &c.document.nodes;
    let mut path: Vec<&str> = nodes.iter().map(|i| all[*i].name.as_str()).collect();
    path.push(path[0]);
    let last = nodes[nodes.len() - 1];
    let closing = c.edges.iter().find(|e| e.from == last && e.to == nodes[0]).expect("the last one feeds the first");
    let problem = c.error(closing.span, codes::CYCLE, "nodes feed themselves").found(path.join(" -> "));
    let problem = problem.node(all[nodes[0]].name.clone()).help("take one of these edges away");
    c.report(problem);
    false
}
