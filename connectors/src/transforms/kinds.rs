//! The transforms in the registry: what stands in the file, and which plan it becomes.
//!
//! Forms and SQL meet in one plan: `filter`, `select` and `window` become what the equal `sql` node becomes.

use super::ordered::Ordered;
use super::parse::{self, ParseConfig};
use super::redact::{self, RedactConfig};
use super::route::{ELSE, Predicate, Route, RouteConfig};
use super::{Planned, Reads};
use crate::kind::{Build, Kind, allowing, boxed, entry};
use crate::schema::timestamp;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use millstream::dedupe::{Dedupe as DedupeOperator, DedupeSpec, Remember};
use millstream::operator::StageFactory;
use millstream::plan::{Input, Work};
use millstream::sql::{self, Expression, Lowered, QueryInput, QueryPlan, WindowForm};
use millstream::{Problem, Result};
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use millstream_pipelines::units::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `filter`.
pub struct Filter;
/// `select`.
pub struct Select;
/// `sql`.
pub struct Sql;
/// `window`.
pub struct Window;
/// `parse`.
pub struct Parse;
/// `redact`.
pub struct Redact;
/// `route`.
pub struct RouteKind;
/// `dedupe`.
pub struct Dedupe;
/// `union`.
pub struct Union;

/// Lets rows pass for which a condition holds. A row for which it is NULL does not pass.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {}

impl Kind for Filter {
    fn info(&self) -> KindInfo {
        let info = entry::<FilterConfig>(
            "filter",
            Role::Transform,
            Inputs::One,
            "version: 1
name: only-errors
nodes:
  lines: { kind: stdin, format: ndjson, schema: { level: string, msg: string } }
  errors: { kind: filter, from: lines, where: level = 'ERROR' }
  out: { kind: stdout, from: errors, guarantee: at_most_once }
",
        );
        allowing(info, &["where", "event_time"])
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        build.config::<FilterConfig>()?;
        let Some(condition) = build.node.where_.clone() else {
            return Err(vec![
                build
                    .node
                    .error(&[], "PIPE-MISSING-KEY", "a filter needs its condition")
                    .expected("`where: <SQL condition>`"),
            ]);
        };
        let planned = sql::filter(&condition, &build.input().schema).map_err(|p| vec![build.at(condition.span, p)])?;
        build.stage(planned.output, planned.reads, planned.stage);
        Ok(())
    }
}

/// Makes new columns from old ones, each a SQL expression. What is not named is gone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectConfig {
    /// Output columns in order, each with its expression over the input's columns.
    pub columns: Ordered,
}

impl Kind for Select {
    fn info(&self) -> KindInfo {
        let info = entry::<SelectConfig>(
            "select",
            Role::Transform,
            Inputs::One,
            "version: 1
name: totals
nodes:
  orders: { kind: stdin, format: ndjson, schema: { id: int64, price: float64, pieces: int64 } }
  totals:
    kind: select
    from: orders
    columns: { id: id, total: price * pieces }
  out: { kind: stdout, from: totals, guarantee: at_most_once }
",
        );
        allowing(info, &["event_time"])
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: SelectConfig = build.config()?;
        let columns: Vec<(String, String)> =
            config.columns.iter().map(|(n, e)| (n.to_string(), e.to_string())).collect();
        let planned = sql::select(&columns, &build.input().schema);
        let planned =
            planned.map_err(|all| all.into_iter().map(|p| in_key(build, &["columns"], p)).collect::<Vec<_>>())?;
        build.stage(planned.output, planned.reads, planned.stage);
        Ok(())
    }
}

/// A problem inside a text of the config: it stands where the text stands.
fn in_key(build: &Build<'_>, path: &[&str], problem: Problem) -> Problem {
    let span = build.node.config.get(path).map_or(build.node.name_span, |n| n.span);
    build.at(span, problem)
}

/// One SELECT over the node's inputs, with SQL's expressions, WHERE, GROUP BY over windows, and joins
/// within windows. Windows are functions in FROM: `tumble(t, ts, INTERVAL '1 minute')`,
/// `hop(t, ts, slide, size)`, `session(t, ts, gap)`; they add `window_start` and `window_end`. What is
/// not offered is refused by name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// The query; inputs are tables by the names under `from`.
    pub query: String,
    /// When results leave: `on_close`, once the watermark has passed the window's end.
    #[serde(default)]
    pub emit: EmitWhen,
    /// How long a window stays open for late rows after the watermark has passed its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_lateness: Option<Duration>,
}

