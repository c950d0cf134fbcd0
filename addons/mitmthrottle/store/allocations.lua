-- How much of each shared budget a process may give out.
--
-- Rule: what the processes hold of a budget never sums up to more than the budget, whatever is lost
-- or late on the way: what a process has said it holds counts until it has said that it holds less.
--
-- KEYS[1]  the fleet: a hash of processes, `id -> seen presence serial`, and of `#...` fields
-- KEYS[n]  a budget each: a hash `id -> backlogged limited demand holds`, and `#`
-- ARGV[1]  id of the process that asks
-- ARGV[2]  1 if it listens on its channel (see `gone` and `ask_back`), else 0
-- ARGV[3]  serial number of this call: what is executed late, after a newer one, is dropped
-- ARGV[4]  how many processes it last knew of
-- ARGV[5]  name of the policy's clock
-- ARGV[6]  milliseconds since that clock started, as far as it knows
-- then for each budget:
--   responses that wait for it, responses that use less than they may have, what these need in all
--   (a fraction of the budget), what the process holds now (a fraction; -1: it was told nothing yet)
--
-- Returns epoch, processes, milliseconds since the clock's start, and for each budget: its part, the
-- part of one response, how many processes share it.

local SILENT_MS = 500 -- who has said nothing for so long is looked at
local CUT_OFF_MS = 2000 -- and then goes on with what it has, whatever the others do
local UNHEARD_MS = 1500 -- and who has no channel to be looked at by is given up
local LEASE_MS = 60000 -- what a process that is cut off holds is kept for it
local GRACE_MS = 2000 -- after the store has lost everything: nobody's part grows
local LOOK_MS = 300
local KEEP_MS = 5000 -- how often a key's life is prolonged
local CLOCK_MS = 60000 -- how long a policy's clock outlives its last process
local FLOOR = 1 / 16 -- of an equal part: what a process has at once
local NEVER_NONE = 1e-4 -- of an equal part: nobody stops altogether

local fleet, id = KEYS[1], ARGV[1]
local presence, serial, hint = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local clock, elapsed = '#clock:' .. ARGV[5], tonumber(ARGV[6])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function text(number) return string.format('%.12g', number) end

-- The fleet ---------------------------------------------------------------------------------------

local head = redis.call('HMGET', fleet, '#epoch', '#looked', '#count', clock, id)
local epoch, looked, count = head[1], tonumber(head[2] or '') or 0, tonumber(head[3] or '') or 0
if head[5] then
  local before = tonumber(string.match(head[5], '(%d+)$'))
  if before and serial <= before then return {} end
end
if not epoch then
  epoch = string.format('%.0f', now)
  redis.call('HSET', fleet, '#epoch', epoch)
end
local began = head[4] and tonumber(string.match(head[4], '^(%S+)')) or (now - elapsed)
redis.call('HSET', fleet, id, string.format('%.0f %s %.0f', now, presence, serial),
  clock, string.format('%.0f %.0f', began, now))

-- Its channel has no listener any more: the kernel has closed its connection, so it has ended. One
-- that only says nothing may be cut off, and goes on with what it holds.
local function gone(name, silent, listens)
  if silent > LEASE_MS or (listens ~= '1' and silent > UNHEARD_MS) then return true end
  return listens == '1' and silent > SILENT_MS
    and redis.call('PUBLISH', fleet .. ':' .. name, '') == 0
end

local others -- id -> true, or false if it may be cut off
local function look_around()
  others = {}
  local there = 0
  local all = redis.call('HGETALL', fleet)
  for i = 1, #all, 2 do
    local name, value = all[i], all[i + 1]
    if string.sub(name, 1, 7) == '#clock:' then
      if now - tonumber(string.match(value, '(%S+)$')) > CLOCK_MS then
        redis.call('HDEL', fleet, name)
      end
    elseif string.sub(name, 1, 1) ~= '#' then
      local seen, listens = string.match(value, '^(%d+) (%d)')
      local silent = now - tonumber(seen)
      if name ~= id and gone(name, silent, listens) then
        redis.call('HDEL', fleet, name)
      else
        others[name] = silent <= CUT_OFF_MS
        there = there + 1
      end
    end
  end
  if now - looked >= LOOK_MS or there ~= count then
    count, looked = there, now
    redis.call('HSET', fleet, '#looked', string.format('%.0f', now), '#count', count)
    redis.call('PEXPIRE', fleet, LEASE_MS + CLOCK_MS)
  end
end
if now - looked >= LOOK_MS or not head[5] then look_around() end

-- Who holds more than its part is asked to tell, and so to give back, at once.
local MOST_ASKED = 16
local function ask_back(key, rows, each, spare)
  local asked = 0
  for _, row in ipairs(rows) do
    local fair = row.backlogged * each + math.min(row.limited * each, row.demand)
      + (row.backlogged + row.limited) * spare
    if row.name and row.holds > fair * 1.01 and asked < MOST_ASKED then
      redis.call('PUBLISH', fleet .. ':' .. row.name, key)
      asked = asked + 1
    end
  end
