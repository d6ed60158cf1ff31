//! The frozen key hash and the key groups.
//!
//! State outlives releases, so the hash is ours: xxh3-64 over canonical value bytes, columns combined
//! in order. A row's key group is the top byte of its hash; a worker owns a range of the
//! [`GROUPS`] groups. The id of this function stands in every commit record.
//!
//! Canonical bytes, little-endian: integers and booleans widened to `i64`; dates, times, timestamps
//! and durations in microseconds as `i64`; floats widened to `f64` with one zero and one NaN;
//! decimals as a 16-byte value (32 where the type is 256 bits wide) and one byte of scale; strings and
//! bytes as they are; NULL as [`NULL_MARK`]. Each column is hashed with the hash of the columns before
//! it as the seed, so one column costs one hash and the order counts. None of this may ever change:
//! the golden values in the tests stand for states on disk.

use crate::batch::Batch;
use crate::{Problem, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, OffsetSizeTrait, PrimitiveArray, RecordBatch, UInt32Array, downcast_dictionary_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Number of key groups; fixed for the life of a pipeline's state.
pub const GROUPS: usize = 256;

/// The name of this hash in commit records.
pub const HASH_ID: &str = "xxh3-64/canonical-1";

/// What is hashed in place of a NULL.
pub const NULL_MARK: &[u8; 16] = b"millstream::null";

const DAY_US: i64 = 86_400_000_000;

/// The key group of a row's hash.
#[inline]
pub fn group(hash: u64) -> u8 {
    hash.to_be_bytes()[0]
}

/// The worker that owns a key group; the inverse of [`crate::operator::KeyGroups::of`].
#[inline]
pub fn worker_of(group: u8, workers: usize) -> usize {
    usize::from(group) * workers / GROUPS
}

/// Hashes the key of each row into `out`, which is cleared first: one value per row.
///
/// Without columns there are no rows to count and `out` is left empty: see [`hash_batch`]. Errors:
/// `KEY-TYPE` for a column type that cannot be a key (lists, structs, maps).
///
/// # Panics
/// When the columns differ in length.
pub fn hash_rows(columns: &[ArrayRef], out: &mut Vec<u64>) -> Result<()> {
    let rows = columns.first().map_or(0, |c| c.len());
    out.clear();
    out.resize(rows, u64::from(crate::state::sabotage::planted("key_hash_changed")));
    columns.iter().try_for_each(|column| {
        assert_eq!(column.len(), rows, "key columns have one value per row");
        fold_column(column, out)
    })
}

/// Hashes the columns at `keys` of each row into `out`. Without keys all rows have hash 0 and belong to
/// the first worker.
pub fn hash_batch(rows: &RecordBatch, keys: &[usize], out: &mut Vec<u64>) -> Result<()> {
    if keys.is_empty() {
        out.clear();
        out.resize(rows.num_rows(), 0);
        return Ok(());
    }
    let columns: Vec<ArrayRef> = keys.iter().map(|&k| rows.column(k).clone()).collect();
    hash_rows(&columns, out)
}

/// Splits a batch by the worker that owns each row, in worker order; rows keep their order. The origin
/// is dropped: beyond an exchange positions no longer say how far a partition has been read.
///
/// # Panics
/// When there is not one hash per row.
pub fn partition(batch: Batch, hashes: &[u64], workers: usize) -> Vec<(usize, Batch)> {
    assert_eq!(batch.len(), hashes.len(), "one hash per row");
    let batch = Batch { origin: None, ..batch };
    let owner = |hash: &u64| worker_of(group(*hash), workers);
    let Some(first) = hashes.first().map(owner) else { return Vec::new() };
    if workers == 1 || hashes.iter().all(|h| owner(h) == first) {
        return vec![(first, batch)];
    }
    let mut rows = vec![Vec::new(); workers];
    for (row, hash) in (0u32..).zip(hashes) {
        rows[owner(hash)].push(row);
    }
    let split = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    split.map(|(worker, rows)| (worker, take(&batch, &UInt32Array::from(rows)))).collect()
}

/// The rows of a batch at these indices, with their weights; the origin is dropped.
pub(crate) fn take(batch: &Batch, rows: &UInt32Array) -> Batch {
    Batch {
        rows: compute::take_record_batch(&batch.rows, rows).expect("indices lie in the batch"),
        diff: batch.diff.as_ref().map(|diff| {
            let taken = compute::take(diff, rows, None).expect("one weight per row");
            taken.as_primitive::<Int64Type>().clone()
        }),
        origin: None,
        charge: batch.charge.clone(),
    }
}

/// Folds one column into the hashes of the columns before it.
fn fold_column(column: &ArrayRef, out: &mut [u64]) -> Result<()> {
    use DataType as T;
    match column.data_type() {
        T::Null => out.iter_mut().for_each(|h| *h = null(*h)),
        T::Boolean => {
            let values = column.as_boolean();
            fold(out, values.nulls(), |i, h| word(i64::from(values.value(i)), h));
        }
        T::Int8 => integers::<Int8Type>(column, out, i64::from),
        T::Int16 => integers::<Int16Type>(column, out, i64::from),
        T::Int32 => integers::<Int32Type>(column, out, i64::from),
        T::Int64 => integers::<Int64Type>(column, out, |v| v),
        T::UInt8 => integers::<UInt8Type>(column, out, i64::from),
        T::UInt16 => integers::<UInt16Type>(column, out, i64::from),
        T::UInt32 => integers::<UInt32Type>(column, out, i64::from),
        // Beyond i64 the bits are kept: two values may share a hash, never a key.
        T::UInt64 => integers::<UInt64Type>(column, out, |v| v.cast_signed()),
        T::Float16 => integers::<Float16Type>(column, out, |v| float(v.to_f64())),
        T::Float32 => integers::<Float32Type>(column, out, |v| float(f64::from(v))),
        T::Float64 => integers::<Float64Type>(column, out, float),
        T::Utf8 => strings::<i32>(column, out),
        T::LargeUtf8 => strings::<i64>(column, out),
        T::Utf8View => {
            let values = column.as_string_view();
            fold(out, values.nulls(), |i, h| xxh3_64_with_seed(values.value(i).as_bytes(), h));
        }
        T::Binary => binaries::<i32>(column, out),
        T::LargeBinary => binaries::<i64>(column, out),
        T::BinaryView => {
            let values = column.as_binary_view();
            fold(out, values.nulls(), |i, h| xxh3_64_with_seed(values.value(i), h));
        }
        T::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            fold(out, values.nulls(), |i, h| xxh3_64_with_seed(values.value(i), h));
        }
        T::Decimal32(_, scale) => decimals::<Decimal32Type>(column, out, *scale, i128::from),
        T::Decimal64(_, scale) => decimals::<Decimal64Type>(column, out, *scale, i128::from),
        T::Decimal128(_, scale) => decimals::<Decimal128Type>(column, out, *scale, |v| v),
        T::Decimal256(_, scale) => {
            let (values, scale) = (column.as_primitive::<Decimal256Type>(), *scale);
            fold(out, values.nulls(), |i, h| {
                let mut bytes = [0; 33];
                bytes[..32].copy_from_slice(&values.value(i).to_le_bytes());
                bytes[32] = scale.cast_unsigned();
                xxh3_64_with_seed(&bytes, h)
            });
        }
        T::Dictionary(_, _) => return dictionary(column, out),
        _ => return times(column, out),
    }
    Ok(())
}