/// When results leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmitWhen {
    /// Once per window, when it closes.
    #[default]
    OnClose,
}

impl Kind for Sql {
    fn info(&self) -> KindInfo {
        let mut info = entry::<SqlConfig>(
            "sql",
            Role::Transform,
            Inputs::Named,
            "version: 1
name: errors-per-minute
nodes:
  logs:
    kind: stdin
    format: ndjson
    schema: { ts: timestamp!, level: string, svc: string }
    event_time: { field: ts, out_of_order: 5s }
  counts:
    kind: sql
    from: { e: logs }
    query: |
      SELECT svc, window_end, count(*) AS errors
      FROM tumble(e, ts, INTERVAL '1 minute')
      WHERE level = 'ERROR'
      GROUP BY svc, window_start, window_end
  out: { kind: stdout, from: counts, guarantee: at_most_once }
",
        );
        info.ports.push("late".into());
        info
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: SqlConfig = build.config()?;
        let inputs: Vec<QueryInput> = build
            .inputs
            .iter()
            .map(|i| QueryInput {
                name: i.name.clone(),
                schema: Arc::clone(&i.schema),
                event_time: i.event_time.clone(),
            })
            .collect();
        let plan = sql::plan_query(&build.node.name, &inputs, &config.query).map_err(|p| vec![in_query(build, p)])?;
        attach(build, plan, config.allowed_lateness)
    }
}

/// A problem inside the query: its line and column count from where the query's text begins.
fn in_query(build: &Build<'_>, problem: Problem) -> Problem {
    let inside = match &problem.place {
        Some(millstream::Place::Text { line, column, .. }) => Some((*line, *column)),
        _ => None,
    };
    let problem = in_key(build, &["query"], problem);
    match inside {
        Some((line, column)) => {
            let what = format!("{} (line {line}, column {column} of the query)", problem.what);
            let mut problem = problem;
            problem.what = what;
            problem
        }
        None => problem,
    }
}

/// Adds the operators of a planned query and declares the node's ports.
fn attach(build: &mut Build<'_>, mut plan: QueryPlan, lateness: Option<Duration>) -> Result<(), Vec<Problem>> {
    if let Some(lateness) = lateness {
        allow_lateness(&mut plan.root, lateness.micros());
    }
    let inputs = build.inputs.iter().map(|i| (i.name.clone(), i.input.clone())).collect();
    let attached = sql::attach(build.pipeline, &build.node.name, &inputs, &plan, build.workers);
    let attached = attached.map_err(|p| vec![in_key(build, &["query"], p)])?;
    build.put("", Input::from(attached.root), plan.output, plan.event_time);
    build.late(attached.late);
    Ok(())
}

fn allow_lateness(lowered: &mut Lowered, micros: i64) {
    match lowered {
        Lowered::Input { .. } => {}
        Lowered::Stage { input, .. } => allow_lateness(input, micros),
        Lowered::WindowAggregate { input, spec } => {
            spec.allowed_lateness_us = micros;
            allow_lateness(input, micros);
        }
        Lowered::WindowJoin { left, right, spec } => {
            spec.allowed_lateness_us = micros;
            allow_lateness(left, micros);
            allow_lateness(right, micros);
        }
        Lowered::Union { inputs } => inputs.iter_mut().for_each(|i| allow_lateness(i, micros)),
    }
}

/// Aggregates per window of event time: what a person fills in, the same plan as the equal `sql` node.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// A window begins this often.
    pub every: Duration,
    /// How long a window is; as long as `every` without this key, so that windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Duration>,
    /// Columns to group by.
    #[serde(default)]
    pub by: Vec<String>,
    /// Output columns and their aggregates: `errors: count(*)`.
    pub select: Ordered,
    /// How long a window stays open for late rows after the watermark has passed its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_lateness: Option<Duration>,
}

