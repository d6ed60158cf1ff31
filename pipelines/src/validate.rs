//! Checks a tree against the part of JSON Schema that config types derive, and points at the exact place.
//!
//! `type`, `properties`, `required`, `additionalProperties`, `enum`, `const`, `oneOf`/`anyOf`/`allOf`, `items`,
//! bounds, `pattern`, `$ref` into `$defs`; and ours: `x-unit` (`duration`, `size`), `x-type` (a field type),
//! `x-secret`. A value that is not known before references are resolved fits anything scalar.

use crate::codes;
use crate::document::unit;
use crate::references::{is_deferred, is_secret};
use crate::source::{Source, Span};
use crate::template;
use crate::tree::{Map, Node, Value, quote};
use crate::types::FieldType;
use crate::units::{ByteSize, Duration};
use millstream_problem::{Problem, nearest};
use serde_json::Value as Json;

/// A schema and the root that its references point into.
pub(crate) struct Validator<'a> {
    pub source: &'a Source,
    pub root: &'a Json,
    /// True once references are resolved.
    pub resolved: bool,
    /// Names that are right beside those of the schema, at the top level: the common keys.
    pub beside: &'a [&'a str],
}

/// Deep enough for every config; a schema that refers to itself ends with the tree, which is finite.
const REFS_MAX: usize = 32;

