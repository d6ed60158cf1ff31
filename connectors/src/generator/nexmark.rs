//! The events of an auction house, after the Nexmark benchmark: of every 50, one person joins, three
//! auctions open, 46 bids are made.
//!
//! One function makes an event; what becomes of it is up to a [`Fields`]: a line of JSON, a row, or
//! nothing but the numbers drawn.

use super::rng::Rng;
use std::io::Write;

/// The seed of the benchmarks' files.
pub const NEXMARK_SEED: u64 = 42;

/// Event time of event 0, in milliseconds.
const BASE_TS: u64 = 1_700_000_000_000;
/// The first id of auctions and persons.
const FIRST: u64 = 1000;
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// What kind of event a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    pub fn of(i: u64) -> Kind {
        match i % 50 {
            0 => Kind::Person,
            1..=3 => Kind::Auction,
            _ => Kind::Bid,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Kind::Person => "person",
            Kind::Auction => "auction",
            Kind::Bid => "bid",
        }
    }
}

/// Takes the fields of an event in their order. Texts are made of pieces.
pub(super) trait Fields {
    fn int(&mut self, name: &'static str, value: u64);
    /// Milliseconds since the Unix epoch.
    fn time(&mut self, name: &'static str, value: u64) {
        self.int(name, value);
    }
    fn text(&mut self, name: &'static str, pieces: &[Piece<'_>], rng: &mut Rng);
}

/// A piece of a text.
pub(super) enum Piece<'a> {
    Is(&'a str),
    /// A made-up word of so many letters.
    Word(usize),
    /// One of some texts.
    Pick(&'static [&'static str]),
    /// Four digits.
    Digits,
}

impl Piece<'_> {
    pub fn write(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        match self {
            Piece::Is(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Word(len) => rng.word(out, *len),
            Piece::Pick(texts) => out.extend_from_slice(rng.pick(texts).as_bytes()),
            Piece::Digits => write!(out, "{:04}", rng.below(10_000)).expect("a vector takes everything"),
        }
    }
    fn skip(&self, rng: &mut Rng) {
        match self {
            Piece::Is(_) => {}
            Piece::Word(len) => rng.skip_word(*len),
            Piece::Pick(_) | Piece::Digits => rng.skip(1),
        }
    }
}

/// Event `i`.
pub(super) fn event(i: u64, rng: &mut Rng, out: &mut impl Fields) {
    let ts = BASE_TS + i / 10;
    match Kind::of(i) {
        Kind::Person => person(i, ts, rng, out),
        Kind::Auction => auction(i, ts, rng, out),
        Kind::Bid => bid(i, ts, rng, out),
    }
}

fn person(i: u64, ts: u64, rng: &mut Rng, out: &mut impl Fields) {
    use Piece::{Digits, Is, Pick, Word};
    out.time("ts", ts);
    out.int("id", FIRST + last_person(i));
    out.text("name", &[Pick(&NAMES), Is(" "), Pick(&LAST_NAMES)], rng);
    out.text("email", &[Word(7), Is("@"), Word(5), Is(".com")], rng);
    out.text("card", &[Digits, Is(" "), Digits, Is(" "), Digits, Is(" "), Digits], rng);
    out.text("city", &[Pick(&CITIES)], rng);
    out.text("state", &[Pick(&STATES)], rng);
    out.text("extra", &[Word(40)], rng);
}

fn auction(i: u64, ts: u64, rng: &mut Rng, out: &mut impl Fields) {
    let seller = if rng.below(4) != 0 { last_person(i) / 4 * 4 } else { some_person(i, rng) };
    let initial = price(rng);
    out.time("ts", ts);
    out.int("id", FIRST + last_auction(i));
    out.text("item", &[Piece::Word(14)], rng);
    out.text("description", &[Piece::Word(60)], rng);
    out.int("initial_bid", initial);
    out.int("reserve", initial + price(rng));
    out.time("expires", ts + 1 + rng.below(20_000));
    out.int("seller", FIRST + seller);
    out.int("category", 10 + rng.below(5));
    out.text("extra", &[Piece::Word(200)], rng);
}

fn bid(i: u64, ts: u64, rng: &mut Rng, out: &mut impl Fields) {
    let last = last_auction(i);
    let auction = if rng.below(2) != 0 {
        last / 100 * 100
    } else {
        let low = last.saturating_sub(100);
        low + rng.below(last - low + 1)
    };
    let bidder = if rng.below(4) != 0 { last_person(i) / 100 * 100 + 1 } else { some_person(i, rng) };
    let channel = rng.pick(&CHANNELS);
    out.time("ts", ts);
    out.int("auction", FIRST + auction);
    out.int("bidder", FIRST + bidder);
    out.int("price", price(rng));
    out.text("channel", &[Piece::Is(channel)], rng);
    out.text("url", &[Piece::Is("https://www.nexmark.com/"), Piece::Word(8), Piece::Is("/item.htm?query=1")], rng);
    out.text("extra", &[Piece::Word(20)], rng);
}

fn last_person(i: u64) -> u64 {
    i / 50
}

fn last_auction(i: u64) -> u64 {
    let (block, within) = (i / 50, i % 50);
    if within < 1 { (block * 3).saturating_sub(1) } else { block * 3 + within.min(3) - 1 }
}

fn some_person(i: u64, rng: &mut Rng) -> u64 {
    let last = last_person(i);
    let active = last.min(1000);
    last - active + rng.below(active + 1)
}

fn price(rng: &mut Rng) -> u64 {
    (10f64.powf(rng.unit() * 6.0) * 100.0).round() as u64
}

/// Draws the numbers of event `i` and makes nothing of them.
pub(super) fn skip(i: u64, rng: &mut Rng) {
    struct Nothing;
    impl Fields for Nothing {
        fn int(&mut self, _: &'static str, _: u64) {}
        fn text(&mut self, _: &'static str, pieces: &[Piece<'_>], rng: &mut Rng) {
            pieces.iter().for_each(|p| p.skip(rng));
        }
    }
    event(i, rng, &mut Nothing);
}

/// Appends event `i` as one line of JSON. Events must be made in order, from 0, with one `rng`.
pub fn nexmark_line(i: u64, rng: &mut Rng, out: &mut Vec<u8>) {
    struct Line<'a>(&'a mut Vec<u8>);
    impl Fields for Line<'_> {
        fn int(&mut self, name: &'static str, value: u64) {
            write!(self.0, ",\"{name}\":{value}").expect("a vector takes everything");
        }
        fn text(&mut self, name: &'static str, pieces: &[Piece<'_>], rng: &mut Rng) {
            write!(self.0, ",\"{name}\":\"").expect("a vector takes everything");
            pieces.iter().for_each(|p| p.write(rng, self.0));
            self.0.push(b'"');
        }
    }
    write!(out, "{{\"type\":\"{}\"", Kind::of(i).name()).expect("a vector takes everything");
    event(i, rng, &mut Line(out));
    out.extend_from_slice(b"}\n");
}
