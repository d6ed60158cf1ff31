//! The live table of a run, and the plain lines that stand in its place without a terminal.

use millstream::metrics::NodeReading;
use millstream::runtime::Status;
use std::time::Duration;

/// The columns. What stands further right is left out first where the terminal is narrow.
const TITLES: [&str; 8] = ["node", "rows/s", "in", "out", "errors", "filtered", "lag", "watermark"];
/// The column whose numbers ask for a look.
const ERRORS: usize = 4;
/// What stands where nothing is known.
const NONE: &str = "-";

/// One reading and the one before it, for rates.
pub struct Table {
    before: Option<(Duration, Vec<NodeReading>)>,
    /// Lines on the screen.
    lines: usize,
    /// How wide each column has been so far: columns do not jump back.
    widths: [usize; TITLES.len()],
}

/// How much fits on the screen.
#[derive(Clone, Copy, Debug)]
struct Screen {
    columns: usize,
    rows: usize,
}

impl Screen {
    /// That of standard error; a usual one where it does not say.
    fn here() -> Screen {
        let (rows, columns) = console::Term::stderr().size_checked().unwrap_or((24, 80));
        Screen { columns: columns.into(), rows: rows.into() }
    }
}

impl Table {
    pub fn new() -> Table {
        Table { before: None, lines: 0, widths: TITLES.map(|title| title.len()) }
    }

    /// The table's lines at `elapsed` since the start; none is longer than the screen is wide.
    fn render(&mut self, status: &Status, elapsed: Duration, colour: bool, screen: Screen) -> Vec<String> {
        let cells: Vec<[String; TITLES.len()]> =
            status.nodes.iter().enumerate().map(|(n, node)| self.cells(n, node, elapsed)).collect();
        self.before = Some((elapsed, status.nodes.clone()));
        for row in &cells {
            self.widths = std::array::from_fn(|c| self.widths[c].max(row[c].chars().count()));
        }
        let known = |column: usize| column < 6 || cells.iter().any(|row| row[column] != NONE);
        let mut room = screen.columns;
        let mut shown = Vec::new();
        for column in (0..TITLES.len()).filter(|c| known(*c)) {
            let need = self.widths[column] + if column == 0 { 0 } else { 2 };
            let Some(left) = room.checked_sub(need) else { break };
            room = left;
            shown.push(column);
        }
        let titles = self.line(&TITLES.map(String::from), &shown, |_, _| "1", colour);
        // Title, last line, the line of the cursor, and the one that says what is missing.
        let fit = screen.rows.saturating_sub(4).max(1);
        let mut lines = vec![titles];
        lines.extend(cells.iter().take(fit).map(|row| self.line(row, &shown, paint, colour)));
        if cells.len() > fit {
            let more = format!("… and {} more nodes", cells.len() - fit);
            lines.push(painted(&clip(&more, screen.columns), "2", colour));
        }
        let (number, took, memory) = (status.checkpoint, elapsed.as_secs_f64(), bytes(status.memory));
        let summary = format!("checkpoint {number} · {took:.1} s · {memory} in memory");
        lines.push(painted(&clip(&summary, screen.columns), "2", colour));
        for problem in &status.waiting {
            let wrapped = wrap(&format!("waiting: {problem}"), screen.columns);
            lines.extend(wrapped.iter().map(|line| painted(line, "33", colour)));
        }
        lines
    }

    fn cells(&self, index: usize, node: &NodeReading, elapsed: Duration) -> [String; TITLES.len()] {
        let rate = self.before.as_ref().and_then(|(then, nodes)| {
            let passed = elapsed.saturating_sub(*then).as_secs_f64();
            let old = nodes.get(index)?;
            (passed > 0.0).then(|| node.rows_in.saturating_sub(old.rows_in) as f64 / passed)
        });
        let rate = rate.unwrap_or_else(|| node.rows_in as f64 / elapsed.as_secs_f64().max(0.001));
        [
            node.node.to_string(),
            short(rate),
            grouped(node.rows_in),
            grouped(node.rows_out),
            grouped(node.dead_lettered + node.dropped),
            grouped(node.filtered),
            node.lag.map_or_else(|| NONE.into(), grouped),
            node.watermark.map_or_else(|| NONE.into(), watermark),
        ]
    }

