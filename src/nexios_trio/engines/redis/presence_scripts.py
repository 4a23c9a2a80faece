"""Who is present, as the server knows it: what `pubsub.presence` says, in Lua. See there what it means.

All of a box's presence is behind these keys, whatever the groups, so that one script may end what a dead node has left
anywhere. In names of members and fields, parts are parted by a NUL, which no group's name has.

    p:t     a hash. e: epoch; r: the run of the server that goes by it; s: a number that was not used before; b: since
            when; l: when a node was heard last; k: how many of the other keys there are
    p:n     a sorted set: incarnations of nodes, by the end of their lease
    p:i     a hash: INCARNATION -> the number of its last renewal, the server's run at its first one, its lease (ms)
    p:o     a sorted set, as a list in order: INCARNATION RANK GROUP CLIENT, of all that are present
    p:e     a hash: GROUP CLIENT -> incarnation ("": it has left), user, grace (ms), rank among those of the user, info,
            rank among those of the incarnation
    p:u     a hash: GROUP USER -> rank, how many connections are present, the info as it was told, who left last
    p:c     a sorted set, as a list in order: GROUP USER'S-RANK RANK CLIENT, of all
    p:f     the same, of those that have an info
    p:x     a sorted set: GROUP USER, of those whose last connection has left, by the end of their grace
    p:v     a hash: GROUP -> the number of its last event, and their epoch
    p:z     a sorted set: groups of `p:v`, by the time at which somebody asked for them last

A user is the JSON of a text, or "c" and the connection without a user; an info is the JSON of a text.

In a new run of the server the epoch is a new one. Nobody could renew a lease while there was no server, so all of
them begin anew; and what the server remembers may be old, so every node is told that it is lost, and says all of it in
the name of another incarnation. Whoever is not spoken of again leaves with the old one's lease. Where the server has
forgotten one of the keys, all are void.
"""

from typing import Final

__all__ = ["PRESENCE_SCRIPTS"]

