-- What the processes that share say of themselves, for whoever wants to see all of them as one.
--
-- Rule: it decides nothing. Who has ended is left out as soon as that is seen, who only says nothing
-- is told with for how long, and all of it expires by itself.
--
-- KEYS[1]  the fleet, whose channels tell who is still there (parts.lua)
-- KEYS[2]  a hash `id -> when, what it says`
-- ARGV[1]  id of the process that says something
-- ARGV[2]  what it says
-- ARGV[3]  how many processes to tell of; 0: none
--
-- Returns how many there are, and then of each: id, milliseconds since it said something, what.

local LOOKED_AT_MS = 3000 -- who has said nothing for so long may have ended
local KEEP_MS = 60000

local fleet, members, id, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

redis.call('HSET', members, id, string.format('%.0f ', now) .. ARGV[2])
redis.call('PEXPIRE', members, KEEP_MS)
if most <= 0 then return { 0 } end

local found, ids, ended = {}, {}, {}
local all = redis.call('HGETALL', members)
for i = 1, #all, 2 do
  local name = all[i]
  local seen, said = string.match(all[i + 1], '^(%d+) (.*)$')
  local silent = now - (tonumber(seen or '') or 0)
  if silent > KEEP_MS or (silent > LOOKED_AT_MS
      and redis.call('PUBLISH', fleet .. ':' .. name, '') == 0) then
    ended[#ended + 1] = name
  else
    ids[#ids + 1] = name
    found[name] = { string.format('%.0f', math.max(0, silent)), said }
  end
end
for _, name in ipairs(ended) do redis.call('HDEL', members, name) end

table.sort(ids)
local answer = { #ids }
for i = 1, math.min(#ids, most) do
  answer[#answer + 1] = ids[i]
  answer[#answer + 1] = found[ids[i]][1]
  answer[#answer + 1] = found[ids[i]][2]
end
return answer
