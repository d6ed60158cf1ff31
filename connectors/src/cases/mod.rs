//! Tests that stand in pipeline files, or in `*.test.yaml` beside them: run, and compared.
//!
//! A case is a [`TestRun`] of the loaded pipeline: the planned dataflow with one worker and a clock of its
//! own, every source replaced by the feed, every sink by a collector. No file, port or server is touched.

mod compare;
#[cfg(test)]
mod tests;
mod values;

pub use compare::{Came, Difference, Line};

use crate::load::{LoadOptions, Loaded, load_document};
use crate::registry::Registry;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream::plan::{Input, Work};
use millstream::problem::nearest;
use millstream::testing::TestRun;
use millstream::time::Micros;
use millstream::{Problem, Result};
use millstream_pipelines::document::{Case, CaseRow, Expect, Feed, FeedValue, NodeRef};
use millstream_pipelines::{Document, Source};

/// Loads the pipeline of `document` and runs one test of it; `source` is the text in which the test stands.
/// What came out otherwise than expected; empty when the test has passed.
///
/// # Errors
/// What is wrong with the pipeline or with the test, and the problem with which the job failed.
pub fn run(
    document: &Document,
    source: &Source,
    case: &Case,
    registry: &Registry,
    options: LoadOptions<'_>,
) -> Result<Vec<Difference>, Vec<Problem>> {
    let observed = case.expect.iter().map(|(at, _)| (at.node.clone(), at.port.clone())).collect();
    let loaded = load_document(document, registry, &LoadOptions { workers: 1, observed, ..options })?;
    let plan = Plan { source, loaded: &loaded };
    let mut problems = Vec::new();
    let mut test = TestRun::new(&loaded.pipeline);
    for feed in &case.feed {
        test = plan.feed(test, feed, &mut problems);
    }
    let mut wanted = Vec::new();
    for (at, expect) in &case.expect {
        let Some(port) = plan.port(at) else {
            problems.push(source.error(at.span, "PIPE-TEST", format!("`{at}` puts nothing out")));
            continue;
        };
        wanted.extend(plan.expected(at, &port.schema, expect, &mut problems));
        test = port.observe(test, at, &expect.value);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Some(watermark) = &case.watermark {
        test = test.watermark(watermark.value);
    }
    let outcome = test.run().map_err(|found| found.into_iter().map(|p| placed(source, case, p)).collect::<Vec<_>>())?;
    Ok(wanted.iter().filter_map(|w| compare::compare(w, outcome.batch(&w.port))).collect())
}

/// What is wrong with tests of a pipeline that has been loaded, as far as it can be known without running
/// them: columns that a port does not have, values that do not fit.
pub fn check(loaded: &Loaded, source: &Source, cases: &[Case]) -> Vec<Problem> {
    let plan = Plan { source, loaded };
    let mut problems = Vec::new();
    for case in cases {
        for feed in &case.feed {
            if let FeedValue::Row(row) = &feed.value {
                plan.fed(feed, row, &mut problems);
            }
        }
        // A port that no node reads (`late`) is only there in a run that looks at it.
        for (at, expect) in &case.expect {
            if let Some(port) = plan.port(at) {
                plan.expected(at, &port.schema, &expect.value, &mut problems);
            }
        }
    }
    problems
}

/// A problem of the run, at the test where it has no better place.
fn placed(source: &Source, case: &Case, problem: Problem) -> Problem {
    if problem.place.is_some() { problem } else { problem.at(source.place(case.name.span)) }
}

/// What one port must have given.
struct Wanted {
    port: String,
    what: Want,
}

enum Want {
    Count(u64),
    /// As the engine would write them.
    Rows(Vec<values::Values>),
}

struct Plan<'a> {
    source: &'a Source,
    loaded: &'a Loaded,
}

/// A port that a test looks at.
struct Port {
    schema: SchemaRef,
    /// `None`: a sink, or dead letters, which the test run knows by name.
    input: Option<Input>,
}

