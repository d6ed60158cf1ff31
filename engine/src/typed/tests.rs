//! Rows there and back, stages, state on several workers and over a restart, subscriptions.

use super::{Collected, Feed, Flow, Micros, Next, Row, Stream, Subscription, Update, channel, collect};
use crate::calls::Calls;
use crate::runtime::{Job, JobState, Resume, Runtime, Stop};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Everything {
        n: i64,
        x: f64,
        yes: bool,
        text: String,
        at: Micros,
        maybe_n: Option<i64>,
        maybe_x: Option<f64>,
        maybe_yes: Option<bool>,
        maybe_text: Option<String>,
        r#maybe_at: Option<Micros>,
    }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Word { word: String }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Count { word: String, count: i64 }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Loose { word: Option<String>, count: Option<i64> }
}

crate::row! {
    #[derive(Clone, Debug, PartialEq)]
    struct Timed { key: i64, at: Micros }
}

fn word(word: impl Into<String>) -> Word {
    Word { word: word.into() }
}

#[test]
fn rows_come_back_as_they_went() {
    let full = Everything {
        n: i64::MIN,
        x: -0.5,
        yes: true,
        text: "äö\u{0}".into(),
        at: Micros(1_577_836_800_000_000),
        maybe_n: Some(7),
        maybe_x: Some(f64::MAX),
        maybe_yes: Some(false),
        maybe_text: Some(String::new()),
        maybe_at: Some(Micros(-1)),
    };
    let empty =
        Everything { maybe_n: None, maybe_x: None, maybe_yes: None, maybe_text: None, maybe_at: None, ..full.clone() };
    let rows = vec![full.clone(), empty, full];
    let batch = Everything::to_batch(&rows);
    assert_eq!(batch.schema(), Everything::schema());
    assert_eq!(Everything::from_batch(&batch).unwrap(), rows);
    assert_eq!(Everything::from_batch(&batch.slice(1, 1)).unwrap(), rows[1..2], "a slice begins where it says");
    assert_eq!(Everything::from_batch(&Everything::to_batch(&[])).unwrap(), vec![]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let code = |batch| Count::from_batch(&batch).unwrap_err().code.to_string();
    assert_eq!(code(Word::to_batch(&[word("a")])), "ROW-COLUMN");
    assert_eq!(code(Loose::to_batch(&[Loose { word: Some("a".into()), count: None }])), "ROW-NULL");
    let loose = Loose::to_batch(&[Loose { word: Some("a".into()), count: Some(3) }]);
    assert_eq!(Count::from_batch(&loose).unwrap(), vec![Count { word: "a".into(), count: 3 }]);
    let text = arrow::compute::cast(loose.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
    let batch = arrow::array::RecordBatch::try_from_iter([("word", loose.column(0).clone()), ("count", text)]).unwrap();
    assert_eq!(code(batch), "ROW-TYPE");
}

/// words -> running count by word.
fn counting() -> (Feed<Word>, Flow, Collected<Count>) {
    let (feed, words) = channel(64);
    let (sink, counts) = collect();
    let flow = Flow::new("words");
    flow.settings(|s| s.checkpoint_every = Duration::from_millis(20));
    flow.channel("words", words)
        .key_by(|w: &Word| w.word.clone())
        .stateful("count", |count: &mut i64, w, out| {
            *count += 1;
            if w.word == "flash" {
                out.forget();
            }
            out.push(Count { word: w.word, count: *count });
        })
        .to("counts", sink);
    (feed, flow, counts)
}

fn runtime(workers: usize, dir: &Path) -> Runtime {
    Runtime::builder().workers(workers).state_dir(dir).build().unwrap()
}

fn ended(job: &Job) {
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
}

/// The counts of each word, in the order in which they came.
fn by_word(rows: Vec<Update<Count>>) -> BTreeMap<String, Vec<i64>> {
    let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for update in rows {
        assert_eq!(update.diff, 1);
        all.entry(update.row.word).or_default().push(update.row.count);
    }
    all
}

#[test]
fn every_key_has_its_own_state_on_any_number_of_workers() {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (feed, flow, counts) = counting();
        let job = runtime(workers, dir.path()).start(&flow.pipeline(), Resume::OrFresh).unwrap();
        for n in 0..300 {
            feed.send(word(format!("w{}", n % 10))).unwrap();
        }
        feed.close();
        ended(&job);
        let expected = (0..10).map(|w| (format!("w{w}"), (1..=30).collect())).collect();
        assert_eq!(by_word(counts.take()), expected, "{workers} workers");
    }
}

#[test]
fn state_is_there_after_a_stop_on_other_workers() {
    let dir = tempfile::tempdir().unwrap();
    for (run, workers) in [1, 2, 3, 1].into_iter().enumerate() {
        let (feed, flow, counts) = counting();
        let resume = if run == 0 { Resume::Fresh } else { Resume::Required };
        let job = runtime(workers, dir.path()).start(&flow.pipeline(), resume).unwrap();
        for n in 0..20 {
            feed.send(word(format!("w{n}"))).unwrap();
        }
        feed.send(word("flash")).unwrap();
        assert!(counts.wait(LIMIT, |rows| rows.len() == 21), "all rows pass while the channel is open");
        job.request_stop(Stop::Drain);
        ended(&job);
        let run = i64::try_from(run).unwrap() + 1;
        let seen = by_word(counts.take());
        assert_eq!(seen["flash"], [1], "what was forgotten begins again");
        let kept: Vec<_> = seen.into_iter().filter(|(word, _)| word != "flash").collect();
        assert_eq!(kept.len(), 20);
        assert!(kept.iter().all(|(_, counts)| *counts == [run]), "run {run}: {kept:?}");
    }
}

#[test]
fn another_key_type_cannot_take_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, flow, counts) = counting();
    let job = runtime(1, dir.path()).start(&flow.pipeline(), Resume::Fresh).unwrap();
    feed.send(word("a")).unwrap();
    drop(feed);
    ended(&job);
    assert_eq!(counts.take().len(), 1);

    let (_feed, words) = channel::<Word>(1);
    let flow = Flow::new("words");
    let lengths = flow.channel("words", words).key_by(|w| i64::try_from(w.word.len()).unwrap());
    lengths.stateful("count", |_: &mut i64, w, out| out.push(w)).to("counts", collect::<Word>().0);
    let problems = runtime(1, dir.path()).start(&flow.pipeline(), Resume::OrFresh).err().expect("the key has changed");
    assert_eq!(problems[0].code, "STATE-CHANGED");
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Before {
    n: i32,
    gone: String,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct After {
    n: i64,
    #[serde(default)]
    added: Option<String>,
}

/// A field wider, one less, one more, and the node under another name.
#[test]
fn a_state_that_has_grown_is_read_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, words) = channel(4);
    let (sink, counts) = collect();
    let flow = Flow::new("words");
    let keyed = flow.channel("words", words).key_by(|w: &Word| w.word.clone());
    let count = |state: &mut Before, w: Word, out: &mut super::Out<Count>| {
        state.n += 1;
        state.gone.clone_from(&w.word);
        out.push(Count { word: w.word, count: state.n.into() });
    };
    keyed.stateful("count", count).to("counts", sink);
    let job = runtime(1, dir.path()).start(&flow.pipeline(), Resume::Fresh).unwrap();
    feed.send(word("a")).unwrap();
    drop(feed);
    ended(&job);
    assert_eq!(by_word(counts.take())["a"], [1]);
    for run in 0..3 {
        let (feed, words) = channel(4);
        let (sink, counts) = collect();
        let flow = Flow::new("words");
        flow.was("total", "count");
        let keyed = flow.channel("words", words).key_by(|w: &Word| w.word.clone());
        let total = |state: &mut After, w: Word, out: &mut super::Out<Count>| {
            assert_eq!(state.added.is_some(), state.n > 1, "NULL in what came before");
            (state.n, state.added) = (state.n + 1, Some(w.word.clone()));
            out.push(Count { word: w.word, count: state.n });
        };
        keyed.stateful("total", total).to("counts", sink);
        let job = runtime(2, dir.path()).start(&flow.pipeline(), Resume::Required).unwrap();
        feed.send(word("a")).unwrap();
        assert!(counts.wait(LIMIT, |rows| rows.len() == 1));
        job.request_stop(Stop::Drain);
        ended(&job);
        assert_eq!(by_word(counts.take())["a"], [2 + run]);
    }
    let flow = Flow::new("words");
    let (_feed, words) = channel::<Word>(1);
    flow.channel("words", words).to("total", collect::<Word>().0);
    flow.was("total", "words");
    let problems = runtime(1, dir.path()).start(&flow.pipeline(), Resume::OrFresh).err().expect("`words` is there");
    assert_eq!(problems[0].code, "PLAN-WAS");
}

