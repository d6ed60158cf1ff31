-- New users: persons who opened an auction in the 10 seconds in which they joined.
WITH persons AS (
  SELECT id, name, window_start, window_end
  FROM tumble(events, ts, INTERVAL '10' SECOND)
  WHERE type = 'person'
), sellers AS (
  SELECT seller, window_end
  FROM tumble(events, ts, INTERVAL '10' SECOND)
  WHERE type = 'auction'
  GROUP BY seller, window_end
)
SELECT p.id, p.name, CAST(p.window_start AS BIGINT) / 1000 AS ws
FROM persons p
JOIN sellers s ON s.seller = p.id AND s.window_end = p.window_end
