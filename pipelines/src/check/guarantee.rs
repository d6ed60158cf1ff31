//! What each sink gives, and whether that is what is asked.
//!
//! A sink gives the least of what it can promise itself and what every node on the way to it can.

use super::Check;
use crate::catalogue::{Catalogue, Guarantee, Role};
use crate::codes;
use crate::document::{Document, Node};
use crate::graph::{edges, followers, spread};
use millstream_problem::Problem;

/// The label of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkGuarantee {
    /// The sink.
    pub sink: String,
    /// What it gives.
    pub gives: Guarantee,
    /// The node that keeps it from giving more; the sink itself where nothing does.
    pub weakest: String,
    /// What is asked: by the sink, else by the pipeline.
    pub asked: Option<Guarantee>,
}

/// The label of every sink, in the order of the file. `of` knows better than the catalogue for one
/// node (a QoS in its config, a source that cannot be read again); it may say nothing.
pub fn guarantees(
    document: &Document,
    catalogue: &Catalogue,
    of: &dyn Fn(&Node) -> Option<Guarantee>,
) -> Vec<SinkGuarantee> {
    let back = followers(document.nodes.len(), edges(document).iter().map(|e| (e.to, e.from)));
    let promise =
        |n: &Node| of(n).or_else(|| catalogue.kind(&n.kind).map(|k| k.guarantee)).unwrap_or(Guarantee::ExactlyOnce);
    let mut all = Vec::new();
    for (i, sink) in document.nodes.iter().enumerate() {
        if catalogue.kind(&sink.kind).is_none_or(|k| k.role != Role::Sink) {
            continue;
        }
        let mut before = vec![false; document.nodes.len()];
        before[i] = true;
        spread(&mut before, &back);
        // A sink before this one is there for its errors only, which leave in the same commit as its
        // progress: what it promises outside does not weaken them.
        let is_sink = |n: usize| catalogue.kind(&document.nodes[n].kind).is_some_and(|k| k.role == Role::Sink);
        // The sink first: of two equally weak nodes it is the one to look at.
        let others = (0..before.len()).filter(|n| before[*n] && !is_sink(*n));
        let weakest = std::iter::once(i).chain(others).min_by_key(|n| promise(&document.nodes[*n])).unwrap_or(i);
        all.push(SinkGuarantee {
            sink: sink.name.clone(),
            gives: promise(&document.nodes[weakest]),
            weakest: document.nodes[weakest].name.clone(),
            asked: sink.guarantee.as_ref().or(document.guarantee.as_ref()).map(|g| g.value),
        });
    }
    all
}

/// The word in the file.
pub fn word(g: Guarantee) -> &'static str {
    match g {
        Guarantee::AtMostOnce => "at_most_once",
        Guarantee::AtLeastOnce => "at_least_once",
        Guarantee::ExactlyOnce => "exactly_once",
    }
}

/// The problem with a sink's label: an error where more is asked, a note where nothing is.
pub fn problem(document: &Document, label: &SinkGuarantee) -> Option<Problem> {
    let sink = document.node(&label.sink)?;
    let weakest = document.node(&label.weakest)?;
    let reason = format!("`{}` ({}) gives {}", weakest.name, weakest.kind.value, word(label.gives));
    match label.asked {
        Some(asked) if asked > label.gives => {
            let span = sink.guarantee.as_ref().map_or(sink.kind.span, |g| g.span);
            let what = format!("{} is asked of `{}`, but {reason}", word(asked), sink.name);
            let mut problem = document.source.error(span, codes::GUARANTEE, what).node(sink.name.clone());
            problem = problem.found(word(label.gives)).expected(word(asked));
            if weakest.name != sink.name {
                problem = problem.also(document.place(weakest.kind.span), "the weakest edge");
            }
            if let (None, Some(top)) = (&sink.guarantee, &document.guarantee) {
                problem = problem.also(document.place(top.span), "asked here");
            }
            Some(problem.help(format!(
                "write `guarantee: {}` in `{}` to accept that, or use another kind",
                word(label.gives),
                sink.name
            )))
        }
        None if label.gives < Guarantee::ExactlyOnce => {
            let what = format!("`{}` gives {}: {reason}", sink.name, word(label.gives));
            let what = if weakest.name == sink.name {
                format!("`{}` ({}) gives {}", sink.name, sink.kind.value, word(label.gives))
            } else {
                what
            };
            Some(Problem::note(codes::GUARANTEE, what).at(document.place(sink.kind.span)).node(sink.name.clone()))
        }
        _ => None,
    }
}

pub(super) fn check(c: &mut Check<'_>) {
    for label in guarantees(c.document, c.catalogue, &|_| None) {
        if let Some(problem) = problem(c.document, &label) {
            c.report(problem);
        }
    }
}
