//! Subscriptions: a running job's rows, epoch by epoch, for programs and previews.
//!
//! A watch is declared before the job starts, on one port of one node; it costs a queue, and nothing where
//! nobody watches. Rows arrive in whole epochs: a subscriber never sees half of one.

use super::shared::Shared;
use crate::batch::Batch;
use crate::plan::NodeId;
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What a subscriber gets: rows of a closed epoch from one worker.
#[derive(Debug)]
pub struct Watched {
    /// The epoch.
    pub epoch: Epoch,
    /// Which worker.
    pub worker: usize,
    /// The rows, in the order in which they came.
    pub rows: Vec<Batch>,
}

/// All watches of a job.
#[derive(Default)]
pub(crate) struct Watches {
    list: Vec<(NodeId, usize, Sender<Watched>)>,
}

impl Watches {
    pub fn add(&mut self, node: NodeId, port: usize, sender: Sender<Watched>) {
        self.list.push((node, port, sender));
    }
    pub fn is_watched(&self, node: NodeId) -> bool {
        self.list.iter().any(|(n, _, _)| *n == node)
    }
    pub fn of(&self, node: NodeId) -> BTreeMap<usize, Vec<Sender<Watched>>> {
        let mut by_port: BTreeMap<usize, Vec<Sender<Watched>>> = BTreeMap::new();
        for (_, port, sender) in self.list.iter().filter(|(n, _, _)| *n == node) {
            by_port.entry(*port).or_default().push(sender.clone());
        }
        by_port
    }
}

pub(crate) fn build(
    input: Stream<'_, Epoch, Batch>,
    shared: Arc<Shared>,
    subscribers: Vec<Sender<Watched>>,
    worker: usize,
) {
    let mut builder = OperatorBuilder::new("watch".to_string(), input.scope());
    let mut pull = builder.new_input(input, Pipeline);
    builder.build(move |_| {
        let mut open: BTreeMap<Epoch, Vec<Batch>> = BTreeMap::new();
        move |frontiers| {
            if shared.poisoned() {
                return;
            }
            pull.for_each(|capability, batch| {
                let epoch = *capability.least().expect("a message carries its epoch");
                open.entry(epoch).or_default().push(std::mem::take(batch));
            });
            let low = super::worker::low(frontiers);
            while let Some(entry) = open.first_entry().filter(|e| *e.key() < low) {
                let (epoch, rows) = entry.remove_entry();
                for subscriber in &subscribers {
                    // A subscriber that has gone needs nothing any more.
                    let _ = subscriber.send(Watched { epoch, worker, rows: rows.clone() });
                }
            }
        }
    });
}