impl Kind for Window {
    fn info(&self) -> KindInfo {
        let mut info = entry::<WindowConfig>(
            "window",
            Role::Transform,
            Inputs::One,
            "version: 1
name: sales-per-minute
nodes:
  sales:
    kind: stdin
    format: ndjson
    schema: { at: timestamp!, region: string, amount: float64 }
    event_time: { field: at, out_of_order: 5s }
  per_minute:
    kind: window
    from: sales
    every: 1m
    by: [region]
    select: { sales: count(*), total: sum(amount) }
  out: { kind: stdout, from: per_minute, guarantee: at_most_once }
",
        );
        info.ports.push("late".into());
        info
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: WindowConfig = build.config()?;
        let input = build.input();
        let Some(time) = input.event_time.clone() else {
            return Err(vec![
                build
                    .node
                    .error(&[], "PIPE-EVENT-TIME", "a window needs an event-time column in its input")
                    .help("declare `event_time: { field: … }` on the source or on a transform before this node"),
            ]);
        };
        let query_input =
            QueryInput { name: input.name.clone(), schema: Arc::clone(&input.schema), event_time: Some(time.clone()) };
        let form = WindowForm {
            size_us: config.size.unwrap_or(config.every).micros(),
            slide_us: config.size.map(|_| config.every.micros()),
            by: config.by.clone(),
            select: config.select.iter().map(|(n, e)| (n.to_string(), e.to_string())).collect(),
            time,
        };
        let plan =
            sql::plan_window(&build.node.name, &query_input, &form).map_err(|p| vec![in_key(build, &["select"], p)])?;
        attach(build, plan, config.allowed_lateness)
    }
}

fn put_planned(build: &mut Build<'_>, planned: Result<Planned>) -> Result<(), Vec<Problem>> {
    let planned = planned.map_err(|p| vec![build.locate(p)])?;
    build.stage(planned.output, planned.reads, planned.stage);
    Ok(())
}

