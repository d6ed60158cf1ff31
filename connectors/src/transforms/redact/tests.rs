//! What is taken out and what stays; the e-mail scanner against a regular expression.

#![allow(clippy::print_stdout)] // seeds, and what was skipped

use super::{IpMode, RedactConfig, plan};
use crate::transforms::Reads;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow::compute;
use millstream::Batch;
use millstream::operator::Emit;
use regex::Regex;
use serde_json::{Value, json};
use std::sync::Arc;

fn config(config: Value) -> RedactConfig {
    serde_json::from_value(config).unwrap()
}

fn run(c: &RedactConfig, input: Batch) -> Batch {
    let planned = plan(c, &input.schema()).unwrap();
    let mut out = Emit::default();
    let rows = input.len();
    (planned.stage)(&input.schema()).unwrap().apply(input, &mut out).unwrap();
    assert!(out.rejected.is_empty() && out.filtered == 0);
    assert_eq!(out.out.iter().map(|(_, b)| b.len()).sum::<usize>(), rows, "nothing is lost");
    out.out.pop().map(|(_, b)| b).unwrap_or_default()
}

fn one_column(column: ArrayRef) -> Batch {
    Batch::new(RecordBatch::try_from_iter_with_nullable([("text", column, true)]).unwrap())
}

fn redact(c: &RedactConfig, values: &[&str]) -> Vec<String> {
    let out = run(c, one_column(Arc::new(StringArray::from(values.to_vec()))));
    out.rows.column(0).as_string::<i32>().iter().map(|v| v.unwrap().to_owned()).collect()
}

fn table(c: Value, cases: &[(&str, &str)]) {
    let c = config(c);
    let (input, expected): (Vec<&str>, Vec<&str>) = cases.iter().copied().unzip();
    assert_eq!(redact(&c, &input), expected, "all in one column");
    for (input, expected) in cases {
        assert_eq!(redact(&c, &[input]), [*expected], "alone");
    }
}

#[test]
fn emails() {
    table(
        json!({ "email": true }),
        &[
            ("", ""),
            ("a@b.de", "[EMAIL]"),
            ("user=ann.lee+x@mail.example.com client=1", "user=[EMAIL] client=1"),
            ("<a@b.de>,<c@d.org>", "<[EMAIL]>,<[EMAIL]>"),
            ("/login?email=abc@example.com", "/login?email=[EMAIL]"),
            ("a@b.de.", "[EMAIL]."),
            ("a@b.de.1", "[EMAIL].1"),
            ("a@b.c", "a@b.c"),
            ("a@localhost", "a@localhost"),
            ("@b.de", "@b.de"),
            ("a@", "a@"),
            ("a@.de", "a@.de"),
            ("a@b@c.de", "a@[EMAIL]"),
            ("a@b.de@c.org", "[EMAIL]@c.org"),
            ("@@@@", "@@@@"),
            ("jürgen@exämple.de, “x@y.zz”", "[EMAIL], “[EMAIL]”"),
            ("x@", "x@"),
            ("b.de", "b.de"),
            ("\0a@b.de\0", "\0[EMAIL]\0"),
        ],
    );
}

#[test]
fn addresses_masked() {
    table(
        json!({ "ip": "mask_last_octet" }),
        &[
            ("", ""),
            ("1.2.3.4", "1.2.3.0"),
            ("client=211.3.44.255 dur=1.5", "client=211.3.44.0 dur=1.5"),
            ("1.2.3.0", "1.2.3.0"),
            ("1.2.3.00", "1.2.3.0"),
            ("1.2.3.4.5", "1.2.3.0.5"),
            ("1.2.3.4.5.6.7.8", "1.2.3.0.5.6.7.0"),
            ("1234.1.2.3.4", "1234.1.2.3.0"),
            ("1.2.3.4567", "1.2.3.4567"),
            ("1.2.3", "1.2.3"),
            ("1..2.3.4", "1..2.3.4"),
            (".1.2.3.4.", ".1.2.3.0."),
            ("1.2.", "1.2."),
            ("3.4", "3.4"),
            ("x10.0.0.9:80,10.0.0.8", "x10.0.0.0:80,10.0.0.0"),
            ("Chrome/124.0.6367.91", "Chrome/124.0.6367.91"),
            ("10:05:03", "10:05:03"),
            ("2001:db8:1:2::9 and fe80::", "2001:db8:1:: and fe80::"),
            ("::ffff:10.0.0.9", "::ffff:10.0.0.0"),
            ("[2001:db8:1:2:3:4:5:6]:443", "[2001:db8:1::]:443"),
            ("peer 2001:db8:1::7: refused", "peer 2001:db8:1::: refused"),
            ("std::cmp, ::, x::1, 1::x", "std::cmp, ::, x::1, 1::x"),
        ],
    );
}

