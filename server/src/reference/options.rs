//! The options of a kind, read from the JSON Schema of its config: a table of types and defaults, then what
//! each option means. Options inside of an option are named by their path: `roll.size`, `custom[].regex`.

use super::text::{bullet, listed, table};
use serde_json::{Map, Value};

/// Options nest no deeper than this; a schema that refers to itself ends here.
const DEPTH_MAX: usize = 4;

/// One option.
struct Entry {
    path: String,
    kind: String,
    default: String,
    text: String,
    /// Values that are described one by one.
    values: Vec<(String, String)>,
}

/// The section on options, for the schema of a config type.
pub fn section(config: &Value) -> String {
    let reader = Reader { defs: &config["$defs"] };
    let mut entries = Vec::new();
    reader.object("", config, None, false, DEPTH_MAX, &mut entries);
    if entries.is_empty() {
        return "None of its own.\n".into();
    }
    let rows: Vec<Vec<String>> =
        entries.iter().map(|e| vec![format!("`{}`", e.path), e.kind.clone(), e.default.clone()]).collect();
    let mut out = table(&["option", "type", "default"], &rows);
    out.push('\n');
    for entry in &entries {
        out.push_str(&bullet(0, &format!("`{}`: {}", entry.path, entry.text)));
        for (value, says) in &entry.values {
            out.push_str(&bullet(1, &format!("`{value}`: {says}")));
        }
    }
    out
}

struct Reader<'a> {
    defs: &'a Value,
}

impl<'a> Reader<'a> {
    /// What a `$ref` stands for.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
            Some(name) => &self.defs[name],
            None => schema,
        }
    }

    /// The forms that a value may take, without null.
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        match schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            Some(forms) => forms.iter().flat_map(|f| self.forms(f)).filter(|f| f["type"] != "null").collect(),
            None => vec![schema],
        }
    }

    /// The options of an object. `given` is the default of the whole object, which goes before those of its parts;
    /// `alternative` says that the object is one form of several.
    fn object(
        &self,
        prefix: &str,
        schema: &'a Value,
        given: Option<&'a Value>,
        alternative: bool,
        depth: usize,
        out: &mut Vec<Entry>,
    ) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in properties(schema) {
            // The key of one form among others is the form.
            let required = required.contains(&name.as_str()) && !(alternative && properties(schema).count() == 1);
            let path = format!("{prefix}{name}");
            let default = given.and_then(|g| g.get(name)).or(property.get("default"));
            out.push(self.entry(path.clone(), property, required, default));
            if depth == 0 {
                continue;
            }
            let forms = self.forms(property);
            let several = forms.len() > 1;
            for form in forms {
                let (prefix, inner) = match form.get("items") {
                    Some(items) => (format!("{path}[]."), self.resolved(items)),
                    None => (format!("{path}."), form),
                };
                self.object(&prefix, inner, default.filter(|d| d.is_object()), several, depth - 1, out);
            }
        }
    }

    fn entry(&self, path: String, property: &'a Value, required: bool, default: Option<&Value>) -> Entry {
        let forms = self.forms(property);
        let values = forms
            .iter()
            .filter_map(|f| Some((f["const"].as_str()?.into(), sentence(f))))
            .filter(|(_, says): &(String, String)| !says.is_empty());
        let text = match sentence(property) {
            text if text.is_empty() => sentence(self.resolved(property)),
            text => text,
        };
        let default = match default {
            _ if required => "required".into(),
            // The parts of an object show its default.
            Some(Value::Object(_)) | None | Some(Value::Null) => "-".into(),
            Some(Value::String(text)) if !text.trim().is_empty() => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        };
        Entry { path, kind: self.kind(property), default, text, values: values.collect() }
    }

    /// The type of a value, for people.
    fn kind(&self, schema: &'a Value) -> String {
        let mut kinds: Vec<String> = Vec::new();
        for form in self.forms(schema) {
            let names = match (&form["const"], &form["enum"]) {
                (Value::Null, Value::Array(values)) => values.iter().map(plain).collect(),
                (Value::Null, _) => vec![self.plain_kind(form)],
                (value, _) => vec![plain(value)],
            };
            for name in names {
                if !kinds.contains(&name) {
                    kinds.push(name);
                }
            }
        }
        listed(kinds.iter().map(String::as_str).collect(), "or")
    }

    fn plain_kind(&self, form: &'a Value) -> String {
        if let Some(unit) = form["x-unit"].as_str() {
            let example = form["examples"][0].as_str().map(|e| format!(", as `{e}`"));
            return format!("{unit}{}", example.unwrap_or_default());
        }
        let name = match &form["type"] {
            Value::Array(names) => names.iter().find_map(|n| n.as_str().filter(|n| *n != "null")),
            name => name.as_str(),
        };
        match name {
            Some("array") => format!("list of {}", self.kind(&form["items"])),
            Some("object") if form["additionalProperties"].is_object() => {
                format!("map of {}", self.kind(&form["additionalProperties"]))
            }
            Some("object") => match properties(form).next() {
                Some((only, _)) if properties(form).count() == 1 => format!("`{{ {only}: … }}`"),
                _ => "options".into(),
            },
            Some("string") if form["maxLength"] == 1 => "character".into(),
            Some("integer" | "number") => match form["minimum"].as_f64() {
                Some(least) if least > 0.0 => format!("number, at least {least}"),
                _ => "number".into(),
            },
            Some(other) => other.into(),
            None => "any value".into(),
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flat_map(Map::iter)
}

fn sentence(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_string()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}
