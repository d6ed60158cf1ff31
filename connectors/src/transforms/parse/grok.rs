//! Grok: `%{PATTERN:column:type}` expanded to one regular expression.

use super::grok_patterns::PATTERNS;
use super::pattern::{Captured, Pattern};
use crate::transforms::limits::{self, EXPANDED_BYTES_MAX, PATTERN_BYTES_MAX};
use crate::transforms::{at_key, excerpt};
use millstream::Result;
use millstream::problem::nearest;
use std::collections::BTreeMap;

/// Deepest chain of patterns that use each other; a pattern that uses itself reaches it.
const DEPTH_MAX: usize = 16;

/// Expands and compiles `pattern` with the built-in patterns and `own` ones.
///
/// # Errors
/// `GROK-UNKNOWN` with the nearest name, `GROK-INVALID` for an unfinished `%{` or patterns that use each
/// other in a circle, and those of [`limits`].
pub(super) fn expand(pattern: &str, own: &BTreeMap<String, String>) -> Result<Pattern> {
    limits::check_length("grok", pattern, PATTERN_BYTES_MAX)?;
    for (name, text) in own {
        limits::check_length(&format!("patterns.{name}"), text, PATTERN_BYTES_MAX)?;
    }
    let mut expansion = Expansion { own, regex: String::new(), names: Vec::new() };
    expansion.add(pattern, "grok", 0)?;
    let regex = limits::compile_expanded("grok", &expansion.regex)?;
    let mut fields: Vec<Captured> = Vec::new();
    for (group, name) in regex.capture_names().enumerate() {
        let Some(name) = name else { continue };
        let (name, of) =
            match name.strip_prefix("_g").and_then(|n| n.parse().ok()).and_then(|n: usize| expansion.names.get(n)) {
                Some((name, of)) => (name.as_str(), of.clone()),
                None => (name, None),
            };
        match fields.iter_mut().find(|f| f.name == name) {
            Some(field) => {
                field.groups.push(group);
                field.of = field.of.take().or(of);
            }
            None => fields.push(Captured { name: name.into(), groups: vec![group], of }),
        }
    }
    Ok(Pattern { regex, fields })
}

struct Expansion<'a> {
    own: &'a BTreeMap<String, String>,
    regex: String,
    /// Column and type of group `_g0`, `_g1`, …: column names need not be legal group names.
    names: Vec<(String, Option<String>)>,
}

impl Expansion<'_> {
    fn add(&mut self, pattern: &str, key: &str, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(at_key("GROK-INVALID", key, "grok patterns use each other in a circle, or too deeply")
                .found(excerpt(pattern)));
        }
        let mut rest = pattern;
        while let Some((before, reference)) = rest.split_once("%{") {
            self.regex.push_str(before);
            let (reference, after) = reference.split_once('}').ok_or_else(|| {
                at_key("GROK-INVALID", key, "a `%{` without its `}`").found(format!("`{}`", excerpt(reference)))
            })?;
            self.reference(reference, key, depth)?;
            rest = after;
        }
        self.regex.push_str(rest);
        limits::check_length("grok", &self.regex, EXPANDED_BYTES_MAX)
    }

    fn reference(&mut self, reference: &str, key: &str, depth: usize) -> Result<()> {
        let mut parts = reference.splitn(3, ':').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let column = parts.next().filter(|c| !c.is_empty());
        let of = parts.next().map(|of| match of {
            "int" => "int64".to_owned(),
            "float" => "float64".to_owned(),
            other => other.to_owned(),
        });
        let pattern = self.find(name, key)?;
        match column {
            Some(column) => {
                self.regex.push_str(&format!("(?P<_g{}>", self.names.len()));
                self.names.push((column.into(), of));
            }
            None => self.regex.push_str("(?:"),
        }
        self.add(&pattern, key, depth + 1)?;
        self.regex.push(')');
        Ok(())
    }

    fn find(&self, name: &str, key: &str) -> Result<String> {
        if let Some(own) = self.own.get(name) {
            return Ok(own.clone());
        }
        if let Some((_, text)) = PATTERNS.iter().find(|(n, _)| *n == name) {
            return Ok((*text).to_owned());
        }
        let problem = at_key("GROK-UNKNOWN", key, format!("there is no grok pattern `{}`", excerpt(name)));
        let names = self.own.keys().map(String::as_str).chain(PATTERNS.iter().map(|(n, _)| *n));
        Err(match nearest(name, names) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("add it under `patterns`"),
        })
    }
}
