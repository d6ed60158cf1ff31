//! [`Groups`]: from key columns to dense group numbers.
//!
//! Groups are numbered in order of first appearance. Nothing is boxed per key: a single integer-like
//! column lives in an open-addressing table of 16-byte slots (one cache line touched per look-up), a
//! single string or bytes column and every other shape in one arena of bytes, the latter in arrow-row
//! form. NULL is a key like any other. All of it stays in memory: neither its hash nor arrow-row bytes
//! ever reach a disk or a wire.

use crate::{Problem, Result};
use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BinaryBuilder, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, SortField};
use hashbrown::HashTable;
use std::mem::size_of;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Maps key columns to dense group numbers and back.
pub struct Groups {
    types: Vec<DataType>,
    kind: Kind,
}

enum Kind {
    /// No key columns: one group, once a row was seen.
    Unit(bool),
    Integers(Integers),
    Bytes(Bytes, Option<usize>),
    Rows(Bytes, RowConverter),
}

impl Groups {
    /// A table for keys of these types. Errors: `KEY-TYPE` for a type that cannot be a key.
    pub fn new(types: &[DataType]) -> Result<Groups> {
        let kind = match types {
            [] => Kind::Unit(false),
            [one] if integer_width(one).is_some() => Kind::Integers(Integers::default()),
            [one] if is_bytes(one) => Kind::Bytes(Bytes::default(), None),
            _ => {
                let fields = types.iter().cloned().map(SortField::new).collect();
                let converter = RowConverter::new(fields)
                    .map_err(|e| Problem::error("KEY-TYPE", "these columns cannot be a key").found(e.to_string()))?;
                Kind::Rows(Bytes::default(), converter)
            }
        };
        Ok(Groups { types: types.to_vec(), kind })
    }

    /// Finds or adds the key of each of `rows` rows; `out` is cleared first and gets one group per row.
    ///
    /// # Panics
    /// When the columns are not of the types given to [`Groups::new`] or not `rows` long.
    pub fn intern(&mut self, cols: &[ArrayRef], rows: usize, out: &mut Vec<usize>) -> Result<()> {
        assert!(cols.iter().all(|c| c.len() == rows), "key columns have one value per row");
        assert!(cols.iter().map(|c| c.data_type()).eq(&self.types), "key columns keep their types");
        out.clear();
        out.reserve(rows);
        match &mut self.kind {
            Kind::Unit(seen) => {
                *seen |= rows > 0;
                out.resize(rows, 0);
            }
            Kind::Integers(table) => table.intern(&cols[0], out),
            Kind::Bytes(table, null) => intern_bytes(table, null, &cols[0], out)?,
            Kind::Rows(table, converter) => {
                let keys = converter.convert_columns(cols).map_err(unreadable)?;
                out.extend(keys.iter().map(|key| table.intern(key.data())));
            }
        }
        Ok(())
    }

    /// The keys of all groups, in the order of their numbers.
    pub fn keys(&self) -> Result<Vec<ArrayRef>> {
        self.keys_of(&(0..self.len()).collect::<Vec<_>>())
    }

    /// The keys of these groups.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn keys_of(&self, groups: &[usize]) -> Result<Vec<ArrayRef>> {
        Ok(match &self.kind {
            Kind::Unit(_) => Vec::new(),
            Kind::Integers(table) => vec![table.keys(&self.types[0], groups)?],
            Kind::Bytes(table, null) => vec![bytes_keys(table, *null, &self.types[0], groups)?],
            Kind::Rows(table, converter) => {
                let parser = converter.parser();
                let rows = groups.iter().map(|group| parser.parse(table.key(*group)));
                converter.convert_rows(rows).map_err(unreadable)?
            }
        })
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Unit(seen) => usize::from(*seen),
            Kind::Integers(table) => table.values.len(),
            Kind::Bytes(table, _) | Kind::Rows(table, _) => table.len(),
        }
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Unit(_) => 0,
            Kind::Integers(t) => t.slots.capacity() * size_of::<Slot>() + t.values.capacity() * size_of::<u64>(),
            Kind::Bytes(t, _) | Kind::Rows(t, _) => t.bytes(),
        }
    }
}

fn unreadable(error: arrow::error::ArrowError) -> Problem {
    Problem::internal("keys do not convert to rows and back").found(error.to_string())
}

/// The type a key column has inside the tables: a dictionary is its values.
pub fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        other => other.clone(),
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView)
}

/// Width in bytes of a type whose values are equal exactly when their bits are.
fn integer_width(data_type: &DataType) -> Option<usize> {
    let width = data_type.primitive_width().filter(|_| !data_type.is_floating())?;
    [1, 2, 4, 8].contains(&width).then_some(width)
}

/// One entry of the open-addressing table; `group` counts from 1, 0 marks an empty slot.
#[derive(Clone, Copy, Default)]
struct Slot {
    value: u64,
    group: u32,
}

/// Keys of at most eight bytes, compared by their bits.
#[derive(Default)]
struct Integers {
    /// A power of two, at most half full.
    slots: Vec<Slot>,
    values: Vec<u64>,
    null: Option<usize>,
}