impl Kind for Parse {
    fn info(&self) -> KindInfo {
        let info = entry::<ParseConfig>(
            "parse",
            Role::Transform,
            Inputs::One,
            "version: 1
name: access-log
nodes:
  lines: { kind: file_source, path: \"access.log\", format: text }
  requests: { kind: parse, from: lines, format: access_log }
  out: { kind: file_sink, from: requests, path: out, format: ndjson }
",
        );
        allowing(info, &["event_time"])
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: ParseConfig = build.config()?;
        let planned = parse::plan(&config, &build.input().schema);
        put_planned(build, planned)
    }
}

impl Kind for Redact {
    fn info(&self) -> KindInfo {
        let info = entry::<RedactConfig>(
            "redact",
            Role::Transform,
            Inputs::One,
            "version: 1
name: no-addresses
nodes:
  lines: { kind: file_source, path: \"app.log\", format: text }
  clean: { kind: redact, from: lines, email: true, ip: mask_last_octet, card: true }
  out: { kind: file_sink, from: clean, path: out, format: ndjson }
",
        );
        allowing(info, &["event_time"])
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: RedactConfig = build.config()?;
        let planned = redact::plan(&config, &build.input().schema);
        put_planned(build, planned)
    }
}

impl Kind for RouteKind {
    fn info(&self) -> KindInfo {
        let mut info = entry::<RouteConfig>(
            "route",
            Role::Transform,
            Inputs::One,
            "version: 1
name: by-level
nodes:
  lines: { kind: stdin, format: ndjson, schema: { level: string, msg: string } }
  split:
    kind: route
    from: lines
    routes: { errors_only: level = 'ERROR', warnings: level = 'WARN' }
  urgent: { kind: file_sink, from: split.errors_only, path: urgent, format: ndjson }
  rest: { kind: file_sink, from: [split.warnings, split.else], path: rest, format: ndjson }
",
        );
        info.ports = vec![ELSE.into()];
        info.ports_from = Some("routes".into());
        info
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: RouteConfig = build.config()?;
        let names = config.ports().map_err(|p| vec![build.locate(p)])?;
        let schema = Arc::clone(&build.input().schema);
        let mut conditions = Vec::new();
        let mut problems = Vec::new();
        for (name, condition) in config.routes.iter() {
            match Expression::compile(condition, &schema) {
                Ok(e) if e.data_type() == &DataType::Boolean => conditions.push(e),
                Ok(e) => problems.push(in_key(
                    build,
                    &["routes", name],
                    Problem::error("SQL-TYPE", "the expression is not a condition")
                        .found(e.data_type().to_string())
                        .expected("a condition: true or false"),
                )),
                Err(p) => problems.push(in_key(build, &["routes", name], p)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reads = Reads::Extra(conditions.iter().flat_map(|c| c.columns().to_vec()).collect());
        let (mode, keep_rest) = (config.mode, build.read.iter().any(|r| r == ELSE));
        let factory: StageFactory = Arc::new(move |actual: &SchemaRef| {
            let predicates = conditions.iter().map(|c| predicate(c, actual)).collect::<Result<Vec<_>>>()?;
            Ok(Box::new(Route::new(predicates, mode, keep_rest)))
        });
        let (from, name) = (build.input().input.clone(), build.node.name.clone());
        let event_time = build.input().event_time.clone();
        let node = build.pipeline.stage(&name, from, Arc::clone(&schema), reads, factory);
        build.pipeline.nodes[node.0].schemas = vec![Arc::clone(&schema); names.len()];
        for (index, port) in names.iter().enumerate() {
            build.put(port, Input::from(node).port(index), Arc::clone(&schema), event_time.clone());
        }
        Ok(())
    }
}

fn predicate(condition: &Expression, actual: &SchemaRef) -> Result<Predicate> {
    let bound = condition.rebind(actual)?;
    Ok(Box::new(move |rows: &RecordBatch| -> Result<BooleanArray> { Ok(bound.evaluate(rows)?.as_boolean().clone()) }))
}

/// Lets the first row of each key pass and leaves out the others, for as long as the key is remembered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupeConfig {
    /// The columns that make the key.
    pub by: Vec<String>,
    /// A key is forgotten once event time has moved on by this much since it was last seen. Needs event time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// At most so many keys are remembered, those seen last. One of `within` and `max_keys` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_keys: Option<usize>,
}

impl Kind for Dedupe {
    fn info(&self) -> KindInfo {
        entry::<DedupeConfig>(
            "dedupe",
            Role::Transform,
            Inputs::One,
            "version: 1
name: each-order-once
nodes:
  orders: { kind: stdin, format: ndjson, schema: { id: int64!, amount: float64 } }
  once: { kind: dedupe, from: orders, by: [id], max_keys: 100000 }
  out: { kind: stdout, from: once, guarantee: at_most_once }
",
        )
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: DedupeConfig = build.config()?;
        let stream = build.input().clone();
        let mut keys = Vec::new();
        for name in &config.by {
            match stream.schema.index_of(name) {
                Ok(index) => keys.push(index),
                Err(_) => return build.refuse(super::no_column("by", name, &stream.schema)),
            }
        }
        if keys.is_empty() {
            return build.refuse(super::at_key("DEDUPE-CONFIG", "by", "a key needs at least one column"));
        }
        let remember = remember(build, &config, &stream)?;
        let spec = DedupeSpec { input: Arc::clone(&stream.schema), keys, remember };
        let fingerprint = DedupeOperator::meaning(&spec).fingerprint();
        let factory = Arc::new(move |_: &[SchemaRef]| Ok(boxed(DedupeOperator::new(spec.clone())?)));
        let work = Work::Operator { factory, reads: vec![Reads::All], fingerprint };
        let schemas = vec![Arc::clone(&stream.schema)];
        let node = build.operator("dedupe", vec![stream.input.clone().by(config.by)], schemas, work);
        build.put("", Input::from(node), stream.schema, stream.event_time);
        Ok(())
    }
}

fn remember(build: &Build<'_>, config: &DedupeConfig, stream: &crate::kind::Stream) -> Result<Remember, Vec<Problem>> {
    match (config.within, config.max_keys) {
        (Some(within), None) => {
            let time = stream.event_time.as_ref().and_then(|t| stream.schema.index_of(t).ok());
            let time = time.filter(|t| *stream.schema.field(*t).data_type() == timestamp());
            match time {
                Some(time) => Ok(Remember::Within { time, within_us: within.micros() }),
                None => build.refuse(
                    super::at_key("DEDUPE-CONFIG", "within", "the input has no event time")
                        .help("declare `event_time` before this node, or bound the keys with `max_keys`"),
                ),
            }
        }
        (None, Some(max)) => Ok(Remember::MaxKeys(max)),
        _ => build.refuse(
            super::at_key("DEDUPE-CONFIG", "", "state must be bounded one way")
                .expected("exactly one of `within` and `max_keys`"),
        ),
    }
}

/// Several streams with the same columns as one. A list under `from` does the same; this node gives it a name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnionConfig {}

impl Kind for Union {
    fn info(&self) -> KindInfo {
        entry::<UnionConfig>(
            "union",
            Role::Transform,
            Inputs::One,
            "version: 1
name: both-folders
nodes:
  a: { kind: file_source, path: \"a/*.log\", format: text }
  b: { kind: file_source, path: \"b/*.log\", format: text }
  all: { kind: union, from: [a, b] }
  out: { kind: file_sink, from: all, path: out, format: ndjson }
",
        )
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        build.config::<UnionConfig>()?;
        let stream = build.input().clone();
        let id = build.pipeline.union(&build.node.name, vec![stream.input]);
        build.put("", Input::from(id), stream.schema, stream.event_time);
        Ok(())
    }
}
