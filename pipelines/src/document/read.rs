//! From the tree to the document: the file's top level, and helpers that every part uses.

use super::*;
use crate::codes;
use crate::tree::{Map, Node as Tree, Value, quote};
use crate::types::TypeError;
use crate::units::UnitError;
use millstream_problem::nearest;

pub(super) const TOP_KEYS: [&str; 11] = [
    "version",
    "name",
    "description",
    "guarantee",
    "checkpoint",
    "dead_letters",
    "parameters",
    "connections",
    "nodes",
    "tests",
    "layout",
];

/// Collects problems while reading; every helper returns `None` where it reported one.
pub(super) struct Reader {
    pub source: Source,
    pub problems: Vec<Problem>,
    /// The node being read, for messages.
    pub node: Option<String>,
    /// True once references are resolved: then every value is what it is.
    pub resolved: bool,
}

impl Reader {
    /// True for what gets its value later.
    pub fn deferred(&self, node: &Tree) -> bool {
        !self.resolved && crate::references::is_deferred(node)
    }
    pub fn report(&mut self, problem: Problem) {
        let problem = match &self.node {
            Some(node) if problem.node.is_none() => problem.node(node.clone()),
            _ => problem,
        };
        self.problems.push(problem);
    }
    pub fn error(&mut self, span: Span, code: &'static str, what: impl Into<String>) {
        let problem = self.source.error(span, code, what);
        self.report(problem);
    }
    pub fn wrong(&mut self, node: &Tree, key: &str, expected: &str) {
        let problem = self.source.error(node.span, codes::TYPE, format!("`{key}` has the wrong type"));
        let problem = problem.found(node.describe()).expected(expected);
        let quoted = expected.contains("string") && matches!(node.value, Value::Bool(_) | Value::Number(_));
        self.report(if quoted { problem.help("quote it to make it a string") } else { problem });
    }
    pub fn missing(&mut self, span: Span, key: &str, expected: &str) {
        let problem = self.source.error(span, codes::MISSING_KEY, format!("key `{key}` is missing"));
        self.report(problem.expected(expected));
    }
    pub fn map<'a>(&mut self, node: &'a Tree, key: &str, expected: &str) -> Option<&'a Map> {
        let map = node.as_map();
        if map.is_none() {
            self.wrong(node, key, expected);
        }
        map
    }
    /// A map with only these keys.
    pub fn keys<'a>(&mut self, node: &'a Tree, key: &str, known: &[&str]) -> Option<&'a Map> {
        let map = self.map(node, key, &format!("a map with {}", known.join(", ")))?;
        for entry in map.iter().filter(|e| !known.contains(&e.key.as_str())) {
            let problem = self.source.error(entry.key_span, codes::UNKNOWN_KEY, format!("unknown key `{}`", entry.key));
            let problem = problem.expected(format!("one of {}", known.join(", ")));
            let near = nearest(&entry.key, known.iter().copied());
            self.report(match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        Some(map)
    }
    pub fn string(&mut self, node: &Tree, key: &str) -> Option<At<String>> {
        match &node.value {
            Value::String(s) => Some(At { value: s.clone(), span: node.span }),
            _ => {
                self.wrong(node, key, "a string");
                None
            }
        }
    }
    pub fn strings(&mut self, node: &Tree, key: &str) -> Vec<At<String>> {
        match &node.value {
            Value::List(list) => list.iter().filter_map(|n| self.string(n, key)).collect(),
            _ => {
                self.wrong(node, key, "a list of strings");
                Vec::new()
            }
        }
    }
    pub fn choice<T: Copy>(&mut self, node: &Tree, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        if self.deferred(node) {
            return None;
        }
        let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
        let expected = format!("one of {}", names.join(", "));
        let Some(text) = node.as_str() else {
            self.wrong(node, key, &expected);
            return None;
        };
        if let Some((_, value)) = choices.iter().find(|(n, _)| *n == text) {
            return Some(At { value: *value, span: node.span });
        }
        let problem = self
            .source
            .error(node.span, codes::VALUE, format!("unknown value for `{key}`"))
            .found(quote(text))
            .expected(expected);
        self.report(match nearest(text, names) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
        None
    }
    pub fn duration(&mut self, node: &Tree, key: &str) -> Option<At<Duration>> {
        self.unit(node, key, Duration::EXPECTED, Duration::parse)
    }
    pub fn size(&mut self, node: &Tree, key: &str) -> Option<At<ByteSize>> {
        self.unit(node, key, ByteSize::EXPECTED, ByteSize::parse)
    }
    pub fn percent(&mut self, node: &Tree, key: &str) -> Option<At<Percent>> {
        self.unit(node, key, Percent::EXPECTED, Percent::parse)
    }
    fn unit<T>(
        &mut self,
        node: &Tree,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, UnitError>,
    ) -> Option<At<T>> {
        if self.deferred(node) {
            return None;
        }
        match unit(&self.source, node, key, expected, parse) {
            Ok(value) => Some(At { value, span: node.span }),
            Err(problem) => {
                self.report(problem);
                None
            }
        }
    }
    pub fn count(&mut self, node: &Tree, key: &str, min: u64, max: u64) -> Option<u64> {
        if self.deferred(node) {
            return None;
        }
        match &node.value {
            Value::Number(n) if n.as_u64().is_some_and(|n| (min..=max).contains(&n)) => n.as_u64(),
            Value::Number(n) => {
                let problem = self.source.error(node.span, codes::RANGE, format!("`{key}` is out of range"));
                self.report(problem.found(n.to_string()).expected(format!("a whole number from {min} to {max}")));
                None
            }
            _ => {
                self.wrong(node, key, &format!("a whole number from {min} to {max}"));
                None
            }
        }
    }
    /// Field names and types. A map in place of a type is a struct.
    pub fn fields(&mut self, node: &Tree, key: &str) -> Fields {
        let Some(map) = self.map(node, key, "a map of field names and types") else {
            return Vec::new();
        };
        map.iter()
            .filter_map(|e| Some((At { value: e.key.clone(), span: e.key_span }, self.field(&e.value, &e.key)?)))
            .collect()
    }
    fn field(&mut self, node: &Tree, key: &str) -> Option<At<FieldType>> {
        let value = match &node.value {
            Value::Map(_) => {
                let fields = self.fields(node, key).into_iter().map(|(n, t)| (n.value, t.value)).collect();
                FieldType::new(crate::types::Type::Struct(fields))
            }
            Value::String(text) => match FieldType::parse(text) {
                Ok(t) => t,
                Err(e) => {
                    let problem = type_problem(&self.source, node, key, e);
                    self.report(problem);
                    return None;
                }
            },
            _ => {
                self.wrong(node, key, "a type such as string, int64 or timestamp");
                return None;
            }
        };
        Some(At { value, span: node.span })
    }
}

pub(crate) fn unit<T>(
    source: &Source,
    node: &Tree,
    key: &str,
    expected: &str,
    parse: fn(&str) -> Result<T, UnitError>,
) -> Result<T, Problem> {
    let text = match &node.value {
        Value::String(s) => s.clone(),
        Value::Number(n) => n.to_string(),
        _ => {
            return Err(source
                .error(node.span, codes::TYPE, format!("`{key}` has the wrong type"))
                .found(node.describe())
                .expected(expected));
        }
    };
    parse(&text).map_err(|e| {
        let what = format!("`{key}`: {}", e.what);
        source.error(node.span, codes::UNIT, what).found(quote(&text)).expected(expected).help(e.help)
    })
}

fn type_problem(source: &Source, node: &Tree, key: &str, e: TypeError) -> Problem {
    let text = node.as_str().unwrap_or_default();
    // The text may be quoted or folded: point inside only where it stands in the file as it is.
    let inside = source.slice(node.span).find(text).filter(|_| !text.is_empty());
    let span =
        inside.map_or(node.span, |i| Span::new(node.span.start + i + e.at.start, node.span.start + i + e.at.end));
    let problem = source.error(span, codes::TYPE, format!("type of `{key}`: {}", e.what)).found(quote(text));
    match e.help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

pub(super) const GUARANTEES: [(&str, Guarantee); 3] = [
    ("at_most_once", Guarantee::AtMostOnce),
    ("at_least_once", Guarantee::AtLeastOnce),
    ("exactly_once", Guarantee::ExactlyOnce),
];

pub(super) fn document(
    source: Source,
    root: Tree,
    problems: Vec<Problem>,
    resolved: bool,
) -> Result<Document, Vec<Problem>> {
    let parse_problems = problems.clone();
    let mut r = Reader { source: source.clone(), problems, node: None, resolved };
    let Some(top) = r.keys(&root, "the file", &TOP_KEYS).cloned() else {
        return Err(r.problems);
    };
    let version = version(&mut r, &top);
    let name = name(&mut r, &top);
    let description = top.get("description").and_then(|n| r.string(n, "description")).map(|s| s.value);
    let guarantee = top.get("guarantee").and_then(|n| r.choice(n, "guarantee", &GUARANTEES));
    let checkpoint = top.get("checkpoint").map(|n| checkpoint(&mut r, n)).unwrap_or_default();
    let dead_letters = top.get("dead_letters").map(|n| dead_letters(&mut r, n)).unwrap_or_default();
    let parameters = top.get("parameters").map(|n| parameters(&mut r, n)).unwrap_or_default();
    let connections = top.get("connections").map(|n| connections(&mut r, n)).unwrap_or_default();
    let nodes = match top.get("nodes") {
        Some(n) => node::nodes(&mut r, n),
        None => {
            r.missing(Span::new(root.span.start, root.span.start), "nodes", "a map of named nodes");
            Vec::new()
        }
    };
    let tests = top.get("tests").map(|n| cases::cases(&mut r, n)).unwrap_or_default();
    let layout = top.get("layout").map(|n| layout(&mut r, n)).unwrap_or_default();
    let problems = std::mem::take(&mut r.problems);
    Ok(Document {
        source,
        root,
        version,
        name,
        description,
        guarantee,
        checkpoint,
        dead_letters,
        parameters,
        connections,
        nodes,
        tests,
        layout,
        problems,
        parse_problems,
        resolved,
    })
}

fn version(r: &mut Reader, top: &Map) -> u32 {
    let help = "this program reads version 1";
    match top.entry("version") {
        None => {
            let start = top.0.first().map_or(Span::default(), |e| Span::new(e.key_span.start, e.key_span.start));
            let problem = r.source.error(start, codes::VERSION, "key `version` is missing").help("write `version: 1`");
            r.report(problem);
        }
        Some(e) => match &e.value.value {
            Value::Number(n) if n.as_u64() == Some(1) => {}
            _ => {
                let problem = r.source.error(e.value.span, codes::VERSION, "unknown version of the file format");
                r.report(problem.found(e.value.describe()).expected("the number 1").help(help));
            }
        },
    }
    1
}

fn name(r: &mut Reader, top: &Map) -> String {
    let Some(node) = top.get("name") else {
        let start = top.0.first().map_or(Span::default(), |e| Span::new(e.key_span.start, e.key_span.start));
        r.missing(start, "name", "the pipeline's name");
        return String::new();
    };
    let Some(name) = r.string(node, "name") else {
        return String::new();
    };
    if !pipeline_name(&name) {
        let problem = r.source.error(node.span, codes::NAME, "not a pipeline name").found(quote(&name));
        r.report(problem.expected("1 to 128 letters, digits, `.`, `_` or `-`, not beginning with a dot"));
    }
    name.value
}

fn pipeline_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(letter) && !name.starts_with('.')
}

fn checkpoint(r: &mut Reader, node: &Tree) -> Checkpoint {
    let mut c = Checkpoint::default();
    let Some(map) = r.keys(node, "checkpoint", &["every", "timeout"]) else {
        return c;
    };
    let bounds = (Duration::from_millis(10), Duration::from_secs(86_400));
    for (key, slot) in [("every", &mut c.every), ("timeout", &mut c.timeout)] {
        if let Some(value) = map.get(key)
            && let Some(d) = r.duration(value, key)
        {
            if d.value < bounds.0 || d.value > bounds.1 {
                let problem =
                    r.source.error(d.span, codes::RANGE, format!("`{key}` is out of range")).found(d.to_string());
                r.report(problem.expected(format!("{} to {}", bounds.0, bounds.1)));
            }
            *slot = d.value;
        }
    }
    c
}

fn dead_letters(r: &mut Reader, node: &Tree) -> DeadLetters {
    let mut d = DeadLetters::default();
    let Some(map) = r.keys(node, "dead_letters", &["keep", "max", "when_full", "guard"]) else {
        return d;
    };
    if let Some(keep) = map.get("keep").and_then(|n| r.duration(n, "keep")) {
        d.keep = keep.value;
    }
    if let Some(max) = map.get("max").and_then(|n| r.size(n, "max")) {
        if max.value < ByteSize::mib(1) {
            let problem = r.source.error(max.span, codes::RANGE, "`max` is too small").found(max.to_string());
            r.report(problem.expected("at least 1MiB"));
        }
        d.max = max.value;
    }
    let choices = [("pause", WhenFull::Pause), ("drop_oldest", WhenFull::DropOldest)];
    if let Some(when) = map.get("when_full").and_then(|n| r.choice(n, "when_full", &choices)) {
        d.when_full = when.value;
    }
    if let Some(node) = map.get("guard") {
        d.guard = guard(r, node);
    }
    d
}

/// `off`, or what counts as too many.
fn guard(r: &mut Reader, node: &Tree) -> Option<Guard> {
    if node.as_str().is_some() {
        r.choice(node, "guard", &[("off", ())]);
        return None;
    }
    let mut guard = Guard::default();
    let map = r.keys(node, "guard", &["share", "rows", "every"])?;
    if let Some(share) = map.get("share").and_then(|n| r.percent(n, "share")) {
        guard.share = share.value;
    }
    if let Some(rows) = map.get("rows").and_then(|n| r.count(n, "rows", 0, u64::MAX)) {
        guard.rows = rows;
    }
    let bounds = (Duration::from_secs(1), Duration::from_secs(86_400));
    if let Some(every) = map.get("every").and_then(|n| r.duration(n, "every")) {
        if every.value < bounds.0 || every.value > bounds.1 {
            let problem = r.source.error(every.span, codes::RANGE, "`every` is out of range");
            r.report(problem.found(every.to_string()).expected(format!("{} to {}", bounds.0, bounds.1)));
        }
        guard.every = every.value;
    }
    Some(guard)
}

/// `[a-z][a-z0-9_]*`, at most 64 letters: nodes, parameters, connections, named inputs.
pub(super) fn simple_name(r: &mut Reader, name: &str, span: Span, what: &str) {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good {
        return;
    }
    let mut better: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).take(64).collect();
    better = better.trim_matches('_').to_string();
    let problem = r.source.error(span, codes::NAME, format!("not a {what} name")).found(quote(name));
    let problem = problem.expected("a small letter, then small letters, digits or `_`; at most 64");
    r.report(match better.starts_with(|c: char| c.is_ascii_lowercase()) {
        true => problem.help(format!("write `{better}`")),
        false => problem,
    });
}

