//! What the documents say is what the program does: the reference pages are those that the registry makes,
//! and every pipeline that is shown or shipped passes `check`.

use millstream_connectors::{LoadOptions, Registry, cases, load};
use millstream_pipelines::document::TestFile;
use millstream_pipelines::{Document, check_tests};
use millstream_server::reference;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const RENEW: &str = "MILLSTREAM_BLESS=1 cargo test -p millstream-server --test docs";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").into()
}

/// All files below a folder with that ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The pages as they should be, by file name.
fn pages() -> BTreeMap<String, String> {
    let registry = Registry::builtin();
    let catalogue = registry.catalogue();
    let mut pages: BTreeMap<String, String> =
        catalogue.kinds.iter().map(|kind| (format!("{}.md", kind.name), reference::page(kind))).collect();
    pages.insert("README.md".into(), reference::index(catalogue));
    pages.insert("errors.md".into(), reference::errors());
    pages
}

#[test]
fn reference_pages_are_those_of_the_registry() {
    let folder = repository().join("docs/reference");
    let pages = pages();
    if std::env::var_os("MILLSTREAM_BLESS").is_some() {
        fs::create_dir_all(&folder).expect("docs/ can be written");
        for (name, text) in &pages {
            fs::write(folder.join(name), text).expect("docs/reference can be written");
        }
    }
    let mut stale: Vec<String> = Vec::new();
    for (name, text) in &pages {
        match fs::read_to_string(folder.join(name)) {
            Ok(found) if found == *text => {}
            Ok(_) => stale.push(format!("{name} is stale")),
            Err(e) => stale.push(format!("{name}: {e}")),
        }
    }
    let known: BTreeSet<PathBuf> = pages.keys().map(|name| folder.join(name)).collect();
    if folder.is_dir() {
        let left = files(&folder, "md").into_iter().filter(|f| !known.contains(f));
        stale.extend(left.map(|f| format!("{} belongs to no kind: remove it", f.display())));
    }
    assert!(stale.is_empty(), "docs/reference: {}\nrenew the pages: {RENEW}", stale.join("; "));
}

/// The codes in a source, without those of its tests. A code is a literal of capitals with a dash in it.
fn codes_in(text: &str) -> BTreeSet<String> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let is_code = |literal: &&str| {
        let mut words = literal.split('-');
        let is_word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        literal.contains('-')
            && words.next().is_some_and(|first| is_word(first) && first.starts_with(|c: char| c.is_ascii_uppercase()))
            && words.all(is_word)
    };
    let mut found = BTreeSet::new();
    for line in text[..end].lines().filter(|l| !l.trim_start().starts_with("//")) {
        // The odd pieces stand between quotes; an escaped quote only joins what is no code anyway.
        found.extend(line.split('"').skip(1).step_by(2).filter(is_code).map(String::from));
    }
    found
}

/// The codes that the sources can give, with the file of each.
fn codes_used() -> BTreeMap<String, String> {
    let root = repository();
    let mut used = BTreeMap::new();
    for package in ["engine", "pipelines", "connectors", "server"] {
        for file in files(&root.join(package), "rs") {
            let name = file.strip_prefix(&root).expect("it lies in the repository").display().to_string();
            let is_test =
                name.split('/').any(|part| ["tests", "tests.rs", "benches", "examples", "target"].contains(&part));
            if is_test || name.ends_with("problem/src/codes.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source is UTF-8");
            used.extend(codes_in(&text).into_iter().map(|code| (code, name.clone())));
        }
    }
    // Names of encodings, not codes.
    used.retain(|code, _| !code.starts_with("UTF-"));
    used
}

#[test]
fn every_code_is_listed_and_every_listed_code_is_used() {
    use millstream::problem::codes;
    let used = codes_used();
    assert!(used.len() > 100, "the search finds too little: {used:?}");
    // These two have no dash; `Problem::internal` and `Problem::io` give them.
    let plain = ["INTERNAL", "IO"];
    let unlisted: Vec<String> =
        used.iter().filter(|(code, _)| codes::find(code).is_none()).map(|(c, f)| format!("{c} ({f})")).collect();
    assert!(unlisted.is_empty(), "add to engine/problem/src/codes.rs: {}", unlisted.join(", "));
    let unused: Vec<&str> =
        codes::all().map(|c| c.code).filter(|c| !used.contains_key(*c) && !plain.contains(c)).collect();
    assert!(unused.is_empty(), "take out of engine/problem/src/codes.rs: {}", unused.join(", "));
    for area in codes::AREAS {
        assert!(area.codes.is_sorted_by_key(|c| c.code), "{}: the codes are not in order", area.title);
        for code in area.codes {
            for text in [code.means, code.help] {
                assert!(text.ends_with('.') && text.len() > 3, "{}: not a sentence: {text}", code.code);
            }
        }
    }
}

