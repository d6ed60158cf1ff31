//! Nexmark events as columns.

use super::config::Dataset;
use super::nexmark::{Fields, Kind, Piece, event};
use super::rng::Rng;
use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream::batch::record_batch;
use std::sync::Arc;

const PERSON: &[(&str, Type)] = &[
    ("ts", Type::Time),
    ("id", Type::Int),
    ("name", Type::Text),
    ("email", Type::Text),
    ("card", Type::Text),
    ("city", Type::Text),
    ("state", Type::Text),
    ("extra", Type::Text),
];
const AUCTION: &[(&str, Type)] = &[
    ("ts", Type::Time),
    ("id", Type::Int),
    ("item", Type::Text),
    ("description", Type::Text),
    ("initial_bid", Type::Int),
    ("reserve", Type::Int),
    ("expires", Type::Time),
    ("seller", Type::Int),
    ("category", Type::Int),
    ("extra", Type::Text),
];
const BID: &[(&str, Type)] = &[
    ("ts", Type::Time),
    ("auction", Type::Int),
    ("bidder", Type::Int),
    ("price", Type::Int),
    ("channel", Type::Text),
    ("url", Type::Text),
    ("extra", Type::Text),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Time,
    Text,
}

/// The columns of a dataset; of one line of text for logs.
pub fn schema(dataset: Dataset) -> SchemaRef {
    let fields: Vec<Field> = match dataset {
        Dataset::Bids => columns(BID, false),
        Dataset::Auctions => columns(AUCTION, false),
        Dataset::Persons => columns(PERSON, false),
        Dataset::Nexmark => {
            let mut all = vec![Field::new("type", DataType::Utf8, false)];
            for field in [BID, AUCTION, PERSON].iter().flat_map(|part| columns(part, true)) {
                if all.iter().all(|f| f.name() != field.name()) {
                    all.push(field);
                }
            }
            all
        }
        Dataset::AccessLog | Dataset::Logs => vec![Field::new("value", DataType::Utf8, false)],
    };
    Arc::new(Schema::new(fields))
}

/// `ts` and `extra` are in all kinds of events; the other columns of the mixed stream may be null.
fn columns(part: &[(&str, Type)], mixed: bool) -> Vec<Field> {
    let column = |(name, ty): &(&str, Type)| {
        let data_type = match ty {
            Type::Int => DataType::Int64,
            Type::Time => crate::schema::timestamp(),
            Type::Text => DataType::Utf8,
        };
        Field::new(*name, data_type, mixed && !matches!(*name, "ts" | "extra"))
    };
    part.iter().map(column).collect()
}

enum Column {
    Int(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

impl Column {
    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        match self {
            Column::Int(b) => b.len(),
            Column::Time(b) => b.len(),
            Column::Text(b) => b.len(),
        }
    }
    fn null(&mut self) {
        match self {
            Column::Int(b) => b.append_null(),
            Column::Time(b) => b.append_null(),
            Column::Text(b) => b.append_null(),
        }
    }
    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Int(b) => Arc::new(b.finish()),
            Column::Time(b) => Arc::new(b.finish().with_timezone("UTC")),
            Column::Text(b) => Arc::new(b.finish()),
        }
    }
}

/// Collects events as rows.
pub struct Table {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    text: Vec<u8>,
    /// Where the search for the next column begins: fields mostly come in the order of the columns.
    at: usize,
}

impl Table {
    /// No rows yet.
    pub fn new(dataset: Dataset) -> Table {
        let schema = schema(dataset);
        let column = |field: &Arc<Field>| match field.data_type() {
            DataType::Int64 => Column::Int(Int64Builder::new()),
            DataType::Utf8 => Column::Text(StringBuilder::new()),
            _ => Column::Time(TimestampMicrosecondBuilder::new()),
        };
        Table { columns: schema.fields().iter().map(column).collect(), schema, rows: 0, text: Vec::new(), at: 0 }
    }

    /// Adds event `i`.
    pub fn push(&mut self, i: u64, rng: &mut Rng) {
        self.at = 0;
        if self.schema.field(0).name() == "type" {
            self.text("type", &[Piece::Is(Kind::of(i).name())], rng);
        }
        event(i, rng, self);
        self.rows += 1;
        for column in &mut self.columns {
            if column.len() < self.rows {
                column.null();
            }
        }
    }

    /// The rows; none are left.
    pub fn take(&mut self) -> RecordBatch {
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        record_batch(Arc::clone(&self.schema), columns, std::mem::take(&mut self.rows))
    }

    fn column(&mut self, name: &str) -> &mut Column {
        let count = self.columns.len();
        let found = (self.at..self.at + count).map(|i| i % count).find(|i| self.schema.field(*i).name() == name);
        let found = found.expect("every field of an event is a column");
        self.at = found + 1;
        &mut self.columns[found]
    }
}

impl Fields for Table {
    fn int(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).expect("ids and prices are small");
        match self.column(name) {
            Column::Int(b) => b.append_value(value),
            _ => unreachable!("the columns are made of the same list"),
        }
    }
    fn time(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).expect("milliseconds of this millennium") * 1_000;
        match self.column(name) {
            Column::Time(b) => b.append_value(value),
            _ => unreachable!("the columns are made of the same list"),
        }
    }
    fn text(&mut self, name: &'static str, pieces: &[Piece<'_>], rng: &mut Rng) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        pieces.iter().for_each(|p| p.write(rng, &mut text));
        let value = std::str::from_utf8(&text).expect("made of ASCII");
        match self.column(name) {
            Column::Text(b) => b.append_value(value),
            _ => unreachable!("the columns are made of the same list"),
        }
        self.text = text;
    }
}