fn rest(view: &Subscription<Count>) -> Vec<Update<Count>> {
    let mut all = Vec::new();
    loop {
        match view.next(LIMIT).unwrap() {
            Next::Rows(rows) => all.extend(rows),
            Next::Ended => return all,
            Next::Quiet => panic!("the job has not ended"),
        }
    }
}

#[test]
fn stages_work_row_by_row_and_subscribers_see_them() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, lines) = channel::<Word>(8);
    let (sink, long) = collect::<Count>();
    let flow = Flow::new("stages");
    let words = flow
        .channel("lines", lines)
        .flat_map("split", |line: Word| line.word.split(' ').filter(|w| !w.is_empty()).map(word).collect::<Vec<_>>());
    let lengths = words.map("length", |w| Count { count: i64::try_from(w.word.len()).unwrap(), word: w.word });
    let view = lengths.subscribe();
    let odd = lengths.filter("long", |c| c.count > 2);
    odd.map_batches::<Count>("first", |batch| Ok(batch.slice(0, 1))).to("out", sink);
    let job = flow.start(&runtime(1, dir.path()), Resume::OrFresh).unwrap();
    for line in ["a bb ccc dddd", "", "eeeee"] {
        feed.send(word(line)).unwrap();
    }
    drop(feed);
    ended(&job);
    let seen: Vec<i64> = rest(&view).into_iter().map(|u| u.row.count).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let long = long.take();
    assert_eq!(long[0].row, Count { word: "ccc".into(), count: 3 });
    let nodes = job.status().nodes;
    let filter = nodes.iter().find(|n| n.node == "long").unwrap();
    assert_eq!((filter.rows_in, filter.rows_out), (5, 3));
}