/// Dates, times, timestamps and durations: microseconds, rounded down.
fn times(column: &ArrayRef, out: &mut [u64]) -> Result<()> {
    use DataType as T;
    let days = |days: i32| i64::from(days) * DAY_US;
    let seconds = |v: i64| v.wrapping_mul(1_000_000);
    let millis = |v: i64| v.wrapping_mul(1_000);
    let nanos = |v: i64| v.div_euclid(1_000);
    match column.data_type() {
        T::Date32 => integers::<Date32Type>(column, out, days),
        T::Date64 => integers::<Date64Type>(column, out, millis),
        T::Time32(TimeUnit::Second) => integers::<Time32SecondType>(column, out, |v| seconds(i64::from(v))),
        T::Time32(_) => integers::<Time32MillisecondType>(column, out, |v| millis(i64::from(v))),
        T::Time64(TimeUnit::Microsecond) => integers::<Time64MicrosecondType>(column, out, |v| v),
        T::Time64(_) => integers::<Time64NanosecondType>(column, out, nanos),
        T::Timestamp(TimeUnit::Second, _) => integers::<TimestampSecondType>(column, out, seconds),
        T::Timestamp(TimeUnit::Millisecond, _) => integers::<TimestampMillisecondType>(column, out, millis),
        T::Timestamp(TimeUnit::Microsecond, _) => integers::<TimestampMicrosecondType>(column, out, |v| v),
        T::Timestamp(_, _) => integers::<TimestampNanosecondType>(column, out, nanos),
        T::Duration(TimeUnit::Second) => integers::<DurationSecondType>(column, out, seconds),
        T::Duration(TimeUnit::Millisecond) => integers::<DurationMillisecondType>(column, out, millis),
        T::Duration(TimeUnit::Microsecond) => integers::<DurationMicrosecondType>(column, out, |v| v),
        T::Duration(_) => integers::<DurationNanosecondType>(column, out, nanos),
        other => return Err(not_a_key(other)),
    }
    Ok(())
}