fn parameters(r: &mut Reader, node: &Tree) -> Vec<Parameter> {
    let Some(map) = r.map(node, "parameters", "a map of names and defaults") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for e in map {
        simple_name(r, &e.key, e.key_span, "parameter");
        let mut p = Parameter {
            name: e.key.clone(),
            ty: ParameterType::String,
            default: None,
            description: None,
            span: e.key_span,
        };
        let mut default = Some(&e.value);
        let mut said = None;
        if matches!(e.value.value, Value::Map(_)) {
            let Some(inner) = r.keys(&e.value, &e.key, &["type", "default", "description"]) else {
                continue;
            };
            default = inner.get("default");
            p.description = inner.get("description").and_then(|n| r.string(n, "description")).map(|s| s.value);
            use ParameterType::{Bool, Float, Int, String};
            let types = [("string", String), ("int", Int), ("float", Float), ("bool", Bool)];
            said = inner.get("type").and_then(|n| r.choice(n, "type", &types)).map(|t| t.value);
        }
        let default = default.filter(|n| n.value != Value::Null);
        p.ty = said.or_else(|| default.and_then(|n| type_of(&n.value))).unwrap_or(ParameterType::String);
        if let Some(n) = default {
            if fits(&n.value, p.ty) {
                p.default = Some(n.value.clone());
            } else {
                r.wrong(n, &e.key, p.ty.expected());
            }
        }
        all.push(p);
    }
    all
}