# KEYS: as above. ARGV: nonce, what channels of events begin with, life (ms), and what each script says
_BEGIN: Final = r"""
local RUN = '@RUN@'
local T, N, I, O, E, U, C, F, X, V, Z = unpack(KEYS)
local REAPED, FORGOTTEN, IDLE = 200, 20, 3600000
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local epoch, run, number, born, heard, keys = unpack(redis.call('HMGET', T, 'e', 'r', 's', 'b', 'l', 'k'))
number, born = tonumber(number) or 0, tonumber(born) or now

local function get(key, field)
  local value = redis.call('HMGET', key, field)[1]
  return value and cmsgpack.unpack(value)
end
local function set(key, field, value) redis.call('HSET', key, field, cmsgpack.pack(value)) end
local function rank()
  number = number + 1
  return string.format('%014x', number)
end
local function count() return redis.call('EXISTS', unpack(KEYS, 2)) end
local function begin()
  local is_whole = epoch and tonumber(keys) == count()
  if is_whole and run == RUN then return end
  if is_whole then
    local since = now - (tonumber(heard) or now)
    for _, node in ipairs(redis.call('ZRANGE', N, 0, -1)) do
      local known = get(I, node)
      redis.call('ZADD', N, now + (known and known[3] or 0), node)
    end
    local leaving = redis.call('ZRANGE', X, 0, -1, 'WITHSCORES')
    for i = 1, #leaving, 2 do redis.call('ZADD', X, leaving[i + 1] + since, leaving[i]) end
    redis.call('DEL', V, Z)
  else
    redis.call('DEL', unpack(KEYS))
    number = 0
  end
  epoch, born = string.format('%x%05x', tonumber(clock[1]), tonumber(clock[2])) .. ARGV[1], now
  redis.call('HSET', T, 'e', epoch, 'r', RUN, 'b', now)
end
local function finish(answer)
  redis.call('HSET', T, 's', number, 'l', now, 'k', count())
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3]) end
  return answer
end
local function version(group)
  local last = redis.call('HMGET', V, group)[1]
  if last then
    local top, epoch = string.match(last, '(%d+) (%S+)')
    return tonumber(top), epoch
  end
  number = number + 1
  local own = epoch .. string.format('.%x', number)
  redis.call('HSET', V, group, '0 ' .. own)
  redis.call('ZADD', Z, now, group)
  return 0, own
end
-- An event is a message as core/message_codec.py has it.
local function tell(kind, group, user, client, info)
  local top, own = version(group)
  local place = string.format('%.0f %s', top + 1, own)
  redis.call('HSET', V, group, place)
  local name = string.sub(user, 1, 1) == '"' and user .. ',""' or 'null,"' .. client .. '"'
  local head = struct.pack('>BBBc16dI4', 1, 0, 0, string.sub(redis.sha1hex(group .. place), 1, 16), now / 1000, 0)
  redis.call('PUBLISH', ARGV[2] .. group, place .. ' ' .. head .. '["' .. kind .. '",' .. name .. ',' .. info .. ']')
end
local function place(list, group, u, e, client)
  redis.call('ZADD', list, 0, group .. '\0' .. u[1] .. '\0' .. e[4] .. '\0' .. client)
end
local function take(group, u, e, client)
  local row = group .. '\0' .. u[1] .. '\0' .. e[4] .. '\0' .. client
  redis.call('ZREM', C, row)
  if e[5] ~= '""' then redis.call('ZREM', F, row) end
end
local function latest(group, u)
  local prefix = group .. '\0' .. u[1] .. '\0'
  local row = redis.call('ZRANGE', F, '(' .. prefix .. '\255', '[' .. prefix, 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
  local e = row and get(E, group .. '\0' .. string.sub(row, #prefix + 16))
  return e and e[5] or '""'
end
local function remove(group, user, u)
  redis.call('ZREM', X, group .. '\0' .. user)
  local e = get(E, group .. '\0' .. u[4])
  if e then take(group, u, e, u[4]) end
  redis.call('HDEL', E, group .. '\0' .. u[4])
  redis.call('HDEL', U, group .. '\0' .. user)
  tell('left', group, user, u[4], u[3])
end
local function held(group, client, e) return e[1] .. '\0' .. e[6] .. '\0' .. group .. '\0' .. client end
local function depart(group, client, e, when)
  redis.call('ZREM', O, held(group, client, e))
  local at = group .. '\0' .. e[2]
  local u = get(U, at)
  if not u then
    redis.call('HDEL', E, group .. '\0' .. client)
    return
  end
  u[2] = u[2] - 1
  if u[2] <= 0 then
    e[1], u[4] = '', client
    set(E, group .. '\0' .. client, e)
    redis.call('ZADD', X, when + e[3], at)
  else
    redis.call('HDEL', E, group .. '\0' .. client)
    take(group, u, e, client)
    local info = e[5] == u[3] and latest(group, u) or u[3]
    if info ~= u[3] then
      u[3] = info
      tell('updated', group, e[2], client, info)
    end
  end
  set(U, at, u)
end
local function reap()
  local left = REAPED
  local dead = redis.call('ZRANGE', N, '-inf', now, 'BYSCORE', 'LIMIT', 0, 4, 'WITHSCORES')
  for i = 1, #dead, 2 do
    local rows = redis.call('ZRANGE', O, '[' .. dead[i] .. '\0', '(' .. dead[i] .. '\1', 'BYLEX', 'LIMIT', 0, left)
    for _, row in ipairs(rows) do
      local group, client = string.match(row, '^.-%z.-%z(.-)%z(.*)$')
      local e = get(E, group .. '\0' .. client)
      if e and e[1] == dead[i] then
        depart(group, client, e, tonumber(dead[i + 1]))
      else
        redis.call('ZREM', O, row)
      end
    end
    left = left - #rows
    if left <= 0 then break end
    redis.call('ZREM', N, dead[i])
    redis.call('HDEL', I, dead[i])
  end
  local over = redis.call('ZRANGE', X, '-inf', now, 'BYSCORE', 'LIMIT', 0, REAPED)
  for _, at in ipairs(over) do
    local group, user = string.match(at, '^(.-)%z(.*)$')
    local u = get(U, at)
    if u and u[4] ~= '' then remove(group, user, u) else redis.call('ZREM', X, at) end
  end
  for _, group in ipairs(redis.call('ZRANGE', Z, '-inf', now - IDLE, 'BYSCORE', 'LIMIT', 0, FORGOTTEN)) do
    if #redis.call('ZRANGE', C, '[' .. group .. '\0', '(' .. group .. '\1', 'BYLEX', 'LIMIT', 0, 1) > 0 then
      redis.call('ZADD', Z, now, group)
    else
      redis.call('ZREM', Z, group)
      redis.call('HDEL', V, group)
    end
  end
  return (left <= 0 or #over >= REAPED) and 1 or 0
end
begin()
"""

