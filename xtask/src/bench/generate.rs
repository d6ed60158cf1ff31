//! The data of the benchmarks: Nexmark events and log lines. The same arguments always give the same bytes.
//!
//! Part p gets the records n with n % parts = p, so event time rises within every part. The answers that
//! the benchmarks expect hold for exactly these bytes: a change here makes all of them void. It shares no
//! code with the `generator` source on purpose: what judges the product is not a part of it.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes `n` Nexmark events to `PREFIX-0.ndjson`, `PREFIX-1.ndjson`, ..: 2% persons, 6% auctions, 92% bids.
pub fn nexmark(prefix: &Path, n: u64, parts: u64) -> Result<()> {
    let mut rng = Rng(42);
    to_parts(prefix, "ndjson", n, parts, |line, i| nexmark_event(line, i, &mut rng))
}

/// Writes `n` lines to `PREFIX-0.log`, `PREFIX-1.log`, ..: 70% nginx combined, 29.5% syslog, 0.5% rubbish.
pub fn logs(prefix: &Path, n: u64, parts: u64) -> Result<()> {
    let mut rng = Rng(7);
    to_parts(prefix, "log", n, parts, |line, i| log_line(line, i, &mut rng))
}

fn to_parts(
    prefix: &Path,
    ending: &str,
    n: u64,
    parts: u64,
    mut record: impl FnMut(&mut Vec<u8>, u64) -> std::io::Result<()>,
) -> Result<()> {
    let create = |part: u64| {
        let path = format!("{}-{part}.{ending}", prefix.display());
        Ok(BufWriter::with_capacity(1 << 20, File::create(&path).with_context(|| path)?))
    };
    let mut files = (0..parts).map(create).collect::<Result<Vec<_>>>()?;
    let mut line = Vec::with_capacity(1024);
    for i in 0..n {
        line.clear();
        record(&mut line, i)?;
        files[(i % parts) as usize].write_all(&line)?;
    }
    files.iter_mut().try_for_each(Write::flush)?;
    Ok(())
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn word(&mut self, out: &mut Vec<u8>, length: usize) {
        let mut value = self.next();
        for i in 0..length {
            if i % 12 == 11 {
                value = self.next();
            }
            out.push(b'a' + (value % 26) as u8);
            value /= 26;
        }
    }
}

const FIRST_TS_MS: u64 = 1_700_000_000_000;
/// The first auction and person, as in Nexmark.
const FIRST_ID: u64 = 1000;
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// Per 50 events: 1 person, 3 auctions, 46 bids; 10,000 events per second of event time.
fn nexmark_event(b: &mut Vec<u8>, i: u64, r: &mut Rng) -> std::io::Result<()> {
    let ts = FIRST_TS_MS + i / 10;
    match i % 50 {
        0 => person(b, i, ts, r)?,
        1..=3 => auction(b, i, ts, r)?,
        _ => bid(b, i, ts, r)?,
    }
    b.extend_from_slice(b"\"}\n");
    Ok(())
}

fn person(b: &mut Vec<u8>, i: u64, ts: u64, r: &mut Rng) -> std::io::Result<()> {
    let (first, last) = (r.pick(&NAMES), r.pick(&LAST_NAMES));
    write!(
        b,
        "{{\"type\":\"person\",\"ts\":{ts},\"id\":{},\"name\":\"{first} {last}\",\"email\":\"",
        FIRST_ID + last_person(i)
    )?;
    r.word(b, 7);
    b.push(b'@');
    r.word(b, 5);
    b.extend_from_slice(b".com\",\"card\":\"");
    for quad in 0..4 {
        write!(b, "{}{:04}", if quad == 0 { "" } else { " " }, r.below(10000))?;
    }
    write!(b, "\",\"city\":\"{}\",\"state\":\"{}\",\"extra\":\"", r.pick(&CITIES), r.pick(&STATES))?;
    r.word(b, 40);
    Ok(())
}

fn auction(b: &mut Vec<u8>, i: u64, ts: u64, r: &mut Rng) -> std::io::Result<()> {
    let seller = if r.below(4) != 0 { last_person(i) / 4 * 4 } else { any_person(i, r) };
    let initial = price(r);
    write!(b, "{{\"type\":\"auction\",\"ts\":{ts},\"id\":{},\"item\":\"", FIRST_ID + last_auction(i))?;
    r.word(b, 14);
    b.extend_from_slice(b"\",\"description\":\"");
    r.word(b, 60);
    let (reserve, expires) = (initial + price(r), ts + 1 + r.below(20000));
    let (seller, category) = (FIRST_ID + seller, 10 + r.below(5));
    write!(
        b,
        "\",\"initial_bid\":{initial},\"reserve\":{reserve},\"expires\":{expires},\"seller\":{seller},\"category\":{category},\"extra\":\""
    )?;
    r.word(b, 200);
    Ok(())
}

fn bid(b: &mut Vec<u8>, i: u64, ts: u64, r: &mut Rng) -> std::io::Result<()> {
    let newest = last_auction(i);
    let auction = if r.below(2) != 0 {
        newest / 100 * 100
    } else {
        let oldest = newest.saturating_sub(100);
        oldest + r.below(newest - oldest + 1)
    };
    let bidder = if r.below(4) != 0 { last_person(i) / 100 * 100 + 1 } else { any_person(i, r) };
    let channel = r.pick(&CHANNELS);
    let (auction, bidder, price) = (FIRST_ID + auction, FIRST_ID + bidder, price(r));
    write!(
        b,
        "{{\"type\":\"bid\",\"ts\":{ts},\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"{channel}\",\"url\":\"https://www.nexmark.com/"
    )?;
    r.word(b, 8);
    b.extend_from_slice(b"/item.htm?query=1\",\"extra\":\"");
    r.word(b, 20);
    Ok(())
}