#[test]
fn addresses_removed() {
    table(
        json!({ "ip": "full" }),
        &[
            ("a 1.2.3.4 b 10.0.0.0", "a [IP] b [IP]"),
            ("::ffff:10.0.0.9 5.6.7.8", "[IP] [IP]"),
            ("1.2.3.4 ::1", "[IP] [IP]"),
            ("1.2.3", "1.2.3"),
        ],
    );
}

#[test]
fn cards() {
    table(
        json!({ "card": true }),
        &[
            ("card 4111111111111111.", "card [CARD]."),
            ("4111 1111 1111 1111", "[CARD]"),
            ("4111-1111-1111-1111,5500005555555559", "[CARD],[CARD]"),
            ("378282246310005", "[CARD]"),
            ("4111 1111 1111 1111 23", "[CARD] 23"),
            ("order 77 4111 1111 1111 1111", "order 77 [CARD]"),
            ("4111111111111112", "4111111111111112"),
            ("41111111111111111111111111", "41111111111111111111111111"),
            ("4111  1111  1111  1111", "4111  1111  1111  1111"),
            ("1700000000000", "1700000000000"),
            ("4222222222222", "[CARD]"),
            ("422222222222", "422222222222"),
            ("1234 5678", "1234 5678"),
        ],
    );
}

#[test]
fn custom_patterns_come_last_and_in_order() {
    let custom =
        json!([{ "regex": "user=(\\w)\\w*", "replace": "user=$1***" }, { "regex": r"\[EMAIL\]", "replace": "-" }]);
    table(
        json!({ "email": true, "custom": custom }),
        &[("user=ann a@b.de", "user=a*** -"), ("nothing", "nothing"), ("", "")],
    );
}

/// Empty values stand at the same place of the buffer; each gets its own replacement.
#[test]
fn empty_values_can_be_replaced() {
    let c = config(json!({ "custom": [{ "regex": "^$", "replace": "none" }] }));
    assert_eq!(redact(&c, &["", "", "a", "", "b", ""]), ["none", "none", "a", "none", "b", "none"]);
    let column: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), None]));
    let out = run(&c, one_column(column));
    assert_eq!(out.rows.column(0).as_string::<i32>(), &StringArray::from(vec![None, Some("none"), None]));
}

#[test]
fn untouched_columns_share_their_buffers() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["plain", "text"]));
    let out = run(&config(json!({ "email": true, "ip": "full", "card": true })), one_column(Arc::clone(&column)));
    assert_eq!(out.rows.column(0).as_string::<i32>().values().as_ptr(), column.as_string::<i32>().values().as_ptr());
}

#[test]
fn slices_nulls_and_other_text_types() {
    let c = config(json!({ "email": true, "ip": "mask_last_octet" }));
    let column =
        StringArray::from(vec![Some("a@b.de 1.1.1.1"), None, Some("x@y.zz 9.9.9.9!"), Some(""), Some("c@d.org")]);
    let expected = StringArray::from(vec![None, Some("[EMAIL] 9.9.9.0!"), Some("")]);
    let out = run(&c, one_column(Arc::new(column.slice(1, 3))));
    assert_eq!(out.rows.column(0).as_string::<i32>(), &expected);
    let views: ArrayRef = Arc::new(StringViewArray::from_iter(column.iter()));
    let out = run(&c, one_column(views));
    assert_eq!(
        compute::cast(out.rows.column(0), &arrow::datatypes::DataType::Utf8).unwrap().slice(1, 3).as_string::<i32>(),
        &expected
    );
    let large: ArrayRef = Arc::new(LargeStringArray::from_iter(column.iter()));
    assert_eq!(run(&c, one_column(large)).rows.column(0).as_string::<i64>().value(4), "[EMAIL]");
}

