//! The reference: one page per kind of node, the index, the codes of problems.
//!
//! Made from the registry alone, so a page cannot say what the program does not know. The same text is
//! printed by `millstream components KIND` and stands under `docs/reference/`: it must read well in both.

mod options;
mod text;

use millstream_pipelines::catalogue::{Catalogue, Guarantee, Inputs, KindInfo, Role};
use std::fmt::Write;
use text::{bullet, listed, table};

/// The keys common to nodes, each with what it says. `kind` and `from` come first.
const COMMON: &[(&str, &str)] = &[
    ("kind", "The kind of node."),
    ("from", "The node it reads, or `node.port`; a list is their union and needs equal columns."),
    ("description", "What the node is for."),
    ("was", "The name that the node had before it was renamed: its state stays."),
    (
        "on_error",
        "What happens to a row that the node cannot handle: `dead_letter` (to the port `errors` where a node reads \
         it, or else to the dead-letter store), `drop` (counted and gone) or `fail` (the job stops). Default \
         `dead_letter`.",
    ),
    ("schema", "The columns and their types: `{ id: int64!, at: timestamp }`; `!` refuses rows without a value."),
    (
        "metadata",
        "Columns that the transport adds, such as `[_timestamp]`: when the record was read. Each begins with an \
         underscore.",
    ),
    (
        "event_time",
        "Which column says when something happened: `{ field: at, out_of_order: 10s, idle_after: 1m }`. \
         `out_of_order` is how late a row may come; a partition that is silent for `idle_after` holds nothing up.",
    ),
    ("where", "A SQL condition: rows for which it does not hold, or is NULL, do not pass."),
    (
        "guarantee",
        "`exactly_once`, `at_least_once` or `at_most_once`: what must hold here. `check` refuses the file when \
         something on the way promises less.",
    ),
];

/// All about one kind, as Markdown.
pub fn page(kind: &KindInfo) -> String {
    let mut page = format!("# {}\n\n{}\n\n", kind.name, kind.docs.trim_end());
    let inputs = match kind.inputs {
        Inputs::None => "Reads no other node.",
        Inputs::One => "Reads one stream, under `from`.",
        Inputs::Named => "Reads one or several streams: `from: node`, or by name `from: { a: node, b: other }`.",
    };
    let _ = write!(page, "{}. {inputs}\n\n## Options\n\n", role(kind.role));
    page.push_str(&options::section(&kind.config));
    page.push_str("\nKeys common to nodes:\n\n");
    for (key, says) in COMMON.iter().filter(|(key, _)| *key != "kind" && takes(kind, key)) {
        page.push_str(&bullet(0, &format!("`{key}`: {says}")));
    }
    let _ = write!(page, "\n## Ports\n\n{}", ports(kind));
    page.push_str("\n## Guarantee\n\n");
    page.push_str(&text::filled(0, "", guarantee(kind)));
    let _ = write!(page, "\n## Example\n\n```yaml\n{}\n```\n", kind.example.trim_end());
    page
}

/// The list of all kinds, and the keys common to nodes.
pub fn index(catalogue: &Catalogue) -> String {
    let mut page = String::from(
        "# Reference\n\nMade from the registry of the program: `millstream components KIND` prints the same pages.\n\
         [errors.md](errors.md) lists every problem, with what to do.\n",
    );
    for role_ in [Role::Source, Role::Transform, Role::Sink] {
        let _ = write!(page, "\n## {}s\n\n", role(role_));
        for kind in catalogue.kinds.iter().filter(|k| k.role == role_) {
            page.push_str(&bullet(0, &format!("[`{0}`]({0}.md): {1}", kind.name, kind.summary)));
        }
    }
    page.push_str("\n## Keys common to nodes\n\nEvery other key belongs to the node's kind; a key that nobody reads is refused.\n\n");
    for (key, says) in COMMON {
        let by: Vec<&str> = catalogue.kinds.iter().filter(|k| takes(k, key)).map(|k| k.name.as_str()).collect();
        let by = match by.len() {
            0 => continue,
            n if n == catalogue.kinds.len() => "all".to_string(),
            _ => listed(by, "and"),
        };
        page.push_str(&bullet(0, &format!("`{key}`: {says} Nodes that take it: {by}.")));
    }
    page
}

/// Every code that a problem can have.
pub fn errors() -> String {
    let mut page = String::from("# Problems\n\n");
    page.push_str(&text::filled(
        0,
        "",
        "Every problem has a code, a place, what was found, what was expected and, where there is one, a way out; with \
         `--json` each is one line for programs. `millstream check FILE` finds those of a pipeline file without \
         running anything. A record that is refused becomes a dead letter with one of these codes: \
         `millstream dead list`. A code never changes its meaning.",
    ));
    for area in millstream::problem::codes::AREAS {
        let _ = write!(page, "\n## {}\n\n", area.title);
        for code in area.codes {
            page.push_str(&bullet(0, &format!("`{}`: {} {}", code.code, code.means, code.help)));
        }
    }
    page
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Source => "Source",
        Role::Transform => "Transform",
        Role::Sink => "Sink",
    }
}

fn takes(kind: &KindInfo, key: &str) -> bool {
    match key {
        "kind" | "description" | "was" | "on_error" => true,
        "from" => kind.inputs != Inputs::None,
        key => kind.common.iter().any(|k| k == key),
    }
}

fn ports(kind: &KindInfo) -> String {
    let own = kind.ports.iter().map(|port| match port.as_str() {
        "" => ("node".to_string(), "its rows"),
        "late" => {
            ("node.late".into(), "rows that came after their window had closed; dead letters where no node reads them")
        }
        "else" => ("node.else".into(), "rows that went nowhere else"),
        other => (format!("node.{other}"), "rows"),
    });
    let mut rows: Vec<Vec<String>> = Vec::new();
    if let Some(key) = &kind.ports_from {
        rows.push(vec!["`node.NAME`".into(), format!("one port for each entry of `{key}`")]);
    }
    rows.extend(own.map(|(port, holds)| vec![format!("`{port}`"), holds.to_string()]));
    let refused = match kind.role {
        // What a sink cannot write stops it or is a dead letter; only the filter in front of it has a port.
        Role::Sink => "rows for which `where` cannot be computed, each with the reason",
        _ => "rows that it refused, each with the reason and where it came from",
    };
    rows.push(vec!["`node.errors`".into(), refused.into()]);
    table(&["from", "holds"], &rows)
}

fn guarantee(kind: &KindInfo) -> &'static str {
    match (kind.role, kind.guarantee) {
        (Role::Transform, Guarantee::ExactlyOnce) => {
            "Keeps what its inputs promise: after a crash no row is lost and none counts twice."
        }
        (_, Guarantee::ExactlyOnce) => "Exactly once: after a crash no row is lost and none comes twice.",
        (_, Guarantee::AtLeastOnce) => "At least once: after a crash, rows since the last checkpoint come again.",
        (_, Guarantee::AtMostOnce) => "At most once: what was read since the last checkpoint is gone after a crash.",
    }
}