fn not_a_key(found: &DataType) -> Problem {
    Problem::error("KEY-TYPE", "a column of this type cannot be a key")
        .found(found.to_string())
        .expected("a number, string, bytes, boolean, decimal, date or time")
        .help("use a field of it, or cast it to a string")
}

/// A dictionary hashes as the values it stands for, each value once where the seed is the same.
fn dictionary(column: &ArrayRef, out: &mut [u64]) -> Result<()> {
    downcast_dictionary_array!(
        column => {
            let values = column.values();
            if out.iter().all(|h| *h == 0) {
                let mut hashes = vec![0; values.len()];
                fold_column(values, &mut hashes)?;
                let keys = column.keys();
                fold(out, keys.nulls(), |i, _| hashes[keys.value(i).as_usize()]);
                return Ok(());
            }
            let plain = compute::take(values, column.keys(), None)
                .map_err(|e| Problem::internal("a dictionary does not hold its keys").found(e.to_string()))?;
            fold_column(&plain, out)
        }
        other => Err(not_a_key(other)),
    )
}

#[inline]
fn fold(out: &mut [u64], nulls: Option<&NullBuffer>, hash: impl Fn(usize, u64) -> u64) {
    match nulls.filter(|n| n.null_count() > 0) {
        None => out.iter_mut().enumerate().for_each(|(i, h)| *h = hash(i, *h)),
        Some(nulls) => {
            for (i, h) in out.iter_mut().enumerate() {
                *h = if nulls.is_valid(i) { hash(i, *h) } else { null(*h) };
            }
        }
    }
}

fn integers<T: ArrowPrimitiveType>(column: &ArrayRef, out: &mut [u64], widen: impl Fn(T::Native) -> i64) {
    let column: &PrimitiveArray<T> = column.as_primitive::<T>();
    let values = &column.values()[..out.len()];
    fold(out, column.nulls(), |i, h| word(widen(values[i]), h));
}

fn decimals<T: ArrowPrimitiveType>(column: &ArrayRef, out: &mut [u64], scale: i8, widen: impl Fn(T::Native) -> i128) {
    let column = column.as_primitive::<T>();
    fold(out, column.nulls(), |i, h| {
        let mut bytes = [0; 17];
        bytes[..16].copy_from_slice(&widen(column.value(i)).to_le_bytes());
        bytes[16] = scale.cast_unsigned();
        xxh3_64_with_seed(&bytes, h)
    });
}

fn strings<O: OffsetSizeTrait>(column: &ArrayRef, out: &mut [u64]) {
    let values = column.as_string::<O>();
    fold(out, values.nulls(), |i, h| xxh3_64_with_seed(values.value(i).as_bytes(), h));
}

fn binaries<O: OffsetSizeTrait>(column: &ArrayRef, out: &mut [u64]) {
    let values = column.as_binary::<O>();
    fold(out, values.nulls(), |i, h| xxh3_64_with_seed(values.value(i), h));
}

/// One zero, one NaN.
fn float(v: f64) -> i64 {
    let v = if v.is_nan() { f64::NAN } else { v + 0.0 };
    (if v.is_nan() { 0x7ff8_0000_0000_0000 } else { v.to_bits() }).cast_signed()
}

#[inline]
fn null(seed: u64) -> u64 {
    xxh3_64_with_seed(NULL_MARK, seed)
}

/// xxh3-64 of eight little-endian bytes: the library's formula for this length without its dispatch,
/// since a single integer key is the common case.
#[inline(always)]
fn word(value: i64, seed: u64) -> u64 {
    const FLIP: u64 = 0xc73a_b174_c5ec_d5a2; // bytes 8..16 of the default secret ^ bytes 16..24
    let seed = seed ^ (u64::from((seed as u32).swap_bytes()) << 32);
    let mut h = value.cast_unsigned().rotate_left(32) ^ FLIP.wrapping_sub(seed);
    h ^= h.rotate_left(49) ^ h.rotate_left(24);
    h = h.wrapping_mul(0x9fb2_1c65_1e98_df25);
    h ^= (h >> 35).wrapping_add(8);
    h = h.wrapping_mul(0x9fb2_1c65_1e98_df25);
    h ^ (h >> 28)
}

#[cfg(test)]
mod tests;
