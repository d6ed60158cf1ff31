//! Lines of logs: 70% of a web server, 29.5% syslog with key=value, 0.5% rubbish; 500 lines a second.

use super::rng::Rng;
use std::io::Write;

/// The seed of the benchmarks' files.
pub const LOGS_SEED: u64 = 7;

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

/// When a line was logged.
struct Time {
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Appends line `i`; true if it is one of a web server. Lines must be made in order, from 0, with one `rng`.
pub fn log_line(i: u64, rng: &mut Rng, out: &mut Vec<u8>) -> bool {
    let s = i / 500;
    let time = Time { day: 1 + s / 86_400 % 28, hour: s / 3_600 % 24, minute: s / 60 % 60, second: s % 60 };
    let ip = [11 + rng.below(200), rng.below(256), rng.below(256), 1 + rng.below(254)];
    let kind = rng.below(1000);
    let written = match kind {
        0..700 => access(&time, ip, rng, out),
        700..995 => syslog(&time, ip, rng, out),
        _ => {
            out.extend_from_slice(b"panic: ");
            rng.word(out, 30);
            Ok(())
        }
    };
    written.expect("a vector takes everything");
    out.push(b'\n');
    kind < 700
}

fn access(t: &Time, ip: [u64; 4], rng: &mut Rng, out: &mut Vec<u8>) -> std::io::Result<()> {
    let status = match rng.below(1000) {
        0..30 => [500, 502, 503, 504][rng.below(4) as usize],
        30..110 => 404,
        110..160 => 302,
        _ => 200,
    };
    write!(out, "{}.{}.{}.{} - ", ip[0], ip[1], ip[2], ip[3])?;
    if rng.below(20) == 0 {
        rng.word(out, 6);
    } else {
        out.push(b'-');
    }
    let method = if rng.below(5) == 0 { "POST" } else { "GET" };
    write!(
        out,
        " [{:02}/Nov/2026:{:02}:{:02}:{:02} +0000] \"{method} {}",
        t.day,
        t.hour,
        t.minute,
        t.second,
        rng.pick(&PATHS)
    )?;
    match rng.below(10) {
        0 => {
            out.extend_from_slice(b"?email=");
            rng.word(out, 8);
            out.extend_from_slice(b"@example.com");
        }
        1..=3 => write!(out, "?id={}", rng.below(1_000_000))?,
        _ => {}
    }
    let (bytes, referer, agent) = (rng.below(100_000), rng.pick(&REFERERS), rng.pick(&AGENTS));
    write!(out, " HTTP/1.1\" {status} {bytes} \"{referer}\" \"{agent}\"")
}

fn syslog(t: &Time, ip: [u64; 4], rng: &mut Rng, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (level, severity) = match rng.below(100) {
        0..30 => ("debug", 7),
        30..80 => ("info", 6),
        80..92 => ("warn", 4),
        _ => ("error", 3),
    };
    let (host, app, pid) = (rng.pick(&HOSTS), rng.pick(&APPS), 1000 + rng.below(30_000));
    write!(out, "<{}>Nov {:2} {:02}:{:02}:{:02} ", 16 * 8 + severity, t.day, t.hour, t.minute, t.second)?;
    write!(out, "{host} {app}[{pid}]: level={level} user=")?;
    rng.word(out, 7);
    out.push(b'@');
    rng.word(out, 6);
    let (millis, message) = (rng.below(5000), rng.pick(&MESSAGES));
    write!(out, ".com client={}.{}.{}.{} dur_ms={millis} msg=\"{message} ", ip[0], ip[1], ip[2], ip[3])?;
    rng.word(out, 10);
    out.push(b'"');
    Ok(())
}
