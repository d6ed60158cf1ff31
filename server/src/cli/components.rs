//! `components` and `schema`.

use super::args::Components;
use super::print::Print;
use super::{Failure, Outcome};
use millstream::Problem;
use millstream::problem::nearest;
use millstream_connectors::Registry;
use millstream_pipelines::catalogue::KindInfo;

/// `millstream components [KIND]`.
pub fn components(args: &Components, registry: &Registry, print: &Print) -> Outcome {
    let catalogue = registry.catalogue();
    let Some(name) = &args.kind else {
        let width = catalogue.kinds.iter().map(|k| k.name.len()).max().unwrap_or(0);
        for kind in &catalogue.kinds {
            let role = format!("{:?}", kind.role).to_lowercase();
            print.result(|| format!("{:width$}  {role:9}  {}", kind.name, kind.summary), || json(kind));
        }
        return Ok(());
    };
    let Some(kind) = catalogue.kind(name) else {
        let mut problem = Problem::error("PIPE-UNKNOWN-KIND", format!("there is no kind of node called `{name}`"));
        if let Some(near) = nearest(name, catalogue.kinds.iter().map(|k| k.name.as_str())) {
            problem = problem.help(format!("did you mean `{near}`?"));
        }
        print.problem(&problem);
        return Err(Failure::Given);
    };
    print.result(|| page(kind), || json(kind));
    Ok(())
}

fn json(kind: &KindInfo) -> serde_json::Value {
    serde_json::to_value(kind).expect("the catalogue is JSON")
}

/// All about one kind, as Markdown.
pub fn page(kind: &KindInfo) -> String {
    let mut page = format!("# {}\n\n{}\n\n## Options\n\n", kind.name, kind.docs);
    let required: Vec<&str> =
        kind.config["required"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
    let properties = kind.config["properties"].as_object();
    for (name, schema) in properties.into_iter().flatten() {
        let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        let default = match &schema["default"] {
            serde_json::Value::Null => String::new(),
            value => format!(" Default `{}`.", value.as_str().map_or_else(|| value.to_string(), str::to_string)),
        };
        let need = if required.contains(&name.as_str()) { " (required)" } else { "" };
        page.push_str(&format!("- `{name}`{need}: {text}{default}\n"));
    }
    if properties.is_none_or(|p| p.is_empty()) {
        page.push_str("None of its own.\n");
    }
    if !kind.common.is_empty() {
        page.push_str(&format!(
            "\nKeys common to all nodes that it takes: {}.\n",
            kind.common.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    page.push_str(&format!("\n## Example\n\n```yaml\n{}\n```\n", kind.example.trim_end()));
    page
}

/// `millstream schema`.
pub fn schema(registry: &Registry, print: &Print) -> Outcome {
    let schema = millstream_pipelines::schema::pipeline_schema(registry.catalogue());
    print.result(|| serde_json::to_string_pretty(&schema).expect("a JSON Schema is JSON"), || schema.clone());
    Ok(())
}
