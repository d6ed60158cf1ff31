//! Are the answers right? Rows and a hash that does not depend on their order.
//!
//! The hash of an answer is the sum, modulo 2^64, of the BLAKE2b-64 of each row's columns written as text
//! and joined by `|`; floats are rounded to three places.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What a query answered, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Rows, ties of q5 counted once.
    pub rows: u64,
    /// The sum of the rows' hashes.
    pub hash: u64,
}

/// The columns of the answer of a Nexmark query.
fn columns(query: &str) -> Result<&'static [&'static str]> {
    Ok(match query {
        "q0" | "q1" => &["auction", "bidder", "price", "ts", "extra"],
        "q2" => &["auction", "price"],
        "q3" => &["name", "city", "state", "id"],
        "q5" => &["we", "num"],
        "q7" => &["we", "price"],
        "q8" => &["id", "name", "ws"],
        other => bail!("no query {other}"),
    })
}

/// Reads the published NDJSON files under `folder`; hidden ones are not results.
pub fn nexmark(query: &str, folder: &Path) -> Result<Answer> {
    let columns = columns(query)?;
    let mut answer = Answer { rows: 0, hash: 0 };
    let mut seen = HashSet::new();
    let mut key = String::new();
    for file in published(folder)? {
        each_line(&file, |line| {
            let row: Value = serde_json::from_slice(line).context("not JSON")?;
            key.clear();
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    key.push('|');
                }
                let value = row.get(column).with_context(|| format!("no column {column}"))?;
                write_value(&mut key, value, query == "q1" && *column == "price");
            }
            // Several auctions may be the hottest: window and count are compared, once.
            if query != "q5" || seen.insert(key.clone()) {
                answer.rows += 1;
                answer.hash = answer.hash.wrapping_add(blake2b_64(key.as_bytes()));
            }
            Ok(())
        })?;
    }
    Ok(answer)
}

fn blake2b_64(bytes: &[u8]) -> u64 {
    let hash = blake2b_simd::Params::new().hash_length(8).hash(bytes);
    u64::from_be_bytes(hash.as_bytes().try_into().expect("a hash of eight bytes was asked for"))
}

/// Text as it is, integers in full, floats rounded to three places and as short as they can be read back.
fn write_value(key: &mut String, value: &Value, float: bool) {
    let wrote = match value {
        Value::String(text) => write!(key, "{text}"),
        Value::Number(number) if float || number.is_f64() => {
            let exact = number.as_f64().unwrap_or(f64::NAN);
            let rounded: f64 = format!("{exact:.3}").parse().unwrap_or(exact);
            write!(key, "{rounded:?}")
        }
        other => write!(key, "{other}"),
    };
    wrote.expect("writing to a string cannot fail");
}

/// What log cleansing left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleansed {
    /// Lines that are in order.
    pub clean: u64,
    /// Lines with status 5xx or level error, and those that no parser knows.
    pub errors: u64,
    /// Lines that still hold an e-mail address.
    pub emails_left: u64,
    /// Of every 97th line: those with an address whose last part is not 0.
    pub addresses_left: u64,
}

/// Counts the lines under `folder/clean` and `folder/errors`, and what was not redacted in them.
pub fn cleansed(folder: &Path) -> Result<Cleansed> {
    let mut found = Cleansed::default();
    for branch in ["clean", "errors"] {
        for file in published(&folder.join(branch))? {
            let mut lines = 0;
            each_line(&file, |line| {
                found.emails_left += u64::from(holds_email(line));
                if lines % 97 == 0 {
                    let row: Value = serde_json::from_slice(line).context("not JSON")?;
                    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    found.addresses_left += u64::from(holds_full_address(&(text("client") + &text("message"))));
                }
                lines += 1;
                Ok(())
            })?;
            *(if branch == "clean" { &mut found.clean } else { &mut found.errors }) += lines;
        }
    }
    Ok(found)
}

