"""What the server does at once, in Lua: numbering, keeping and publishing are one step, and so is reading.

Of each group there are, under the engine's prefix:

    m:GROUP     a hash. e: epoch; o: offset of the last message; r: the run of the server that numbers; l: the epochs
                before, each with the offset up to which it is as this one; f: the epoch it began with; b: bytes that
                are kept; a: for how long, in ms; t: when the last was kept; x: when lives are renewed
    h:GROUP     a stream, of what is kept: the ids are 0-OFFSET. t: when, in ms; z: size of the payload; d: the message
    k:KEY       the answer to a publish with a key
    i           a sorted set: names of groups that keep something, by the time at which that is over
    p:...       who is present: `presence_scripts`
    c:GROUP     the channel: OFFSET EPOCH MESSAGE; offset 0 for a message without a number. A mark: - EPOCH OLD-EPOCH

The server's run id is a part of each script's text, and so of its name. Another server, or the same one after a start,
does not know that name: nothing is done there by somebody who takes it for the one before. The first touch of a group
in a new run begins a new epoch. `l` says what the old ones have in common with it: who has seen no more than that
misses nothing. A node that has seen more makes a mark: a new epoch that goes on from none, since who was taken for
somebody that misses nothing may have been given the messages of this one.
"""

from typing import Final

from .presence_scripts import PRESENCE_SCRIPTS

__all__ = ["SCRIPTS", "script_text"]

_BEGIN: Final = """
local RUN = '@RUN@'
local function begin(meta, stream, nonce)
  local m = redis.call('HMGET', meta, 'e', 'o', 'r', 'l', 'f', 'b', 'a', 't', 'x')
  local g = { epoch = m[1], top = tonumber(m[2]) or 0, lineage = m[4] or '', first = m[5], bytes = tonumber(m[6]) or 0,
              age = tonumber(m[7]) or 0, renew = tonumber(m[9]) or 0 }
  local t = redis.call('TIME')
  g.now = math.max(t[1] * 1000 + math.floor(t[2] / 1000), tonumber(m[8]) or 0)
  if g.epoch and m[3] == RUN then return g end
  local epoch = string.format('%x%05x', tonumber(t[1]), tonumber(t[2])) .. nonce
  if g.epoch then
    local epochs = {}
    for old, upto in string.gmatch(g.lineage, '(%S+):(%d+)') do
      epochs[#epochs + 1] = old .. ':' .. math.min(tonumber(upto), g.top)
    end
    if #epochs >= 8 then table.remove(epochs, 1) end
    epochs[#epochs + 1] = g.epoch .. ':' .. g.top
    g.lineage = table.concat(epochs, ' ')
  else
    redis.call('DEL', stream)
    g.first, g.bytes, g.lineage = epoch, 0, ''
  end
  g.epoch, g.renew = epoch, 0
  redis.call('HSET', meta, 'e', epoch, 'o', g.top, 'r', RUN, 'l', g.lineage, 'f', g.first, 'b', g.bytes)
  return g
end
local function drop_oldest(stream, g)
  local row = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', stream, row[1])
  g.bytes = g.bytes - row[2][4]
end
local function drop_old(stream, g)
  while g.age > 0 do
    local row = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not row or g.now - row[2][2] < g.age then return end
    drop_oldest(stream, g)
  end
end
"""

# KEYS: meta, stream, index, receipt
# ARGV: nonce, channel, message, life (ms), receipt's life (ms; 0: none), group, size ('': not kept), max_bytes,
#   max_messages (0: any), max_age (ms; 0: none), "clear" or "trim"
# Returns: offset, epoch, how many were given it, 1; or what the first publish of this key was answered, and then 0
_POST: Final = """
if ARGV[5] ~= '0' then
  local before = redis.call('GET', KEYS[4])
  if before then
    local offset, epoch = string.match(before, '(%d+) (%S*)')
    return { tonumber(offset), epoch, 1, 0 }
  end
end
local g = begin(KEYS[1], KEYS[2], ARGV[1])
local offset, life = g.top + 1, tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'o', offset)  -- first: a number is used once, also where the rest is refused half way
if ARGV[7] ~= '' then
  local size, most, count, stream = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), KEYS[2]
  local kept, age = redis.call('XLEN', stream), tonumber(ARGV[10])
  if kept == 0 then g.bytes = 0 end
  if kept == 0 or age ~= g.age then g.renew = 0 end
  g.age = age
  redis.call('XADD', stream, '0-' .. offset, 't', g.now, 'z', size, 'd', ARGV[3])
  g.bytes = g.bytes + size
  drop_old(stream, g)
  kept = redis.call('XLEN', stream)
  while count > 0 and kept > count do drop_oldest(stream, g) kept = kept - 1 end
  if g.bytes > most and ARGV[11] == 'clear' then
    redis.call('XTRIM', stream, 'MAXLEN', 1)
    g.bytes, kept = size, 1
  end
  while g.bytes > most do drop_oldest(stream, g) end
  redis.call('HSET', KEYS[1], 'b', g.bytes, 'a', g.age, 't', g.now)
  if g.age > 0 then redis.call('PEXPIRE', stream, g.age) end
end
if g.now >= g.renew then
  redis.call('HSET', KEYS[1], 'x', g.now + math.floor(life / 8))
  redis.call('PEXPIRE', KEYS[1], life)
  if ARGV[7] ~= '' then
    if g.age == 0 then redis.call('PEXPIRE', KEYS[2], life) end
    redis.call('ZADD', KEYS[3], g.now + life, ARGV[6])
  end
end
local given = redis.call('PUBLISH', ARGV[2], offset .. ' ' .. g.epoch .. ' ' .. ARGV[3])
if ARGV[5] ~= '0' then redis.call('SET', KEYS[4], offset .. ' ' .. g.epoch, 'PX', ARGV[5]) end
return { offset, g.epoch, given, 1 }
"""