fn last_person(i: u64) -> u64 {
    i / 50
}

fn last_auction(i: u64) -> u64 {
    let (block, offset) = (i / 50, i % 50);
    if offset < 1 { (block * 3).saturating_sub(1) } else { block * 3 + offset.min(3) - 1 }
}

fn price(r: &mut Rng) -> u64 {
    (10f64.powf(r.unit() * 6.0) * 100.0).round() as u64
}

/// One of the last thousand persons.
fn any_person(i: u64, r: &mut Rng) -> u64 {
    let last = last_person(i);
    let active = last.min(1000);
    last - active + r.below(active + 1)
}

const PATHS: [&str; 12] = [
    "/",
    "/index.html",
    "/api/v1/orders",
    "/api/v1/users",
    "/static/app.js",
    "/static/site.css",
    "/images/logo.png",
    "/login",
    "/search",
    "/cart/checkout",
    "/health",
    "/wp-login.php",
];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "curl/8.5.0",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
];
const REFERERS: [&str; 4] =
    ["-", "https://www.google.com/", "https://shop.example.com/cart", "https://news.example.org/article?id=17"];
const APPS: [&str; 4] = ["orders", "auth", "billing", "mailer"];
const HOSTS: [&str; 4] = ["web-01", "web-02", "db-01", "edge-07"];
const MESSAGES: [&str; 8] = [
    "request completed",
    "cache miss for key",
    "login accepted",
    "connection reset by peer",
    "payment declined by gateway",
    "mail queued for",
    "slow query detected",
    "retrying upstream",
];

/// 500 lines a second of log time.
fn log_line(b: &mut Vec<u8>, i: u64, r: &mut Rng) -> std::io::Result<()> {
    let s = i / 500;
    let time =
        LogTime { day: 1 + s / 86400 % 28, clock: format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60) };
    let ip = [11 + r.below(200), r.below(256), r.below(256), 1 + r.below(254)];
    match r.below(1000) {
        0..700 => access_line(b, &time, ip, r),
        700..995 => syslog_line(b, &time, ip, r),
        _ => {
            b.extend_from_slice(b"panic: ");
            r.word(b, 30);
            b.push(b'\n');
            Ok(())
        }
    }
}

struct LogTime {
    day: u64,
    clock: String,
}

/// nginx combined; 3% have a status of 5xx, 10% an e-mail address in the query.
fn access_line(b: &mut Vec<u8>, time: &LogTime, ip: [u64; 4], r: &mut Rng) -> std::io::Result<()> {
    let status = match r.below(1000) {
        0..30 => [500, 502, 503, 504][r.below(4) as usize],
        30..110 => 404,
        110..160 => 302,
        _ => 200,
    };
    write!(b, "{}.{}.{}.{} - ", ip[0], ip[1], ip[2], ip[3])?;
    if r.below(20) == 0 {
        r.word(b, 6);
    } else {
        b.push(b'-');
    }
    let method = if r.below(5) == 0 { "POST" } else { "GET" };
    write!(b, " [{:02}/Nov/2026:{} +0000] \"{method} {}", time.day, time.clock, r.pick(&PATHS))?;
    match r.below(10) {
        0 => {
            b.extend_from_slice(b"?email=");
            r.word(b, 8);
            b.extend_from_slice(b"@example.com");
        }
        1..=3 => write!(b, "?id={}", r.below(1_000_000))?,
        _ => {}
    }
    let bytes = r.below(100_000);
    writeln!(b, " HTTP/1.1\" {status} {bytes} \"{}\" \"{}\"", r.pick(&REFERERS), r.pick(&AGENTS))
}

/// RFC 3164 with a body of key=value; 30% debug, 50% info, 12% warn, 8% error.
fn syslog_line(b: &mut Vec<u8>, time: &LogTime, ip: [u64; 4], r: &mut Rng) -> std::io::Result<()> {
    let (level, severity) = match r.below(100) {
        0..30 => ("debug", 7),
        30..80 => ("info", 6),
        80..92 => ("warn", 4),
        _ => ("error", 3),
    };
    let (host, app, pid) = (r.pick(&HOSTS), r.pick(&APPS), 1000 + r.below(30000));
    write!(b, "<{}>Nov {:2} {} {host} {app}[{pid}]: level={level} user=", 16 * 8 + severity, time.day, time.clock)?;
    r.word(b, 7);
    b.push(b'@');
    r.word(b, 6);
    let millis = r.below(5000);
    write!(b, ".com client={}.{}.{}.{} dur_ms={millis} msg=\"{} ", ip[0], ip[1], ip[2], ip[3], r.pick(&MESSAGES))?;
    r.word(b, 10);
    b.extend_from_slice(b"\"\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of two parts with 5,000 records in all.
    fn hash(ending: &str, generate: fn(&Path, u64, u64) -> Result<()>) -> String {
        let folder = std::env::temp_dir().join(format!("xtask-generate-{ending}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary folder");
        generate(&folder.join("t"), 5000, 2).expect("temporary files");
        let parts = [0, 1].map(|part| std::fs::read(folder.join(format!("t-{part}.{ending}"))).expect("was written"));
        std::fs::remove_dir_all(folder).expect("ours");
        blake2b_simd::Params::new().hash_length(8).hash(&parts.concat()).to_hex().to_string()
    }

    // The known answers of the benchmarks hold for these bytes alone.
    #[test]
    fn the_bytes_never_change() {
        assert_eq!(hash("ndjson", nexmark), "850f10e462fa616b");
        assert_eq!(hash("log", logs), "100052b809c0128e");
    }
}
