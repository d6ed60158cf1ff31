//! YAML (and JSON, which is a part of it) to the tree, by events with marks.

use super::{DEPTH_MAX, MapBuilder, VALUES_MAX, scalar, too_deep, too_many};
use crate::codes;
use crate::source::{Source, Span};
use crate::tree::{Entry, Node, Value};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, options};
use millstream_problem::Problem;

/// An open map or list.
enum Open {
    List(Vec<Node>, Span),
    Map(MapBuilder, Span, Option<(String, Span)>),
}

struct Builder<'a> {
    source: &'a Source,
    json: bool,
    open: Vec<Open>,
    root: Option<Node>,
    values: usize,
    problems: Vec<Problem>,
    /// Things YAML has and pipeline files must not have.
    refused: Vec<Problem>,
}

pub(super) fn parse(source: &Source, json: bool) -> Result<(Node, Vec<Problem>), Vec<Problem>> {
    let mut b =
        Builder { source, json, open: Vec::new(), root: None, values: 0, problems: Vec::new(), refused: Vec::new() };
    let options = options! {
        disallow_directives: true, emit_unresolved_aliases: true, emit_anchor_events: true,
        flow_nesting_limit: DEPTH_MAX + 8, block_nesting_limit: DEPTH_MAX + 8
    };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(source.text(), options) {
        let (event, span) = match next {
            Ok(pair) => pair,
            Err(e) => {
                b.refused.push(scan_problem(source, &e));
                return Err(b.refused);
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents == 2 {
                let at = bytes(span, source);
                b.refused.push(
                    source
                        .error(at, codes::SYNTAX, "a second document begins here")
                        .help("one file holds one pipeline; remove `---` or split the file"),
                );
                return Err(b.refused);
            }
        }
        if let Err(problem) = b.event(event, bytes(span, source), span.tag_span().map(|s| bytes(s, source))) {
            b.refused.push(problem);
            return Err(b.refused);
        }
        if b.refused.len() >= crate::PROBLEMS_MAX {
            return Err(b.refused);
        }
    }
    if !b.refused.is_empty() {
        return Err(b.refused);
    }
    match b.root {
        Some(root) if !matches!(root.value, Value::Null) => Ok((root, b.problems)),
        _ => Err(vec![
            source
                .error(Span::default(), codes::SYNTAX, "the file is empty")
                .expected("a pipeline: `version`, `name` and `nodes`"),
        ]),
    }
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span, tag: Option<Span>) -> Result<(), Problem> {
        if let Some(tag) = tag {
            self.refuse(tag, "tags are not allowed", "write the plain value; quote it if it is a string");
        }
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(
                    span,
                    "aliases are not allowed",
                    "repeat the value, or use a parameter; quote a string that begins with `*`",
                );
                self.value(Node::new(Value::Null, span), false)
            }
            Event::Anchor(..) => {
                self.refuse(
                    span,
                    "anchors are not allowed",
                    "repeat the value, or use a parameter; quote a string that begins with `&`",
                );
                Ok(())
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, span),
            Event::SequenceStart(style, ..) => self.start(Open::List(Vec::new(), span), style, span),
            Event::MappingStart(style, ..) => self.start(Open::Map(MapBuilder::default(), span, None), style, span),
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, span: Span, what: &str, help: &str) {
        self.refused.push(self.source.error(span, codes::SYNTAX, what).help(help));
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Problem> {
        let plain = style == ScalarStyle::Plain;
        if self.at_key() {
            return self.value(Node::new(Value::String(text.into()), span), plain);
        }
        let value = if plain { scalar::plain(text, self.json) } else { Some(Value::String(text.into())) };
        let value = value.unwrap_or_else(|| {
            let problem = self.source.error(span, codes::RANGE, "a number too large for 64 bits").found(text);
            self.problems.push(problem.help("quote it to make it a string"));
            Value::Null
        });
        self.value(Node::new(value, span), plain)
    }

    fn at_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map(_, _, None)))
    }

    fn start(&mut self, open: Open, style: StructureStyle, span: Span) -> Result<(), Problem> {
        if self.at_key() {
            let problem = self.source.error(span, codes::SYNTAX, "a key must be a string");
            return Err(problem.help("a value that begins with `{` or `[` must be quoted to be a string"));
        }
        if self.json && style == StructureStyle::Block {
            return Err(self.source.error(span, codes::SYNTAX, "this is not JSON").expected("`{`"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(self.source, span));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Problem> {
        let node = match self.open.pop().expect("the parser balances starts and ends") {
            Open::List(list, start) => {
                let span = closed(start, end, list.last().map(|n| n.span));
                Node::new(Value::List(list), span)
            }
            Open::Map(map, start, _) => {
                let map = map.finish();
                let span = closed(start, end, map.0.last().map(|e| e.value.span));
                Node::new(Value::Map(map), span)
            }
        };
        self.value(node, false)
    }

    fn value(&mut self, node: Node, plain: bool) -> Result<(), Problem> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(too_many(self.source, node.span));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(list, _)) => list.push(node),
            Some(Open::Map(map, _, key)) => match key.take() {
                Some((key, key_span)) => {
                    map.push(self.source, &mut self.problems, Entry { key, key_span, value: node })
                }
                None => {
                    let name = node.as_str().unwrap_or_default().to_string();
                    if plain && name == "<<" {
                        let problem = self.source.error(node.span, codes::SYNTAX, "merge keys are not allowed");
                        self.refused.push(problem.help("write the keys out"));
                    }
                    *key = Some((name, node.span));
                }
            },
        }
        Ok(())
    }
}

