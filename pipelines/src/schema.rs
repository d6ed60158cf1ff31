//! The JSON Schema (2020-12) of pipeline files, for editors.

use crate::catalogue::{COMMON_KEYS, Catalogue, Inputs, KindInfo};
use crate::check;
use crate::units::{ByteSize, Duration};
use serde_json::{Map, Value, json};

const NAME: &str = "^[a-z][a-z0-9_]{0,63}$";

/// Everything a pipeline file may hold, with the keys of every kind in the catalogue.
pub fn pipeline_schema(catalogue: &Catalogue) -> Value {
    let mut defs = common_defs();
    for kind in &catalogue.kinds {
        add_kind(&mut defs, kind);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Millstream pipeline",
        "type": "object",
        "required": ["version", "name", "nodes"],
        "additionalProperties": false,
        "properties": {
            "version": { "const": 1, "description": "The version of this format." },
            "name": { "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$", "description": "The pipeline's name: state and metrics hang on it." },
            "description": { "type": "string" },
            "guarantee": { "$ref": "#/$defs/guarantee" },
            "checkpoint": object(json!({ "every": { "$ref": "#/$defs/duration" }, "timeout": { "$ref": "#/$defs/duration" } }), &[]),
            "dead_letters": object(json!({
                "keep": { "$ref": "#/$defs/duration" },
                "max": { "$ref": "#/$defs/size" },
                "when_full": { "enum": ["pause", "drop_oldest"] },
                "guard": {
                    "description": "More dead letters than `rows`, and more than this share of the records, within `every`: the sources wait, and a run that ends by itself ends with an error.",
                    "oneOf": [
                        { "const": "off" },
                        object(json!({
                            "share": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$", "default": "5%" },
                            "rows": { "type": "integer", "minimum": 0, "default": 1000 },
                            "every": { "$ref": "#/$defs/duration" }
                        }), &[])
                    ]
                }
            }), &[]),
            "parameters": { "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": { "$ref": "#/$defs/parameter" } },
            "connections": {
                "type": "object", "propertyNames": { "pattern": NAME },
                "additionalProperties": { "type": "object", "required": ["kind"], "properties": { "kind": { "type": "string" } }, "additionalProperties": true }
            },
            "nodes": { "type": "object", "minProperties": 1, "propertyNames": { "pattern": NAME }, "additionalProperties": nodes(catalogue) },
            "tests": { "type": "array", "items": { "$ref": "#/$defs/test" } },
            "layout": {
                "type": "object",
                "additionalProperties": { "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 }
            }
        },
        "$defs": defs
    })
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn nodes(catalogue: &Catalogue) -> Value {
    let names: Vec<&str> = catalogue.kinds.iter().map(|k| k.name.as_str()).collect();
    let rule = |k: &KindInfo| json!({ "if": { "properties": { "kind": { "const": k.name } } }, "then": { "$ref": format!("#/$defs/kind_{}", k.name) } });
    json!({
        "type": "object", "required": ["kind"],
        "properties": { "kind": { "enum": names } }, "additionalProperties": true,
        "allOf": catalogue.kinds.iter().map(rule).collect::<Vec<_>>()
    })
}

fn add_kind(defs: &mut Map<String, Value>, kind: &KindInfo) {
    let mut config = kind.config.clone();
    let inner =
        config.as_object_mut().and_then(|c| c.remove("$defs")).and_then(|d| d.as_object().cloned()).unwrap_or_default();
    let prefix = format!("{}.", kind.name);
    let prepare = |mut schema: Value| {
        move_refs(&mut schema, &prefix);
        allow_references(&mut schema);
        schema
    };
    for (name, schema) in inner {
        defs.insert(format!("{prefix}{name}"), prepare(schema));
    }
    let config = prepare(config);
    let mut properties = Map::new();
    for key in check::allowed(kind) {
        properties.insert(key.into(), common(key, kind));
    }
    properties.extend(config.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
    let mut required = vec![json!("kind")];
    required.extend((kind.inputs != Inputs::None).then(|| json!("from")));
    required.extend(config.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    let schema = json!({
        "type": "object", "description": kind.summary, "properties": properties, "required": required, "additionalProperties": false
    });
    defs.insert(format!("kind_{}", kind.name), schema);
}

fn move_refs(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(s) if key == "$ref" => *s = s.replace("#/$defs/", &format!("#/$defs/{prefix}")),
                    other => move_refs(other, prefix),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| move_refs(v, prefix)),
        _ => {}
    }
}

/// Every scalar may also be a reference.
fn allow_references(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for key in ["anyOf", "oneOf", "allOf"] {
        map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(allow_references);
    }
    let inner = map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten().map(|(_, v)| v);
    inner.for_each(value_or_reference);
    for key in ["additionalProperties", "items"] {
        map.get_mut(key).into_iter().for_each(value_or_reference);
    }
}

fn value_or_reference(schema: &mut Value) {
    allow_references(schema);
    let scalar = |t: &Value| matches!(t.as_str(), Some("string" | "integer" | "number" | "boolean"));
    let is_scalar = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(scalar),
        Some(t) => scalar(t),
        None => ["enum", "const", "$ref", "oneOf", "anyOf"].iter().any(|k| schema.get(k).is_some()),
    };
    if is_scalar {
        let mut outer = Map::new();
        for key in ["description", "default", "title"] {
            outer.extend(schema.as_object_mut().and_then(|m| m.remove(key)).map(|v| (key.to_string(), v)));
        }
        outer.insert("anyOf".into(), json!([schema.take(), { "$ref": "#/$defs/reference" }]));
        *schema = Value::Object(outer);
    }
}

