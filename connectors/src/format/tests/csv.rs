//! CSV: quoting, types, headers, refusals, round trips.

use super::*;
use serde_json::json;

fn plain() -> Format {
    Format::Csv(CsvOptions { header: false, ..CsvOptions::default() })
}

fn two_texts() -> SchemaRef {
    schema_of(&[("a", DataType::Utf8), ("b", DataType::Utf8)])
}

#[test]
fn quotes_and_nulls() {
    let got = decode(&plain(), &two_texts(), "x,\r\n\"a,b\",\"\"\n\"say \"\"hi\"\"\",\"\"\"\"\n\n,é");
    let want = [
        json!({"a": "x", "b": null}),
        json!({"a": "a,b", "b": ""}),
        json!({"a": "say \"hi\"", "b": "\""}),
        json!({"a": null, "b": "é"}),
    ];
    assert_eq!(rows_of(&got), want);
    assert!(got.rejects.is_empty());
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let schema =
        Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("n", DataType::Int64, false)]));
    let bad = [
        "x",
        "x,1,2",
        "\"x,1",
        "\"x\"y,1",
        "x\"y,1",
        "x,",
        "x,1.5",
        "x,9223372036854775808",
        "x,abc",
        "x,1,\"",
        "\u{e9}\u{e9},\"a\nb\"",
    ];
    for line in &bad[..bad.len() - 1] {
        let got = decode(&plain(), &schema, format!("p,1\n{line}\nq,2\n"));
        assert_eq!(rows_of(&got), [json!({"a": "p", "n": 1}), json!({"a": "q", "n": 2})], "{line}");
        assert_eq!((got.rejects.len(), got.rejects[0].position), (1, 4), "{line}");
        assert!(got.rejects[0].code.starts_with("CSV-"), "{line}");
    }
    let code = |line: &str| decode(&plain(), &schema, line).rejects[0].code;
    assert_eq!(
        bad[..6].iter().map(|l| code(l)).collect::<Vec<_>>(),
        ["CSV-COLUMNS", "CSV-COLUMNS", "CSV-QUOTE", "CSV-QUOTE", "CSV-QUOTE", "CSV-MISSING"]
    );
    assert_eq!(code("x,1.5"), "CSV-TYPE");
    let got = decode(&plain(), &schema, "x,abc\n");
    assert_eq!(got.rejects[0].message, "column `n`: found `abc`, expected int64");
    let got = decode(&plain(), &schema, b"\xff,1\nx,2\n");
    assert_eq!(codes(&got.rejects), ["0 TEXT-UTF8"]);
    assert_eq!(rows_of(&got), [json!({"a": "x", "n": 2})]);
}

#[test]
fn line_breaks_within_quotes_work_in_messages_only() {
    let got = decode(&plain(), &two_texts(), "\"a\nb\",c\n");
    assert_eq!(codes(&got.rejects), ["0 CSV-QUOTE", "3 CSV-QUOTE"]);
    let message = Message { position: 1, value: Some(Bytes::from("\"a\nb\",c\r\n")), ..Message::default() };
    let got = decode_messages(&plain(), &two_texts(), vec![message]);
    assert_eq!(rows_of(&got), [json!({"a": "a\nb", "b": "c"})]);
}

#[test]
fn every_type() {
    let json_field = Field::new("j", DataType::Utf8, true)
        .with_metadata([(millstream::json::JSON_METADATA.to_owned(), "true".to_owned())].into());
    let mut fields: Vec<Field> = [
        ("b", DataType::Boolean),
        ("i", DataType::Int8),
        ("u", DataType::UInt64),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(5, 2)),
        ("t", timestamp_type()),
        ("day", DataType::Date32),
    ]
    .map(|(n, t)| Field::new(n, t, true))
    .into();
    fields.push(json_field);
    let schema = Arc::new(Schema::new(fields));
    let text = "TRUE,-07,18446744073709551615,1e3,-1.5,2026-01-31T00:00:00Z,2026-01-31,\"{\"\"k\"\":[1]}\"\n";
    let row = json!({"b": true, "i": -7, "u": u64::MAX, "f": 1000.0, "d": -1.5, "t": "2026-01-31T00:00:00Z", "day": "2026-01-31", "j": {"k": [1]}});
    assert_eq!(rows_of(&decode(&plain(), &schema, text)), [row]);
    for bad in
        ["yes,,,,,,,", ",128,,,,,,", ",,-1,,,,,", ",,,inf,,,,", ",,,,1.005,,,", ",,,,,now,,", ",,,,,,1,", ",,,,,,,{"]
    {
        assert_eq!(codes(&decode(&plain(), &schema, bad).rejects), ["0 CSV-TYPE"], "{bad}");
    }
}

