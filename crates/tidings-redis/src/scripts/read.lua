-- Reads a piece of a room's history, in one step.
-- KEYS: the room's meta and its stream.
-- ARGV: 1 from where (start, tail, after), 2 to 4 epoch, offset and tag of the cursor, 5 the most events, 6 the most
--       events that the room keeps, 7 their age in ms, 8 for how long the room is remembered in ms, 9 an epoch should the
--       room need one, 10 the most bytes, passed by at most one step.
-- Answers the meta and the events as they are kept.
local meta_key, stream = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local meta = redis.call('GET', meta_key)
if meta then
  redis.call('PEXPIRE', meta_key, ARGV[8])
else
  -- A room in which nothing was published yet has an epoch too, by which it is known that nothing was missed.
  meta = struct.pack('>I4I8I2I8I8I8', tonumber(ARGV[9]), 0, 0, 0, now, 0)
  if redis.call('EXISTS', stream) == 1 then
    redis.call('DEL', stream)
  end
  redis.call('SET', meta_key, meta, 'PX', ARGV[8])
end
local epoch, newest, newest_tag = struct.unpack('>I4I8I2', meta)
local offset, tag = tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, age = tonumber(ARGV[5]), tonumber(ARGV[7])
local same = ARGV[1] == 'after' and tonumber(ARGV[2]) == epoch
if same and offset == newest and tag == newest_tag then
  return { meta, {} }
end

local function id(number)
  return string.format('%.0f-0', number)
end

-- The tag of the event before the one at an offset, and whether that one is young enough. Nothing if it is not there.
local function look(at)
  local found = redis.call('XRANGE', stream, id(at), id(at))[1]
  if found then
    local before, came = struct.unpack('>I2I8', found[2][2], 16)
    return before, now - came <= age
  end
end

local oldest = math.max(newest - tonumber(ARGV[6]) + 1, 1)
local from
if same and offset < newest and offset + 1 >= oldest then
  local before, young = look(offset + 1)
  if young and before == tag then
    from = offset + 1
  end
end
if not from then
  local first = redis.call('XRANGE', stream, id(oldest), '+', 'COUNT', 1)[1]
  from = first and tonumber(string.match(first[1], '^%d+')) or newest + 1
  if first and not select(2, look(from)) then
    -- Too old are those up to one of them.
    local old, young = from, newest + 1
    while young - old > 1 do
      local middle = math.floor((old + young) / 2)
      if select(2, look(middle)) then
        young = middle
      else
        old = middle
      end
    end
    from = young
  end
  if ARGV[1] == 'tail' then
    from = math.max(from, newest - limit + 1)
  end
end

local events, bytes, step = {}, 0, 16
while #events < limit and bytes < tonumber(ARGV[10]) do
  local asked = math.min(step, limit - #events)
  local found = redis.call('XRANGE', stream, id(from), '+', 'COUNT', asked)
  for _, entry in ipairs(found) do
    local event = entry[2][2]
    bytes = bytes + #event
    events[#events + 1] = event
  end
  if #found < asked then
    break
  end
  from = from + asked
  -- As many as will fit, going by those that came.
  step = math.max(1, math.min(512, math.floor((tonumber(ARGV[10]) - bytes) * #events / bytes)))
end
return { meta, events }
