//! NDJSON speed on one core: `cargo bench -p millstream-connectors --bench json` (a tiny run without
//! `--bench`, as in `cargo test --benches`).
//!
//! Lines are like Nexmark's: 2% persons, 6% auctions, 92% bids, about 204 bytes each, flat objects of
//! 8 to 11 fields. Printed are rows per second of the best of five runs, and a checksum of what was
//! read, so that no work can be left out.
#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use arrow::array::RecordBatch;
use arrow::array::cast::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use millstream::connect::{Body, Decoded, Payload};
use millstream::json::Encoder;
use millstream_connectors::format::{DecodeOptions, Format, TIME_UNIT_METADATA};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

/// Bytes per payload, as the file source reads them.
const SLAB: usize = 1 << 20;

fn main() {
    let full = std::env::args().any(|a| a == "--bench");
    let (lines, runs) = if full { (1_000_000, 5) } else { (1_000, 1) };
    let slabs = slabs(lines);
    let bytes: usize = slabs.iter().map(Bytes::len).sum();
    println!("{lines} lines, {} bytes each", bytes / lines);
    for (name, columns) in
        [("all columns", None), ("4 columns", Some(["ts", "auction", "bidder", "price"])), ("0 columns", Some([""; 4]))]
    {
        let schema = schema(columns);
        let best =
            (0..runs).map(|_| decode(&slabs, &schema)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one run");
        report(name, lines, bytes, best.0, best.1);
    }
    let batches = batches(&slabs, &schema(Some(["auction", "bidder", "price", "extra"])));
    let best = (0..runs).map(|_| encode(&batches)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one run");
    report("encode 4 columns", lines, best.1, best.0, best.1 as i64);
    let batches = self::batches(&slabs, &schema(None));
    let best = (0..runs).map(|_| encode(&batches)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one run");
    report("encode all columns", lines, best.1, best.0, best.1 as i64);
}

fn report(name: &str, lines: usize, bytes: usize, seconds: f64, checksum: i64) {
    let (rows, rate) = (lines as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    println!("{name:20} {rows:6.2} M rows/s  {rate:7.0} MB/s  checksum {checksum}");
}

fn decode(slabs: &[Bytes], schema: &SchemaRef) -> (f64, i64) {
    let start = Instant::now();
    let mut checksum = 0i64;
    for_each(slabs, schema, |batch| {
        checksum = checksum.wrapping_add(batch.num_rows() as i64);
        if let Some(price) = batch.column_by_name("price") {
            let price = price.as_primitive::<Int64Type>();
            checksum = price.values().iter().fold(checksum, |s, v| s.wrapping_add(*v));
        }
    });
    (start.elapsed().as_secs_f64(), checksum)
}

fn for_each(slabs: &[Bytes], schema: &SchemaRef, mut each: impl FnMut(RecordBatch)) {
    let mut decoder = Format::Ndjson.decoder(schema, &DecodeOptions::default()).expect("types that JSON has");
    let mut at = 0;
    for data in slabs {
        let body = Body::Bytes { start: at, data: data.clone() };
        let mut out = Decoded::default();
        decoder.decode(Payload { partition: "bench".into(), received: 0, body }, &mut out).expect("valid lines");
        assert!(out.rejects.is_empty(), "{:?}", out.rejects.first());
        at += data.len() as u64;
        out.batches.into_iter().for_each(|(batch, _)| each(batch));
    }
}

fn batches(slabs: &[Bytes], schema: &SchemaRef) -> Vec<RecordBatch> {
    let mut all = Vec::new();
    for_each(slabs, schema, |batch| all.push(batch));
    all
}

fn encode(batches: &[RecordBatch]) -> (f64, usize) {
    let mut encoder = Encoder::new(&batches[0].schema()).expect("types that JSON has");
    let start = Instant::now();
    let (mut out, mut bytes) = (Vec::new(), 0);
    for batch in batches {
        out.clear();
        encoder.encode(batch, &mut out);
        bytes += out.len();
    }
    (start.elapsed().as_secs_f64(), bytes)
}

fn schema(names: Option<[&str; 4]>) -> SchemaRef {
    let ms = [(TIME_UNIT_METADATA.to_owned(), "ms".to_owned())].into();
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields =
        vec![Field::new("type", DataType::Utf8, true), Field::new("ts", timestamp, true).with_metadata(ms)];
    for name in ["auction", "bidder", "price", "id", "initial_bid", "reserve", "expires", "seller", "category"] {
        fields.push(Field::new(name, DataType::Int64, true));
    }
    for name in ["channel", "url", "extra", "name", "email", "card", "city", "state", "item", "description"] {
        fields.push(Field::new(name, DataType::Utf8, true));
    }
    let wanted = |f: &Field| names.is_none_or(|names| names.contains(&f.name().as_str()));
    Arc::new(Schema::new(fields.into_iter().filter(wanted).collect::<Vec<_>>()))
}

fn slabs(lines: usize) -> Vec<Bytes> {
    let mut rng = fastrand::Rng::with_seed(42);
    let (mut slabs, mut text) = (Vec::new(), Vec::with_capacity(SLAB + 1024));
    for n in 0..lines {
        line(n, &mut rng, &mut text);
        if text.len() >= SLAB || n + 1 == lines {
            slabs.push(Bytes::from(std::mem::replace(&mut text, Vec::with_capacity(SLAB + 1024))));
        }
    }
    slabs
}

fn line(n: usize, rng: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let mut word = |len: usize| -> String { (0..len).map(|_| rng.lowercase()).collect() };
    let (a, b, long) = (word(8), word(20), word(200));
    let ts = 1_700_000_000_000 + n / 10;
    let (id, price) = (1_000 + n / 17, rng.u32(100..100_000_000));
    let written = match n % 50 {
        0 => writeln!(
            out,
            "{{\"type\":\"person\",\"ts\":{ts},\"id\":{id},\"name\":\"Vicky Jones\",\"email\":\"{a}@x.com\",\"card\":\"1234 5678 9012 3456\",\"city\":\"Portland\",\"state\":\"OR\",\"extra\":\"{b}{b}\"}}"
        ),
        1..=3 => writeln!(
            out,
            "{{\"type\":\"auction\",\"ts\":{ts},\"id\":{id},\"item\":\"{a}\",\"description\":\"{b}{b}{b}\",\"initial_bid\":{price},\"reserve\":{price},\"expires\":{ts},\"seller\":{id},\"category\":12,\"extra\":\"{long}\"}}"
        ),
        _ => writeln!(
            out,
            "{{\"type\":\"bid\",\"ts\":{ts},\"auction\":{id},\"bidder\":{id},\"price\":{price},\"channel\":\"Facebook\",\"url\":\"https://www.nexmark.com/{a}/item.htm?query=1\",\"extra\":\"{b}\"}}"
        ),
    };
    written.expect("writing to memory cannot fail");
}
