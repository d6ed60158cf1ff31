//! The only list of node kinds.
//!
//! Everything else that knows kinds is derived from it: checks, `millstream components`, forms, the
//! reference pages, the JSON Schema of pipeline files, the tests that walk the family. A program that
//! embeds the engine adds its own: `Registry::builtin().with(MyKind)`.

use crate::kind::Kind;
use crate::{discard, file, generator, stdio, transforms};
use millstream_pipelines::catalogue::Catalogue;
use std::sync::Arc;

/// The kinds that come with Millstream, sources first.
pub const KINDS: &[&dyn Kind] = &[
    &file::kind::FileSourceKind,
    &stdio::kind::StdinKind,
    &generator::kind::GeneratorKind,
    &transforms::kinds::Filter,
    &transforms::kinds::Select,
    &transforms::kinds::Sql,
    &transforms::kinds::Window,
    &transforms::kinds::Parse,
    &transforms::kinds::Redact,
    &transforms::kinds::RouteKind,
    &transforms::kinds::Dedupe,
    &transforms::kinds::Union,
    &file::kind::FileSinkKind,
    &stdio::kind::StdoutKind,
    &discard::kind::DiscardKind,
];

/// The kinds that a program knows.
#[derive(Clone)]
pub struct Registry {
    kinds: Vec<Entry>,
    catalogue: Catalogue,
}

#[derive(Clone)]
enum Entry {
    Builtin(&'static dyn Kind),
    Own(Arc<dyn Kind>),
}

impl Registry {
    /// The kinds that come with Millstream.
    pub fn builtin() -> Registry {
        let kinds: Vec<Entry> = KINDS.iter().map(|k| Entry::Builtin(*k)).collect();
        let catalogue = Catalogue { kinds: KINDS.iter().map(|k| k.info()).collect() };
        Registry { kinds, catalogue }
    }

    /// Adds a kind; one of the same name takes the place of the old one.
    #[must_use]
    pub fn with(mut self, kind: impl Kind + 'static) -> Registry {
        let info = kind.info();
        let entry = Entry::Own(Arc::new(kind));
        match self.catalogue.kinds.iter().position(|k| k.name == info.name) {
            Some(at) => {
                self.kinds[at] = entry;
                self.catalogue.kinds[at] = info;
            }
            None => {
                self.kinds.push(entry);
                self.catalogue.kinds.push(info);
            }
        }
        self
    }

    /// The kinds as data.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The kind of that name.
    pub fn kind(&self, name: &str) -> Option<&dyn Kind> {
        let at = self.catalogue.kinds.iter().position(|k| k.name == name)?;
        Some(match &self.kinds[at] {
            Entry::Builtin(kind) => *kind,
            Entry::Own(kind) => &**kind,
        })
    }
}