    /// Names and moments to the left, numbers to the right.
    fn line(&self, row: &[String], shown: &[usize], style: fn(usize, &str) -> &'static str, colour: bool) -> String {
        let mut line = String::new();
        for &column in shown {
            let (cell, width) = (&row[column], self.widths[column]);
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            let cell = painted(cell, style(column, cell), colour);
            line.push_str(if column == 0 { "" } else { "  " });
            match column == 0 || column == TITLES.len() - 1 {
                true => line.extend([cell, space]),
                false => line.extend([space, cell]),
            }
        }
        line.trim_end().to_owned()
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
        let lines = self.render(status, elapsed, colour, Screen::here());
        let mut out = String::new();
        if self.lines > 0 {
            out.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in &lines {
            out.push_str(&format!("\r\x1b[2K{line}\n"));
        }
        // Lines that the last drawing had and this one has not.
        for _ in lines.len()..self.lines {
            out.push_str("\r\x1b[2K\n");
        }
        self.lines = self.lines.max(lines.len());
        out
    }
}

/// Nothing is dim, errors stand out.
fn paint(column: usize, cell: &str) -> &'static str {
    match cell {
        "0" | NONE => "2",
        _ if column == ERRORS => "33",
        _ => "",
    }
}

fn painted(text: &str, style: &str, colour: bool) -> String {
    match colour && !style.is_empty() {
        true => format!("\x1b[{style}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// At most `columns` letters.
fn clip(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// Lines of at most `columns` letters, broken at spaces where there are any.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        if !line.is_empty() && line.chars().count() + 1 + letters.len() > columns {
            lines.push(std::mem::take(&mut line));
        }
        while letters.len() > columns {
            let rest = letters.split_off(columns);
            lines.push(letters.into_iter().collect());
            letters = rest;
        }
        line.push_str(if line.is_empty() { "" } else { " " });
        line.extend(letters);
    }
    lines.push(line);
    lines
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

#[cfg(test)]
mod tests {
    use super::*;
    use millstream::Problem;
    use millstream::runtime::JobState;

    fn node(name: &str, rows: u64, errors: u64) -> NodeReading {
        let (node, rows_out) = (name.to_owned(), rows - errors);
        NodeReading { node, rows_in: rows, rows_out, dead_lettered: errors, ..NodeReading::default() }
    }

    fn status(nodes: Vec<NodeReading>) -> Status {
        Status {
            state: JobState::Running,
            resumed: None,
            nodes,
            checkpoint: 7,
            checkpoints: 7,
            memory: 3 << 20,
            waiting: Vec::new(),
        }
    }

    fn drawn(status: &Status, columns: usize, rows: usize) -> Vec<String> {
        Table::new().render(status, Duration::from_secs(2), false, Screen { columns, rows })
    }

    #[test]
    fn what_is_known_is_shown_in_columns() {
        let lines = drawn(&status(vec![node("lines", 1_234_567, 0), node("parsed", 12, 3)]), 80, 24);
        assert_eq!(
            lines,
            [
                "node     rows/s         in        out  errors  filtered",
                "lines   617.3 k  1,234,567  1,234,567       0         0",
                "parsed        6         12          9       3         0",
                "checkpoint 7 · 2.0 s · 3.0 MiB in memory",
            ]
        );
    }

    #[test]
    fn no_line_is_longer_than_the_screen_is_wide_nor_are_there_more_than_fit() {
        let mut status = status((0..40).map(|n| node(&format!("node_number_{n}"), n * 1_000_000, 0)).collect());
        status.waiting = vec![Problem::error("DISK-FULL", "a word ".repeat(30) + &"x".repeat(90))];
        for columns in [20, 40, 60, 80, 200] {
            let lines = drawn(&status, columns, 24);
            assert!(lines.iter().all(|l| l.chars().count() <= columns), "{columns}: {lines:#?}");
            assert!(lines.iter().any(|l| *l == clip("… and 20 more nodes", columns)), "{lines:#?}");
        }
    }

    #[test]
    fn columns_do_not_jump_back() {
        let mut table = Table::new();
        let screen = Screen { columns: 80, rows: 24 };
        let wide = table.render(&status(vec![node("a", 1_000_000, 0)]), Duration::from_secs(1), false, screen);
        let then = table.render(&status(vec![node("a", 1_000_001, 0)]), Duration::from_secs(2), false, screen);
        assert_eq!(wide[0], then[0]);
        assert_eq!(then[1].len(), wide[1].len());
    }

    #[test]
    fn colours_do_not_move_anything() {
        let status = status(vec![node("a", 10, 1)]);
        let screen = Screen { columns: 80, rows: 24 };
        let painted = Table::new().render(&status, Duration::from_secs(1), true, screen);
        let bare: Vec<String> = painted
            .iter()
            .map(|l| {
                ["\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[0m"].iter().fold(l.clone(), |l, code| l.replace(code, ""))
            })
            .map(|l| l.trim_end().to_owned())
            .collect();
        let plain = Table::new().render(&status, Duration::from_secs(1), false, screen);
        assert_eq!(bare, plain);
        assert!(painted[1].contains("\x1b[33m1\x1b[0m"), "{painted:?}");
    }
}
