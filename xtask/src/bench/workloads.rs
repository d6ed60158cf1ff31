//! The workloads: which pipeline on which data, the answers it must give, and the bars.

use super::answers::{self, Answer, Cleansed};
use super::measure::{self, Cost};
use super::report::{Case, Figure, Table};
use super::{Plan, generate};
use crate::demo::parameter;
use crate::shell;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `--quick` runs: seconds instead of minutes, with known answers too.
pub const QUICK_EVENTS: u64 = 200_000;
const PARTS: u64 = 2;
const MEMORY_BAR_MIB: f64 = 128.0;
const FIRST_OUTPUT_BAR_MS: f64 = 100.0;

const NEXMARK_EVENTS: u64 = 5_000_000;

struct Query {
    name: &'static str,
    /// CPU seconds per million events.
    bar: Option<f64>,
    /// Answers for [`NEXMARK_EVENTS`] and for [`QUICK_EVENTS`].
    answers: [Answer; 2],
}

const fn query(name: &'static str, bar: Option<f64>, full: (u64, u64), quick: (u64, u64)) -> Query {
    Query { name, bar, answers: [Answer { rows: full.0, hash: full.1 }, Answer { rows: quick.0, hash: quick.1 }] }
}

const QUERIES: [Query; 6] = [
    query("q0", Some(1.0), (4_600_000, 0x25f8_6cf6_4fd5_aaa7), (184_000, 0xf19d_183c_6c1d_cd4e)),
    query("q1", None, (4_600_000, 0x97c9_095e_d868_7d52), (184_000, 0x2905_e89f_6855_d816)),
    query("q2", Some(0.7), (37_608, 0x728d_8f65_9f51_ebc4), (1_555, 0x2ea9_9d2c_a63b_2c11)),
    query("q5", Some(1.0), (254, 0x70ca_14cb_4658_4c90), (14, 0xe9a7_ff69_d78d_a1b7)),
    query("q7", Some(0.8), (50, 0x01a3_8ba6_42dc_6ce8), (2, 0xac51_8cdd_cf38_8898)),
    query("q8", Some(0.9), (56_052, 0x714e_9f40_263c_0e9d), (2_338, 0xb11d_c622_f3fb_d2bc)),
];

/// W1: Nexmark over NDJSON files, exactly once, a checkpoint every second.
pub fn nexmark(plan: &Plan) -> Result<Table> {
    let events = plan.events.unwrap_or(NEXMARK_EVENTS);
    let data = data(plan, "nexmark", events, generate::nexmark)?;
    let mut cases = Vec::new();
    for query in &QUERIES {
        let pipeline = format!("pipelines/nexmark/{}.yaml", query.name);
        let mut costs = Vec::new();
        let mut answer = String::new();
        for _ in 0..plan.runs {
            let (cost, out) = batch_run(plan, &pipeline, &data.join("*.ndjson"))?;
            answer = judge(query, events, answers::nexmark(query.name, &out)?)?;
            costs.push(cost);
        }
        let case = Case { name: query.name.into(), answer, figures: figures(&costs, events, query.bar) };
        eprintln!("{}: {:.3} CPU s per million events", case.name, case.figures[0].value);
        cases.push(case);
    }
    let shape = shape(plan, &format!("{events} events (204 bytes on average, seed 42), NDJSON to NDJSON"));
    Ok(Table { title: "W1 Nexmark".into(), shape, cases })
}

/// The answer as it is shown; a wrong one is an error.
fn judge(query: &Query, events: u64, found: Answer) -> Result<String> {
    let known = [NEXMARK_EVENTS, QUICK_EVENTS].iter().position(|size| *size == events).map(|at| query.answers[at]);
    let Some(right) = known else {
        return Ok(format!("{} rows, {:016x}, not checked: none is known for {events} events", found.rows, found.hash));
    };
    ensure!(
        found == right,
        "{} answers {} rows with hash {:016x}; right are {} rows with {:016x}",
        query.name,
        found.rows,
        found.hash,
        right.rows,
        right.hash
    );
    Ok(format!("right: {} rows, {:016x}", found.rows, found.hash))
}

const LOG_LINES: u64 = 2_000_000;
const LOG_BAR: f64 = 3.0;

/// W2: parse, redact, drop, route.
pub fn log_cleansing(plan: &Plan) -> Result<Table> {
    let lines = plan.events.unwrap_or(LOG_LINES);
    let data = data(plan, "logs", lines, generate::logs)?;
    let mut costs = Vec::new();
    let mut answer = String::new();
    for _ in 0..plan.runs {
        let (cost, out) = batch_run(plan, "pipelines/log-cleansing/pipeline.yaml", &data.join("*.log"))?;
        answer = judge_logs(lines, answers::cleansed(&out)?)?;
        costs.push(cost);
    }
    let case = Case { name: "log-cleansing".into(), answer, figures: figures(&costs, lines, Some(LOG_BAR)) };
    let shape = shape(plan, &format!("{lines} lines (182 bytes on average, seed 7), text to NDJSON"));
    Ok(Table { title: "W2 log cleansing".into(), shape, cases: vec![case] })
}

