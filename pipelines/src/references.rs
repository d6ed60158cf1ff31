//! References and what they become: `{ env: NAME, default: … }`, `{ secret: name }`, `"${name}"`.
//!
//! They are resolved in the tree, after parsing: a value can never change the structure of the file. They
//! stand in `guarantee`, `checkpoint`, `dead_letters`, `connections` and `nodes`; descriptions, tests
//! and the layout are taken as they are.

use crate::PROBLEMS_MAX;
use crate::codes;
use crate::document::{Document, Parameter, ParameterType};
use crate::secret::Secret;
use crate::source::{Source, Span};
use crate::template::{self, Part};
use crate::tree::{Entry, Map, Node, Value, quote};
use millstream_problem::{Problem, nearest};
use std::collections::BTreeMap;

const RESOLVED: [&str; 5] = ["guarantee", "checkpoint", "dead_letters", "connections", "nodes"];

/// True for a map that is a reference: `env` (with `default`) or `secret` alone.
pub(crate) fn is_reference(node: &Node) -> bool {
    let Some(map) = node.as_map() else {
        return false;
    };
    let keys: Vec<&str> = map.iter().map(|e| e.key.as_str()).collect();
    matches!(keys.as_slice(), ["env"] | ["env", "default"] | ["default", "env"] | ["secret"])
}

/// True for `{ secret: name }` or a resolved secret.
pub(crate) fn is_secret(node: &Node) -> bool {
    matches!(node.value, Value::Secret(_)) || (is_reference(node) && node.get(&["secret"]).is_some())
}

/// True if the value is known only once references are resolved.
pub(crate) fn is_deferred(node: &Node) -> bool {
    match &node.value {
        Value::String(s) => {
            s.contains("${") && template::parts(s).iter().any(|p| !matches!(p, Part::Text(_) | Part::Row(_)))
        }
        _ => is_reference(node),
    }
}

