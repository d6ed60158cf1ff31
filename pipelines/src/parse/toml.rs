//! TOML to the tree. Dates become strings.

use super::{DEPTH_MAX, MapBuilder, VALUES_MAX, scalar, too_deep, too_many};
use crate::codes;
use crate::source::{Source, Span};
use crate::tree::{Entry, Node, Value};
use millstream_problem::Problem;
use serde_json::Number;
use toml::de::{DeTable, DeValue};

struct Walk<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
    shift: usize,
    values: usize,
}

pub(super) fn parse(source: &Source) -> Result<(Node, Vec<Problem>), Vec<Problem>> {
    let shift = if source.text().starts_with('\u{feff}') { 3 } else { 0 };
    let text = &source.text()[shift..];
    if text.trim().is_empty() {
        return Err(vec![
            source
                .error(Span::default(), codes::SYNTAX, "the file is empty")
                .expected("a pipeline: `version`, `name` and `nodes`"),
        ]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |e: &toml::de::Error| {
            let range = e.span().unwrap_or(0..0);
            let span = Span::new(range.start + shift, range.end + shift);
            let message = e.message().replace('\n', "; ");
            let code = if message.contains("duplicate") {
                codes::DUPLICATE
            } else if message.contains("recursion") {
                codes::LIMIT
            } else {
                codes::SYNTAX
            };
            source.error(span, code, message)
        };
        return Err(errors.iter().take(crate::PROBLEMS_MAX).map(problem).collect());
    }
    let mut walk = Walk { source, problems: Vec::new(), shift, values: 0 };
    let all = Span::new(shift, source.text().len());
    let root = walk.table(table.get_ref(), all, 1).map_err(|p| vec![p])?;
    Ok((root, walk.problems))
}

impl Walk<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(range.start + self.shift, range.end + self.shift)
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > DEPTH_MAX {
            return Err(too_deep(self.source, span));
        }
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut map = MapBuilder::default();
        for (key, value) in entries {
            let entry = Entry {
                key: key.get_ref().to_string(),
                key_span: self.span(key.span()),
                value: self.value(value.get_ref(), self.span(value.span()), depth)?,
            };
            map.push(self.source, &mut self.problems, entry);
        }
        Ok(Node::new(Value::Map(map.finish()), span))
    }

    fn value(&mut self, value: &DeValue<'_>, span: Span, depth: usize) -> Result<Node, Problem> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(too_many(self.source, span));
        }
        let value = match value {
            DeValue::String(s) => Value::String(s.to_string()),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Datetime(d) => Value::String(d.to_string()),
            DeValue::Integer(i) => self.number(span, radix(i.as_str(), i.radix())),
            DeValue::Float(f) => self.number(span, f.as_str().parse::<f64>().ok().and_then(Number::from_f64)),
            DeValue::Array(a) => {
                if depth >= DEPTH_MAX {
                    return Err(too_deep(self.source, span));
                }
                let items = a.iter().map(|v| self.value(v.get_ref(), self.span(v.span()), depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(t) => return self.table(t, span, depth + 1),
        };
        Ok(Node::new(value, span))
    }

    fn number(&mut self, span: Span, number: Option<Number>) -> Value {
        number.map(Value::Number).unwrap_or_else(|| {
            self.problems.push(
                self.source.error(span, codes::RANGE, "a number too large for 64 bits").found(self.source.slice(span)),
            );
            Value::Null
        })
    }
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    if radix == 10 {
        scalar::integer(digits.trim_start_matches('+'))
    } else {
        u64::from_str_radix(digits, radix).ok().map(Number::from)
    }
}