fn judge_logs(lines: u64, found: Cleansed) -> Result<String> {
    ensure!(found.emails_left == 0 && found.addresses_left == 0, "not everything was redacted: {found:?}");
    let known = match lines {
        LOG_LINES => (1_723_695, 99_516),
        QUICK_EVENTS => (172_217, 9_943),
        _ => {
            return Ok(format!(
                "{} clean, {} errors, not checked: none is known for {lines} lines",
                found.clean, found.errors
            ));
        }
    };
    ensure!(
        (found.clean, found.errors) == known,
        "{} clean and {} errors; right are {known:?}",
        found.clean,
        found.errors
    );
    Ok(format!("right: {} clean, {} errors, all redacted", found.clean, found.errors))
}

/// Generated records, made once per size.
fn data(plan: &Plan, what: &str, records: u64, generate: impl Fn(&Path, u64, u64) -> Result<()>) -> Result<PathBuf> {
    let folder = plan.folder.join(format!("{what}-{records}-{PARTS}"));
    if !folder.exists() {
        eprintln!("generating {records} records in {}", folder.display());
        let unfinished = folder.with_extension("unfinished");
        fs::create_dir_all(&unfinished)?;
        generate(&unfinished.join(what), records, PARTS)?;
        fs::rename(&unfinished, &folder)?;
    }
    Ok(folder)
}

/// One run from files to files with empty output and state; also returns the output folder.
fn batch_run(plan: &Plan, pipeline: &str, input: &Path) -> Result<(Cost, PathBuf)> {
    let run = fresh(&plan.folder.join("run"))?;
    let out = run.join("out");
    let mut command = millstream(plan, pipeline, &run);
    command.arg("-p").arg(parameter("input", input)).arg("-p").arg(parameter("output", &out));
    let log = fs::File::create(run.join("stderr"))?;
    let running = measure::start(&command, Some(&out), &run.join("cost.json"), |measuring| {
        measuring.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    })?;
    let cost = running
        .finish()
        .with_context(|| format!("its messages: {}", fs::read_to_string(run.join("stderr")).unwrap_or_default()))?;
    Ok((cost, out))
}

/// `millstream run` of that pipeline with its state under `run`.
pub fn millstream(plan: &Plan, pipeline: &str, run: &Path) -> Command {
    let mut command = shell::program(&plan.binary);
    command.arg("run").arg(pipeline).arg("--state").arg(run.join("state"));
    if let Some(workers) = plan.workers {
        command.arg("--workers").arg(workers.to_string());
    }
    command
}

/// The folder, empty.
pub fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

fn figures(costs: &[Cost], records: u64, bar: Option<f64>) -> Vec<Figure> {
    let millions = records as f64 / 1e6;
    let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
    vec![
        Figure::new("cpu_s_per_million", of(|cost| cost.cpu_s) / millions).bar(bar),
        Figure::new("memory_mib", of(|cost| cost.memory_bytes as f64) / f64::from(1 << 20)).bar(Some(MEMORY_BAR_MIB)),
        Figure::new("first_output_ms", of(|cost| cost.first_output_s.unwrap_or(f64::INFINITY)) * 1e3)
            .bar(Some(FIRST_OUTPUT_BAR_MS)),
        Figure::new("wall_s", of(|cost| cost.wall_s)),
        Figure::new("records_per_s", records as f64 / of(|cost| cost.wall_s)),
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shape(plan: &Plan, data: &str) -> String {
    let workers =
        plan.workers.map_or("the default number of workers".to_owned(), |workers| format!("{workers} worker(s)"));
    format!(
        "{data}, {PARTS} part files, {workers}, exactly once, a checkpoint every second; {} run(s) of a whole process.",
        plan.runs
    )
}

/// The engine's own benches, which print their figures themselves.
pub fn engine() -> Result<Table> {
    // The profile and the features of the binary, so that the dependencies are built once.
    let packages = ["-p", "millstream", "-p", "millstream-connectors", "-p", "millstream-server"];
    let mut command = shell::cargo(["bench", "--profile", "release", "--benches"].into_iter().chain(packages));
    eprintln!("$ {}", shell::shown(&command));
    let text = shell::output(command.stderr(Stdio::inherit()))?;
    Ok(Table { title: "Engine".into(), shape: format!("```text\n{text}\n```"), cases: Vec::new() })
}