impl Validator<'_> {
    fn follow<'s>(&'s self, mut schema: &'s Json) -> &'s Json {
        for _ in 0..REFS_MAX {
            match schema.get("$ref").and_then(Json::as_str).and_then(|r| self.root.pointer(r.strip_prefix('#')?)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// `key` names the value in messages; `top` is true for the node's own map of keys.
    pub fn check(&self, node: &Node, schema: &Json, key: &str, top: Option<Span>) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.node(node, schema, key, top, &mut problems);
        problems
    }

    fn node(&self, node: &Node, schema: &Json, key: &str, top: Option<Span>, out: &mut Vec<Problem>) {
        let schema = self.follow(schema);
        if is_secret(node) {
            if !self.marks(schema, "x-secret") {
                let problem = self.source.error(node.span, codes::SECRET, format!("`{key}` does not take a secret"));
                out.push(problem.expected(self.describe(schema)).help("write the value itself, or { env: NAME }"));
            }
            return;
        }
        if !self.resolved && is_deferred(node) {
            return;
        }
        if let Some(all) = schema.get("allOf").and_then(Json::as_array) {
            all.iter().for_each(|s| self.node(node, s, key, None, out));
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            return self.branches(node, schema, branches, key, out);
        }
        if let Some(constant) = schema.get("const") {
            return self.one_of(node, std::slice::from_ref(constant), key, out);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            return self.one_of(node, values, key, out);
        }
        if let Some(name) = schema.get("x-unit").and_then(Json::as_str)
            && !(node.value == Value::Null && self.type_fits(node, schema))
        {
            let result = match name {
                "size" => unit(self.source, node, key, ByteSize::EXPECTED, ByteSize::parse).map(drop),
                _ => unit(self.source, node, key, Duration::EXPECTED, Duration::parse).map(drop),
            };
            return out.extend(result.err());
        }
        if !self.type_fits(node, schema) {
            let mut problem = self.wrong_type(node, key, self.describe(schema));
            if self.marks(schema, "x-secret") {
                problem.found = None;
            }
            return out.push(problem);
        }
        match &node.value {
            Value::Number(n) => self.number(node, n, schema, key, out),
            Value::String(s) => self.string(node, s, schema, key, out),
            Value::List(list) => self.list(node, list, schema, key, out),
            Value::Map(map) => self.map(node, map, schema, top, out),
            _ => {}
        }
    }

    /// True if the schema, or one of its branches, carries the mark.
    fn marks(&self, schema: &Json, mark: &str) -> bool {
        let schema = self.follow(schema);
        let inner = ["anyOf", "oneOf", "allOf"].iter().filter_map(|k| schema.get(k)?.as_array()).flatten();
        schema.get(mark).is_some() || inner.into_iter().any(|s| self.follow(s).get(mark).is_some())
    }

    fn wrong_type(&self, node: &Node, key: &str, expected: String) -> Problem {
        let problem =
            self.source.error(node.span, codes::TYPE, format!("`{key}` has the wrong type")).found(node.describe());
        let quotable = expected.contains("string") && matches!(node.value, Value::Bool(_) | Value::Number(_));
        let numeric = node.as_str().is_some_and(|s| s.parse::<f64>().is_ok()) && expected.contains("number");
        let problem = problem.expected(expected);
        match (quotable, numeric) {
            (true, _) => problem.help("quote it to make it a string"),
            (_, true) => problem.help("write it in plain digits, without quotes or an exponent"),
            _ => problem,
        }
    }

    fn type_fits(&self, node: &Node, schema: &Json) -> bool {
        if schema == &Json::Bool(false) {
            return false;
        }
        let fits = |t: &str| match (&node.value, t) {
            (Value::Null, "null") | (Value::Bool(_), "boolean") | (Value::Number(_), "number") => true,
            (Value::Number(n), "integer") => !n.is_f64(),
            (Value::String(_), "string") | (Value::List(_), "array") | (Value::Map(_), "object") => true,
            _ => false,
        };
        match schema.get("type") {
            Some(Json::String(t)) => fits(t),
            Some(Json::Array(types)) => types.iter().filter_map(Json::as_str).any(fits),
            _ => true,
        }
    }

    fn branches(&self, node: &Node, schema: &Json, branches: &[Json], key: &str, out: &mut Vec<Problem>) {
        let mut best: Option<Vec<Problem>> = None;
        for branch in branches {
            let problems = self.check(node, branch, key, None);
            if problems.is_empty() {
                return;
            }
            // A branch of another type or of other values says nothing about what is wrong in this one.
            let other =
                problems.iter().any(|p| is_at(p, node.span) && matches!(p.code.as_ref(), codes::TYPE | codes::VALUE));
            if !other && best.as_ref().is_none_or(|b| problems.len() < b.len()) {
                best = Some(problems);
            }
        }
        match best {
            Some(problems) => out.extend(problems),
            None => {
                let values: Vec<Json> = branches.iter().flat_map(|b| self.values(b)).collect();
                if node.as_str().is_some() && !values.is_empty() {
                    self.one_of(node, &values, key, out);
                    if let Some(last) = out.last_mut() {
                        last.expected = Some(self.describe(schema));
                    }
                } else {
                    out.push(self.wrong_type(node, key, self.describe(schema)));
                }
            }
        }
    }

    fn values(&self, schema: &Json) -> Vec<Json> {
        let schema = self.follow(schema);
        let values = schema.get("enum").and_then(Json::as_array).cloned().unwrap_or_default();
        let branches = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array);
        let inner = branches.into_iter().flatten().flat_map(|b| self.values(b));
        schema.get("const").cloned().into_iter().chain(values).chain(inner).collect()
    }

    fn one_of(&self, node: &Node, values: &[Json], key: &str, out: &mut Vec<Problem>) {
        if values.contains(&node.to_json()) {
            return;
        }
        let names: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
        let expected = format!("one of {}", values.iter().map(plain).collect::<Vec<_>>().join(", "));
        let Some(text) = node.as_str().filter(|_| !names.is_empty()) else {
            return out.push(self.wrong_type(node, key, expected));
        };
        let problem = self
            .source
            .error(node.span, codes::VALUE, format!("unknown value for `{key}`"))
            .found(quote(text))
            .expected(expected);
        out.push(match nearest(text, names) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    }

    fn number(&self, node: &Node, n: &serde_json::Number, schema: &Json, key: &str, out: &mut Vec<Problem>) {
        let value = n.as_f64().unwrap_or(f64::NAN);
        let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
        let by_format: (Option<f64>, Option<f64>) = match schema.get("format").and_then(Json::as_str) {
            Some("int8") => (Some(i8::MIN.into()), Some(i8::MAX.into())),
            Some("int16") => (Some(i16::MIN.into()), Some(i16::MAX.into())),
            Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
            Some("uint8") => (Some(0.0), Some(u8::MAX.into())),
            Some("uint16") => (Some(0.0), Some(u16::MAX.into())),
            Some("uint32") => (Some(0.0), Some(u32::MAX.into())),
            _ => (None, None),
        };
        let (min, max) = (bound("minimum").or(by_format.0), bound("maximum").or(by_format.1));
        let above = bound("exclusiveMinimum").is_none_or(|b| value > b) && min.is_none_or(|b| value >= b);
        let below = bound("exclusiveMaximum").is_none_or(|b| value < b) && max.is_none_or(|b| value <= b);
        if above && below {
            return;
        }
        let mut expected = Vec::new();
        expected.extend(min.map(|b| format!("at least {b}")));
        expected.extend(bound("exclusiveMinimum").map(|b| format!("more than {b}")));
        expected.extend(max.map(|b| format!("at most {b}")));
        expected.extend(bound("exclusiveMaximum").map(|b| format!("less than {b}")));
        let problem =
            self.source.error(node.span, codes::RANGE, format!("`{key}` is out of range")).found(n.to_string());
        out.push(problem.expected(expected.join(", ")));
    }

    fn string(&self, node: &Node, s: &str, schema: &Json, key: &str, out: &mut Vec<Problem>) {
        if schema.get("x-secret").is_some() && !s.is_empty() {
            let problem =
                self.source.warning(node.span, codes::SECRET, format!("`{key}` is a secret and stands in the file"));
            out.push(problem.expected("{ secret: name } or { env: NAME }").help("whoever reads the file reads it too"));
        }
        if schema.get("x-type").is_some()
            && let Err(e) = FieldType::parse(s)
        {
            let mut problem =
                self.source.error(node.span, codes::TYPE, format!("type of `{key}`: {}", e.what)).found(quote(s));
            problem.help = e.help;
            out.push(problem);
        }
        let length = s.chars().count();
        self.length(node, length, schema, ("minLength", "maxLength"), "characters", key, out);
        if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && !template::has_row(s)
            && let Ok(regex) = regex::Regex::new(pattern)
            && !regex.is_match(s)
        {
            let problem =
                self.source.error(node.span, codes::VALUE, format!("`{key}` has the wrong form")).found(quote(s));
            let example = schema.pointer("/examples/0").map(plain);
            out.push(problem.expected(
                example.map_or_else(|| format!("text that matches {pattern}"), |e| format!("text such as {e}")),
            ));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn length(
        &self,
        node: &Node,
        n: usize,
        schema: &Json,
        (min, max): (&str, &str),
        of: &str,
        key: &str,
        out: &mut Vec<Problem>,
    ) {
        let bound = |name: &str| schema.get(name).and_then(Json::as_u64).and_then(|b| usize::try_from(b).ok());
        let (min, max) = (bound(min), bound(max));
        if min.is_some_and(|b| n < b) || max.is_some_and(|b| n > b) {
            let parts: Vec<String> =
                min.map(|b| format!("at least {b}")).into_iter().chain(max.map(|b| format!("at most {b}"))).collect();
            let problem = self
                .source
                .error(node.span, codes::RANGE, format!("`{key}` has the wrong length"))
                .found(format!("{n} {of}"));
            out.push(problem.expected(format!("{} {of}", parts.join(", "))));
        }
    }

    fn list(&self, node: &Node, list: &[Node], schema: &Json, key: &str, out: &mut Vec<Problem>) {
        self.length(node, list.len(), schema, ("minItems", "maxItems"), "entries", key, out);
        if let Some(items) = schema.get("items") {
            list.iter().for_each(|n| self.node(n, items, key, None, out));
        }
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            for (i, item) in list.iter().enumerate() {
                if let Some(first) = list[..i].iter().find(|f| f.value == item.value) {
                    let problem = self
                        .source
                        .error(item.span, codes::DUPLICATE, format!("stands twice in `{key}`"))
                        .found(item.describe());
                    out.push(problem.also(self.source.place(first.span), "first here"));
                }
            }
        }
    }

    fn map(&self, node: &Node, map: &Map, schema: &Json, top: Option<Span>, out: &mut Vec<Problem>) {
        let empty = serde_json::Map::new();
        let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        for e in map {
            match (known.get(&e.key), schema.get("additionalProperties")) {
                (Some(property), _) => self.node(&e.value, property, &e.key, None, out),
                (None, Some(Json::Object(o))) => self.node(&e.value, &Json::Object(o.clone()), &e.key, None, out),
                (None, Some(Json::Bool(true))) => {}
                (None, None) if top.is_none() && known.is_empty() => {}
                (None, _) => out.push(self.unknown_key(e.key_span, &e.key, known, top.is_some())),
            }
        }
        let place = top.unwrap_or(Span::new(node.span.start, node.span.start));
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if map.get(name).is_none() {
                let problem = self.source.error(place, codes::MISSING_KEY, format!("key `{name}` is missing"));
                let schema = known.get(name).map(|s| self.follow(s));
                let text =
                    schema.and_then(|s| s.get("description")).and_then(Json::as_str).and_then(|d| d.lines().next());
                let problem = problem.expected(schema.map_or_else(|| "a value".into(), |s| self.describe(s)));
                out.push(match text {
                    Some(text) => problem.help(format!("`{name}`: {text}")),
                    None => problem,
                });
            }
        }
    }

    fn unknown_key(&self, span: Span, key: &str, known: &serde_json::Map<String, Json>, top: bool) -> Problem {
        let beside = if top { self.beside } else { &[] };
        let names = || known.keys().map(String::as_str).chain(beside.iter().copied());
        let problem = self.source.error(span, codes::UNKNOWN_KEY, format!("unknown key `{key}`"));
        let problem = problem.expected(format!("one of {}", names().collect::<Vec<_>>().join(", ")));
        match nearest(key, names()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        }
    }

    /// What fits a schema, in words.
    fn describe(&self, schema: &Json) -> String {
        let schema = self.follow(schema);
        match schema.get("x-unit").and_then(Json::as_str) {
            Some("size") => return ByteSize::EXPECTED.into(),
            Some(_) => return Duration::EXPECTED.into(),
            None => {}
        }
        if schema.get("x-secret").is_some() {
            return "{ secret: name }".into();
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            let mut all: Vec<String> = branches.iter().map(|b| self.describe(b)).filter(|d| d != "nothing").collect();
            all.dedup();
            return all.join(" or ");
        }
        if let Some(constant) = schema.get("const") {
            return plain(constant);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            return values.iter().map(plain).collect::<Vec<_>>().join(" or ");
        }
        let names: Vec<&str> = match schema.get("type") {
            Some(Json::String(t)) => vec![t],
            Some(Json::Array(types)) => types.iter().filter_map(Json::as_str).filter(|t| *t != "null").collect(),
            _ => return "a value".into(),
        };
        let word = |name: &&str| match *name {
            "string" => "a string".to_string(),
            "integer" => "a whole number".into(),
            "number" => "a number".into(),
            "boolean" => "true or false".into(),
            "array" => {
                format!("a list{}", schema.get("items").map_or_else(String::new, |i| format!(" of {}", self.plural(i))))
            }
            "object" => self.object(schema),
            _ => "nothing".into(),
        };
        names.iter().map(word).collect::<Vec<_>>().join(" or ")
    }

    fn plural(&self, schema: &Json) -> String {
        match self.describe(schema).as_str() {
            "a string" => "strings".into(),
            "a whole number" => "whole numbers".into(),
            "a number" => "numbers".into(),
            other => other.into(),
        }
    }

    fn object(&self, schema: &Json) -> String {
        match schema.get("properties").and_then(Json::as_object) {
            Some(p) if p.len() == 1 => format!("{{ {}: … }}", p.keys().next().expect("one key")),
            Some(p) => format!("a map with {}", p.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
            None => "a map".into(),
        }
    }
}

fn is_at(problem: &Problem, span: Span) -> bool {
    matches!(&problem.place, Some(millstream_problem::Place::Text { bytes: Some(b), .. }) if *b == (span.start, span.end))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
