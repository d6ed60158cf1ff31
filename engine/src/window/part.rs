//! A table of groups with one accumulator per aggregate.

use super::expr::failed;
use super::plan::{Inputs, Plan, States};
use super::table::Groups;
use crate::Result;
use arrow::array::ArrayRef;
use datafusion_expr::{EmitTo, GroupsAccumulator};

/// Aggregates per key.
pub(super) struct Part {
    groups: Groups,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

impl Part {
    pub(super) fn new(plan: &Plan) -> Result<Part> {
        Ok(Part { groups: Groups::new(&plan.key_types)?, accumulators: plan.accumulators()? })
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes() + self.accumulators.iter().map(|a| a.size()).sum::<usize>()
    }

    /// Adds rows. `scratch` is room for one group number per row, kept between calls.
    pub(super) fn update(&mut self, inputs: &Inputs, scratch: &mut Vec<usize>) -> Result<()> {
        self.groups.intern(&inputs.keys, inputs.rows, scratch)?;
        let total = self.groups.len();
        let each = self.accumulators.iter_mut().zip(inputs.args.iter().zip(&inputs.filters));
        for (accumulator, (args, filter)) in each {
            accumulator.update_batch(args, scratch, filter.as_ref(), total).map_err(failed)?;
        }
        Ok(())
    }

    /// Adds partial aggregates.
    pub(super) fn merge(&mut self, plan: &Plan, states: &States, scratch: &mut Vec<usize>) -> Result<()> {
        self.groups.intern(&states.keys, states.rows, scratch)?;
        let (total, mut at) = (self.groups.len(), 0);
        for (accumulator, fields) in self.accumulators.iter_mut().zip(&plan.states) {
            let columns = &states.states[at..at + fields.len()];
            accumulator.merge_batch(columns, scratch, total).map_err(failed)?;
            at += fields.len();
        }
        Ok(())
    }

    /// Gives up everything as partial aggregates.
    pub(super) fn into_states(mut self) -> Result<States> {
        let (rows, keys) = (self.groups.len(), self.groups.keys()?);
        let mut states = Vec::new();
        for accumulator in &mut self.accumulators {
            states.extend(accumulator.state(EmitTo::All).map_err(failed)?);
        }
        Ok(States { rows, keys, states })
    }

    /// Gives up everything as keys and results.
    pub(super) fn into_results(mut self) -> Result<(usize, Vec<ArrayRef>, Vec<ArrayRef>)> {
        let (rows, keys) = (self.groups.len(), self.groups.keys()?);
        let results = self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All).map_err(failed));
        Ok((rows, keys, results.collect::<Result<_>>()?))
    }
}