impl Port {
    /// Only the columns that are compared, so that sources decode what they decode in production.
    fn observe(&self, test: TestRun, at: &NodeRef, expect: &Expect) -> TestRun {
        match (&self.input, expect) {
            (None, _) if at.port.is_empty() => test,
            (None, _) => test.observe(&at.to_string()),
            (Some(input), Expect::Rows(rows)) if !rows.is_empty() => {
                let named = rows.iter().flat_map(|r| &r.columns).map(|(name, _)| name.value.clone());
                test.observe_as(&at.to_string(), vec![input.clone()], Some(named.collect()))
            }
            (Some(input), Expect::Count(_)) => test.observe_as(&at.to_string(), vec![input.clone()], Some(Vec::new())),
            (Some(input), _) => test.observe_as(&at.to_string(), vec![input.clone()], None),
        }
    }
}

impl Plan<'_> {
    fn port(&self, at: &NodeRef) -> Option<Port> {
        if at.port == "errors" {
            return Some(Port { schema: millstream::dead::schema(), input: None });
        }
        let pipeline = &self.loaded.pipeline;
        let sink = pipeline.nodes.iter().find(|n| *n.name == *at.node && matches!(n.work, Work::Sink(_)));
        if let Some(sink) = sink {
            let input = sink.inputs.first()?;
            return Some(Port { schema: pipeline.schema(input.from, input.port), input: None });
        }
        let (_, ports) = self.loaded.ports.iter().find(|(name, _)| *name == at.node)?;
        let port = ports.iter().find(|p| p.name == at.port)?;
        Some(Port { schema: port.stream.schema.clone(), input: Some(port.stream.input.clone()) })
    }

    fn feed(&self, test: TestRun, feed: &Feed, problems: &mut Vec<Problem>) -> TestRun {
        let test = match &feed.at {
            Some(at) => test.at(at.value as Micros),
            None => test,
        };
        match &feed.value {
            FeedValue::Value(text) => test.record(&feed.into.node, text.clone().into_bytes()),
            FeedValue::Row(row) => match self.fed(feed, row, problems) {
                Some(rows) => test.rows(&feed.into.node, rows),
                None => test,
            },
        }
    }

    /// A row that is fed, as columns of the source.
    fn fed(&self, feed: &Feed, row: &CaseRow, problems: &mut Vec<Problem>) -> Option<RecordBatch> {
        let schema = self.port(&feed.into)?.schema;
        let before = problems.len();
        let columns = self.columns(row, &schema, problems);
        for field in schema.fields() {
            let given = row.columns.iter().any(|(name, _)| name.value == *field.name());
            if !given && !field.is_nullable() && field.name() != "_timestamp" {
                let problem = self.source.error(row.span, "PIPE-TEST", format!("column `{}` is missing", field.name()));
                problems.push(problem.expected(format!("a value: `{}` declares it as never null", feed.into.node)));
            }
        }
        if problems.len() > before {
            return None;
        }
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).ok()
    }

    fn expected(
        &self,
        at: &NodeRef,
        schema: &SchemaRef,
        expect: &Expect,
        problems: &mut Vec<Problem>,
    ) -> Option<Wanted> {
        let what = match expect {
            Expect::Count(count) => Want::Count(*count),
            Expect::Rows(rows) => {
                let before = problems.len();
                let rows = rows.iter().map(|row| values::written(self.columns(row, schema, problems))).collect();
                if problems.len() > before {
                    return None;
                }
                Want::Rows(rows)
            }
        };
        Some(Wanted { port: at.to_string(), what })
    }

    /// The values of a row as arrays of one, in the types that the columns have.
    fn columns(
        &self,
        row: &CaseRow,
        schema: &SchemaRef,
        problems: &mut Vec<Problem>,
    ) -> Vec<(String, arrow::array::ArrayRef)> {
        let mut columns = Vec::new();
        for (name, value) in &row.columns {
            let Ok(field) = schema.field_with_name(name) else {
                let names = schema.fields().iter().map(|f| f.name().as_str());
                let problem = self.source.error(name.span, "PIPE-TEST", format!("there is no column `{}`", name.value));
                problems.push(match nearest(name, names.clone()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.expected(format!("one of {}", names.collect::<Vec<_>>().join(", "))),
                });
                continue;
            };
            match values::array(field, &value.value) {
                Ok(array) => columns.push((name.value.clone(), array)),
                Err(why) => {
                    let what = format!("the value does not fit column `{}`: {why}", name.value);
                    problems.push(self.source.error(value.span, "PIPE-TEST", what));
                }
            }
        }
        columns
    }
}
