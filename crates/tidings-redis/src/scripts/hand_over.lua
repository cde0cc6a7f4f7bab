-- Hands an event over that nobody keeps, once.
-- KEYS: its idempotency key.
-- ARGV: 1 the event, 2 the channel, 3 how to hand over, 4 for how long the idempotency key is remembered in ms.
if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[4]) then
  redis.call(ARGV[3], ARGV[2], ARGV[1])
end
return 1
