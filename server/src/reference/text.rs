//! Markdown that also reads well in a terminal: filled lines, aligned tables.

/// The longest line of running text, in characters.
const WIDTH: usize = 100;

/// A point of a list, `depth` levels in.
pub fn bullet(depth: usize, text: &str) -> String {
    filled(depth * 2, "- ", text)
}

/// Text filled to the width; the first line begins with `mark`, the others stand under its text.
pub fn filled(indent: usize, mark: &str, text: &str) -> String {
    let (first, rest) = (" ".repeat(indent) + mark, " ".repeat(indent + mark.len()));
    let mut out = first;
    let mut column = out.len();
    let start = column;
    for word in words(text) {
        let width = word.chars().count();
        if column > start && column + 1 + width > WIDTH {
            out.push('\n');
            out.push_str(&rest);
            column = start;
        } else if column > start {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += width;
    }
    out.push('\n');
    out
}

/// Words; what stands between backquotes is not parted.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for piece in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(piece);
            }
            _ => words.push(piece.to_string()),
        }
        open ^= piece.matches('`').count() % 2 == 1;
    }
    words
}

/// A table whose columns are aligned in the source too.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|r| r[i].chars().count());
        cells.chain([head[i].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = line(head.iter().map(|h| h.to_string()).collect());
    out.push_str(&line(widths.iter().map(|w| "-".repeat(*w)).collect()));
    for row in rows {
        out.push_str(&line(row.iter().map(|cell| cell.replace('|', "\\|")).collect()));
    }
    out
}

/// `a, b or c`.
pub fn listed(items: Vec<&str>, last: &str) -> String {
    match items.as_slice() {
        [] => String::new(),
        [one] => (*one).to_string(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