#[test]
fn a_stream_that_is_only_subscribed_to_has_all_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, counts) = channel::<Count>(8);
    let flow = Flow::new("view");
    let view = flow.channel("counts", counts).subscribe();
    let job = flow.start(&runtime(2, dir.path()), Resume::OrFresh).unwrap();
    feed.send(Count { word: "a".into(), count: 1 }).unwrap();
    drop(feed);
    assert_eq!(rest(&view).into_iter().map(|u| (u.row.word, u.diff)).collect::<Vec<_>>(), [("a".to_string(), 1)]);
    ended(&job);
}

#[test]
fn problems_of_the_graph_come_all_at_once() {
    let (_feed, words) = channel::<Word>(1);
    let flow = Flow::new("wrong");
    let words = flow.channel("words", words).event_time("word", Duration::ZERO);
    words.filter("words", |_| true).to("a/b", collect::<Word>().0);
    let codes: Vec<String> = flow.pipeline().prepare().err().unwrap().iter().map(|p| p.code.to_string()).collect();
    assert_eq!(codes, ["FLOW-NAME", "FLOW-NAME", "PLAN-EVENT-TIME"]);
}

#[test]
fn event_time_is_declared_before_state_or_not_at_all() {
    let problem = |declare: fn(Stream<Timed>) -> Stream<Timed>| {
        let (_feed, rows) = channel::<Timed>(1);
        let flow = Flow::new("wrong");
        declare(flow.channel("rows", rows)).to("out", collect::<Timed>().0);
        let problems = flow.pipeline().prepare().err().unwrap_or_default();
        problems.iter().map(|p| format!("{}: {}", p.code, p.found.clone().unwrap_or_default())).collect::<Vec<_>>()
    };
    assert!(problem(|s| s.filter("all", |_| true).event_time("at", Duration::ZERO)).is_empty());
    let kept = ["PLAN-EVENT-TIME: `last` keeps state"];
    assert_eq!(
        problem(|s| {
            let last = s.key_by(|r| r.key).stateful("last", |_: &mut i64, r: Timed, out| out.push(r));
            last.filter("behind", |_| true).event_time("at", Duration::ZERO)
        }),
        kept
    );
}

