use super::Discard;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use millstream::Batch;
use millstream::connect::SinkFactory;
use std::sync::Arc;

#[test]
fn counts_the_rows_of_all_workers() {
    let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap();
    let discard = Discard::new();
    for worker in 0..2 {
        discard.open(worker, &rows.schema()).unwrap().write(1, Batch::new(rows.clone())).unwrap();
    }
    assert_eq!(discard.rows(), 6);
}
