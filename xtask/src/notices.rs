//! The licences of what is linked into the binary, as they ask to be handed on with it.

use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every linked package with its licence, then the texts, each once with the packages it belongs to.
pub fn third_party() -> Result<String> {
    let linked = linked()?;
    let metadata = shell::output(&mut shell::cargo(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let name = format!("{} {}", text("name"), text("version"));
        // Our own packages have no source; theirs are the two texts beside this file.
        if package["source"].is_null() || !linked.contains(&name) {
            continue;
        }
        list += &format!("{name}: {} {}\n", text("license"), text("repository"));
        let folder = Path::new(text("manifest_path")).parent().context("a manifest lies in a folder")?;
        for found in licence_texts(folder)? {
            texts.entry(found).or_default().push(name.clone());
        }
    }
    let rule = "-".repeat(80);
    let texts: String =
        texts.iter().map(|(text, names)| format!("\n{rule}\n{}\n{rule}\n\n{text}\n", names.join(", "))).collect();
    Ok(format!("The binary contains these packages:\n\n{list}{texts}"))
}

/// `name version` of all packages that end up in the binary on this machine.
fn linked() -> Result<BTreeSet<String>> {
    let tree = ["tree", "--locked", "-p", "millstream-server", "-e", "normal,no-proc-macro", "--prefix", "none"];
    let tree = shell::output(&mut shell::cargo(tree))?;
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
    };
    Ok(tree.lines().filter_map(name).collect())
}

fn licence_texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && ["LICEN", "NOTICE", "COPYING", "UNLICENSE"].iter().any(|start| name.starts_with(start)) {
            texts.push(String::from_utf8_lossy(&fs::read(&path)?).trim().replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_with_its_licence() {
        let text = third_party().expect("cargo knows the packages of this workspace");
        assert!(text.contains("\ntimely 0."), "the dataflow is linked");
        assert!(text.contains("Permission is hereby granted"), "its licence is in the package");
        assert!(!text.contains("\nxtask "), "ours are not third parties");
        assert!(!text.contains("\nblake2b_simd "), "what only the tools use is not in the binary");
    }
}
