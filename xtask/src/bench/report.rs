//! The results as people and programs read them: a table per workload, and `bench/results/DATE-HOST.{md,json}`.

use crate::shell;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// Where and on what it ran. A result without these is an anecdote.
pub struct Setting {
    date: String,
    commit: String,
    cpu: String,
    cores: usize,
    memory_gib: f64,
    system: String,
    compiler: String,
    command: String,
}

/// One measured number, with what it should not exceed.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is, with its unit last: `cpu_s_per_million`.
    pub name: &'static str,
    /// The median of the runs.
    pub value: f64,
    /// The bar, if there is one.
    pub bar: Option<f64>,
}

/// One case of a workload.
#[derive(Clone, Debug)]
pub struct Case {
    /// `q0`, `millstream`, `cat`.
    pub name: String,
    /// What its answer was, and if it was the right one.
    pub answer: String,
    /// All with the same names within a workload.
    pub figures: Vec<Figure>,
}

/// One workload, measured.
pub struct Table {
    /// `W1 Nexmark`.
    pub title: String,
    /// Size and kind of the data, checkpoints, runs.
    pub shape: String,
    /// Its rows; the text of a bench that prints its own is in `shape`.
    pub cases: Vec<Case>,
}

impl Figure {
    /// A figure without a bar.
    pub fn new(name: &'static str, value: f64) -> Self {
        Figure { name, value, bar: None }
    }

    /// With what it should not exceed.
    pub fn bar(self, bar: Option<f64>) -> Self {
        Figure { bar, ..self }
    }

    fn shown(&self) -> String {
        let value = if self.value >= 100.0 { format!("{:.0}", self.value) } else { format!("{:.3}", self.value) };
        match self.bar {
            Some(bar) if self.value > bar => format!("**{value}** (bar {}: missed)", rounded(bar)),
            Some(bar) => format!("{value} (bar {})", rounded(bar)),
            None => value,
        }
    }
}

/// At most three places, and none that say nothing.
fn rounded(bar: f64) -> String {
    let text = format!("{bar:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Setting {
    /// Looks around; `command` is what a person types to repeat it.
    pub fn here(command: String) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes = field(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let dirty =
            !shell::output(shell::program("git").args(["status", "--porcelain", "--untracked-files=no"]))?.is_empty();
        let commit = shell::output(shell::program("git").args(["rev-parse", "--short=12", "HEAD"]))?;
        Ok(Setting {
            date: shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?,
            commit: commit + if dirty { " with uncommitted changes" } else { "" },
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kilobytes.unwrap_or_default() / f64::from(1 << 20),
            system: shell::output(Command::new("uname").args(["-sr"]))?,
            compiler: shell::output(Command::new("rustc").arg("--version"))?,
            command,
        })
    }

    /// The kind of machine, for the file's name: cores and processor.
    fn host_class(&self) -> String {
        let mut class = format!("{}x-", self.cores);
        for c in self.cpu.to_lowercase().replace("(r)", "").replace("(tm)", "").replace(" cpu", "").chars() {
            if c.is_ascii_alphanumeric() || c == '.' {
                class.push(c);
            } else if !class.ends_with('-') {
                class.push('-');
            }
        }
        class.trim_end_matches('-').to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "date": self.date, "commit": self.commit, "command": self.command, "compiler": self.compiler,
            "machine": { "cpu": self.cpu, "cores": self.cores, "memory_gib": self.memory_gib, "system": self.system },
        })
    }

    fn markdown(&self) -> String {
        format!(
            "# {}, {}\n\n- machine: {}, {} cores, {:.1} GiB, {}\n- commit: {}, {}\n- command: `{}`\n\n\
             Medians. CPU is user + system time of the whole process over all cores, start-up included, per million input records.\n",
            self.date,
            self.host_class(),
            self.cpu,
            self.cores,
            self.memory_gib,
            self.system,
            self.commit,
            self.compiler,
            self.command
        )
    }
}

impl Table {
    /// As Markdown, which is readable in a terminal too.
    pub fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n{}\n", self.title, self.shape);
        let Some(first) = self.cases.first() else {
            return text;
        };
        let names: Vec<&str> = first.figures.iter().map(|figure| figure.name).collect();
        text += &format!("\n| case | answer | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        for case in &self.cases {
            let figures: Vec<String> = case.figures.iter().map(Figure::shown).collect();
            text += &format!("| {} | {} | {} |\n", case.name, case.answer, figures.join(" | "));
        }
        text
    }

    fn json(&self) -> Value {
        let figure = |figure: &Figure| (figure.name.to_owned(), json!({ "value": figure.value, "bar": figure.bar }));
        let case = |case: &Case| {
            let figures: serde_json::Map<String, Value> = case.figures.iter().map(figure).collect();
            json!({ "name": case.name, "answer": case.answer, "figures": figures })
        };
        json!({ "title": self.title, "shape": self.shape, "cases": self.cases.iter().map(case).collect::<Vec<_>>() })
    }

    /// The figures that miss their bar, one line each.
    pub fn missed(&self) -> Vec<String> {
        let over = |figure: &&Figure| figure.bar.is_some_and(|bar| figure.value > bar);
        let mut missed = Vec::new();
        for case in &self.cases {
            for figure in case.figures.iter().filter(over) {
                missed.push(format!(
                    "{} {}: {} {}",
                    self.title,
                    case.name,
                    figure.name,
                    figure.shown().replace("**", "")
                ));
            }
        }
        missed
    }
}

/// Writes both files and returns the path of the readable one.
pub fn write(setting: &Setting, tables: &[Table]) -> Result<std::path::PathBuf> {
    let folder = shell::root().join("bench/results");
    fs::create_dir_all(&folder)?;
    let name = format!("{}-{}", setting.date, setting.host_class());
    let text: String = std::iter::once(setting.markdown()).chain(tables.iter().map(Table::markdown)).collect();
    let file = folder.join(format!("{name}.md"));
    fs::write(&file, text)?;
    let mut json = setting.json();
    json["workloads"] = tables.iter().map(Table::json).collect();
    fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&json)? + "\n")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_is_said() {
        let case = |name: &str, value| Case {
            name: name.into(),
            answer: "right".into(),
            figures: vec![Figure::new("cpu_s_per_million", value).bar(Some(1.0)), Figure::new("rows_per_s", 1e6)],
        };
        let table =
            Table { title: "W1".into(), shape: "5 events".into(), cases: vec![case("q0", 0.9), case("q1", 1.25)] };
        assert_eq!(table.missed(), ["W1 q1: cpu_s_per_million 1.250 (bar 1: missed)"]);
        assert!(table.markdown().contains("| q0 | right | 0.900 (bar 1) | 1000000 |"));
        assert_eq!(table.json()["cases"][1]["figures"]["cpu_s_per_million"]["value"], 1.25);
    }
}
