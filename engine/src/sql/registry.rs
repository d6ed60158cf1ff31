//! The one list of functions, and the context in which SQL is planned.

use super::caps::capped;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Functions of the wall clock: constant per epoch, which nothing supplies yet.
pub(super) const CLOCK_FUNCTIONS: [&str; 5] = ["now", "current_timestamp", "current_date", "current_time", "today"];

/// All scalar and aggregate functions by name and alias.
pub(super) struct Functions {
    scalar: BTreeMap<String, Arc<ScalarUDF>>,
    aggregate: BTreeMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

impl Functions {
    fn new() -> Functions {
        let mut scalar = BTreeMap::new();
        for function in datafusion_functions::all_default_functions() {
            if CLOCK_FUNCTIONS.contains(&function.name()) {
                continue;
            }
            let function = capped(function);
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                scalar.insert(name.to_owned(), Arc::clone(&function));
            }
        }
        let mut aggregate = BTreeMap::new();
        for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                aggregate.insert(name.to_owned(), Arc::clone(&function));
            }
        }
        Functions {
            scalar,
            aggregate,
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            ],
            options: options(),
        }
    }
    /// The options of planning: UTC, no rule skipped.
    pub(super) fn options(&self) -> &ConfigOptions {
        &self.options
    }
    /// The names of all scalar functions.
    pub(super) fn scalar_names(&self) -> impl Iterator<Item = &str> {
        self.scalar.keys().map(String::as_str)
    }
    /// The names of all aggregate functions.
    pub(super) fn aggregate_names(&self) -> impl Iterator<Item = &str> {
        self.aggregate.keys().map(String::as_str)
    }
}

fn options() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some("+00:00".to_owned());
    options.optimizer.filter_null_join_keys = false;
    options.optimizer.skip_failed_rules = false;
    options.sql_parser.enable_subquery_sort_elimination = false;
    options
}

/// Named inputs and the functions, for one planning.
#[derive(Default)]
pub(super) struct Catalog {
    inputs: BTreeMap<String, Arc<dyn TableSource>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
}

impl Catalog {
    /// Without inputs: for scalar expressions.
    pub(super) fn empty() -> Catalog {
        Catalog::default()
    }
    /// With the inputs of a query.
    pub(super) fn new<'a>(
        inputs: impl IntoIterator<Item = (&'a str, SchemaRef)>,
        relations: Vec<Arc<dyn RelationPlanner>>,
    ) -> Catalog {
        let source = |schema| Arc::new(Source(schema)) as Arc<dyn TableSource>;
        Catalog { inputs: inputs.into_iter().map(|(n, s)| (n.to_owned(), source(s))).collect(), relations }
    }
}

/// An input as DataFusion sees it; takes over no filter, so that all stay in the plan.
struct Source(SchemaRef);

impl TableSource for Source {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.inputs.get(name.table()) {
            Some(source) => Ok(Arc::clone(source)),
            None => plan_err!("table '{name}' not found"),
        }
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &FUNCTIONS.planners
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalar.get(name).cloned()
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregate.get(name).cloned()
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &FUNCTIONS.options
    }
    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate.keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
