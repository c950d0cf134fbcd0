-- What has been used of a quota in this period, by all processes.
--
-- Rule: it never falls. A store that was emptied learns it again from those who knew.
--
-- KEYS[1]  bytes used
-- ARGV     bytes used since the last call, the total known then, milliseconds to keep it
-- Returns the total.

local known = math.max(tonumber(redis.call('GET', KEYS[1]) or '') or 0, tonumber(ARGV[2]))
local total = string.format('%.0f', known + tonumber(ARGV[1]))
redis.call('SET', KEYS[1], total, 'PX', ARGV[3])
return total
