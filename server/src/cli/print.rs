//! What people and programs see: problems on standard error, results on standard output.

use millstream::Problem;
use millstream_pipelines::{Source, render};
use std::io::{IsTerminal, Write};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Print {
    /// JSON lines instead of text.
    pub json: bool,
    /// Colours on standard error.
    pub colour: bool,
    /// Colours on standard output.
    pub colour_out: bool,
    /// Standard error is a terminal.
    pub terminal: bool,
}

impl Print {
    /// Looks at the terminal and at `NO_COLOR`.
    pub fn new(json: bool) -> Print {
        let terminal = std::io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let colour_out = wanted && std::io::stdout().is_terminal();
        Print { json, colour: wanted && terminal, colour_out, terminal }
    }

    /// Prints problems, with the lines of the file where it is given.
    pub fn problems(&self, problems: &[Problem], source: Option<&Source>) {
        let mut err = std::io::stderr().lock();
        for problem in problems {
            // Standard error that is gone leaves nobody to tell.
            let _ = match (self.json, source) {
                (true, _) => writeln!(err, "{}", serde_json::to_string(problem).expect("a problem is JSON")),
                (false, Some(source)) => writeln!(err, "{}", render::draw(problem, &[source], self.colour)),
                (false, None) => writeln!(err, "{}", render::line(problem)),
            };
        }
    }

    /// One problem without a file.
    pub fn problem(&self, problem: &Problem) {
        self.problems(std::slice::from_ref(problem), None);
    }

    /// A line for people, on standard error; nothing in JSON mode.
    pub fn say(&self, line: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Text of a result in this colour, where standard output shows colours.
    pub fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour_out { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A result, on standard output: text, or the JSON value.
    pub fn result(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) {
        let line = if self.json { json().to_string() } else { text() };
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
