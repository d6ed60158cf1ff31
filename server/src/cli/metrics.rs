//! `--metrics`: the job's counters as Prometheus text, on request.

use super::disk;
use millstream::dead::Limits;
use millstream::metrics::NodeReading;
use millstream::problem::{Place, Problem};
use millstream::runtime::Job;
use millstream::state::{LocalStore, Store, fs::RealFs};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// What is answered from: a job that runs, and its state.
#[derive(Clone)]
pub struct Shown {
    pipeline: String,
    store: Option<Arc<dyn Store>>,
    limits: Limits,
    job: Weak<Job>,
}

impl Shown {
    /// A job of the pipeline of that name, whose state lies in `dir`.
    pub fn new(pipeline: &str, dir: &Path, limits: &Limits, job: &Arc<Job>) -> Shown {
        // Without it only the figures of the disk are missing.
        let store = LocalStore::open_read_only(dir, Arc::new(RealFs)).ok().map(|s| s as Arc<dyn Store>);
        Shown { pipeline: pipeline.into(), store, limits: limits.clone(), job: Arc::downgrade(job) }
    }
}

/// Answers until the program ends.
pub struct Served(Arc<Mutex<Shown>>);

impl Served {
    /// Answers for this job from now on.
    pub fn now(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// Longest request head that is read.
const HEAD_BYTES_MAX: u64 = 32 << 10;

/// Begins to answer at `address`.
///
/// # Errors
/// When the address is not on this machine's loopback, or cannot be bound.
pub fn serve(address: SocketAddr, shown: Shown) -> Result<Served, Problem> {
    if !address.ip().is_loopback() {
        return Err(Problem::error("CLI-METRICS", "metrics are answered on the loopback only")
            .found(address.to_string())
            .expected("127.0.0.1:PORT or [::1]:PORT"));
    }
    let listener = TcpListener::bind(address).map_err(|e| {
        Problem::outside("CLI-METRICS", "cannot listen for metrics")
            .at(Place::path(address.to_string()))
            .found(e.to_string())
    })?;
    let served = Arc::new(Mutex::new(shown));
    let current = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shown = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // One at a time: a scraper that hangs up early is its own problem.
            let _ = answer(stream, &shown);
        }
    });
    Ok(Served(served))
}

fn answer(mut stream: TcpStream, shown: &Shown) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(std::io::Read::take(stream.try_clone()?, HEAD_BYTES_MAX));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, body) = match (first.starts_with("GET /metrics "), shown.job.upgrade()) {
        (true, Some(job)) => ("200 OK", text(shown, &job)),
        (true, None) => ("503 Service Unavailable", String::new()),
        _ => ("404 Not Found", "the metrics are at /metrics\n".into()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A family of metrics: its name, type and help, and how to read it from a node.
type Family = (&'static str, &'static str, &'static str, fn(&NodeReading) -> Option<f64>);

/// Everything that is counted per node.
const FAMILIES: [Family; 11] = [
    ("node_rows_in_total", "counter", "rows taken", |n| Some(n.rows_in as f64)),
    ("node_rows_out_total", "counter", "rows sent", |n| Some(n.rows_out as f64)),
    ("node_rows_filtered_total", "counter", "rows left out on purpose", |n| Some(n.filtered as f64)),
    ("node_rows_dead_lettered_total", "counter", "rows that became dead letters", |n| Some(n.dead_lettered as f64)),
    ("node_rows_dropped_total", "counter", "rows refused and dropped by policy", |n| Some(n.dropped as f64)),
    ("node_bytes_in_total", "counter", "payload bytes read", |n| Some(n.bytes_in as f64)),
    ("node_busy_seconds_total", "counter", "time spent working", |n| Some(n.busy_ns as f64 / 1e9)),
    ("node_state_keys", "gauge", "keys held", |n| Some(n.state_keys as f64)),
    ("node_state_bytes", "gauge", "bytes of state held", |n| Some(n.state_bytes as f64)),
    ("node_lag", "gauge", "what is still to be read, in the source's own unit", |n| n.lag.map(|l| l as f64)),
    ("node_watermark_seconds", "gauge", "watermark, seconds since the Unix epoch", |n| {
        n.watermark.filter(|w| *w != i64::MAX).map(|w| w as f64 / 1e6)
    }),
];

/// The counters as Prometheus text.
fn text(shown: &Shown, job: &Job) -> String {
    let (status, pipeline) = (job.status(), &shown.pipeline);
    let mut out = String::new();
    for (name, kind, help, read) in FAMILIES {
        let _ = writeln!(out, "# HELP millstream_{name} {help}\n# TYPE millstream_{name} {kind}");
        for node in &status.nodes {
            if let Some(value) = read(node) {
                let _ = writeln!(out, "millstream_{name}{{pipeline=\"{pipeline}\",node=\"{}\"}} {value}", node.node);
            }
        }
    }
    let _ = writeln!(
        out,
        "# HELP millstream_checkpoint newest durable checkpoint\n# TYPE millstream_checkpoint gauge\nmillstream_checkpoint{{pipeline=\"{pipeline}\"}} {}",
        status.checkpoint
    );
    let _ = writeln!(
        out,
        "# HELP millstream_memory_bytes bytes of batches alive\n# TYPE millstream_memory_bytes gauge\nmillstream_memory_bytes{{pipeline=\"{pipeline}\"}} {}",
        status.memory
    );
    head(&mut out, "waiting", "why something waits, or nothing does: a full disk, too many dead letters");
    for problem in &status.waiting {
        let _ = writeln!(out, "millstream_waiting{{pipeline=\"{pipeline}\",code=\"{}\"}} 1", problem.code);
    }
    // A file may go while it is looked at: then the figures come with the next request.
    let items = shown.store.as_ref().and_then(|store| disk::items(store, &shown.limits).ok()).unwrap_or_default();
    head(&mut out, "disk_bytes", "bytes on disk");
    for item in &items {
        let (what, bytes) = (item.what, item.bytes);
        let _ = writeln!(out, "millstream_disk_bytes{{pipeline=\"{pipeline}\",what=\"{what}\"}} {bytes}");
    }
    head(&mut out, "disk_max_bytes", "bytes that it may have on disk");
    for (what, max) in items.iter().filter_map(|i| Some((i.what, i.max?.0))) {
        let _ = writeln!(out, "millstream_disk_max_bytes{{pipeline=\"{pipeline}\",what=\"{what}\"}} {max}");
    }
    out
}

fn head(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP millstream_{name} {help}\n# TYPE millstream_{name} gauge");
}
