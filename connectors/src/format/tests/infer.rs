//! Guessed schemas.

use super::*;

fn guess(format: &Format, sample: &str) -> Vec<(String, String)> {
    let schema = infer(sample.as_bytes(), format).unwrap();
    let name = |f: &Field| match f.data_type() {
        _ if f.metadata().contains_key(millstream::json::JSON_METADATA) => "json".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        other => other.to_string(),
    };
    schema.fields().iter().map(|f| (f.name().clone(), name(f))).collect()
}

fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
    want.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn ndjson() {
    let sample = "{\"i\":1,\"f\":1,\"b\":true,\"t\":\"2026-01-01T00:00:00Z\",\"s\":\"x\",\"o\":{},\"m\":1,\"n\":null,\"_id\":1,\"u\":18446744073709551615}\n\
                  not json\n\
                  {\"i\":null,\"f\":1.5,\"t\":\"2026-01-01T00:00:00+01:00\",\"s\":\"2026-01-01T00:00:00Z\",\"m\":\"x\",\"late\":-1}\n\
                  {\"i\":\"cut off";
    let want = [
        ("i", "Int64"),
        ("f", "Float64"),
        ("b", "Boolean"),
        ("t", "timestamp"),
        ("s", "Utf8"),
        ("o", "json"),
        ("m", "json"),
        ("n", "json"),
        ("u", "UInt64"),
        ("late", "Int64"),
    ];
    assert_eq!(guess(&Format::Ndjson, sample), pairs(&want));
    assert_eq!(infer(b"x\ny\n", &Format::Ndjson).unwrap_err().code, "INFER-NOTHING");
}

#[test]
fn csv() {
    let format = Format::Csv(CsvOptions::default());
    let sample = "id,zip,price,when,name,flag,mixed,empty\n1,01234,1.5,2026-01-01T00:00:00Z,\"a,b\",true,1,\n2,56789,2,2026-01-01T00:00:00Z,c,FALSE,x,\nbroken\n3,";
    let want = [
        ("id", "Int64"),
        ("zip", "Utf8"),
        ("price", "Float64"),
        ("when", "timestamp"),
        ("name", "Utf8"),
        ("flag", "Boolean"),
        ("mixed", "Utf8"),
        ("empty", "Utf8"),
    ];
    assert_eq!(guess(&format, sample), pairs(&want));
    let headless = Format::Csv(CsvOptions { header: false, ..CsvOptions::default() });
    assert_eq!(guess(&headless, "1,x\n2,y\n"), pairs(&[("column_1", "Int64"), ("column_2", "Utf8")]));
}

#[test]
fn others() {
    assert_eq!(guess(&Format::Text, ""), pairs(&[("value", "Utf8")]));
    assert_eq!(infer(b"PAR1", &Format::Parquet).unwrap_err().code, "FORMAT-NO-ROWS");
}

/// What is guessed can be read with what was guessed.
#[test]
fn guessed_schemas_read_their_sample() {
    let sample = "{\"a\":1,\"b\":[1],\"c\":null}\n{\"a\":2.5,\"b\":{\"x\":1},\"c\":\"2026-01-01T00:00:00Z\"}\n";
    let schema = Arc::new(infer(sample.as_bytes(), &Format::Ndjson).unwrap());
    let got = decode(&Format::Ndjson, &schema, sample);
    assert!(got.rejects.is_empty(), "{:?}", got.rejects);
    assert_eq!(rows_of(&got)[1]["b"], serde_json::json!({"x": 1}));
}
