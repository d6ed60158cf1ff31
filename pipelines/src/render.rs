//! Problems for terminals: with the lines of the file, or as one line each.

use crate::source::{Source, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use millstream_problem::{Place, Problem, Severity};

/// Lines further apart than this are drawn separately.
const TOGETHER_MAX: usize = 12;

/// A problem with its lines, a caret, second places and what to do. `sources` are the files that places may
/// name; a place in another file is named without its line. Ends without a line end.
pub fn draw(problem: &Problem, sources: &[&Source], colour: bool) -> String {
    let level = || match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = match &problem.node {
        Some(node) => format!("node {node}: {}", problem.what),
        None => problem.what.clone(),
    };
    let mut group = level().primary_title(clean(&title)).id(clean(&problem.code)).elements(Vec::<Origin<'_>>::new());
    for marks in together(problem, sources) {
        group = marks.add(group);
    }
    if let (None, Some(place)) = (marked(problem.place.as_ref(), sources), &problem.place) {
        group = match place {
            Place::Text { file, line, column, .. } => {
                group.element(Origin::path(clean(file)).line(*line).char_column(*column))
            }
            other => group.element(Level::NOTE.message(clean(&format!("at {other}")))),
        };
    }
    for (name, text) in [("found", &problem.found), ("expected", &problem.expected), ("help", &problem.help)] {
        if let Some(text) = text {
            group = group
                .element(if name == "help" { Level::HELP } else { Level::NOTE }.with_name(name).message(clean(text)));
        }
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// A problem on one line, control characters escaped: `file:4:11: PIPE-TYPE: …`, warnings and notes so marked.
pub fn line(problem: &Problem) -> String {
    let mark = match problem.severity {
        Severity::Error => "",
        Severity::Warning => "warning: ",
        Severity::Note => "note: ",
    };
    clean(&format!("{mark}{problem}"))
}

/// Text from a file must not drive the terminal.
fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// What is marked in one excerpt of one file.
struct Marks<'a> {
    source: &'a Source,
    lines: (usize, usize),
    spans: Vec<(Span, AnnotationKind, String)>,
}

impl<'a> Marks<'a> {
    fn add(self, group: Group<'a>) -> Group<'a> {
        let text = self.source.text();
        let (start, end) = (self.source.line_start(self.lines.0), self.source.line_start(self.lines.1 + 1));
        let excerpt = text[start..end].trim_end_matches(['\n', '\r']);
        let snippet = Snippet::source(excerpt).path(clean(self.source.file())).line_start(self.lines.0);
        let annotations = self.spans.into_iter().map(|(span, kind, label)| {
            let at = |byte: usize| byte.saturating_sub(start).min(excerpt.len());
            kind.span(at(span.start)..at(span.end)).label((!label.is_empty()).then_some(label))
        });
        group.element(snippet.annotations(annotations))
    }
}

fn marked<'a>(place: Option<&Place>, sources: &[&'a Source]) -> Option<(&'a Source, Span)> {
    let Some(Place::Text { file, bytes: Some((start, end)), .. }) = place else {
        return None;
    };
    let source = sources.iter().find(|s| s.file() == file)?;
    let text = source.text();
    if *end > text.len() || !text.is_char_boundary(*start) || !text.is_char_boundary(*end) {
        return None;
    }
    // A value over many lines: its first line is enough to find it.
    let first = text[*start..*end].lines().next().map_or(0, str::len);
    Some((source, Span::new(*start, start + first)))
}

fn together<'a>(problem: &Problem, sources: &[&'a Source]) -> Vec<Marks<'a>> {
    let mut all: Vec<Marks<'a>> = Vec::new();
    let main = std::iter::once((problem.place.as_ref(), AnnotationKind::Primary, ""));
    let also = problem.also.iter().map(|(place, label)| (Some(place), AnnotationKind::Context, label.as_str()));
    for (place, kind, label) in main.chain(also) {
        let Some((source, span)) = marked(place, sources) else {
            continue;
        };
        let (line, _) = source.position(span.start);
        let near = |m: &&mut Marks<'a>| m.source.file() == source.file() && m.lines.0.abs_diff(line) <= TOGETHER_MAX;
        let mark = (span, kind, clean(label));
        match all.iter_mut().find(near) {
            Some(marks) => {
                marks.lines = (marks.lines.0.min(line), marks.lines.1.max(line));
                marks.spans.push(mark);
            }
            None => all.push(Marks { source, lines: (line, line), spans: vec![mark] }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn draws_lines_carets_labels_and_help() {
        let text = "version: 1\nname: t\nnodes:\n  a: { kind: generator }\n  a: { kind: stdout }\n";
        let source = Source::new("p.yaml", text);
        let (first, second) = (text.find("a: {").unwrap(), text.rfind("a: {").unwrap());
        let problem = source
            .error(Span::new(second, second + 1), codes::DUPLICATE, "key `a` stands twice")
            .also(source.place(Span::new(first, first + 1)), "first here")
            .help("remove or rename one of them");
        let expected = "\
error[PIPE-DUPLICATE]: key `a` stands twice
 --> p.yaml:5:3
  |
4 |   a: { kind: generator }
  |   - first here
5 |   a: { kind: stdout }
  |   ^
  |
  = help: remove or rename one of them";
        assert_eq!(draw(&problem, &[&source], false), expected);
        assert!(draw(&problem, &[&source], true).contains("\u{1b}["));
        assert_eq!(line(&problem), "p.yaml:5:3: PIPE-DUPLICATE: key `a` stands twice; remove or rename one of them");
    }

    #[test]
    fn nothing_from_a_file_reaches_the_terminal_raw() {
        let source = Source::new("p\u{1b}.yaml", "\u{feff}a: \u{1b}[2J\r\nb: 1\r\n");
        let problem = source.warning(Span::new(6, 10), codes::VALUE, "bad \u{1b}[2J\nnext").found("\u{7}");
        for text in [draw(&problem, &[&source], false), line(&problem)] {
            assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        }
        // No such file at hand, and no file at all.
        assert!(draw(&problem, &[], false).contains("p\\u{1b}.yaml:1:4"));
        let elsewhere = Problem::error("X", "y").at(Place::node("n"));
        assert!(draw(&elsewhere, &[], false).contains("at node n"));
    }
}
