-- Selection: bids on some auctions.
SELECT auction, price
FROM events
WHERE type = 'bid' AND auction % 123 = 0
