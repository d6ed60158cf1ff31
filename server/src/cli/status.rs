//! `status`: what a pipeline's state directory says of it, whether or not it runs.

use super::args::Status;
use super::print::Print;
use super::{Failure, Outcome, disk, files, table};
use millstream::dead::stored::Stored;
use millstream::state::{Committed, LocalStore, Store, fs::RealFs};
use millstream_pipelines::Document;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Partitions shown per source, for people.
const SHOWN: usize = 10;

/// `millstream status FILE`.
pub fn status(args: &Status, print: &Print) -> Outcome {
    let (document, dir) = files::document_of(&args.file, &args.state, print)?;
    let fail = |problem: millstream::Problem| {
        print.problem(&problem);
        Failure::Given
    };
    if !dir.exists() {
        let shown = dir.display().to_string();
        print.result(
            || format!("{}: never run (no state in {shown})", document.name),
            || json!({ "pipeline": document.name, "state": shown, "checkpoint": null }),
        );
        return Ok(());
    }
    let store: Arc<dyn Store> = LocalStore::open_read_only(&dir, Arc::new(RealFs)).map_err(fail)?;
    if args.disk {
        let limits = millstream_connectors::load::limits(&document.dead_letters);
        return show_disk(&disk::items(&store, &limits).map_err(fail)?, print);
    }
    show(&document, &dir, Committed::newest(&store).map_err(fail)?.as_ref(), print).map_err(fail)
}

fn show(document: &Document, dir: &Path, tail: Option<&Committed>, print: &Print) -> millstream::Result<()> {
    let process = holder(dir);
    let Some(tail) = tail else {
        print.result(
            || format!("{}: no checkpoint yet (state in {}){}", document.name, dir.display(), running(process)),
            || json!({ "pipeline": document.name, "state": dir, "process": process, "checkpoint": null }),
        );
        return Ok(());
    };
    let letters = Stored::read(tail)?;
    let codes = codes(&letters);
    let at = tail.body.extra["wall"].as_i64().unwrap_or(0);
    let text = || {
        let age = chrono::Utc::now().timestamp_micros().saturating_sub(at);
        let age = super::run::ago(Duration::from_micros(u64::try_from(age).unwrap_or(0)));
        let mut lines = vec![
            format!("{}: state in {}{}", document.name, dir.display(), running(process)),
            format!(
                "checkpoint {}, {age} old ({}), generation {}",
                tail.body.checkpoint,
                table::instant(at),
                tail.generation
            ),
        ];
        lines.extend(positions(tail));
        let count = |n: &usize| table::grouped(*n as u64);
        lines.push(format!("dead letters: {}", count(&codes.values().sum())));
        lines.extend(codes.iter().map(|((node, code), n)| format!("  {node}  {code}  {}", count(n))));
        lines.join("\n")
    };
    print.result(text, || {
        let letters: Vec<Value> =
            codes.iter().map(|((node, code), n)| json!({ "node": node, "code": code, "letters": n })).collect();
        json!({
            "pipeline": document.name, "state": dir, "process": process,
            "checkpoint": tail.body.checkpoint, "at": table::instant(at), "generation": tail.generation,
            "sources": tail.body.sources, "dead_letters": letters,
        })
    });
    Ok(())
}

/// Where every source goes on.
fn positions(tail: &Committed) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, partitions) in &tail.body.sources {
        let ended = partitions.values().filter(|p| p.0["ended"] == true).count();
        lines.push(format!("{node}: {ended} of {} partitions read to their end", partitions.len()));
        let open = partitions.iter().filter(|(_, p)| p.0["ended"] != true);
        lines.extend(open.take(SHOWN).map(|(partition, p)| format!("  {partition} at {}", position(&p.0["at"]))));
        let more = (partitions.len() - ended).saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }
    lines
}

/// A position for people: most say an offset among other things.
fn position(at: &Value) -> String {
    match at["offset"].as_u64() {
        Some(offset) => table::grouped(offset),
        None => at.to_string(),
    }
}

fn codes(letters: &Stored) -> BTreeMap<(&str, &str), usize> {
    let mut codes = BTreeMap::new();
    for letter in letters.letters() {
        *codes.entry((letter.node(), letter.code())).or_default() += 1;
    }
    codes
}

/// The process that has the directory open, as far as its lock file and the system say.
fn holder(dir: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(dir.join("lock")).ok()?.trim().parse().ok()?;
    Path::new("/proc").join(pid.to_string()).exists().then_some(pid)
}

fn running(process: Option<u32>) -> String {
    process.map_or_else(|| ", not running".into(), |pid| format!(", open in process {pid}"))
}

fn show_disk(items: &[disk::Item], print: &Print) -> Outcome {
    if !print.json {
        let head = format!("{:12}  {:>10}  {:>10}  {:>6}  {:>8}  bound", "what", "bytes", "at most", "used", "keep");
        print.result(|| head, || Value::Null);
    }
    for item in items {
        let max = item.max.map_or_else(|| "-".into(), |(max, _)| table::bytes(max));
        let used = item.share().map_or_else(|| "-".into(), |s| format!("{:.1} %", s * 100.0));
        let keep = item.keep.map_or_else(|| "-".into(), super::run::ago);
        let bound = item.max.map_or(item.bound, |(_, then)| then);
        let bytes = table::bytes(item.bytes);
        print.result(
            || format!("{:12}  {bytes:>10}  {max:>10}  {used:>6}  {keep:>8}  {bound}", item.what),
            || {
                json!({
                    "what": item.what, "bytes": item.bytes, "max": item.max.map(|(max, _)| max),
                    "share": item.share(), "keep_seconds": item.keep.map(|k| k.as_secs()), "bound": bound,
                })
            },
        );
    }
    Ok(())
}
