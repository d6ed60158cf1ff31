//! `union`: several inputs of one schema, as one stream. It moves no rows: the engine concatenates.

use arrow::datatypes::{Schema, SchemaRef};
use millstream::{Place, Problem, Result};

/// The schema of the union of `inputs` (name and schema each, at least one): their common columns,
/// which must agree in name, order and type. A column may be null where it may be in any input.
///
/// # Errors
/// `UNION-SCHEMA` names the first column that differs and both inputs.
pub fn schema(inputs: &[(&str, SchemaRef)]) -> Result<SchemaRef> {
    let Some(((first_name, first), rest)) = inputs.split_first() else {
        return Err(Problem::error("UNION-SCHEMA", "a union needs at least one input"));
    };
    let mut fields: Vec<_> = first.fields().iter().cloned().collect();
    for (name, schema) in rest {
        if let Some((here, there)) = difference(first, schema) {
            return Err(Problem::error(
                "UNION-SCHEMA",
                format!("the inputs `{first_name}` and `{name}` have different columns"),
            )
            .at(Place::Node { node: String::new(), field: "from".into() })
            .found(format!("{there} in `{name}`"))
            .expected(format!("{here} as in `{first_name}`"))
            .help("bring one of them into the form of the other with a `select`"));
        }
        for (field, other) in fields.iter_mut().zip(schema.fields()) {
            if other.is_nullable() && !field.is_nullable() {
                *field = other.clone();
            }
        }
    }
    Ok(Schema::new(fields).into())
}

fn difference(a: &Schema, b: &Schema) -> Option<(String, String)> {
    let show = |schema: &Schema, i: usize| match schema.fields().get(i) {
        Some(f) => format!("column {} `{}` {}", i + 1, f.name(), f.data_type()),
        None => "no further column".to_owned(),
    };
    let same = |i: usize| match (a.fields().get(i), b.fields().get(i)) {
        (Some(x), Some(y)) => x.name() == y.name() && x.data_type() == y.data_type(),
        _ => false,
    };
    let columns = a.fields().len().max(b.fields().len());
    (0..columns).find(|i| !same(*i)).map(|i| (show(a, i), show(b, i)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    fn of(fields: &[(&str, DataType, bool)]) -> SchemaRef {
        Schema::new(fields.iter().map(|(n, t, null)| Field::new(*n, t.clone(), *null)).collect::<Vec<_>>()).into()
    }

    #[test]
    fn equal_schemas_unite_and_nullability_widens() {
        let a = of(&[("x", DataType::Int64, false), ("y", DataType::Utf8, false)]);
        let b = of(&[("x", DataType::Int64, false), ("y", DataType::Utf8, true)]);
        assert_eq!(schema(&[("a", a.clone()), ("b", b.clone())]).unwrap(), b);
        assert_eq!(schema(&[("a", a.clone())]).unwrap(), a);
    }

    #[test]
    fn names_the_first_difference() {
        let a = of(&[("x", DataType::Int64, false), ("y", DataType::Utf8, false)]);
        let b = of(&[("x", DataType::Int64, false), ("z", DataType::Utf8, false)]);
        let c = of(&[("x", DataType::Int64, false)]);
        let found =
            |other: &SchemaRef| schema(&[("a", a.clone()), ("b", other.clone())]).unwrap_err().found.clone().unwrap();
        assert_eq!(found(&b), "column 2 `z` Utf8 in `b`");
        assert_eq!(found(&c), "no further column in `b`");
        assert_eq!(schema(&[]).unwrap_err().code, "UNION-SCHEMA");
    }
}
