-- Highest bid of each 10 seconds.
SELECT CAST(window_end AS BIGINT) / 1000 AS we, max(price) AS price
FROM tumble(events, ts, INTERVAL '10' SECOND)
WHERE type = 'bid'
GROUP BY window_end