/// A flow collection ends with its bracket; a block collection with its last value.
fn closed(start: Span, end: Span, last: Option<Span>) -> Span {
    if end.end > end.start {
        start.to(end)
    } else {
        Span::new(start.start, last.map_or(start.end, |l| l.end.max(start.end)))
    }
}

fn bytes(span: granit_parser::Span, source: &Source) -> Span {
    let end = source.text().len();
    let at = |m: granit_parser::Marker| m.byte_offset().unwrap_or(end).min(end);
    Span::new(at(span.start), at(span.end))
}

fn scan_problem(source: &Source, e: &ScanError) -> Problem {
    let text = source.text();
    let mut at = e.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    // The end of the text is a place nobody looks at: point behind the last thing that stands there.
    if at >= text.len() {
        at = text.trim_end().len();
    }
    let tab = tab(e.info(), text, at);
    at = tab.unwrap_or(at);
    let width = text[at..].chars().next().filter(|c| !c.is_control()).map_or(0, char::len_utf8);
    let limit = matches!(e.kind(), ErrorKind::RecursionLimitExceeded);
    if limit {
        return too_deep(source, Span::new(at, at + width));
    }
    let problem = source.error(Span::new(at, at + width), codes::SYNTAX, e.info());
    if tab.is_some() {
        return problem.help("indent with spaces; YAML does not allow tabs there");
    }
    match help(e.kind()) {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Where the tab is that cannot stand there: in the indentation of the line, or the next one.
fn tab(info: String, text: &str, at: usize) -> Option<usize> {
    let line = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let indent = text[line..].len() - text[line..].trim_start_matches([' ', '\t']).len();
    let inside = text[line..line + indent].find('\t').map(|i| line + i);
    inside.or_else(|| text[at..].find('\t').filter(|_| info.contains("tab")).map(|i| at + i))
}

fn help(kind: &ErrorKind) -> Option<&'static str> {
    use ErrorKind as K;
    Some(match kind {
        K::InvalidIndentation
        | K::ExpectedBlockMappingKey
        | K::ExpectedBlockSequenceEntry
        | K::MappingValueNotAllowed
        | K::BlockSequenceEntryNotAllowed => {
            "give keys of one map the same indentation, and quote a value that holds `: `"
        }
        K::SimpleKeyExpected | K::InvalidSimpleKey => {
            "a key needs a `:` and a space behind it, at the indentation of its neighbours"
        }
        K::UnexpectedEofFlowSequence
        | K::UnexpectedEofFlowMapping
        | K::UnclosedFlowCollection { .. }
        | K::ExpectedFlowMappingSeparator
        | K::ExpectedFlowSequenceSeparator
        | K::UnexpectedEofImplicitFlowMapping
        | K::MismatchedFlowCollectionEnd { .. } => "close every `{` with `}` and every `[` with `]`",
        K::UnclosedQuotedScalar => "close the quote",
        K::DirectiveDisallowed => "remove the directive; quote a string that begins with `%`",
        K::UnexpectedCharacter { .. } => "quote a string that begins with this character",
        _ => return None,
    })
}
