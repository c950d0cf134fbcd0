-- Whose turn it is to start: the generic cell rate algorithm, `count` starts at once and then one
-- each `period / count`.
--
-- Rule: a start is counted when it is given. Nobody reserves more than one that lies ahead.
--
-- KEYS[1]  the limit: when the bucket will be full again, in milliseconds of the server's clock
-- ARGV     count, period in milliseconds, how many wait, in how many milliseconds the bucket would
--          be full as far as the process knows: for a store that was emptied
-- Returns how many may start, in how many milliseconds, and in how many the bucket will be full.

local count, period, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = math.min(tonumber(ARGV[4]), period)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local step = period / count
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '') or (now + known), now)
local given, wait = 0, 0
while given < wanted and full + step <= now + period + 1e-6 do
  given, full = given + 1, full + step
end
if given == 0 then
  given, full = 1, full + step
  wait = full - now - period
end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now) + 1000)
return { given, string.format('%.3f', wait), string.format('%.3f', full - now) }