impl Document {
    /// Puts the values of parameters, environment variables and secrets in place of the references.
    ///
    /// A string that is nothing but `"${name}"` takes the parameter's type; inside a longer string its text
    /// stands. An environment variable is a string, or what its default is. Secrets stay [`Secret`].
    ///
    /// # Errors
    /// Every reference without a value, by name and place; structural problems that are errors.
    pub fn resolve(
        &self,
        parameters: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
        secrets: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Document, Vec<Problem>> {
        let mut r = Resolver { source: &self.source, values: BTreeMap::new(), env, secrets, problems: Vec::new() };
        r.parameters(self, parameters);
        let root = r.root(&self.root);
        if !r.problems.is_empty() {
            // Without its values the tree would only give problems that follow from these.
            let structure = self.problems.iter().filter(|p| p.is_error()).cloned();
            return Err(r.problems.into_iter().chain(structure).collect());
        }
        let parsed = self.parse_problems.clone();
        let mut document = Document::from_tree(self.source.clone(), root, parsed, true)?;
        document.parse_problems.clone_from(&self.parse_problems);
        if document.problems.iter().any(Problem::is_error) { Err(document.problems) } else { Ok(document) }
    }
}

struct Resolver<'a> {
    source: &'a Source,
    values: BTreeMap<String, Value>,
    env: &'a dyn Fn(&str) -> Option<String>,
    secrets: &'a dyn Fn(&str) -> Option<Secret>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn parameters(&mut self, document: &Document, given: &BTreeMap<String, String>) {
        for name in given.keys().filter(|n| !document.parameters.iter().any(|p| p.name == **n)) {
            let problem = Problem::error(codes::DANGLING, format!("the pipeline has no parameter `{name}`"));
            self.problems.push(suggest(problem, name, document.parameters.iter().map(|p| p.name.as_str())));
        }
        for p in &document.parameters {
            let value = match given.get(&p.name) {
                Some(text) => self.given(p, text),
                None => p.default.clone(),
            };
            match value {
                Some(value) => drop(self.values.insert(p.name.clone(), value)),
                None if given.contains_key(&p.name) => {}
                None => {
                    let problem =
                        self.source.error(p.span, codes::REFERENCE, format!("parameter `{}` has no value", p.name));
                    self.problems.push(problem.help(format!("give it with `-p {}=…`, or write a default", p.name)));
                }
            }
        }
    }

    fn given(&mut self, p: &Parameter, text: &str) -> Option<Value> {
        let value = typed(text, p.ty);
        if value.is_none() {
            let problem = self.source.error(
                p.span,
                codes::TYPE,
                format!("the value given for parameter `{}` does not fit", p.name),
            );
            self.problems.push(problem.found(quote(text)).expected(p.ty.expected()));
        }
        value
    }

    fn root(&mut self, root: &Node) -> Node {
        let Some(map) = root.as_map() else {
            return root.clone();
        };
        let entry = |e: &Entry, s: &mut Self| match RESOLVED.contains(&e.key.as_str()) {
            true => Entry { value: s.node(&e.value), ..e.clone() },
            false => e.clone(),
        };
        let entries = map.iter().map(|e| entry(e, self)).collect();
        Node::new(Value::Map(Map(entries)), root.span)
    }

    fn node(&mut self, node: &Node) -> Node {
        let value = match &node.value {
            _ if is_reference(node) => self.reference(node),
            Value::String(s) if s.contains("${") => self.string(s, node.span),
            Value::List(list) => Value::List(list.iter().map(|n| self.node(n)).collect()),
            Value::Map(map) => Value::Map(Map(map.iter().map(|e| self.entry(e)).collect())),
            other => other.clone(),
        };
        Node::new(value, node.span)
    }

    fn entry(&mut self, e: &Entry) -> Entry {
        let value = if e.key == "description" { e.value.clone() } else { self.node(&e.value) };
        Entry { value, ..e.clone() }
    }

    fn reference(&mut self, node: &Node) -> Value {
        let name = |key: &str| node.get(&[key]).and_then(Node::as_str);
        if let Some(name) = name("secret") {
            return (self.secrets)(name).map(Value::Secret).unwrap_or_else(|| {
                let problem = self.source.error(node.span, codes::REFERENCE, format!("there is no secret `{name}`"));
                self.problems.push(problem.help(format!("set the secret `{name}` where this pipeline runs")));
                Value::Null
            });
        }
        let default = node.get(&["default"]);
        let Some(name) = name("env") else {
            return Value::Null;
        };
        match ((self.env)(name), default) {
            (Some(text), default) => self.variable(node, name, &text, default),
            (None, Some(default)) => default.value.clone(),
            (None, None) => {
                let problem = self.source.error(
                    node.span,
                    codes::REFERENCE,
                    format!("the environment variable `{name}` is not set"),
                );
                self.problems.push(problem.help(format!("set it, or write {{ env: {name}, default: … }}")));
                Value::Null
            }
        }
    }

    fn variable(&mut self, node: &Node, name: &str, text: &str, default: Option<&Node>) -> Value {
        let ty = default.map_or(ParameterType::String, |d| match &d.value {
            Value::Bool(_) => ParameterType::Bool,
            Value::Number(n) if n.is_f64() => ParameterType::Float,
            Value::Number(_) => ParameterType::Int,
            _ => ParameterType::String,
        });
        typed(text, ty).unwrap_or_else(|| {
            // The value may be private: it is not shown.
            let problem =
                self.source.error(node.span, codes::TYPE, format!("the environment variable `{name}` does not fit"));
            self.problems.push(problem.expected(format!("{}, as its default", ty.expected())));
            Value::Null
        })
    }

    fn string(&mut self, text: &str, span: Span) -> Value {
        let parts = template::parts(text);
        if let [Part::Parameter(name)] = parts.as_slice()
            && let Some(value) = self.values.get(*name)
        {
            return value.clone();
        }
        let row = parts.iter().any(|p| matches!(p, Part::Row(_)));
        let mut out = String::new();
        for part in &parts {
            match part {
                // Where the record's fields come in later, `$${` must still stand for itself then.
                Part::Text("${") if row => out.push_str("$${"),
                Part::Text(t) => out.push_str(t),
                Part::Row(field) => out.push_str(&format!("${{row.{field}}}")),
                Part::Parameter(name) => match self.values.get(*name) {
                    Some(value) => out.push_str(&plain(value)),
                    None => self.unknown(name, span),
                },
                Part::Bad(bad) => self.problems.push(bad_template(self.source, span, bad)),
            }
        }
        Value::String(out)
    }

    fn unknown(&mut self, name: &str, span: Span) {
        // A declared parameter without a value has been reported where it is declared.
        if !self.problems.iter().any(|p| p.what.contains(&format!("parameter `{name}`"))) {
            self.problems.push(unknown_parameter(self.source, span, name, self.values.keys().map(String::as_str)));
        }
    }
}

