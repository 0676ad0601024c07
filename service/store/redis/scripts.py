"""What the server runs by itself, each as a whole: compare and write, read, and who lives."""

# Keys: the table of owners. Arguments: name, generation, 1: all operations or none; then of each `Group` form, number,
# content and keys. Writes nothing unless this owner is registered with this generation of its connection.
# Returns pairs: place of an operation whose fence is another (counted from 0), and the fence that the session has.
COMMIT = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return redis.error_reply('FENCED') end
local call, take, refused, nothing = redis.call, struct.unpack, {}, string.rep('\\0', 32)
local function count(prefix, held, by)
  if not held then return end
  local size, name = string.match(string.sub(held, 1, -9), '^(%d+) (.*)$')
  call('HINCRBY', prefix .. 'held', name, by)
  call('HINCRBY', prefix .. 'held', '', by * size)
end
local function anew(key, old, fields)
  local prefix, name = string.sub(key, 1, 14), string.sub(key, 17)
  local before = call('HGET', key, 'held')
  -- A full server refuses a script before its first write, unless that only deletes: an opening deletes nothing.
  if call('EXISTS', key) == 1 then call('DEL', key) end
  if fields[5] then call('HSET', key, unpack(fields, 5)) end
  local after = call('HGET', key, 'held')
  if before ~= after then count(prefix, before, -1) count(prefix, after, 1) end
  if old == nothing then
    call('ZADD', prefix .. 'ids', 0, name)
    call('DEL', prefix .. 'expired:' .. name)
  end
end
local function note(key, score, told)
  local prefix, name = string.sub(key, 1, 14), string.sub(key, 17)
  if score > 0 then call('ZADD', prefix .. 'expiry', score, key) end
  if score < 0 then
    call('ZREM', prefix .. 'expiry', key)
    call('ZREM', prefix .. 'ids', name)
  end
  if told > 0 then call('SET', prefix .. 'expired:' .. name, '', 'PX', told) end
end
local function go_through(write)
  local place, group = 0, 4
  while group <= #ARGV do
    local form, content, at, first = ARGV[group], ARGV[group + 2], 1, group + 3
    group = first + ARGV[group + 1]
    for index = first, group - 1 do
      local key, one = ARGV[index], {take(form, content, at)}
      at = table.remove(one)
      local now = call('HGET', key, 'fence')
      if (now or nothing) ~= one[4] then
        refused[#refused + 1] = place
        refused[#refused + 1] = now or ''
      elseif write then
        if one[1] == 1 then anew(key, one[4], one) else call('HSET', key, unpack(one, 5)) end
        if one[2] ~= 0 or one[3] ~= 0 then note(key, one[2], one[3]) end
      end
      place = place + 1
    end
  end
end
if ARGV[3] == '1' then go_through(false) end
if #refused == 0 then go_through(true) end
return refused
"""

# Keys: table of owners, table of processes, the session, its mark as expired. Argument: prefix of leases.
# Returns its fields, milliseconds for which its id is told as expired, whether its owner has a lease, and its process.
READ = """
local fields = redis.call('HGETALL', KEYS[3])
if #fields == 0 then return {fields, redis.call('PTTL', KEYS[4]), 0, ''} end
local owner = string.sub(redis.call('HGET', KEYS[3], 'fence') or '', 1, 16)
local live = redis.call('HEXISTS', KEYS[1], owner) * redis.call('EXISTS', ARGV[1] .. owner)
return {fields, 0, live, redis.call('HGET', KEYS[2], owner) or ''}
"""

# Keys: table of owners, lease, clock. Arguments: name, generation, milliseconds, seconds and wall time.
# Renews a lease, unless the owner was fenced → whether it has it. A generation never goes back.
RENEW = """
local now = redis.call('HGET', KEYS[1], ARGV[1])
if not now or tonumber(now) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[2], '', 'PX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[4])
return 1
"""

# Keys: table of owners, table of processes, lease. Arguments: name, 1: its process is dead, or is this one.
# Takes an owner without a lease off the table: it never writes again → whether it is off.
FENCE = """
if ARGV[2] ~= '1' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
"""