end

-- A budget ----------------------------------------------------------------------------------------

-- The part of one response, and what is left over for each when nobody needs it: max-min fair.
local function level(rows, room)
  local backlogged, all = 0, 0
  for _, row in ipairs(rows) do
    backlogged = backlogged + row.backlogged
    all = all + row.backlogged + row.limited
  end
  if all == 0 or room <= 0 then return 0, 0 end
  local each = room / all
  for _ = 1, 32 do
    local left, weight = room, backlogged
    for _, row in ipairs(rows) do
      if row.demand < row.limited * each then
        left = left - row.demand
      else
        weight = weight + row.limited
      end
    end
    if weight == 0 then return room / all, left / all end
    local higher = left / weight
    if higher <= each * (1 + 1e-9) then break end
    each = higher
  end
  return each, 0
end

local function row_of(value)
  local b, l, d, h = string.match(value, '^(%S+) (%S+) (%S+) (%S+)')
  return { backlogged = tonumber(b), limited = tonumber(l), demand = tonumber(d),
    holds = tonumber(h) }
end

local function share_out(key, own, held)
  local mine = own.backlogged + own.limited
  local known = redis.call('HMGET', key, '#', id)
  local before = known[2] and row_of(known[2]) or { holds = 0 }
  local each, spare, given, all, solved, grace, sharing, kept
  if known[1] then
    each, spare, given, all, solved, grace, sharing, kept =
      string.match(known[1], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    each, spare, given, all = tonumber(each), tonumber(spare), tonumber(given), tonumber(all)
    solved, grace, sharing = tonumber(solved), tonumber(grace), tonumber(sharing)
    kept = tonumber(kept)
    given = given - before.holds
    if not known[2] then all, sharing = all + mine, sharing + 1 end
  elseif mine == 0 then
    return 0, 0, 0
  else
    local rebuilt = held > 0 or now - tonumber(epoch) < GRACE_MS
    each, spare, given, all, solved, sharing = 0, 0, 0, 0, -1, 1
    grace = rebuilt and now + GRACE_MS or 0
  end

  -- Few are gone through each time, a thousand three times a second.
  local rows
  if now - solved >= sharing * 0.3 or not known[2] then
    if not others then look_around() end
    local room, stale = 1, {}
    rows = {}
    given, all, sharing, solved = 0, 0, 0, now
    local values = redis.call('HGETALL', key)
    for i = 1, #values, 2 do
      local name = values[i]
      if name ~= '#' and name ~= id then
        if others[name] == nil then
          stale[#stale + 1] = name
        else
          local row = row_of(values[i + 1])
          row.name = name
          given, sharing = given + row.holds, sharing + 1
          all = all + row.backlogged + row.limited
          if others[name] then rows[#rows + 1] = row else room = room - row.holds end
        end
      end
    end
    if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end
    if mine > 0 then
      rows[#rows + 1] = own
      all, sharing = all + mine, sharing + 1
    end
    each, spare = level(rows, room)
  end

  local fields = { '#' }
  if mine == 0 then
    if known[2] then redis.call('HDEL', key, id) end
    own.holds = 0
  else
    local wanted = math.min(1,
      own.backlogged * each + math.min(own.limited * each, own.demand) + mine * spare)
    local equal = mine / math.max(all, mine)
    local least = math.min(wanted, equal * FLOOR, 1 + FLOOR - given)
    own.part = math.max(least, math.min(wanted, 1 - given))
    if now < grace then
      own.part = held >= 0 and math.min(wanted, held)
        or math.max(least, math.min(own.part, 1 / math.max(hint, count, 1)))
    end
    own.part = math.max(own.part, equal * NEVER_NONE)
    if rows and not known[2] and own.part < 0.99 * wanted then
      ask_back(key, rows, each, spare)
    end
    own.holds = math.max(own.part, held)
    fields[3], fields[4] = id, text(own.backlogged) .. ' ' .. text(own.limited) .. ' '
      .. text(own.demand) .. ' ' .. text(own.holds)
  end
  if not known[1] or now - kept >= KEEP_MS then
    kept = now
  end
  fields[2] = string.format('%.12g %.12g %.12g %.12g %.0f %.0f %.0f %.0f', each, spare,
    given + own.holds, all, solved, grace, sharing, kept)
  redis.call('HSET', key, unpack(fields))
  if kept == now then redis.call('PEXPIRE', key, LEASE_MS + KEEP_MS) end
  return own.part or 0, each + spare, sharing
end

local answer = { epoch, count, string.format('%.0f', now - began) }
for i = 2, #KEYS do
  local at = 6 + (i - 2) * 4
  local own = { backlogged = tonumber(ARGV[at + 1]), limited = tonumber(ARGV[at + 2]),
    demand = tonumber(ARGV[at + 3]) }
  local part, each, sharing = share_out(KEYS[i], own, tonumber(ARGV[at + 4]))
  answer[#answer + 1] = text(part)
  answer[#answer + 1] = text(each)
  answer[#answer + 1] = sharing
end
return answer
