//! The file as a tree that knows where everything stands.
//!
//! Maps keep the order of the file. Strings stay strings: only `true`, `false`, `null` (or nothing),
//! decimal integers and decimal fractions, unquoted, are something else.

pub mod de;

use crate::secret::Secret;
use crate::source::Span;
use serde_json::Number;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands: the value alone, without its key.
    pub span: Span,
}

/// What a node of the tree is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(Map),
    /// A secret's value, there only after references are resolved.
    Secret(Secret),
}

/// A map in the order of the file; keys are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub Vec<Entry>);

/// One key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Entry {
    /// Key and value together.
    pub fn span(&self) -> Span {
        self.key_span.to(self.value.span)
    }
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }
    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.key == key)
    }
    /// In the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }
    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Node {
    /// A value with its span.
    pub fn new(value: Value, span: Span) -> Node {
        Node { value, span }
    }
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(s) => Some(s),
            _ => None,
        }
    }
    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(m) => Some(m),
            _ => None,
        }
    }
    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(l) => Some(l),
            _ => None,
        }
    }
    /// The value under a path of keys and list indices.
    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::Map(m) => m.get(step),
            Value::List(l) => l.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }
    /// As JSON. A secret becomes `***`.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) => serde_json::Value::Number(n.clone()),
            Value::String(s) => s.clone().into(),
            Value::List(l) => l.iter().map(Node::to_json).collect(),
            Value::Map(m) => serde_json::Value::Object(m.iter().map(|e| (e.key.clone(), e.value.to_json())).collect()),
            Value::Secret(_) => "***".into(),
        }
    }
    /// What it is and, for scalars, its content: for `found` in a problem.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(b) => format!("{b}"),
            Value::Number(n) => format!("the number {n}"),
            Value::String(s) => format!("the string {}", quote(s)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Secret(_) => "a secret".into(),
        }
    }
}

/// In double quotes, control characters escaped, the password of a URL hidden, cut after 60 characters.
pub(crate) fn quote(s: &str) -> String {
    let hidden = userinfo_password(s).map(|range| format!("{}***{}", &s[..range.start], &s[range.end..]));
    let s = hidden.as_deref().unwrap_or(s);
    let short: String = s.chars().take(60).collect();
    let dots = if short.len() < s.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

/// Where the password stands in `scheme://user:password@host`.
pub(crate) fn userinfo_password(s: &str) -> Option<std::ops::Range<usize>> {
    let start = s.find("://")? + 3;
    let end = start + s[start..].find(['/', '?', '#', ' ']).unwrap_or(s.len() - start);
    let at = start + s[start..end].rfind('@')?;
    let colon = start + s[start..at].find(':')?;
    (colon + 1 < at).then_some(colon + 1..at)
}