impl Integers {
    fn intern(&mut self, column: &ArrayRef, out: &mut Vec<usize>) {
        let data = column.to_data();
        let (from, rows) = (data.offset(), data.len());
        let bytes = data.buffers()[0].as_slice();
        match column.data_type().primitive_width() {
            Some(1) => self.intern_values(column, rows, |i| u64::from(bytes[from + i]), out),
            Some(2) => {
                let v = &data.buffers()[0].typed_data::<u16>()[from..from + rows];
                self.intern_values(column, rows, |i| u64::from(v[i]), out);
            }
            Some(4) => {
                let v = &data.buffers()[0].typed_data::<u32>()[from..from + rows];
                self.intern_values(column, rows, |i| u64::from(v[i]), out);
            }
            _ => {
                let v = &data.buffers()[0].typed_data::<u64>()[from..from + rows];
                self.intern_values(column, rows, |i| v[i], out);
            }
        }
    }

    #[inline]
    fn intern_values(&mut self, column: &ArrayRef, rows: usize, value: impl Fn(usize) -> u64, out: &mut Vec<usize>) {
        // Room for the whole batch first, so that the loop never grows the table.
        self.reserve(rows);
        match column.nulls().filter(|n| n.null_count() > 0) {
            None => out.extend((0..rows).map(|i| self.find_or_add(value(i)))),
            Some(nulls) => out.extend((0..rows).map(|i| match nulls.is_valid(i) {
                true => self.find_or_add(value(i)),
                false => self.null_group(),
            })),
        }
    }

    fn null_group(&mut self) -> usize {
        let next = self.values.len();
        *self.null.get_or_insert_with(|| {
            self.values.push(0);
            next
        })
    }

    #[inline]
    fn find_or_add(&mut self, value: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = spread(value) & mask;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.group == 0 {
                self.values.push(value);
                *slot = Slot { value, group: number(self.values.len()) };
                return self.values.len() - 1;
            }
            if slot.value == value {
                return slot.group as usize - 1;
            }
            at += 1;
        }
    }

    /// Grows the table by doubling while this batch's worth of new keys could fill half of it; a batch
    /// of known keys costs at most one growth step too many.
    fn reserve(&mut self, rows: usize) {
        let wanted = ((self.values.len() + rows) * 2).next_power_of_two().max(64);
        if wanted <= self.slots.len() {
            return;
        }
        let mut slots = vec![Slot::default(); wanted];
        for slot in self.slots.iter().filter(|s| s.group != 0) {
            let mut at = spread(slot.value) & (wanted - 1);
            while slots[at].group != 0 {
                at = (at + 1) & (wanted - 1);
            }
            slots[at] = *slot;
        }
        self.slots = slots;
    }

    fn keys(&self, data_type: &DataType, groups: &[usize]) -> Result<ArrayRef> {
        let values = groups.iter().map(|g| self.values[*g]);
        // Truncation undoes the widening on the way in.
        let buffer = match integer_width(data_type) {
            Some(1) => values.map(|v| v as u8).collect::<Vec<_>>().into(),
            Some(2) => values.map(|v| v as u16).collect::<Vec<_>>().into(),
            Some(4) => values.map(|v| v as u32).collect::<Vec<_>>().into(),
            _ => Buffer::from(values.collect::<Vec<_>>()),
        };
        let nulls = self.null.map(|null| groups.iter().map(|g| *g != null).collect::<NullBuffer>());
        let data = ArrayData::builder(data_type.clone()).len(groups.len()).add_buffer(buffer);
        let data = data.nulls(nulls.filter(|n| n.null_count() > 0));
        Ok(make_array(data.build().map_err(unreadable)?))
    }
}

/// Spreads a key over the table: both halves of a 128-bit product, so that neither low nor high bits
/// of the key can line all keys up.
#[inline(always)]
fn spread(value: u64) -> usize {
    let product = u128::from(value ^ 0x51_7c_c1_b7_27_22_0a_95) * 0x9e37_79b9_7f4a_7c15;
    ((product >> 64) as u64 ^ product as u64) as usize
}

fn number(groups: usize) -> u32 {
    u32::try_from(groups).expect("a table holds fewer than 2^32 keys")
}

/// Keys as byte strings in one arena.
#[derive(Default)]
struct Bytes {
    table: HashTable<(u64, u32)>,
    arena: Vec<u8>,
    /// Where each key ends; it begins where the one before it ends.
    ends: Vec<usize>,
}

impl Bytes {
    fn len(&self) -> usize {
        self.ends.len()
    }
    fn bytes(&self) -> usize {
        self.table.allocation_size() + self.arena.capacity() + self.ends.capacity() * size_of::<usize>()
    }
    #[inline]
    fn key(&self, group: usize) -> &[u8] {
        let from = if group == 0 { 0 } else { self.ends[group - 1] };
        &self.arena[from..self.ends[group]]
    }
    fn push(&mut self, key: &[u8]) -> usize {
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len());
        self.ends.len() - 1
    }
    #[inline]
    fn intern(&mut self, key: &[u8]) -> usize {
        let hash = xxh3_64(key);
        let same = |&(h, g): &(u64, u32)| h == hash && self.key(g as usize) == key;
        if let Some((_, group)) = self.table.find(hash, same) {
            return *group as usize;
        }
        let group = self.push(key);
        self.table.insert_unique(hash, (hash, number(group)), |(hash, _)| *hash);
        group
    }
}

