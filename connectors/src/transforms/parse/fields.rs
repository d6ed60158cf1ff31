//! Declared fields on their way into columns: converted first, all of them, then added.

use super::Refusal;
use crate::transforms::columns::Column;
use crate::transforms::time_text::TimeFormat;
use crate::transforms::types::{FieldType, Value};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;

/// The columns of declared fields.
pub(super) struct Fields {
    declared: Vec<(String, FieldType)>,
    columns: Vec<Column>,
    times: TimeFormat,
}

impl Fields {
    pub fn new(declared: &[(String, FieldType)], times: &TimeFormat) -> Fields {
        let columns = declared.iter().map(|(_, of)| Column::new(of)).collect();
        Fields { declared: declared.to_vec(), columns, times: times.clone() }
    }

    /// Converts `text` for field `i`.
    pub fn convert<'a>(&self, i: usize, text: Option<&'a str>) -> Result<Value<'a>, Refusal> {
        let (name, of) = &self.declared[i];
        let value = match text {
            None if of.required => None,
            None => Some(Value::Null),
            Some(text) => of.convert(text, &self.times),
        };
        value.ok_or_else(|| Refusal::wrong_type(of.refusal(name, text)))
    }

    /// Adds one row: the text of every field.
    pub fn texts<'a>(&mut self, texts: impl Fn(usize) -> Option<&'a str>) -> Result<(), Refusal> {
        let row: Vec<Value<'a>> =
            (0..self.declared.len()).map(|i| self.convert(i, texts(i))).collect::<Result<_, _>>()?;
        self.values(row);
        Ok(())
    }

    /// Adds one row of converted values.
    pub fn values(&mut self, row: Vec<Value<'_>>) {
        debug_assert_eq!(row.len(), self.columns.len());
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
    }

    /// The declared fields in order.
    pub fn declared(&self) -> &[(String, FieldType)] {
        &self.declared
    }

    /// The time format.
    pub fn times(&self) -> &TimeFormat {
        &self.times
    }

    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

/// The Arrow fields of declared fields.
pub(super) fn arrow_fields(declared: &[(String, FieldType)]) -> Vec<Field> {
    declared.iter().map(|(name, of)| of.field(name)).collect()
}