#[test]
fn a_feed_says_when_nobody_will_read() {
    let (feed, words) = channel::<Word>(1);
    drop(words);
    assert_eq!(feed.send(word("a")).unwrap_err().0, word("a"));
}

#[test]
fn what_a_feed_has_accepted_is_there_for_the_next_job() {
    const ROWS: i64 = 60_000;
    for stop in [Stop::Drain, Stop::Kill] {
        let dir = tempfile::tempdir().unwrap();
        let (feed, numbers) = channel::<Count>(512);
        let (sink, passed) = collect::<Count>();
        let flow = Flow::new("numbers");
        flow.settings(|s| s.checkpoint_every = Duration::from_millis(10));
        flow.channel("numbers", numbers).to("out", sink);
        let sender = std::thread::spawn(move || {
            (0..ROWS).for_each(|count| feed.send(Count { word: String::new(), count }).unwrap());
        });
        let mut seen: Vec<i64> = Vec::new();
        let mut take = || seen.extend(passed.take().into_iter().map(|u| u.row.count));
        for workers in [1, 2, 3] {
            let job = runtime(workers, dir.path()).start(&flow.pipeline(), Resume::OrFresh).unwrap();
            // There is much more in the queue and in the hands of the reader than has come out.
            assert!(passed.wait(LIMIT, |rows| rows.len() > 2_000));
            job.request_stop(stop);
            ended(&job);
            take();
        }
        let job = runtime(1, dir.path()).start(&flow.pipeline(), Resume::OrFresh).unwrap();
        ended(&job);
        take();
        sender.join().unwrap();
        if stop == Stop::Kill {
            // What no checkpoint covered has come twice.
            seen.sort_unstable();
            seen.dedup();
        }
        assert!(seen.into_iter().eq(0..ROWS), "{stop:?}");
    }
}

#[test]
fn calls_answer_in_order_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, words) = channel::<Word>(64);
    let (sink, lengths) = collect::<Count>();
    let flow = Flow::new("calls");
    let count = |w: Word| Count { count: i64::try_from(w.word.len()).unwrap(), word: w.word };
    let words = flow.channel("words", words);
    let called = words.map_async("look-up", 8, move |w: Word, attempt| async move {
        assert!(!attempt.again);
        // The longer, the sooner.
        tokio::time::sleep(Duration::from_micros(2_000 / (w.word.len() as u64 + 1))).await;
        if w.word.is_empty() { Err("an empty word") } else { Ok(count(w)) }
    });
    let unordered = Calls::new(4).unordered().timeout(LIMIT);
    called.map_blocking("think", unordered, |c: Count, _| Ok::<_, Infallible>(c)).to("lengths", sink);
    let view = called.subscribe();
    let job = flow.start(&runtime(1, dir.path()), Resume::OrFresh).unwrap();
    for n in 0..200 {
        feed.send(word("x".repeat(n % 20))).unwrap();
    }
    drop(feed);
    let seen: Vec<i64> = rest(&view).into_iter().map(|u| u.row.count).collect();
    ended(&job);
    assert_eq!(seen, (0..200).map(|n| n % 20).filter(|n| *n > 0).collect::<Vec<_>>());
    let mut all: Vec<i64> = lengths.take().into_iter().map(|u| u.row.count).collect();
    all.sort_unstable();
    assert_eq!(all.len(), 190);
    assert!(all.iter().enumerate().all(|(n, l)| *l == i64::try_from(n / 10 + 1).unwrap()));
    let nodes = job.status().nodes;
    assert_eq!(nodes.iter().find(|n| n.node == "look-up").unwrap().dead_lettered, 10);
}