fn intern_bytes(table: &mut Bytes, null: &mut Option<usize>, column: &ArrayRef, out: &mut Vec<usize>) -> Result<()> {
    use DataType as T;
    let mut one = |key: Option<&[u8]>| match key {
        Some(key) => table.intern(key),
        None => *null.get_or_insert_with(|| table.push(&[])),
    };
    match column.data_type() {
        T::Utf8 => out.extend(column.as_string::<i32>().iter().map(|s| one(s.map(str::as_bytes)))),
        T::LargeUtf8 => {
            out.extend(column.as_string::<i64>().iter().map(|s| one(s.map(str::as_bytes))));
        }
        T::Utf8View => out.extend(column.as_string_view().iter().map(|s| one(s.map(str::as_bytes)))),
        T::Binary => out.extend(column.as_binary::<i32>().iter().map(one)),
        T::LargeBinary => out.extend(column.as_binary::<i64>().iter().map(one)),
        T::BinaryView => out.extend(column.as_binary_view().iter().map(one)),
        other => return Err(Problem::internal("not a column of bytes").found(other.to_string())),
    }
    Ok(())
}

fn bytes_keys(table: &Bytes, null: Option<usize>, data_type: &DataType, groups: &[usize]) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::with_capacity(groups.len(), table.arena.len());
    for &group in groups {
        match null == Some(group) {
            true => builder.append_null(),
            false => builder.append_value(table.key(group)),
        }
    }
    let bytes: ArrayRef = Arc::new(builder.finish());
    cast(&bytes, data_type).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::collections::HashMap;

    /// Interns random batches and compares with a map from the printed key.
    fn check(seed: u64, types: &[DataType], column: impl Fn(usize, &mut fastrand::Rng) -> ArrayRef) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut groups = Groups::new(types).expect("key types");
        let (mut model, mut out) = (HashMap::new(), Vec::new());
        for _ in 0..20 {
            let cols: Vec<ArrayRef> = (0..types.len()).map(|c| column(c, &mut rng).slice(3, 90)).collect();
            groups.intern(&cols, 90, &mut out).expect("keys");
            for (row, &group) in out.iter().enumerate() {
                let next = model.len();
                assert_eq!(group, *model.entry(print(&cols, row)).or_insert(next), "seed {seed}");
            }
        }
        assert_eq!(groups.len(), model.len());
        let keys = groups.keys().expect("keys");
        for (key, group) in model {
            assert_eq!(print(&keys, group), key);
        }
        assert!(groups.bytes() > 0);
    }

    fn print(cols: &[ArrayRef], row: usize) -> String {
        let one = |c: &ArrayRef| arrow::util::display::array_value_to_string(c, row).expect("prints");
        cols.iter().map(|c| format!("{}|{}", c.is_null(row), one(c))).collect::<Vec<_>>().join(",")
    }

    fn integers(_: usize, rng: &mut fastrand::Rng) -> ArrayRef {
        Arc::new(Int64Array::from_iter((0..100).map(|_| (rng.u8(..) > 9).then(|| rng.i64(-300..300)))))
    }

    fn strings(_: usize, rng: &mut fastrand::Rng) -> ArrayRef {
        let one = |n: i64| (n > 0).then(|| "x".repeat(n as usize % 4) + &n.to_string());
        Arc::new(StringArray::from_iter((0..100).map(|_| one(rng.i64(-5..300)))))
    }

    #[test]
    fn groups_are_dense_and_come_back() {
        for seed in 0..20 {
            check(seed, &[DataType::Int64], integers);
            for narrow in [DataType::Int16, DataType::Int32, DataType::UInt32] {
                check(seed, std::slice::from_ref(&narrow), |c, rng| cast(&integers(c, rng), &narrow).expect("cast"));
            }
            check(seed, &[DataType::Float64], |c, rng| cast(&integers(c, rng), &DataType::Float64).expect("cast"));
            for text in [DataType::Utf8, DataType::Utf8View, DataType::LargeUtf8, DataType::Binary] {
                check(seed, std::slice::from_ref(&text), |c, rng| cast(&strings(c, rng), &text).expect("cast"));
            }
            check(seed, &[DataType::Int64, DataType::Utf8], |c, rng| match c {
                0 => integers(c, rng),
                _ => strings(c, rng),
            });
        }
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let (mut groups, mut out) = (Groups::new(&[]).expect("no keys"), vec![7]);
        assert!(groups.is_empty());
        groups.intern(&[], 3, &mut out).expect("no keys");
        assert_eq!((out.as_slice(), groups.len()), ([0, 0, 0].as_slice(), 1));
    }
}