# ARGV: incarnation, number, lease (ms), 1 where it may begin; of each edit: group, client, 1 or 0, user, grace (ms),
#   info
# Returns: 1, or 0 where the lease is over; 1 where there is more to reap
_RENEW: Final = r"""
local function enter(node, group, client, user, grace, info)
  local at = group .. '\0' .. client
  local e = get(E, at)
  if e and e[2] ~= user then
    if e[1] ~= '' then depart(group, client, e, 0) end
    local u = get(U, group .. '\0' .. e[2])
    if u and u[4] == client then remove(group, e[2], u) end
    e = nil
  end
  local u = get(U, group .. '\0' .. user)
  local is_new = not u
  u = u or { rank(), 0, '""', '' }
  if u[4] ~= '' then
    redis.call('ZREM', X, group .. '\0' .. user)
    local last = get(E, group .. '\0' .. u[4])
    if last then take(group, u, last, u[4]) end
    redis.call('HDEL', E, group .. '\0' .. u[4])
    if u[4] == client then e = nil end
    u[4] = ''
  end
  local told = u[3]
  if e then
    if e[1] == node and e[5] == info and e[3] == grace then return end
    redis.call('ZREM', O, held(group, client, e))
    if e[5] ~= info then take(group, u, e, client) end
  else
    u[2] = u[2] + 1
  end
  local is_said = not e or e[5] ~= info
  local last = rank()
  local fresh = { node, user, grace, is_said and last or e[4], info, last }
  set(E, at, fresh)
  redis.call('ZADD', O, 0, held(group, client, fresh))
  if is_said then
    place(C, group, u, fresh, client)
    if info ~= '""' then place(F, group, u, fresh, client) end
    u[3] = info ~= '""' and info or u[2] == 1 and info or latest(group, u)
  end
  if is_new or u[3] ~= told then tell(is_new and 'joined' or 'updated', group, user, client, u[3]) end
  set(U, group .. '\0' .. user, u)
end
local more = reap()
local node, said, lease = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local known = get(I, node)
if known then
  local ends = tonumber(redis.call('ZSCORE', N, node) or 0)
  if known[2] ~= RUN or ends <= now then return finish({ 0, more }) end
elseif ARGV[7] ~= '1' then
  return finish({ 0, more })
end
if known and said <= known[1] then return finish({ 1, more }) end
set(I, node, { said, RUN, lease })
redis.call('ZADD', N, now + lease, node)
for i = 8, #ARGV, 6 do
  local group, client = ARGV[i], ARGV[i + 1]
  if ARGV[i + 2] == '1' then
    enter(node, group, client, ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5])
  else
    local e = get(E, group .. '\0' .. client)
    if e and e[1] == node then depart(group, client, e, now) end
  end
end
return finish({ 1, math.max(more, reap()) })
"""

# Returns: 1 where there is more to reap
_REAP: Final = """
return finish(reap())
"""

# ARGV: a group, bytes of an answer at most
# Returns: 1 where there is more to reap, epoch of all, for how long (ms), epoch and number of the last event; then
#   connection, user, info of each. Only the first five, and -1, where that is too much.
_PRESENT: Final = r"""
local more, group = reap(), ARGV[4]
local top, own = 0, epoch
if redis.call('HMGET', V, group)[1] then top, own = version(group) end
local answer = { more, epoch, now - born, own, top }
local left = tonumber(ARGV[5])
local from = '[' .. group .. '\0'
while true do
  local rows = redis.call('ZRANGE', C, from, '(' .. group .. '\1', 'BYLEX', 'LIMIT', 0, 500)
  if #rows == 0 then return finish(answer) end
  from = '(' .. rows[#rows]
  local fields = {}
  for i, row in ipairs(rows) do fields[i] = group .. '\0' .. string.sub(row, #group + 32) end
  for i, value in ipairs(redis.call('HMGET', E, unpack(fields))) do
    if value then
      local e = cmsgpack.unpack(value)
      local client = string.sub(fields[i], #group + 2)
      left = left - #client - #e[2] - #e[5]
      if left < 0 then return finish({ more, epoch, now - born, own, top, -1 }) end
      answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = client, e[2], e[5]
    end
  end
end
"""

# ARGV: groups. Returns of each: epoch, number of the last event, and the epoch again, as `tops` in scripts.py
_VERSIONS: Final = """
local versions = {}
for i = 4, #ARGV do
  local top, own = version(ARGV[i])
  redis.call('ZADD', Z, now, ARGV[i])
  versions[#versions + 1], versions[#versions + 2], versions[#versions + 3] = own, top, own
end
return finish(versions)
"""

PRESENCE_SCRIPTS: Final = {
    "renew": _BEGIN + _RENEW,
    "reap": _BEGIN + _REAP,
    "present": _BEGIN + _PRESENT,
    "versions": _BEGIN + _VERSIONS,
}
