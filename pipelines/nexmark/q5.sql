-- Hot items: every 2 seconds, the number of bids on the auction with most bids in the last 10 seconds.
WITH counts AS (
  SELECT auction, window_end, count(*) AS num
  FROM hop(events, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
  WHERE type = 'bid'
  GROUP BY auction, window_end
)
SELECT CAST(window_end AS BIGINT) / 1000 AS we, max(num) AS num
FROM counts
GROUP BY window_end
