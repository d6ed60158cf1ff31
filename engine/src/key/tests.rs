//! The hash is frozen: these numbers stand for states on disk and must never be edited.

use super::*;
use crate::operator::KeyGroups;
use arrow::array::*;
use arrow::datatypes::i256;
use std::sync::Arc;

fn hash(column: impl Array + 'static) -> Vec<u64> {
    hash_all(&[Arc::new(column)])
}

fn hash_all(columns: &[ArrayRef]) -> Vec<u64> {
    let mut out = Vec::new();
    hash_rows(columns, &mut out).expect("key types");
    out
}

#[test]
fn golden_values() {
    let days = Date32Array::from(vec![0, 19_000]);
    let decimal = Decimal128Array::from(vec![12_345, -1]).with_precision_and_scale(20, 2);
    let found = [
        hash(Int64Array::from(vec![Some(0), Some(1), Some(-1), Some(i64::MAX), None])),
        hash(StringArray::from(vec![Some(""), Some("a"), Some("Zürich, 8 bytes and more"), None])),
        hash(BinaryArray::from(vec![b"abc".as_slice(), &[7; 300]])),
        hash(Float64Array::from(vec![0.0, 1.5, f64::NAN, f64::NEG_INFINITY])),
        hash(BooleanArray::from(vec![false, true])),
        hash(decimal.expect("fits")),
        hash(days),
        hash_all(&[
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None])),
            Arc::new(StringArray::from(vec![Some("x"), None, Some("x")])),
        ]),
    ];
    let golden: [&[u64]; 8] = [
        &[14374147212387527897, 3439722301264460078, 5841669975847748627, 11687913294787043142, 11200308119228101869],
        &[3244421341483603138, 16629034431890738719, 11990121357722086831, 11200308119228101869],
        &[8696274497037089104, 10010457796725363795],
        &[14374147212387527897, 2693614958850487384, 767333564151873895, 10838762062464632886],
        &[14374147212387527897, 3439722301264460078],
        &[12175283133784596850, 5913913888949914237],
        &[14374147212387527897, 8344950298564431951],
        &[7411349167206634625, 2865437277686537130, 1151224582117743398],
    ];
    assert_eq!(found.each_ref().map(Vec::as_slice), golden);
}

#[test]
fn eight_bytes_hash_as_the_library_does() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..1_000 {
        let (value, seed) = (rng.i64(..), rng.u64(..));
        assert_eq!(word(value, seed), xxh3_64_with_seed(&value.to_le_bytes(), seed));
    }
}

#[test]
fn width_and_encoding_do_not_count() {
    let wide = hash(Int64Array::from(vec![Some(5), None, Some(100)]));
    assert_eq!(wide, hash(Int8Array::from(vec![Some(5), None, Some(100)])));
    assert_eq!(wide, hash(Int32Array::from(vec![Some(5), None, Some(100)])));
    assert_eq!(wide, hash(UInt16Array::from(vec![Some(5), None, Some(100)])));
    assert_eq!(wide, hash(UInt64Array::from(vec![Some(5), None, Some(100)])));
    let values = vec![Some("a"), None, Some("twelve bytes and more")];
    let plain = hash(StringArray::from(values.clone()));
    assert_eq!(plain, hash(LargeStringArray::from(values.clone())));
    assert_eq!(plain, hash(StringViewArray::from(values.clone())));
    let dictionary: DictionaryArray<Int8Type> = values.into_iter().collect();
    assert_eq!(plain, hash(dictionary.clone()));
    let first: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let (a, b) = (hash_all(&[first.clone(), Arc::new(dictionary.clone())]), cast(&dictionary));
    assert_eq!(a, hash_all(&[first, b]));
    let zeros = hash(Float32Array::from(vec![0.0, -0.0, f32::NAN, -f32::NAN, 1.5]));
    assert_eq!(zeros[0], zeros[1]);
    assert_eq!(zeros[2], zeros[3]);
    assert_eq!(zeros[4], hash(Float64Array::from(vec![1.5]))[0]);
    let narrow = Decimal64Array::from(vec![7]).with_precision_and_scale(18, 2);
    let wide = Decimal128Array::from(vec![7]).with_precision_and_scale(30, 2);
    assert_eq!(hash(narrow.expect("fits")), hash(wide.expect("fits")));
}

fn cast(dictionary: &DictionaryArray<Int8Type>) -> ArrayRef {
    compute::cast(dictionary, &DataType::Utf8).expect("strings")
}

#[test]
fn times_hash_in_microseconds() {
    let micros = hash(TimestampMicrosecondArray::from(vec![86_400_000_000i64]).with_timezone("UTC"));
    assert_eq!(micros, hash(TimestampMillisecondArray::from(vec![86_400_000])));
    assert_eq!(micros, hash(TimestampSecondArray::from(vec![86_400])));
    assert_eq!(micros, hash(TimestampNanosecondArray::from(vec![86_400_000_000_999i64])));
    assert_eq!(micros, hash(Date32Array::from(vec![1])));
    assert_eq!(micros, hash(Int64Array::from(vec![86_400_000_000i64])));
}

#[test]
fn null_differs_from_values_and_order_counts() {
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    let (ab, ba) = (hash_all(&[a.clone(), b.clone()]), hash_all(&[b, a]));
    assert_ne!(ab[0], ab[1]);
    assert_eq!((ab[0], ab[1]), (ba[1], ba[0]));
    assert_eq!(hash(NullArray::new(1)), hash(Int8Array::new_null(1)));
    assert_ne!(hash(StringArray::from(vec![""]))[0], hash(StringArray::new_null(1))[0]);
    let _ = hash(Decimal256Array::from(vec![i256::from_i128(1)]));
}

#[test]
fn lists_are_refused() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
    let problem = hash_rows(&[Arc::new(list)], &mut Vec::new()).expect_err("no key");
    assert_eq!(problem.code, "KEY-TYPE");
}

#[test]
fn a_row_goes_to_the_worker_that_holds_its_group() {
    for workers in 1..=17 {
        for group in 0..=255u8 {
            assert!(KeyGroups::of(worker_of(group, workers), workers).contains(group));
        }
    }
}

#[test]
fn partition_keeps_every_row_once_and_in_order() {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let rows = RecordBatch::try_from_iter([("v", values)]).expect("one column");
    let diff = Int64Array::from_iter_values((0..1_000).map(|v| v % 3 - 1));
    let mut hashes = Vec::new();
    hash_batch(&rows, &[0], &mut hashes).expect("integers");
    let parts = partition(Batch::with_diff(rows, diff), &hashes, 3);
    let mut seen = Vec::new();
    for (worker, part) in &parts {
        let values = part.rows.column(0).as_primitive::<Int64Type>();
        assert!(values.values().is_sorted());
        for (value, diff) in values.values().iter().zip(part.diff.as_ref().expect("kept").values()) {
            assert_eq!(*diff, value % 3 - 1);
            assert_eq!(worker_of(group(hashes[value.as_usize()]), 3), *worker);
            seen.push(*value);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    assert_eq!(parts.len(), 3);
}
