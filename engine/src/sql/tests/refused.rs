//! Goal: everything that is not offered, and every mistake, is answered by name when a query is planned.
//! Method: a table of queries, codes and words of the answer.

use super::query::events;
use crate::sql::plan_query;

#[track_caller]
fn refused(query: &str, code: &str, part: &str) {
    let text = plan_query("node", &[events()], query).map(|p| p.root.to_string()).expect_err(query).to_string();
    assert!(text.contains(code) && text.contains(part), "{query}\n  gave     {text}\n  expected {code} … {part}");
    assert!(text.contains("node node") && !text.contains("INTERNAL"), "{query}: {text}");
}

#[test]
fn what_is_not_offered() {
    let window = "tumble(events, ts, INTERVAL '1 minute')";
    let table = [
        ("SELECT id FROM events ORDER BY id".to_owned(), "ORDER BY"),
        ("SELECT id FROM (SELECT id FROM events ORDER BY id) x".into(), "ORDER BY"),
        ("SELECT id FROM events LIMIT 3".into(), "LIMIT"),
        ("SELECT id FROM events OFFSET 3".into(), "LIMIT"),
        ("SELECT count(*) FROM events".into(), "without end"),
        (format!("SELECT count(*) FROM {window}"), "without end"),
        ("SELECT type, count(*) FROM events GROUP BY type".into(), "GROUP BY without a window"),
        (format!("SELECT type, count(*) FROM {window} GROUP BY type"), "without window_start or window_end"),
        (format!("SELECT date_trunc('hour', window_end), count(*) FROM {window} GROUP BY date_trunc('hour', window_end)"), "without window_start or window_end"),
        ("SELECT DISTINCT type FROM events".into(), "GROUP BY without a window"),
        ("SELECT id FROM events UNION SELECT seller FROM events".into(), "GROUP BY without a window"),
        ("SELECT a.id FROM events a JOIN events b ON a.id = b.seller".into(), "equal window columns"),
        (format!("SELECT a.id FROM {window} a JOIN {window} b ON a.id = b.seller"), "equal window columns"),
        (format!("SELECT a.id FROM {window} a JOIN tumble(events, ts, INTERVAL '2 minutes') b ON a.window_start = b.window_start"), "equal window columns"),
        (format!("SELECT a.id FROM {window} a CROSS JOIN {window} b"), "equal window columns"),
        (format!("SELECT a.id FROM {window} a FULL JOIN {window} b ON a.window_end = b.window_end"), "FULL JOIN"),
        (format!("SELECT a.id FROM {window} a RIGHT JOIN {window} b ON a.window_end = b.window_end"), "swap the two inputs"),
        (format!("SELECT a.id FROM {window} a LEFT SEMI JOIN {window} b ON a.window_end = b.window_end"), "SEMI JOIN"),
        (format!("SELECT a.id FROM {window} a LEFT ANTI JOIN {window} b ON a.window_end = b.window_end"), "ANTI JOIN"),
        ("SELECT id FROM events WHERE id IN (SELECT seller FROM events)".into(), "query inside an expression"),
        ("SELECT id FROM events e WHERE EXISTS (SELECT 1 FROM events x WHERE x.seller = e.id)".into(), "query inside an expression"),
        ("SELECT (SELECT max(id) FROM events) FROM events".into(), "query inside an expression"),
        ("SELECT row_number() OVER (ORDER BY ts) FROM events".into(), "OVER"),
        ("SELECT sum(price) OVER (PARTITION BY auction) FROM events".into(), "OVER"),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r".into(), "recursive"),
        ("SELECT id FROM events WHERE ts > now()".into(), "wall clock"),
        ("SELECT now() FROM events".into(), "wall clock"),
        ("SELECT current_timestamp FROM events".into(), "wall clock"),
        ("SELECT 1".into(), "without FROM"),
        ("VALUES (1)".into(), "VALUES"),
        ("SELECT id FROM events EXCEPT SELECT seller FROM events".into(), "EXCEPT"),
        ("SELECT id FROM events INTERSECT SELECT seller FROM events".into(), "INTERSECT"),
        ("SELECT DISTINCT ON (id) id, ts FROM events".into(), "DISTINCT ON"),
        (format!("SELECT auction, window_end, count(*) FROM {window} GROUP BY ROLLUP (auction, window_end)"), "ROLLUP"),
        (format!("SELECT auction, count(*) FROM {window} GROUP BY ALL"), "GROUP BY ALL"),
        (format!("SELECT window_end, first_value(price) FROM {window} GROUP BY window_end"), "first_value"),
        (format!("SELECT window_end, array_agg(price ORDER BY ts) FROM {window} GROUP BY window_end"), "ORDER BY inside array_agg"),
        ("SELECT window_end, id FROM session(events, ts, INTERVAL '1 minute')".into(), "session window that is not grouped"),
        ("SELECT window_end, count(*) FROM session(events, ts, INTERVAL '1 minute') WHERE window_end > '2020-01-01' GROUP BY window_end, bidder".into(), "session window that is not grouped"),
        (format!("SELECT window_end, count(*) FROM tumble((SELECT * FROM {window}), ts, INTERVAL '1 hour') GROUP BY window_end"), "already have a column `window_start`"),
        ("SELECT id FROM events TABLESAMPLE (10)".into(), "TABLESAMPLE"),
        ("SELECT u FROM UNNEST([1, 2]) AS t(u)".into(), "UNNEST"),
        ("INSERT INTO events VALUES (1)".into(), "INSERT is no query"),
        ("DROP TABLE events".into(), "DROP is no query"),
        ("SELECT id FROM events; SELECT id FROM events".into(), "several statements"),
        ("SELECT id FROM events FOR UPDATE".into(), "FOR"),
    ];
    for (query, part) in table {
        refused(&query, "SQL-UNSUPPORTED", part);
    }
}