#[test]
fn the_header_is_checked_at_the_start_of_a_file() {
    let format = Format::Csv(CsvOptions { delimiter: ';', ..CsvOptions::default() });
    let got = decode(&format, &two_texts(), "\u{feff}a;\"b\"\n1;2\n");
    assert_eq!(rows_of(&got), [json!({"a": "1", "b": "2"})]);
    let got = decode_at(&format, &two_texts(), 8, b"a;b\n");
    assert_eq!(rows_of(&got), [json!({"a": "a", "b": "b"})]);
    let mut decoder = format.decoder(&two_texts(), &DecodeOptions::default()).unwrap();
    let body = Body::Bytes { start: 0, data: Bytes::from("b;a\n1;2\n") };
    let problem = decoder.decode(payload(body), &mut Decoded::default()).unwrap_err();
    assert_eq!(problem.code, "CSV-HEADER");
    assert_eq!(problem.found.as_deref(), Some("b, a"));
}

#[test]
fn a_projection_skips_columns_but_checks_them() {
    let schema = schema_of(&[("c", DataType::Int64)]);
    let options =
        DecodeOptions { file_columns: Some(["a", "b", "c"].map(String::from).into()), ..DecodeOptions::default() };
    let mut decoder = plain().decoder(&schema, &options).unwrap();
    let mut out = Decoded::default();
    let data = Bytes::from("x,\"y,z\",1\nx,\"y,2\n");
    decoder.decode(payload(Body::Bytes { start: 0, data }), &mut out).unwrap();
    assert_eq!(rows_of(&out), [json!({"c": 1})]);
    assert_eq!(codes(&out.rejects), ["10 CSV-QUOTE"]);
    let missing = plain().decoder(&schema_of(&[("d", DataType::Int64)]), &options).err().unwrap();
    assert_eq!(missing.code, "FORMAT-COLUMN");
}

#[test]
fn a_delimiter_has_to_be_ascii() {
    for delimiter in ['é', '"', '\n'] {
        let format = Format::Csv(CsvOptions { delimiter, ..CsvOptions::default() });
        let problem = format.decoder(&two_texts(), &DecodeOptions::default()).err().unwrap();
        assert_eq!(problem.code, "FORMAT-DELIMITER");
    }
}

#[test]
fn encoded_batches_read_back_equal() {
    let schema = schema_of(&[("s", DataType::Utf8), ("n", DataType::Float64), ("t", timestamp_type())]);
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(StringArray::from(vec![Some("a,b"), None, Some(""), Some("\"q\"\t\u{1}"), Some("plain")])),
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-2.0), Some(1e300), Some(0.0)])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(0), Some(-1), Some(5)]).with_timezone("UTC"),
            ),
        ],
    )
    .unwrap();
    let format = Format::Csv(CsvOptions::default());
    let mut encoder = format.encoder(&schema).unwrap();
    let mut text = Vec::new();
    encoder.header(&mut text);
    encoder.encode(&Batch::new(batch.clone()), &mut text).unwrap();
    assert!(
        text.starts_with(b"s,n,t\n\"a,b\",0.1,1970-01-01T00:00:00.000001Z\n,,\n\"\",-2.0,"),
        "{}",
        String::from_utf8_lossy(&text)
    );
    let got = decode(&format, &schema, &text);
    assert!(got.rejects.is_empty(), "{:?}", got.rejects);
    assert_eq!(got.batches[0].0, batch);
}