# A message without a number. KEYS: receipt; ARGV: channel, message, receipt's life (ms; 0: none)
# Returns as a post does, with offset 0.
_PASS: Final = """
if ARGV[3] ~= '0' then
  if redis.call('GET', KEYS[1]) then return { 0, '', 1, 0 } end
end
local given = redis.call('PUBLISH', ARGV[1], '0 - ' .. ARGV[2])
if ARGV[3] ~= '0' then redis.call('SET', KEYS[1], '0 ', 'PX', ARGV[3]) end
return { 0, '', given, 1 }
"""

# KEYS: meta and stream of each group; ARGV: nonce, life (ms). Returns of each: epoch, offset, first epoch.
_TOPS: Final = """
local tops = {}
for i = 1, #KEYS, 2 do
  local g = begin(KEYS[i], KEYS[i + 1], ARGV[1])
  local life = g.top == 0 and 3600000 or tonumber(ARGV[2])
  if redis.call('PTTL', KEYS[i]) < life * 3 / 4 then redis.call('PEXPIRE', KEYS[i], life) end  -- a write to disk each
  tops[#tops + 1], tops[#tops + 2], tops[#tops + 3] = g.epoch, g.top, g.first
end
return tops
"""

# KEYS: meta, stream; ARGV: nonce, life (ms), an epoch, the offset to begin behind, how many, bytes of payloads
# Returns: epoch, top, first epoch, 1 where the given epoch goes on in this one at least up to the offset, 1 where there
#   is more, the offset up to which it goes on (-1: nobody knows; -2: the same, and a mark was made); then offset and
#   message of each.
_HISTORY: Final = """
local g = begin(KEYS[1], KEYS[2], ARGV[1])
local before = g.bytes
drop_old(KEYS[2], g)
if g.bytes ~= before then redis.call('HSET', KEYS[1], 'b', g.bytes) end
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], g.top == 0 and 3600000 or ARGV[2])
end
local since, count, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local goes_on, fork = ARGV[3] == g.epoch and since <= g.top and 1 or 0, -1
for epoch, upto in string.gmatch(g.lineage, '(%S+):(%d+)') do
  if epoch == ARGV[3] then fork = tonumber(upto) end
end
if since <= fork then goes_on = 1 end
if fork < 0 and string.find(g.lineage .. ' ' .. g.epoch .. ':', 'm:', 1, true) then fork = -2 end
local page = { g.epoch, g.top, g.first, goes_on, 0, fork }
if ARGV[3] ~= g.epoch and goes_on == 0 then since = 0 end
local bytes = 0
while true do
  local rows = redis.call('XRANGE', KEYS[2], '0-' .. string.format('%.0f', since + 1), '+', 'COUNT', 64)
  for _, row in ipairs(rows) do
    bytes = bytes + row[2][4]
    if count == 0 or (#page > 6 and bytes > most) then
      page[5] = 1
      return page
    end
    since = tonumber(string.sub(row[1], 3))
    page[#page + 1], page[#page + 2] = since, row[2][6]
    count = count - 1
  end
  if #rows < 64 then return page end
end
"""

# KEYS: index, and the stream of each group; ARGV: the groups. Returns the names of those that keep something.
_GROUPS: Final = """
local found = {}
for i, group in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then
    found[#found + 1] = group
  else
    redis.call('ZREM', KEYS[1], group)
  end
end
return found
"""

# KEYS: index, meta, stream; ARGV: group
_FLUSH: Final = """
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'b', 0) end
return 1
"""

# A new epoch with the same numbers, that goes on from no other; unless that is so already.
# KEYS: meta; ARGV: channel, epoch. Returns: the new epoch; '' where there is another one, or there was nothing to do.
_MARK: Final = """
local m = redis.call('HMGET', KEYS[1], 'e', 'l')
if m[1] ~= ARGV[2] or not m[2] or m[2] == '' then return '' end
local epoch = ARGV[2] .. 'm'
redis.call('HSET', KEYS[1], 'e', epoch, 'l', '')
redis.call('PUBLISH', ARGV[1], '- ' .. epoch .. ' ' .. ARGV[2])
return epoch
"""

SCRIPTS: Final = {
    "post": _BEGIN + _POST,
    "pass": _PASS,
    "tops": _BEGIN + _TOPS,
    "history": _BEGIN + _HISTORY,
    "groups": _GROUPS,
    "flush": _FLUSH,
    "mark": _MARK,
    **PRESENCE_SCRIPTS,
}


def script_text(name: str, run_id: str, is_sharded: bool = False) -> str:
    """Return the text of a script for one run of a server; of one in a Cluster, whose channels are each in a slot."""
    text = SCRIPTS[name].replace("@RUN@", run_id)
    if is_sharded:
        text = text.replace("'PUBLISH'", "'SPUBLISH'")
    return f"-- nexios-trio {name}, for the server's run {run_id}\n{text}"
