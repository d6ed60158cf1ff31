//! A checkpoint as a changed pipeline sees it: nodes under other names, nodes given up.
//!
//! The mapping happens in memory, once, at the start: [`Committed::evolved`] is what the job restores from,
//! [`CommitLog::evolve`] makes the log go on from the same. Nothing is written before the first checkpoint
//! of the new pipeline, so a start that fails leaves the old state as it was. Blocks keep the id under which
//! they were written; the record names those ids beside the new one.

use super::committed::Committed;
use super::live::Live;
use super::log::CommitLog;
use super::record::Checkpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What has changed, in names of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evolution {
    /// Nodes under another name, by the old one.
    pub renamed: BTreeMap<String, String>,
    /// Nodes of which nothing is kept.
    pub dropped: BTreeSet<String>,
    /// The fingerprints that states have from now on, by new id, where they differ.
    pub fingerprints: BTreeMap<String, String>,
}

impl Evolution {
    /// The name that a node of the checkpoint now has; `None` = it is given up.
    pub fn node<'a>(&'a self, node: &'a str) -> Option<&'a str> {
        match self.dropped.contains(node) {
            true => None,
            false => Some(self.renamed.get(node).map_or(node, String::as_str)),
        }
    }

    /// The same for what begins with a node's name: `<node>/<rest>`.
    pub fn id(&self, id: &str) -> Option<String> {
        let (node, rest) = id.split_once('/').unwrap_or((id, ""));
        Some(format!("{}/{rest}", self.node(node)?))
    }

    fn live(&self, live: &Live) -> Live {
        let mut new = Live::default();
        for (id, state) in &live.state {
            let Some(id) = self.id(id) else { continue };
            let mut state = state.clone();
            if let Some(fingerprint) = self.fingerprints.get(&id) {
                state.fingerprint.clone_from(fingerprint);
            }
            new.state.insert(id, state);
        }
        new.attached = live.attached.clone();
        new.attached.retain_mut(|attached| match self.node(&attached.owner).map(str::to_string) {
            Some(owner) => {
                attached.owner = owner;
                true
            }
            None => false,
        });
        new
    }

    fn body(&self, body: &Checkpoint, live: &Live) -> Checkpoint {
        let renamed = |node: &String| self.node(node).map(str::to_string);
        Checkpoint {
            sources: body.sources.iter().filter_map(|(n, p)| Some((renamed(n)?, p.clone()))).collect(),
            sinks: body.sinks.iter().filter_map(|(n, h)| Some((renamed(n)?, h.clone()))).collect(),
            watermarks: body.watermarks.iter().filter_map(|(id, w)| Some((self.id(id)?, *w))).collect(),
            attached: live.attached.clone(),
            ..body.clone()
        }
    }
}

impl Committed {
    /// The same checkpoint under the names of a changed pipeline.
    pub fn evolved(&self, evolution: &Evolution) -> Committed {
        let live = evolution.live(&self.live);
        let body = evolution.body(&self.body, &live);
        Committed { body: Arc::new(body), live: Arc::new(live), ..self.clone() }
    }
}

impl CommitLog {
    /// Goes on under the names of a changed pipeline, from the next commit on.
    pub fn evolve(&mut self, evolution: &Evolution) {
        self.live = Arc::new(evolution.live(&self.live));
    }
}