fn common(key: &str, kind: &KindInfo) -> Value {
    debug_assert!(COMMON_KEYS.contains(&key));
    match key {
        "kind" => json!({ "const": kind.name, "description": kind.summary }),
        "from" => {
            json!({ "$ref": if kind.inputs == Inputs::Named { "#/$defs/inputs" } else { "#/$defs/refs" } })
        }
        "on_error" => {
            json!({ "enum": ["dead_letter", "drop", "fail"], "default": "dead_letter", "description": "What happens to a record that the node cannot handle." })
        }
        "schema" | "output" => json!({ "$ref": "#/$defs/fields" }),
        "event_time" | "retry" | "state" | "guarantee" | "metadata" => {
            json!({ "$ref": format!("#/$defs/{key}") })
        }
        "where" => {
            json!({ "type": "string", "description": "A SQL condition that records must meet." })
        }
        "was" => {
            json!({ "type": "string", "pattern": NAME, "description": "The name it had before: its state stays." })
        }
        _ => json!({ "type": "string" }),
    }
}

fn common_defs() -> Map<String, Value> {
    let duration = json!({ "$ref": "#/$defs/duration" });
    let time = json!({ "type": "string", "format": "date-time" });
    let defs = json!({
        "duration": { "anyOf": [Duration::json_schema(), { "$ref": "#/$defs/reference" }] },
        "size": { "anyOf": [ByteSize::json_schema(), { "$ref": "#/$defs/reference" }] },
        "guarantee": { "enum": ["at_most_once", "at_least_once", "exactly_once"] },
        "reference": { "description": "A value that is known when the pipeline starts.", "anyOf": [
            object(json!({ "env": { "type": "string" }, "default": {} }), &["env"]),
            object(json!({ "secret": { "type": "string" } }), &["secret"]),
            { "type": "string", "pattern": "\\$\\{[a-z][a-z0-9_]*\\}" }
        ] },
        "parameter": { "anyOf": [
            { "type": ["string", "number", "boolean", "null"] },
            object(json!({ "type": { "enum": ["string", "int", "float", "bool"] }, "default": { "type": ["string", "number", "boolean"] }, "description": { "type": "string" } }), &[])
        ] },
        "ref": { "type": "string", "pattern": "^([a-z][a-z0-9_]*(\\.[A-Za-z0-9_]+)?|\\*\\.errors)$", "description": "node or node.port" },
        "refs": { "anyOf": [{ "$ref": "#/$defs/ref" }, { "type": "array", "items": { "$ref": "#/$defs/ref" }, "minItems": 1 }] },
        "inputs": { "anyOf": [
            { "$ref": "#/$defs/refs" },
            { "type": "object", "minProperties": 1, "propertyNames": { "pattern": NAME }, "additionalProperties": { "$ref": "#/$defs/refs" } }
        ] },
        "type": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/fields" }] },
        "fields": { "type": "object", "description": "Field names and types.", "additionalProperties": { "$ref": "#/$defs/type" } },
        "metadata": { "type": "array", "items": { "type": "string", "pattern": "^_" } },
        "event_time": object(json!({ "field": { "type": "string" }, "out_of_order": duration, "idle_after": duration }), &["field"]),
        "retry": object(json!({ "attempts": { "type": "integer", "minimum": 1 }, "wait": duration, "wait_max": duration }), &[]),
        "state": object(json!({ "budget": { "$ref": "#/$defs/size" }, "ttl": duration }), &[]),
        "test": object(json!({
            "name": { "type": "string" },
            "feed": { "type": "array", "items": object(json!({ "into": { "$ref": "#/$defs/ref" }, "value": {}, "row": { "type": "object" }, "at": time }), &["into"]) },
            "watermark": time,
            "expect": { "type": "object", "minProperties": 1, "additionalProperties": { "anyOf": [
                { "type": "array", "items": { "type": "object" } },
                object(json!({ "count": { "type": "integer", "minimum": 0 } }), &["count"])
            ] } }
        }), &["name", "expect"])
    });
    defs.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::catalogue;
    use crate::parse::parse;
    use crate::validate::Validator;

    fn problems(text: &str) -> Vec<String> {
        let schema = pipeline_schema(&catalogue());
        let parsed = parse("p.yaml", text.as_bytes()).unwrap();
        let v = Validator { source: &parsed.source, root: &schema, resolved: true, beside: &[] };
        let mut all = v.check(&parsed.root, &schema, "file", None);
        // What `if` and `then` say, which the validator does not know.
        for node in parsed.root.get(&["nodes"]).and_then(|n| n.as_map()).into_iter().flatten() {
            if let Some(kind) = node.value.get(&["kind"]).and_then(|k| k.as_str()) {
                all.extend(v.check(&node.value, &schema["$defs"][format!("kind_{kind}")], &node.key, None));
            }
        }
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_examples_fit_and_all_references_lead_somewhere() {
        assert_eq!(problems(crate::document::tests::FIRST), Vec::<String>::new());
        assert_eq!(problems(crate::document::tests::SECOND), Vec::<String>::new());
        let schema = pipeline_schema(&catalogue());
        let mut refs = Vec::new();
        collect(&schema, &mut refs);
        assert!(refs.len() > 20);
        for r in refs {
            assert!(schema.pointer(r.strip_prefix('#').unwrap()).is_some(), "{r}");
        }
    }

    #[test]
    fn the_schema_refuses_what_check_refuses() {
        assert_eq!(problems("version: 1\nname: t\nnods: {}\n").len(), 2);
        assert_eq!(problems("version: 1\nname: t\nnodes: { a: { from: b } }\n").len(), 1);
        let found = problems("version: 1\nname: t\nnodes: { a: { kind: stdout, form: b, format: jsn } }\n");
        assert_eq!(found.len(), 3, "{found:#?}");
    }

    fn collect<'a>(value: &'a Value, refs: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| match v.as_str() {
                Some(s) if k == "$ref" => refs.push(s),
                _ => collect(v, refs),
            }),
            Value::Array(list) => list.iter().for_each(|v| collect(v, refs)),
            _ => {}
        }
    }
}
