-- Stores an event in a room and hands it over, in one step.
-- KEYS: the room's meta, its stream and, for an event with one, its idempotency key.
-- ARGV: 1 the event, 2 its tag, 3 an epoch should the room need one, 4 the most events kept, 5 the most bytes,
--       6 the age in ms, 7 for how long the room is remembered in ms, 8 the channel, 9 how to hand over, 10 for how long
--       the idempotency key is remembered in ms.
-- The meta is epoch, newest offset and its tag; then the offset up to which the next trim goes, when that was said, and
-- the bytes since.
if KEYS[3] then
  local first = redis.call('GET', KEYS[3])
  if first then
    return first
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local meta = redis.call('GET', KEYS[1])
local epoch, offset, before, mark, marked, bytes
if meta then
  epoch, offset, before, mark, marked, bytes = struct.unpack('>I4I8I2I8I8I8', meta)
else
  epoch, offset, before, mark, marked, bytes = tonumber(ARGV[3]), 0, 0, 0, now, 0
  -- What is left of a room of which nothing else is known. Not without need: once something is written, a server takes
  -- the rest of a script whether or not it has memory for it.
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('DEL', KEYS[2])
  end
end
offset = offset + 1
local tag = tonumber(ARGV[2])
local message = struct.pack('>BI4I8I2I2I8', 2, epoch, offset, tag, before, now) .. ARGV[1]
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'm', message)
if added.err then
  if not string.find(added.err, 'equal or smaller') then
    return added
  end
  -- The stream is of another time than the meta. Neither can be gone on with.
  redis.call('DEL', KEYS[2])
  epoch, offset, mark, marked, bytes = tonumber(ARGV[3]), 1, 0, now, 0
  message = struct.pack('>BI4I8I2I2I8', 2, epoch, offset, tag, 0, now) .. ARGV[1]
  redis.call('XADD', KEYS[2], '1-0', 'm', message)
end
bytes = bytes + #ARGV[1] + 198
-- By now all up to the mark is too old, or pushed out by what came since: so there is at most twice of what is kept,
-- and nobody has to look for it.
if now - marked > tonumber(ARGV[6]) or bytes > tonumber(ARGV[5]) then
  redis.call('XTRIM', KEYS[2], 'MINID', (mark + 1) .. '-0')
  mark, marked, bytes = offset, now, 0
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('SET', KEYS[1], struct.pack('>I4I8I2I8I8I8', epoch, offset, tag, mark, marked, bytes), 'PX', ARGV[7])
local position = struct.pack('>I4I8I2', epoch, offset, tag)
if KEYS[3] then
  redis.call('SET', KEYS[3], position, 'PX', ARGV[10])
end
redis.call(ARGV[9], ARGV[8], message)
return position