#[test]
fn only_named_columns_and_only_those_that_are_there() {
    let text = |v: &str| Arc::new(StringArray::from(vec![v])) as ArrayRef;
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let input =
        Batch::new(RecordBatch::try_from_iter([("a", text("x@y.zz")), ("b", text("x@y.zz")), ("n", n)]).unwrap());
    let planned = plan(&config(json!({ "fields": ["a"], "email": true })), &input.schema()).unwrap();
    assert_eq!((planned.output, planned.reads), (input.schema(), Reads::Extra(vec![])));
    let apply = |input: Batch| {
        let mut out = Emit::default();
        (planned.stage)(&input.schema()).unwrap().apply(input, &mut out).unwrap();
        out.out.remove(0).1
    };
    let value = |b: &Batch, name: &str| b.column(name).unwrap().as_string::<i32>().value(0).to_owned();
    let out = apply(input.clone());
    assert_eq!((value(&out, "a"), value(&out, "b")), ("[EMAIL]".into(), "x@y.zz".into()));
    assert_eq!(value(&apply(input.project(&["b"])), "b"), "x@y.zz");
}

#[test]
fn wrong_configs_are_refused_at_their_key() {
    let input = one_column(Arc::new(Int64Array::from(vec![1])));
    for (c, code) in [
        (json!({}), "REDACT-CONFIG"),
        (json!({ "email": true, "fields": [] }), "REDACT-CONFIG"),
        (json!({ "email": true, "fields": ["txt"] }), "COLUMN-UNKNOWN"),
        (json!({ "email": true, "fields": ["text"] }), "COLUMN-TYPE"),
        (json!({ "custom": [{ "regex": "(", "replace": "" }] }), "REGEX-INVALID"),
        (json!({ "custom": [{ "regex": "(?:a{1000}){1000}", "replace": "" }] }), "REGEX-TOO-LARGE"),
    ] {
        assert_eq!(plan(&config(c.clone()), &input.schema()).err().expect("wrong").code, code, "{c}");
    }
    assert!(serde_json::from_value::<RedactConfig>(json!({ "mail": true })).is_err());
    assert_eq!(config(json!({ "email": true })).ip, IpMode::Off);
}

/// Random text of the letters that matter: where the text is ASCII the result is what a regular expression makes
/// of it, and in no case does that expression find anything afterwards.
#[test]
fn no_email_is_left_by_another_judge() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let judge = Regex::new(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}").unwrap();
    let c = config(json!({ "email": true }));
    let ascii: Vec<char> = "@@@..-_%+ab1 ,\"\0".chars().collect();
    let mixed: Vec<char> = "@@@..-_%+ab1 äß漢🦀“".chars().collect();
    for (letters, exact) in [(ascii, true), (mixed, false)] {
        let values: Vec<String> = (0..20_000)
            .map(|_| (0..random.usize(0..24)).map(|_| *random.choice(&letters).unwrap()).collect())
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for (before, after) in values.iter().zip(redact(&c, &values)) {
            assert!(!judge.is_match(&after), "{before:?} became {after:?}");
            if exact {
                assert_eq!(after, judge.replace_all(before, "[EMAIL]"), "{before:?}");
            }
        }
    }
}

/// The same for IPv4 addresses, and that masking twice changes nothing more.
#[test]
fn no_address_is_left_by_another_judge() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let judge = Regex::new(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b").unwrap();
    let c = config(json!({ "ip": "mask_last_octet" }));
    let letters: Vec<char> = "....0123459 -".chars().collect();
    let values: Vec<String> =
        (0..40_000).map(|_| (0..random.usize(0..24)).map(|_| *random.choice(&letters).unwrap()).collect()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let once = redact(&c, &values);
    for (before, after) in values.iter().zip(&once) {
        assert_eq!(*after, judge.replace_all(before, "$1.0"), "{before:?}");
    }
    let again: Vec<&str> = once.iter().map(String::as_str).collect();
    assert_eq!(redact(&c, &again), once);
}
