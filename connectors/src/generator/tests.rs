//! The bytes never change: the answers of the benchmarks hang on them.

use super::config::{Dataset, GeneratorConfig};
use super::{Generator, LOGS_SEED, NEXMARK_SEED, Rng, log_line, nexmark_line};
use millstream::connect::{Body, Decoded, PartitionId, Polled, Position, Source};
use std::num::{NonZeroU32, NonZeroU64};

fn nexmark(n: u64) -> Vec<u8> {
    let (mut rng, mut out) = (Rng::new(NEXMARK_SEED), Vec::new());
    (0..n).for_each(|i| nexmark_line(i, &mut rng, &mut out));
    out
}

fn logs(n: u64) -> Vec<u8> {
    let (mut rng, mut out) = (Rng::new(LOGS_SEED), Vec::new());
    (0..n).for_each(|i| _ = log_line(i, &mut rng, &mut out));
    out
}

fn config(dataset: Dataset, rows: u64, partitions: u32) -> GeneratorConfig {
    GeneratorConfig {
        dataset,
        seed: None,
        rows: Some(rows),
        rate: None,
        partitions: NonZeroU32::new(partitions).unwrap(),
    }
}

/// Everything that a source gives out, as the text of its rows, by partition.
fn read(config: GeneratorConfig, resume: bool) -> Vec<Vec<String>> {
    let source = Generator::new(config);
    let mut all = Vec::new();
    for partition in source.partitions().unwrap() {
        let mut decoder = source.decoder(&source.schema()).unwrap();
        let mut reader = source.open(&partition, None).unwrap();
        let mut rows = Vec::new();
        while let Polled::Data(payload, position) = reader.next(10_000).unwrap() {
            let mut decoded = Decoded::default();
            decoder.decode(payload, &mut decoded).unwrap();
            for (batch, _) in decoded.batches {
                rows.extend((0..batch.num_rows()).map(|i| format!("{:?}", batch.slice(i, 1).columns())));
            }
            if resume {
                let stored: Position = serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
                reader = source.open(&partition, Some(&stored)).unwrap();
            }
        }
        all.push(rows);
    }
    all
}

#[test]
fn the_bytes_are_those_of_the_benchmark_files() {
    for (bytes, crc, len) in [(nexmark(10_000), 0x5ddc_d681, 2018014), (logs(10_000), 0x4149_94b8, 1804017)] {
        let mut found = flate2::Crc::new();
        found.update(&bytes);
        assert_eq!((found.sum(), bytes.len()), (crc, len));
    }
}

#[test]
fn rows_say_what_lines_say() {
    let source = Generator::new(config(Dataset::Nexmark, 500, 1));
    let Polled::Data(payload, _) = source.open(&PartitionId::from("0"), None).unwrap().next(1 << 20).unwrap() else {
        panic!()
    };
    let Body::Rows { rows, start: 0 } = payload.body else { panic!() };
    let mut encoder = millstream::json::Encoder::new(&rows.schema()).unwrap();
    let mut out = Vec::new();
    encoder.encode_with_diff(&rows, None, &mut out);
    let parse = |bytes: &[u8]| -> Vec<serde_json::Map<String, serde_json::Value>> {
        bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    };
    let (rows, lines) = (parse(&out), parse(&nexmark(500)));
    assert_eq!(rows.len(), lines.len());
    for (mut row, mut line) in rows.into_iter().zip(lines) {
        row.retain(|_, v| !v.is_null());
        for time in ["ts", "expires"] {
            // A timestamp as text on one side, milliseconds on the other.
            assert_eq!(row.remove(time).is_some(), line.remove(time).is_some());
        }
        assert_eq!(serde_json::Value::from(row), serde_json::Value::from(line));
    }
}

#[test]
fn partitions_share_the_records_and_resume_anywhere() {
    for dataset in
        [Dataset::Bids, Dataset::Auctions, Dataset::Persons, Dataset::Nexmark, Dataset::AccessLog, Dataset::Logs]
    {
        let whole = read(config(dataset, 1_000, 1), false).remove(0);
        assert_eq!(whole.len(), 1_000, "{dataset:?}");
        assert_eq!(read(config(dataset, 1_000, 1), true).remove(0), whole, "{dataset:?}");
        let parts = read(config(dataset, 1_000, 3), true);
        let mixed: Vec<String> = (0..1_000).map(|i| parts[i % 3][i / 3].clone()).collect();
        assert_eq!(mixed, whole, "{dataset:?}");
    }
}

#[test]
fn another_seed_gives_other_records() {
    let other = GeneratorConfig { seed: Some(43), ..config(Dataset::Bids, 10, 1) };
    assert_ne!(read(other, false), read(config(Dataset::Bids, 10, 1), false));
}

#[test]
fn a_rate_is_kept() {
    let paced = GeneratorConfig { rate: NonZeroU64::new(2_000), ..config(Dataset::Bids, 200, 1) };
    let began = std::time::Instant::now();
    assert_eq!(read(paced, false)[0].len(), 200);
    assert!(began.elapsed().as_millis() >= 99, "{:?}", began.elapsed());
}
