//! The encoder against `serde_json` as the reader of what it wrote.

use super::*;
use arrow::array::*;
use arrow::datatypes::*;
use serde_json::{Value, json};

fn lines(batch: &RecordBatch, diff: Option<&Int64Array>) -> Vec<Value> {
    let mut out = Vec::new();
    Encoder::new(&batch.schema()).unwrap().encode_with_diff(batch, diff, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn one(array: impl Array + 'static) -> Vec<Value> {
    let batch = RecordBatch::try_from_iter_with_nullable([("v", Arc::new(array) as ArrayRef, true)]).unwrap();
    lines(&batch, None).into_iter().map(|mut v| v["v"].take()).collect()
}

fn text(array: impl Array + 'static) -> String {
    let batch = RecordBatch::try_from_iter_with_nullable([("v", Arc::new(array) as ArrayRef, true)]).unwrap();
    row_json(&batch, 0)
}

#[test]
fn plain_run_stops_at_the_first_special_byte() {
    for len in 0..40 {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for at in 0..=len {
                let mut bytes: Vec<u8> = (0..len).map(|i| [b'a', 0x20, 0x7f, 0xff, 0x80, b'#', b'!'][i % 7]).collect();
                bytes.extend([special, b'"', special]);
                bytes[at] = special;
                assert_eq!(plain_run(&bytes), at, "{bytes:?}");
            }
        }
        assert_eq!(plain_run(&vec![b'x'; len]), len);
    }
}

#[test]
fn integers_are_exact() {
    assert_eq!(text(Int64Array::from(vec![i64::MIN])), r#"{"v":-9223372036854775808}"#);
    assert_eq!(text(UInt64Array::from(vec![u64::MAX])), r#"{"v":18446744073709551615}"#);
    assert_eq!(one(Int8Array::from(vec![Some(-1), None])), [json!(-1), json!(null)]);
}

#[test]
fn floats_are_shortest_and_never_nan() {
    assert_eq!(text(Float64Array::from(vec![12.0])), r#"{"v":12.0}"#);
    assert_eq!(text(Float64Array::from(vec![0.1])), r#"{"v":0.1}"#);
    assert_eq!(text(Float32Array::from(vec![0.1])), r#"{"v":0.1}"#);
    assert_eq!(text(Float64Array::from(vec![f64::NAN])), r#"{"v":null}"#);
    assert_eq!(text(Float64Array::from(vec![f64::NEG_INFINITY])), r#"{"v":null}"#);
    assert_eq!(one(Float64Array::from(vec![f64::MAX, f64::MIN_POSITIVE])), [json!(f64::MAX), json!(f64::MIN_POSITIVE)]);
}

#[test]
fn strings_of_every_kind_are_escaped() {
    let nasty = "a\"b\\c\nd\re\tf\u{8}\u{c}\u{0}\u{1f}é漢😀/";
    let want = [json!(nasty), json!(null), json!("")];
    assert_eq!(one(StringArray::from(vec![Some(nasty), None, Some("")])), want);
    assert_eq!(one(LargeStringArray::from(vec![Some(nasty), None, Some("")])), want);
    assert_eq!(one(StringViewArray::from(vec![Some(nasty), None, Some("")])), want);
    assert_eq!(one(vec![Some(nasty), None, Some("")].into_iter().collect::<DictionaryArray<Int32Type>>()), want);
    assert_eq!(
        one(vec![None::<&str>, None].into_iter().collect::<DictionaryArray<Int32Type>>()),
        [json!(null), json!(null)]
    );
}

#[test]
fn timestamps_have_as_many_digits_as_needed() {
    let us = |v| text(TimestampMicrosecondArray::from(vec![v]).with_timezone("UTC"));
    assert_eq!(us(0), r#"{"v":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(us(1_700_000_000_120_000), r#"{"v":"2023-11-14T22:13:20.120Z"}"#);
    assert_eq!(us(1_700_000_000_000_001), r#"{"v":"2023-11-14T22:13:20.000001Z"}"#);
    assert_eq!(us(-1), r#"{"v":"1969-12-31T23:59:59.999999Z"}"#);
    assert_eq!(text(TimestampNanosecondArray::from(vec![1])), r#"{"v":"1970-01-01T00:00:00.000000001Z"}"#);
    assert_eq!(text(TimestampSecondArray::from(vec![951_782_400])), r#"{"v":"2000-02-29T00:00:00Z"}"#);
    assert_eq!(text(TimestampSecondArray::from(vec![253_402_300_800])), r#"{"v":"+10000-01-01T00:00:00Z"}"#);
}

#[test]
fn calendar_agrees_with_chrono() {
    for days in (-800_000..800_000).step_by(97) {
        let mut out = Vec::new();
        write_date(days, &mut out);
        let date = chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0).unwrap().date_naive();
        let want = date.format("%Y-%m-%d").to_string();
        assert_eq!(String::from_utf8(out).unwrap(), want, "{days} days");
    }
}

#[test]
fn dates_times_bytes_decimals() {
    assert_eq!(text(Date32Array::from(vec![-1])), r#"{"v":"1969-12-31"}"#);
    assert_eq!(text(Date64Array::from(vec![86_400_000])), r#"{"v":"1970-01-02"}"#);
    assert_eq!(text(Time64MicrosecondArray::from(vec![86_399_500_000])), r#"{"v":"23:59:59.500"}"#);
    assert_eq!(text(Time32SecondArray::from(vec![61])), r#"{"v":"00:01:01"}"#);
    assert_eq!(text(BinaryArray::from(vec![&b"\x00\xffab"[..]])), r#"{"v":"AP9hYg=="}"#);
    let decimal = Decimal128Array::from(vec![-12_345]).with_precision_and_scale(38, 3).unwrap();
    assert_eq!(text(decimal), r#"{"v":-12.345}"#);
    let decimal = Decimal128Array::from(vec![5]).with_precision_and_scale(10, 4).unwrap();
    assert_eq!(text(decimal), r#"{"v":0.0005}"#);
}

#[test]
fn nested_values() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    assert_eq!(one(list), [json!([1, null]), json!(null), json!([])]);
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef),
        (
            Arc::new(Field::new("\"", DataType::Boolean, true)),
            Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef,
        ),
    ]);
    assert_eq!(one(inner), [json!({"a": 1, "\"": true}), json!({"a": null, "\"": false})]);
    let mut map = MapBuilder::new(None, Int32Builder::new(), Float64Builder::new());
    map.keys().append_value(7);
    map.values().append_value(0.5);
    map.append(true).unwrap();
    map.append(false).unwrap();
    assert_eq!(one(map.finish()), [json!({"7": 0.5}), json!(null)]);
}

#[test]
fn json_text_is_written_as_a_value() {
    let field =
        Field::new("v", DataType::Utf8, true).with_metadata([(JSON_METADATA.to_owned(), "true".to_owned())].into());
    let column = StringArray::from(vec!["{\"a\":\n[1]}", "not json", "{} {}"]);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).unwrap();
    let got: Vec<Value> = lines(&batch, None).into_iter().map(|mut v| v["v"].take()).collect();
    assert_eq!(got, [json!({"a": [1]}), json!("not json"), json!("{} {}")]);
}

#[test]
fn weights_come_last() {
    let batch = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
    let diff = Int64Array::from(vec![1, -1]);
    assert_eq!(lines(&batch, Some(&diff)), [json!({"a": 1, "_diff": 1}), json!({"a": 2, "_diff": -1})]);
    let none = crate::batch::record_batch(Arc::new(Schema::empty()), vec![], 2);
    assert_eq!(lines(&none, Some(&diff)), [json!({"_diff": 1}), json!({"_diff": -1})]);
    assert_eq!(lines(&none, None), [json!({}), json!({})]);
}

#[test]
fn sliced_batches_write_their_own_rows() {
    let batch = RecordBatch::try_from_iter([
        ("s", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])) as ArrayRef),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some(vec![Some(1)]),
                Some(vec![Some(2)]),
                Some(vec![Some(3), Some(4)]),
            ])),
        ),
    ])
    .unwrap();
    assert_eq!(lines(&batch.slice(1, 2), None), [json!({"s": null, "l": [2]}), json!({"s": "c", "l": [3, 4]})]);
}

#[test]
fn a_type_without_json_form_is_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("i", DataType::Interval(IntervalUnit::DayTime), true)]));
    let problem = Encoder::new(&schema).unwrap_err();
    assert_eq!(problem.code, "JSON-UNSUPPORTED");
    assert!(problem.to_string().contains("`i`"), "{problem}");
}
