//! Caps on functions whose result can be much larger than their arguments.
//!
//! `repeat`, `lpad` and `rpad` are refused before they allocate; `replace`, `regexp_replace`, `concat`
//! and their like are bounded by an estimate before and measured afterwards. A row above the cap is a
//! row error; a batch whose rows add up to too much is one too, and is then evaluated in halves.

use super::limits::RESULT_BYTES_MAX;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// What an estimate may reach for one row, where the exact size is measured afterwards.
const ESTIMATE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What the estimates of one batch may add up to.
const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The words by which a row error is known to be one of ours.
pub(super) const TOO_LARGE: &str = "result too large";

/// Puts a cap around the functions that need one.
pub(super) fn capped(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let bound = match function.name() {
        "repeat" => Bound::Repeat,
        "lpad" | "rpad" => Bound::Pad,
        "replace" => Bound::Replace,
        "regexp_replace" => Bound::RegexpReplace,
        "concat" | "concat_ws" | "overlay" => Bound::Sum,
        "translate" | "encode" | "to_char" => Bound::Fourfold,
        _ => return function,
    };
    Arc::new(ScalarUDF::new_from_impl(Capped { inner: function, bound }))
}

/// How large the result of one row can be, from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bound {
    Repeat,
    Pad,
    Replace,
    RegexpReplace,
    Sum,
    Fourfold,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Capped {
    inner: Arc<ScalarUDF>,
    bound: Bound,
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }
    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arg_types)
    }
    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
    // `simplify` is not passed on: it would put the uncapped function in our place.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.before(&args)?;
        let name = self.inner.name();
        let result = self.inner.invoke_with_args(args)?;
        match &result {
            ColumnarValue::Array(a) => check_text(name, a.as_ref())?,
            ColumnarValue::Scalar(s) => check_text(name, s.to_array()?.as_ref())?,
        }
        Ok(result)
    }
}

impl Capped {
    fn before(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let rows = if args.args.iter().any(|a| matches!(a, ColumnarValue::Array(_))) { args.number_rows } else { 1 };
        let args: Vec<Arg> = args.args.iter().map(Arg::new).collect::<Result<_>>()?;
        let exact = matches!(self.bound, Bound::Repeat | Bound::Pad);
        let limit = if exact { RESULT_BYTES_MAX as u64 } else { ESTIMATE_BYTES_MAX };
        let mut total = 0u64;
        for row in 0..rows {
            let bytes = self.bound.bytes(&args, row);
            if bytes > limit {
                return too_large(self.inner.name());
            }
            total += bytes;
        }
        if total > BATCH_BYTES_MAX && rows > 1 { too_large(self.inner.name()) } else { Ok(()) }
    }
}

impl Bound {
    fn bytes(self, args: &[Arg], row: usize) -> u64 {
        let len = |i: usize| args.get(i).map_or(0, |a| a.len(row));
        let all = || (0..args.len()).map(len).fold(0, u64::saturating_add);
        let number = |i: usize| args.get(i).map_or(0, |a| a.number(row));
        match self {
            Bound::Repeat => len(0).saturating_mul(number(1)),
            Bound::Pad => number(1),
            Bound::Replace => (len(0) / len(1).max(1) + 1).saturating_mul(len(2)).saturating_add(len(0)),
            // Each group reference expands to at most the whole subject over all matches.
            Bound::RegexpReplace => {
                (len(0) + 1).saturating_mul(len(2)).saturating_add(len(0).saturating_mul(1 + len(2) / 2))
            }
            Bound::Sum => all().saturating_add(len(0).saturating_mul(args.len() as u64)),
            Bound::Fourfold => all().saturating_mul(4),
        }
    }
}

/// An argument seen row by row: its length as text, or its value as a count.
enum Arg {
    Const(u64, u64),
    Rows(arrow::array::ArrayRef),
    Counts(arrow::array::Int64Array),
}

impl Arg {
    fn new(value: &ColumnarValue) -> Result<Arg> {
        let array = match value {
            ColumnarValue::Array(a) => Arc::clone(a),
            ColumnarValue::Scalar(s) => {
                let number = match s.cast_to(&DataType::Int64) {
                    Ok(ScalarValue::Int64(Some(n))) if s.data_type().is_integer() => n.max(0) as u64,
                    _ => 0,
                };
                return Ok(Arg::Const(text_len(s.to_array()?.as_ref(), 0), number));
            }
        };
        if array.data_type().is_integer() {
            let counts = arrow::compute::cast(&array, &DataType::Int64)?;
            return Ok(Arg::Counts(counts.as_primitive::<Int64Type>().clone()));
        }
        Ok(Arg::Rows(array))
    }
    fn len(&self, row: usize) -> u64 {
        match self {
            Arg::Const(len, _) => *len,
            Arg::Rows(a) => text_len(a.as_ref(), row),
            // A number written out as text.
            Arg::Counts(_) => 20,
        }
    }
    fn number(&self, row: usize) -> u64 {
        match self {
            Arg::Const(_, n) => *n,
            Arg::Counts(a) if a.is_valid(row) => a.value(row).max(0) as u64,
            _ => 0,
        }
    }
}

/// Bytes of the text in `row`; 0 for NULL and for what is not text.
fn text_len(array: &dyn Array, row: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let len = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as usize,
        DataType::LargeUtf8 => array.as_string::<i64>().value_length(row) as usize,
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::Binary => array.as_binary::<i32>().value_length(row) as usize,
        DataType::LargeBinary => array.as_binary::<i64>().value_length(row) as usize,
        DataType::BinaryView => array.as_binary_view().value(row).len(),
        DataType::Dictionary(_, _) => match arrow::compute::cast(&array.slice(row, 1), &DataType::Utf8) {
            Ok(text) => text.as_string::<i32>().value(0).len(),
            Err(_) => 0,
        },
        _ => 0,
    };
    len as u64
}

/// Refuses text of more than [`RESULT_BYTES_MAX`] in any row.
pub(super) fn check_text(name: &str, array: &dyn Array) -> Result<()> {
    let whole = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_data().len(),
        DataType::Binary => array.as_binary::<i32>().value_data().len(),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::LargeBinary | DataType::BinaryView => usize::MAX,
        _ => 0,
    };
    if whole <= RESULT_BYTES_MAX || (0..array.len()).all(|row| text_len(array, row) <= RESULT_BYTES_MAX as u64) {
        return Ok(());
    }
    too_large(name)
}

fn too_large<T>(name: &str) -> Result<T> {
    exec_err!("{TOO_LARGE}: {name} would make more than {RESULT_BYTES_MAX} bytes")
}