fn type_of(value: &Value) -> Option<ParameterType> {
    Some(match value {
        Value::String(_) => ParameterType::String,
        Value::Bool(_) => ParameterType::Bool,
        Value::Number(n) if n.is_f64() => ParameterType::Float,
        Value::Number(_) => ParameterType::Int,
        _ => return None,
    })
}

fn fits(value: &Value, ty: ParameterType) -> bool {
    type_of(value).is_some_and(|t| t == ty || (t == ParameterType::Int && ty == ParameterType::Float))
}

impl ParameterType {
    /// What its values look like, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            ParameterType::String => "a string",
            ParameterType::Int => "a whole number",
            ParameterType::Float => "a number",
            ParameterType::Bool => "true or false",
        }
    }
}

fn connections(r: &mut Reader, node: &Tree) -> Vec<Connection> {
    let Some(map) = r.map(node, "connections", "a map of named connections") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for e in map {
        simple_name(r, &e.key, e.key_span, "connection");
        let Some(keys) = r.map(&e.value, &e.key, "a map with `kind` and the keys of that kind") else {
            continue;
        };
        let kind = match keys.get("kind") {
            Some(k) => r.string(k, "kind").map(|k| k.value).unwrap_or_default(),
            None => {
                r.missing(e.key_span, "kind", "the system it connects to, such as kafka");
                String::new()
            }
        };
        let rest = Map(keys.iter().filter(|k| k.key != "kind").cloned().collect());
        let config = Tree::new(Value::Map(rest), e.value.span);
        all.push(Connection { name: e.key.clone(), name_span: e.key_span, kind, config, source: r.source.clone() });
    }
    all
}

fn layout(r: &mut Reader, node: &Tree) -> Vec<(String, [f64; 2])> {
    let Some(map) = r.map(node, "layout", "a map of node names and positions") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for e in map {
        let number = |n: &Tree| match &n.value {
            Value::Number(n) => n.as_f64(),
            _ => None,
        };
        match e.value.as_list().map(|l| l.iter().filter_map(number).collect::<Vec<_>>()).as_deref() {
            Some(&[x, y]) => all.push((e.key.clone(), [x, y])),
            _ => r.wrong(&e.value, &e.key, "a position: [x, y]"),
        }
    }
    all
}
