//! Goal: expressions mean what SQL says, mistakes are named, bad rows stand alone, nothing explodes.
//! Method: tables of expressions over one small batch, and stages run by hand.

use crate::batch::{Batch, Origin};
use crate::operator::{Emit, Reads, StageFactory};
use crate::sql::{Expression, filter, select};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("type", Arc::new(StringArray::from(vec![Some("bid"), Some("bid"), Some("person"), None]))),
        ("auction", Arc::new(Int64Array::from(vec![Some(123), Some(7), None, Some(0)]))),
        ("price", Arc::new(Float64Array::from(vec![Some(1.5), Some(100.0), None, Some(-2.0)]))),
        ("text", Arc::new(StringArray::from(vec![Some("42"), Some("x"), Some("7"), None]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000; 4]).with_timezone("UTC"))),
        ("userId", Arc::new(Int64Array::from(vec![i64::MAX, 1, 2, 3]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

fn column(batch: &RecordBatch, index: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let values = ArrayFormatter::try_new(batch.column(index).as_ref(), &options).unwrap();
    (0..batch.num_rows()).map(|i| values.value(i).to_string()).collect::<Vec<_>>().join(" | ")
}

fn values(sql: &str) -> String {
    let batch = batch();
    let expression = Expression::compile(sql, &batch.schema()).unwrap_or_else(|p| panic!("{sql}: {p}"));
    let array = expression.evaluate(&batch).unwrap_or_else(|p| panic!("{sql}: {p}"));
    assert_eq!(array.data_type(), expression.data_type(), "{sql}");
    column(&RecordBatch::try_from_iter([("v", array)]).unwrap(), 0)
}

fn run(stage: &StageFactory, batch: &Batch) -> Emit {
    let mut out = Emit::default();
    stage(&batch.schema()).unwrap().apply(batch.clone(), &mut out).unwrap();
    out
}

#[test]
fn values_of_expressions() {
    let table = [
        ("auction % 123", "0 | 7 | NULL | 0"),
        ("price * 0.908", "1.362 | 90.8 | NULL | -1.816"),
        ("auction + 1 > 100 AND type = 'bid'", "true | false | false | false"),
        ("coalesce(type, 'none')", "bid | bid | person | none"),
        (
            "CASE WHEN auction IS NULL THEN 'no' WHEN auction > 100 THEN 'big' ELSE 'small' END",
            "big | small | no | small",
        ),
        ("upper(type) || '-' || CAST(auction AS VARCHAR)", "BID-123 | BID-7 | NULL | NULL"),
        ("TRY_CAST(text AS INT)", "42 | NULL | 7 | NULL"),
        ("CAST(ts AS BIGINT) / 1000", "1700000000000 | 1700000000000 | 1700000000000 | 1700000000000"),
        ("extract(hour FROM ts)", "22 | 22 | 22 | 22"),
        ("date_trunc('day', ts) = TIMESTAMP '2023-11-14 00:00:00Z'", "true | true | true | true"),
        ("regexp_replace(text, '[0-9]', '#', 'g')", "## | x | # | NULL"),
        ("type IN ('bid', 'auction')", "true | true | false | NULL"),
        ("substring(type FROM 1 FOR 2)", "bi | bi | pe | NULL"),
        ("position('i' IN type)", "2 | 2 | 0 | NULL"),
        ("\"userId\" > 1", "true | false | true | true"),
        ("repeat(text, 3)", "424242 | xxx | 777 | NULL"),
        ("concat(text, '!')", "42! | x! | 7! | !"),
        ("1 + 1", "2 | 2 | 2 | 2"),
        ("NULL IS NULL", "true | true | true | true"),
    ];
    for (sql, expected) in table {
        assert_eq!(values(sql), expected, "{sql}");
    }
}

#[test]
fn knows_its_columns_and_type() {
    let e = Expression::compile("price > 3 AND auction = 1 OR price < auction", &batch().schema()).unwrap();
    assert_eq!(e.columns(), ["auction", "price"]);
    assert_eq!(e.data_type().to_string(), "Boolean");
    assert!(e.nullable());
    assert!(!Expression::compile("price IS NULL", &batch().schema()).unwrap().nullable());
}

#[test]
fn mistakes_are_named() {
    let table = [
        ("", "SQL-SYNTAX", ""),
        ("auction +", "SQL-SYNTAX", "expected an expression"),
        ("auction > 1)", "expression:1:12: SQL-SYNTAX", "found )"),
        ("auction > 1; SELECT 1", "SQL-SYNTAX", "found ;"),
        ("'open", "SQL-SYNTAX", "Unterminated"),
        ("auctoin > 1", "expression:1:1: SQL-UNKNOWN-COLUMN", "did you mean `auction`?"),
        ("1 +\n  pricee", "expression:2:3: SQL-UNKNOWN-COLUMN", "one of type, auction, price, text, ts, userId"),
        ("userId > 1", "SQL-UNKNOWN-COLUMN", "write \"userId\" in double quotes"),
        ("uper(type)", "expression:1:1: SQL-UNKNOWN-FUNCTION", "did you mean `upper`?"),
        ("auction + ts", "SQL-TYPE", ""),
        ("upper(1, 2)", "SQL-TYPE", "upper"),
        ("NOT price", "SQL-TYPE", ""),
        ("count(*) > 1", "SQL-UNSUPPORTED", "`count` spans several rows"),
        ("row_number() OVER ()", "SQL-UNKNOWN-FUNCTION", ""),
        ("sum(price) OVER ()", "SQL-UNSUPPORTED", "window"),
        ("auction IN (SELECT 1)", "SQL-UNSUPPORTED", "query inside an expression"),
        ("EXISTS (SELECT 1)", "SQL-UNSUPPORTED", "query inside an expression"),
        ("ts > now()", "SQL-UNSUPPORTED", "wall clock"),
        ("ts > current_timestamp", "SQL-UNSUPPORTED", "wall clock"),
        ("current_date > '2020-01-01'", "SQL-UNSUPPORTED", "wall clock"),
        ("DROP TABLE x", "SQL-SYNTAX", ""),
        ("@@version", "SQL-", ""),
        ("$1 > 2", "SQL-UNSUPPORTED", "placeholder"),
    ];
    for (sql, code, part) in table {
        let problem = Expression::compile(sql, &batch().schema()).map(|e| e.sql().to_owned()).expect_err(sql);
        let text = problem.to_string();
        assert!(text.contains(code) && text.contains(part), "{sql}\n  gave     {text}\n  expected {code} … {part}");
        assert!(!text.contains("INTERNAL"), "{sql}: {text}");
    }
}

#[test]
fn a_condition_must_be_one() {
    let problem = filter("auction + 1", &batch().schema()).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "expression:1:1: SQL-TYPE: the expression is not a condition; found Int64; expected a condition: true or false"
    );
}

#[test]
fn exponential_expressions_stop() {
    let schema = batch().schema();
    let nested = |n: usize| format!("{}text{}", "replace(".repeat(n), ", '4', '44444444444444444444')".repeat(n));
    let values = [
        "repeat('a', 1000000000000)".to_owned(),
        "repeat(text, 9223372036854775807)".to_owned(),
        "repeat(repeat(repeat(text, 1000), 1000), 1000)".to_owned(),
        "lpad(text, 2000000000, 'x')".to_owned(),
        "rpad(text, 2147483647)".to_owned(),
        nested(12),
        "regexp_replace(repeat(text, 1000), '', repeat('x', 100000), 'g')".to_owned(),
        format!("concat({})", vec!["repeat(text, 100000)"; 20].join(", ")),
        vec!["repeat(text, 100000)"; 20].join(" || "),
    ];
    for sql in values {
        let text = match Expression::compile(&sql, &schema) {
            Ok(e) => e.evaluate(&batch()).expect_err(&sql).to_string(),
            Err(problem) => problem.to_string(),
        };
        assert!(text.contains("TOO-LARGE"), "{sql}: {text}");
    }
    let sources = [
        "x".repeat(17 * 1024),
        "(".repeat(5000) + "1" + &")".repeat(5000),
        "1+".repeat(8000) + "1",
        "-".to_owned() + &"(-".repeat(70) + "auction" + &")".repeat(70),
        vec!["auction = 1"; 1000].join(" OR "),
    ];
    for sql in sources {
        let problem = Expression::compile(&sql, &schema).map(|_| ()).expect_err("refused");
        assert_eq!(problem.code, "SQL-TOO-LARGE", "{problem}");
    }
    // The parser gives up on the deep part and takes the rest for rubbish.
    for sql in ["NOT ".repeat(3000) + "true", "CASE WHEN true THEN ".repeat(300) + "1" + &" END".repeat(300)] {
        let problem = Expression::compile(&sql, &schema).map(|_| ()).expect_err("refused");
        assert_eq!(problem.code, "SQL-SYNTAX", "{problem}");
    }
    let row = vec!["auction = 1"; 100].join(" OR ");
    Expression::compile(&row, &schema).expect("a row of equal operators is one level");
}

#[test]
fn filter_counts_false_and_null_and_keeps_origin() {
    let rows = batch();
    let origin = Origin {
        source: "s".into(),
        partition: "p".into(),
        positions: UInt64Array::from(vec![10, 20, 30, 40]),
        slab: None,
    };
    let batch = Batch { origin: Some(origin), ..Batch::new(rows.clone()) };
    let planned = filter("type = 'bid' AND auction % 123 = 0", &rows.schema()).unwrap();
    assert_eq!(planned.reads, Reads::Extra(vec!["type".into(), "auction".into()]));
    let out = run(&planned.stage, &batch);
    assert_eq!((out.filtered, out.rejected.len(), out.out.len()), (3, 0, 1));
    assert_eq!(column(&out.out[0].1.rows, 1), "123");
    assert_eq!(out.out[0].1.origin.as_ref().unwrap().positions.values(), &[10]);
    assert_eq!(out.out[0].1.schema(), rows.schema());
}

#[test]
fn filter_passes_through_what_pruning_left() {
    let planned = filter("type = 'bid'", &batch().schema()).unwrap();
    let pruned = batch().project(&[3, 0]).unwrap();
    let out = run(&planned.stage, &Batch::new(pruned.clone()));
    assert_eq!(out.out[0].1.schema(), pruned.schema());
    assert_eq!(column(&out.out[0].1.rows, 0), "42 | x");
}

#[test]
fn select_computes_in_order() {
    let columns = [("b", "price * 2"), ("a", "auction"), ("one", "1")].map(|(n, s)| (n.to_owned(), s.to_owned()));
    let planned = select(&columns, &batch().schema()).unwrap();
    assert_eq!(planned.reads, Reads::Only(vec!["auction".into(), "price".into()]));
    let pruned = batch().project(&[2, 1]).unwrap();
    let out = run(&planned.stage, &Batch::new(pruned));
    let rows = &out.out[0].1.rows;
    assert_eq!(rows.schema(), planned.output);
    assert_eq!(
        (column(rows, 0), column(rows, 1), column(rows, 2)),
        ("3.0 | 200.0 | NULL | -4.0".into(), "123 | 7 | NULL | 0".into(), "1 | 1 | 1 | 1".into())
    );
}

#[test]
fn select_of_constants_needs_no_column() {
    let planned = select(&[("one".to_owned(), "1".to_owned())], &batch().schema()).unwrap();
    assert_eq!(planned.reads, Reads::Only(vec![]));
    let out = run(&planned.stage, &Batch::new(batch().project(&[]).unwrap()));
    assert_eq!(column(&out.out[0].1.rows, 0), "1 | 1 | 1 | 1");
}

#[test]
fn select_reports_every_column() {
    let columns =
        [("a", "nope"), ("b", "auction"), ("b", "price"), ("c", "1 +")].map(|(n, s)| (n.to_owned(), s.to_owned()));
    let codes: Vec<String> =
        select(&columns, &batch().schema()).unwrap_err().iter().map(|p| p.code.to_string()).collect();
    assert_eq!(codes, ["SQL-UNKNOWN-COLUMN", "SQL-DUPLICATE-COLUMN", "SQL-SYNTAX"]);
}

#[test]
fn bad_rows_stand_alone() {
    let table = [
        ("100 / auction", "EXPR-DIVIDE-BY-ZERO", vec![3], "0 | 14 | NULL"),
        ("100 % auction", "EXPR-DIVIDE-BY-ZERO", vec![3], "100 | 2 | NULL"),
        ("CAST(text AS BIGINT)", "EXPR-CAST", vec![1], "42 | 7 | NULL"),
        ("\"userId\" + 1", "EXPR-OVERFLOW", vec![0], "2 | 3 | 4"),
        ("\"userId\" * 2", "EXPR-OVERFLOW", vec![0], "2 | 4 | 6"),
        ("CAST(\"userId\" AS INT)", "EXPR-CAST", vec![0], "1 | 2 | 3"),
        ("repeat(text, auction * 10000)", "EXPR-TOO-LARGE", vec![0], "x_70000 | NULL | NULL"),
    ];
    for (sql, code, bad, good) in table {
        let planned = select(&[("v".to_owned(), sql.to_owned())], &batch().schema()).unwrap();
        let input = Batch::new(batch());
        let out = run(&planned.stage, &input);
        let rejected: Vec<(&str, RecordBatch)> = out.rejected.iter().map(|r| (r.code, r.row.rows.clone())).collect();
        let expected: Vec<(&str, RecordBatch)> = bad.iter().map(|row| (code, input.rows.slice(*row, 1))).collect();
        assert_eq!(rejected, expected, "{sql}: {:?}", out.rejected);
        let rows = &out.out[0].1.rows;
        if let Some((_, n)) = good.split(" | ").next().and_then(|g| g.split_once('_')) {
            assert_eq!(column(rows, 0).split(" | ").next().unwrap().len(), n.parse::<usize>().unwrap());
        } else {
            assert_eq!(column(rows, 0), good, "{sql}");
        }
    }
}

#[test]
fn a_false_condition_shields_a_failing_one_on_either_side() {
    for sql in ["text <> 'x' AND CAST(text AS BIGINT) > 10", "CAST(text AS BIGINT) > 10 AND text <> 'x'"] {
        let out = run(&filter(sql, &batch().schema()).unwrap().stage, &Batch::new(batch()));
        assert_eq!((out.rejected.len(), out.filtered), (0, 3), "{sql}: {:?}", out.rejected);
        assert_eq!(column(&out.out[0].1.rows, 3), "42");
    }
    let out =
        run(&filter("CAST(text AS BIGINT) > 10 AND price > 0", &batch().schema()).unwrap().stage, &Batch::new(batch()));
    assert_eq!((out.rejected.len(), out.filtered, out.out.len()), (1, 2, 1));
}

#[test]
fn many_bad_rows_leave_one_batch() {
    let text: StringArray =
        (0..8192).map(|i| Some(if i % 3 == 0 { "bad".to_owned() } else { i.to_string() })).collect();
    let rows = RecordBatch::try_from_iter([("text", Arc::new(text) as ArrayRef)]).unwrap();
    let planned = select(&[("v".to_owned(), "CAST(text AS BIGINT)".to_owned())], &rows.schema()).unwrap();
    let out = run(&planned.stage, &Batch::new(rows));
    assert_eq!(out.rejected.len(), 2731);
    assert_eq!(out.out.iter().map(|(_, b)| b.len()).collect::<Vec<_>>(), [8192 - 2731]);
}

/// Random conjunctions against row-by-row evaluation in plain Rust.
#[test]
fn conjunctions_agree_with_a_model() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        let n = rng.usize(1..300);
        let mut cells = || -> Vec<Option<i64>> {
            let mut cell = |_| if rng.u8(..) < 40 { None } else { Some(rng.i64(-5..5)) };
            (0..n).map(&mut cell).collect()
        };
        let (a, b, c) = (cells(), cells(), cells());
        let (x, y) = (rng.i64(-5..5), rng.i64(-5..5));
        let sql = format!("a > {x} AND b <= {y} AND 10 / c < 4");
        let columns = [("a", &a), ("b", &b), ("c", &c)]
            .map(|(name, v)| (name, Arc::new(Int64Array::from(v.clone())) as ArrayRef, true));
        let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let schema: SchemaRef = rows.schema();
        let out = run(&filter(&sql, &schema).unwrap().stage, &Batch::new(rows));
        let (mut kept, mut bad) = (0, 0);
        for i in 0..n {
            if !(a[i].is_some_and(|v| v > x) && b[i].is_some_and(|v| v <= y)) {
                continue;
            }
            match c[i] {
                Some(0) => bad += 1,
                Some(v) if 10 / v < 4 => kept += 1,
                _ => {}
            }
        }
        let sent: usize = out.out.iter().map(|(_, b)| b.len()).sum();
        assert_eq!((sent, out.rejected.len()), (kept, bad), "seed {seed}: {sql}");
        assert_eq!(sent + out.rejected.len() + out.filtered as usize, n, "seed {seed}: {sql}");
    }
}