#[test]
fn mistakes() {
    let table = [
        ("SELECT FROM", "SQL-SYNTAX", ""),
        ("SELEC id FROM events", "query:1:1: node node: SQL-SYNTAX", "found SELEC"),
        ("SELECT id\nFROM event", "SQL-UNKNOWN-INPUT: there is no input `event`", "one of events"),
        ("SELECT id,\n  prize FROM events", "query:2:3: node node: SQL-UNKNOWN-COLUMN", "did you mean `price`?"),
        ("SELECT upperr(type) FROM events", "SQL-UNKNOWN-FUNCTION", "did you mean `upper`?"),
        ("SELECT id + ts FROM events", "SQL-TYPE", ""),
        ("SELECT id FROM events WHERE id + 1", "SQL-TYPE", ""),
        (
            "SELECT price, window_end, count(*) FROM tumble(events, ts, INTERVAL '1 minute') GROUP BY window_end",
            "SQL-PLAN",
            "price",
        ),
        ("SELECT id FROM tumbel(events, ts, INTERVAL '1 minute')", "SQL-UNKNOWN-FUNCTION", "did you mean `tumble`?"),
        ("SELECT id FROM tumble(events)", "SQL-WINDOW", "expected tumble(input, event_time, INTERVAL size"),
        ("SELECT id FROM tumble(events, ts, 10)", "SQL-WINDOW", "INTERVAL of fixed length"),
        ("SELECT id FROM tumble(events, ts, INTERVAL '1 month')", "SQL-WINDOW", "INTERVAL of fixed length"),
        ("SELECT id FROM tumble(events, ts, INTERVAL '0 seconds')", "SQL-WINDOW", "above zero"),
        ("SELECT id FROM tumble(events, ts, INTERVAL '-1 seconds')", "SQL-WINDOW", "above zero"),
        ("SELECT id FROM tumble(events, id, INTERVAL '1 minute')", "SQL-WINDOW", "column `id` is no timestamp"),
        ("SELECT id FROM tumble(events, tss, INTERVAL '1 minute')", "SQL-UNKNOWN-COLUMN", "did you mean `ts`?"),
        ("SELECT id FROM tumble(event, ts, INTERVAL '1 minute')", "SQL-UNKNOWN-INPUT", "one of events"),
        ("SELECT id FROM hop(events, ts, INTERVAL '10' SECOND, INTERVAL '2' SECOND)", "SQL-WINDOW", "would vanish"),
        ("SELECT id FROM hop(events, ts, INTERVAL '1 microsecond', INTERVAL '1 day')", "SQL-WINDOW", "windows"),
        ("SELECT id FROM hop(events, ts, INTERVAL '1 minute')", "SQL-WINDOW", "expected hop("),
        ("SELECT a.id FROM events a, events b WHERE id = 1", "SQL-AMBIGUOUS-COLUMN", "`id`"),
        ("", "SQL-SYNTAX", "empty"),
        (";", "SQL-SYNTAX", "empty"),
    ];
    for (query, code, part) in table {
        refused(query, code, part);
    }
}

#[test]
fn large_queries_stop() {
    let table = [
        format!("SELECT {} FROM events", "id, ".repeat(20_000)),
        format!("SELECT {} id {} FROM events", "(".repeat(3000), ")".repeat(3000)),
        format!("SELECT id FROM events WHERE {}", vec!["id = 1"; 3000].join(" OR ")),
        format!("{} SELECT id FROM events {}", "SELECT id FROM (".repeat(200), ") x".repeat(200)),
    ];
    for query in table {
        refused(&query, "SQL-TOO-LARGE", "");
    }
    // Each level doubles: the text is short, the values would not be.
    let mut query = "SELECT name AS c FROM events".to_owned();
    for _ in 0..20 {
        query = format!("SELECT concat(c, c) AS c FROM ({query}) x");
    }
    let text = plan_query("node", &[events()], &query).map(|p| p.root.to_string()).unwrap_or_else(|p| p.to_string());
    assert!(text.len() < 10_000, "{}", text.len());
}
