//! What an unquoted YAML scalar means.
//!
//! Narrower than YAML's core schema on purpose: `no`, `1e3`, `012`, `0x1f`, `.inf` and dates are strings.

use crate::tree::Value;
use serde_json::Number;

/// `None` if it looks like a number that no 64-bit type holds.
pub(super) fn plain(text: &str, json: bool) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match shape(text, json) {
            Shape::Text => Value::String(text.into()),
            Shape::Integer => Value::Number(integer(text)?),
            Shape::Float => Value::Number(text.parse::<f64>().ok().and_then(Number::from_f64)?),
        },
    })
}

pub(super) fn integer(text: &str) -> Option<Number> {
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

enum Shape {
    Text,
    Integer,
    Float,
}

fn shape(text: &str, json: bool) -> Shape {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return Shape::Text;
    }
    let mut rest = &rest[whole..];
    if rest.is_empty() {
        return Shape::Integer;
    }
    let mut fraction = json;
    if let Some(after) = rest.strip_prefix('.') {
        let n = digits(after);
        if n == 0 {
            return Shape::Text;
        }
        rest = &after[n..];
        fraction = true;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E'])
        && fraction
    {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        let n = digits(after);
        rest = if n > 0 { &after[n..] } else { "?" };
    }
    if rest.is_empty() { Shape::Float } else { Shape::Text }
}
