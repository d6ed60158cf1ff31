//! The live table of a run, and the plain lines that stand in its place without a terminal.

use millstream::metrics::NodeReading;
use millstream::runtime::Status;
use std::time::Duration;

/// One reading and the one before it, for rates.
pub struct Table {
    before: Option<(Duration, Vec<NodeReading>)>,
    lines: usize,
}

impl Table {
    pub fn new() -> Table {
        Table { before: None, lines: 0 }
    }

    /// The table's lines at `elapsed` since the start.
    pub fn render(&mut self, status: &Status, elapsed: Duration) -> Vec<String> {
        let width = status.nodes.iter().map(|n| n.node.len()).max().unwrap_or(4).max(4);
        let mut lines = vec![format!(
            "{:width$}  {:>10}  {:>13}  {:>13}  {:>9}  {:>9}  {:>9}  {}",
            "node", "rows/s", "in", "out", "filtered", "errors", "lag", "watermark"
        )];
        for (index, node) in status.nodes.iter().enumerate() {
            let rate = self.before.as_ref().and_then(|(then, nodes)| {
                let passed = elapsed.saturating_sub(*then).as_secs_f64();
                let old = nodes.get(index)?;
                (passed > 0.0).then(|| (node.rows_in - old.rows_in) as f64 / passed)
            });
            let rate = rate.unwrap_or_else(|| node.rows_in as f64 / elapsed.as_secs_f64().max(0.001));
            lines.push(format!(
                "{:width$}  {:>10}  {:>13}  {:>13}  {:>9}  {:>9}  {:>9}  {}",
                node.node,
                short(rate),
                grouped(node.rows_in),
                grouped(node.rows_out),
                grouped(node.filtered),
                grouped(node.dead_lettered + node.dropped),
                node.lag.map_or_else(|| "-".into(), grouped),
                node.watermark.map_or_else(|| "-".into(), watermark),
            ));
        }
        lines.push(format!(
            "checkpoint {} · {:.1} s · {} in memory",
            status.checkpoint,
            elapsed.as_secs_f64(),
            bytes(status.memory)
        ));
        for problem in &status.waiting {
            lines.push(format!("waiting: {problem}"));
        }
        self.before = Some((elapsed, status.nodes.clone()));
        lines
    }

    /// Takes the last drawing off the screen, so that lines can be printed in its place.
    pub fn erase(&mut self) -> String {
        match std::mem::take(&mut self.lines) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// The table drawn over its last drawing.
    pub fn redraw(&mut self, status: &Status, elapsed: Duration, colour: bool) -> String {
        let lines = self.render(status, elapsed);
        let mut out = String::new();
        if self.lines > 0 {
            out.push_str(&format!("\x1b[{}A", self.lines));
        }
        for (index, line) in lines.iter().enumerate() {
            let (on, off) = match (colour, index) {
                (true, 0) => ("\x1b[1m", "\x1b[0m"),
                (true, n) if n > status.nodes.len() => ("\x1b[2m", "\x1b[0m"),
                _ => ("", ""),
            };
            out.push_str(&format!("\r\x1b[2K{on}{line}{off}\n"));
        }
        // Lines that the last drawing had and this one has not.
        for _ in lines.len()..self.lines {
            out.push_str("\r\x1b[2K\n");
        }
        self.lines = self.lines.max(lines.len());
        out
    }
}

fn watermark(micros: i64) -> String {
    match micros {
        i64::MAX => "end".into(),
        micros => instant(micros),
    }
}

/// A moment in RFC 3339, to the second.
pub fn instant(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| micros.to_string(), |t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// 1234567 as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate in three digits: `1.23 M`.
fn short(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e3 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// Bytes with a unit.
pub fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n if n >= 1 << 20 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n if n >= 1 << 10 => format!("{:.1} KiB", n as f64 / f64::from(1 << 10)),
        n => format!("{n} B"),
    }
}
