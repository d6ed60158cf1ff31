//! `${name}` and `${row.field}` inside strings: the only template syntax there is.
//!
//! `$${` stands for a `${` that is meant as it stands. A `$` without a brace is nothing special.

/// A piece of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// As it stands.
    Text(&'a str),
    /// `${name}`: a parameter.
    Parameter(&'a str),
    /// `${row.field}`: a field of the record, at run time.
    Row(&'a str),
    /// `${` with something else behind it; from the `$` to the brace or the end.
    Bad(&'a str),
}

/// The pieces in order.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, behind) = rest.split_at(at);
        if let Some(text) = before.strip_suffix('$') {
            all.push(Part::Text(text));
            all.push(Part::Text(&behind[..2]));
            rest = &behind[2..];
            continue;
        }
        all.push(Part::Text(before));
        let end = behind.find('}').map_or(behind.len(), |i| i + 1);
        all.push(part(&behind[..end]));
        rest = &behind[end..];
    }
    all.push(Part::Text(rest));
    all.retain(|p| *p != Part::Text(""));
    all
}

fn part(whole: &str) -> Part<'_> {
    let Some(inner) = whole.strip_prefix("${").and_then(|w| w.strip_suffix('}')) else {
        return Part::Bad(whole);
    };
    let name = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_lowercase())
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match inner.strip_prefix("row.") {
        Some(field) if !field.trim().is_empty() => Part::Row(field),
        _ if name(inner) && inner != "row" => Part::Parameter(inner),
        _ => Part::Bad(whole),
    }
}

/// True if a field of the record stands in it.
pub fn has_row(text: &str) -> bool {
    text.contains("${row.") && parts(text).iter().any(|p| matches!(p, Part::Row(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        use Part::{Bad, Parameter, Row, Text};
        assert_eq!(parts("a ${x} ${row.a.b}!"), [Text("a "), Parameter("x"), Text(" "), Row("a.b"), Text("!")]);
        assert_eq!(parts("cost $5 $${x} $"), [Text("cost $5 "), Text("${"), Text("x} $")]);
        assert_eq!(parts("${X}${row}${"), [Bad("${X}"), Bad("${row}"), Bad("${")]);
        assert_eq!(parts(""), []);
    }
}
