-- Currency conversion: the price of each bid in another currency.
SELECT auction, bidder, price * 0.908 AS price, CAST(ts AS BIGINT) / 1000 AS ts, extra
FROM events
WHERE type = 'bid'
