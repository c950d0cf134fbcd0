-- Who may start: never more than `count` in any window of `period`, over all processes.
--
-- Rule: a start is counted when it is given.  Nobody reserves more than one that lies ahead.
--
-- KEYS[1]  the starts that count still, the oldest first: "milliseconds number,milliseconds number"
-- ARGV     count, period in milliseconds, how many wait, how many starts the process knows of within
--          the last period: for a store that was emptied
-- Returns how many may start, in how many milliseconds, and in how many none of them will count.

local key, count, period = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, known = tonumber(ARGV[3]), math.min(tonumber(ARGV[4]), tonumber(ARGV[1]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
-- Of many starts, those within a thousandth of the period are kept as one, at the end of it.
local grain = count > 1000 and period / 1000 or 0

local at, number, total = {}, {}, 0
local kept = redis.call('GET', key)
for t, n in string.gmatch(kept or '', '([^ ,]+) ([^ ,]+)') do
  t, n = tonumber(t), tonumber(n)
  if t + period > now then
    at[#at + 1], number[#number + 1], total = t, n, total + n
  end
end
if not kept and known > 0 then
  at[1], number[1], total = now, known, known
end

local function add(t, n)
  if grain > 0 then
    t = math.ceil(t / grain) * grain
  end
  if #at > 0 and at[#at] >= t then
    number[#at] = number[#at] + n
  else
    at[#at + 1], number[#number + 1] = t, n
  end
end

local given, wait = math.max(0, math.min(wanted, count - total)), 0
if given > 0 then
  add(now, given)
else
  local over, oldest = total + 1 - count, 1
  while over > number[oldest] do
    over, oldest = over - number[oldest], oldest + 1
  end
  given, wait = 1, at[oldest] + period - now
  add(now + wait, 1)
end

local entries = {}
for i = 1, #at do
  entries[i] = string.format('%.3f %d', at[i], number[i])
end
local full = at[#at] + period - now
redis.call('SET', key, table.concat(entries, ','), 'PX', math.ceil(full) + 1000)
return { given, string.format('%.3f', wait), string.format('%.3f', full) }
