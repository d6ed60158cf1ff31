-- Bids as they are: what reading and writing cost.
SELECT auction, bidder, price, CAST(ts AS BIGINT) / 1000 AS ts, extra
FROM events
WHERE type = 'bid'
