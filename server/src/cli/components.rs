//! `components` and `schema`.

use super::args::Components;
use super::print::Print;
use super::{Failure, Outcome};
use crate::reference;
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
    print.result(|| reference::page(kind).trim_end().to_string(), || json(kind));
    Ok(())
}

fn json(kind: &KindInfo) -> serde_json::Value {
    serde_json::to_value(kind).expect("the catalogue is JSON")
}

/// `millstream schema`.
pub fn schema(registry: &Registry, print: &Print) -> Outcome {
    let schema = millstream_pipelines::schema::pipeline_schema(registry.catalogue());
    print.result(|| serde_json::to_string_pretty(&schema).expect("a JSON Schema is JSON"), || schema.clone());
    Ok(())
}