/// The problems of a pipeline, where it does not pass.
fn refused(name: &str, text: &str) -> Option<String> {
    let problems = load(name, text.as_bytes(), &Registry::builtin(), &LoadOptions::default()).err()?;
    let errors: Vec<String> = problems.iter().filter(|p| p.is_error()).map(|p| p.to_string()).collect();
    Some(format!("{name}:\n  {}", errors.join("\n  ")))
}

/// Fails with all that do not pass; and when there is nothing to look at, since the search is then wrong.
fn all_pass(pipelines: Vec<(String, String)>, at_least: usize) {
    assert!(pipelines.len() >= at_least, "found only {} pipelines", pipelines.len());
    let refused: Vec<String> = pipelines.iter().filter_map(|(name, text)| refused(name, text)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// The fenced `yaml` blocks of a document that are whole pipelines, each with the line it begins at.
fn pipelines_in(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            None if line == "```yaml" => open = Some((index + 2, String::new())),
            Some(_) if line == "```" => found.extend(open.take().filter(|(_, block)| block.starts_with("version:"))),
            Some((_, block)) => *block += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    found
}

/// Runs a file of tests; how many there are.
fn passed(name: &str, tests: &str, pipeline: &str) -> usize {
    let document = Document::parse("pipeline.yaml", pipeline.as_bytes()).expect("it is checked as well");
    let file = TestFile::parse(name, tests.as_bytes()).expect("a file of tests");
    let registry = Registry::builtin();
    assert_eq!(check_tests(&file, &document, registry.catalogue()), []);
    for case in &file.tests {
        let differences = cases::run(&document, &file.source, case, &registry, LoadOptions::default());
        assert_eq!(differences.expect("it can be run"), [], "{name}: {}", case.name.value);
    }
    file.tests.len()
}

#[test]
fn pipelines_in_documents_pass() {
    let root = repository();
    let mut documents = files(&root.join("docs"), "md");
    documents.push(root.join("README.md"));
    let mut all: Vec<(String, String)> = Vec::new();
    let mut tests = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document is UTF-8");
        let name = document.strip_prefix(&root).expect("it lies in the repository").display().to_string();
        for (line, block) in pipelines_in(&text) {
            let at = format!("{name}, line {line}");
            match block.contains("\nnodes:") {
                true => all.push((at, block)),
                // A file of tests, for the pipeline before it.
                false => tests += passed(&at, &block, &all.last().expect("a pipeline stands before its tests").1),
            }
        }
    }
    assert!(tests > 0, "the README shows a test");
    // The README's, and one on the page of each kind.
    all_pass(all, 1);
}

#[test]
fn examples_of_kinds_pass_and_use_their_kind() {
    let registry = Registry::builtin();
    let kinds = &registry.catalogue().kinds;
    for kind in kinds {
        assert!(kind.example.contains(&format!("kind: {}", kind.name)), "{}: the example does not use it", kind.name);
    }
    all_pass(kinds.iter().map(|k| (k.name.clone(), k.example.clone())).collect(), kinds.len());
}

#[test]
fn shipped_pipelines_pass() {
    let folder = repository().join("pipelines");
    let read =
        |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("a pipeline file is UTF-8"));
    let is_pipeline = |p: &PathBuf| {
        p.parent().and_then(Path::parent) == Some(&folder) && !p.to_string_lossy().ends_with(".test.yaml")
    };
    let shipped = files(&folder, "yaml").into_iter().filter(is_pipeline);
    all_pass(shipped.map(read).collect(), 8);
}

#[test]
fn pages_say_types_values_and_nested_options() {
    let registry = Registry::builtin();
    let page = |kind: &str| reference::page(registry.catalogue().kind(kind).expect("it is built in"));
    let sink = page("file_sink");
    let row = |name: &str| {
        sink.lines().find(|l| l.starts_with(&format!("| `{name}`"))).map(str::to_string).unwrap_or_default()
    };
    assert!(row("path").contains("required"), "{sink}");
    assert!(row("roll.size").contains("`128MiB`"), "{sink}");
    assert!(row("compression").contains("`gzip`"), "{sink}");
    assert!(row("format").contains("`parquet` or `{ csv: … }`"), "{sink}");
    assert!(!page("stdin").contains("parquet"), "{}", page("stdin"));
    assert!(sink.contains("  - `zstd`: Zstandard."), "{sink}");
    assert!(page("redact").contains("| `custom[].regex`"), "{}", page("redact"));
    assert!(page("route").contains("| `node.else` "), "{}", page("route"));
    assert!(page("stdin").contains("At most once"), "{}", page("stdin"));
}