fn typed(text: &str, ty: ParameterType) -> Option<Value> {
    Some(match ty {
        ParameterType::String => Value::String(text.into()),
        ParameterType::Bool => Value::Bool(text.parse().ok()?),
        ParameterType::Int => Value::Number(text.parse::<i64>().ok()?.into()),
        ParameterType::Float => Value::Number(serde_json::Number::from_f64(text.parse().ok()?)?),
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}

fn suggest<'a>(problem: Problem, name: &str, names: impl Iterator<Item = &'a str>) -> Problem {
    match nearest(name, names) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("declare it: `parameters: {{ {name}: … }}`")),
    }
}

fn unknown_parameter<'a>(source: &Source, span: Span, name: &str, names: impl Iterator<Item = &'a str>) -> Problem {
    let problem = source.error(span, codes::DANGLING, format!("there is no parameter `{name}`"));
    suggest(problem, name, names)
}

fn bad_template(source: &Source, span: Span, bad: &str) -> Problem {
    let problem = source.error(span, codes::TEMPLATE, "not a reference").found(quote(bad));
    problem.expected("${name} or ${row.field}").help("write `$${` for a `${` that is meant as it stands")
}

/// What can be said about references without values: undeclared parameters, bad templates and names.
pub(crate) fn check(document: &Document, problems: &mut Vec<Problem>) {
    let Some(top) = document.root.as_map().filter(|_| !document.resolved) else {
        return;
    };
    for e in top.iter().filter(|e| RESOLVED.contains(&e.key.as_str())) {
        walk(document, &e.value, problems);
    }
}

fn walk(document: &Document, node: &Node, problems: &mut Vec<Problem>) {
    let source = &document.source;
    match &node.value {
        Value::String(text) if text.contains("${") => {
            for part in template::parts(text) {
                match part {
                    Part::Parameter(_) if problems.len() >= 2 * PROBLEMS_MAX => {}
                    Part::Parameter(name) if !document.parameters.iter().any(|p| p.name == name) => {
                        problems.push(unknown_parameter(
                            source,
                            node.span,
                            name,
                            document.parameters.iter().map(|p| p.name.as_str()),
                        ));
                    }
                    Part::Bad(bad) => problems.push(bad_template(source, node.span, bad)),
                    _ => {}
                }
            }
        }
        Value::List(list) => list.iter().for_each(|n| walk(document, n, problems)),
        Value::Map(map) if is_reference(node) => {
            for e in map.iter().filter(|e| e.key != "default" && e.value.as_str().is_none_or(str::is_empty)) {
                let problem = source.error(e.value.span, codes::TYPE, format!("`{}` must name something", e.key));
                problems.push(problem.found(e.value.describe()).expected("a name"));
            }
        }
        Value::Map(map) => {
            map.iter().filter(|e| e.key != "description").for_each(|e| walk(document, &e.value, problems))
        }
        _ => {}
    }
}