/// A word character on both sides of an `@`.
fn holds_email(line: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    line.windows(3).any(|three| three[1] == b'@' && word(&three[0]) && word(&three[2]))
}

/// Four numbers with dots between, the last of which begins with 1 to 9.
fn holds_full_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.windows(4).any(|four| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        four[0].ends_with(|c: char| c.is_ascii_digit())
            && digits(four[1])
            && digits(four[2])
            && four[3].starts_with(|c| ('1'..='9').contains(&c))
    })
}

/// All files under `folder` whose names do not begin with a dot, sorted.
fn published(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no results in {}", folder.display()))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() { files.extend(published(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn each_line(file: &Path, mut with: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
    let (mut line, mut number) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        let place = || format!("{}:{number}", file.display());
        ensure!(line.ends_with(b"\n"), "{}: the last line is not complete", place());
        with(&line[..line.len() - 1]).with_context(place)?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, file: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-answers-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join(file).parent().expect("has a parent")).expect("temporary folder");
        fs::write(folder.join(file), text).expect("temporary file");
        folder
    }

    // The expected hashes come from an independent program (Python's hashlib).
    #[test]
    fn hashes_agree_with_another_implementation() {
        let bids = "{\"auction\":1,\"bidder\":2,\"price\":90.8,\"ts\":5,\"extra\":\"a|b\"}\n{\"auction\":3,\"bidder\":2,\"price\":100,\"ts\":5,\"extra\":\"x\"}\n";
        let folder = folder("q1", "part-0.ndjson", bids);
        fs::write(folder.join(".part-1.ndjson"), "not published").expect("temporary file");
        let answer = nexmark("q1", &folder).expect("two rows");
        assert_eq!(answer, Answer { rows: 2, hash: 0xe50c_8ad7_1ff1_4b9a });
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn ties_of_q5_count_once() {
        let folder =
            folder("q5", "a.ndjson", "{\"we\":10,\"num\":7,\"auction\":1}\n{\"num\":7,\"auction\":2,\"we\":10}\n");
        let answer = nexmark("q5", &folder).expect("rows");
        assert_eq!(answer, Answer { rows: 1, hash: 0x5670_dd9c_e341_20bd });
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn floats_are_rounded_and_short() {
        let text = |json: &str, float| {
            let mut key = String::new();
            write_value(&mut key, &serde_json::from_str(json).expect("a number"), float);
            key
        };
        assert_eq!(text("1.23450000001", false), "1.235");
        assert_eq!(text("908", true), "908.0");
        assert_eq!(text("908", false), "908");
        assert_eq!(text("0.0625", false), "0.062");
    }

    #[test]
    fn an_incomplete_last_line_is_an_error() {
        let folder = folder("cut", "a.ndjson", "{\"auction\":1,\"price\":2}\n{\"auction\":1,\"price\":2}");
        assert!(format!("{:#}", nexmark("q2", &folder).expect_err("cut")).contains("a.ndjson:2"));
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn what_is_left_unredacted_is_seen() {
        assert!(holds_email(b"to a@b.c") && !holds_email(b"[EMAIL] @ home") && !holds_email(b"@a"));
        assert!(
            holds_full_address("from 10.1.2.3:80")
                && !holds_full_address("from 10.1.2.0 and 1.2.x.4")
                && !holds_full_address("v1.2.3")
        );
        let folder = folder(
            "w2",
            "clean/a.ndjson",
            "{\"client\":\"1.2.3.4\",\"path\":\"/?email=x@y\"}\n{\"client\":\"1.2.3.0\"}\n",
        );
        fs::create_dir_all(folder.join("errors")).expect("temporary folder");
        let found = cleansed(&folder).expect("two lines");
        assert_eq!(found, Cleansed { clean: 2, errors: 0, emails_left: 1, addresses_left: 1 });
        fs::remove_dir_all(folder).expect("ours");
    }
}
