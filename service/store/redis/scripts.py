"""What the server runs by itself, each as a whole: compare and write, read, and who lives."""

# Keys: the table of owners. Arguments: name, generation, operations (see `Operation.encode`), 1: all or none of them.
# Writes nothing unless this owner is registered with this generation of its connection. Returns pairs: place of an
# operation whose fence is another (counted from 0), and the fence that the session has.
COMMIT = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return redis.error_reply('FENCED') end
local all, refused = ARGV[3], {}
local function count(prefix, held, by)
  if not held then return end
  local size, name = string.match(string.sub(held, 1, -9), '^(%d+) (.*)$')
  redis.call('HINCRBY', prefix .. 'held', name, by)
  redis.call('HINCRBY', prefix .. 'held', '', by * size)
end
local function go_through(write)
  local at, place = 1, 0
  while at <= #all do
    local clear, score, told, key, old, fields_count
    clear, score, told, key, old, fields_count, at = struct.unpack('<BdI4Hc0Hc0H', all, at)
    local fields = {struct.unpack('<' .. string.rep('Bc0I4c0', fields_count), all, at)}
    at = table.remove(fields)
    local now = redis.call('HGET', key, 'fence') or ''
    if now ~= old then
      refused[#refused + 1] = place
      refused[#refused + 1] = now
    elseif write then
      local prefix, name = string.sub(key, 1, 14), string.sub(key, 17)
      local before = clear == 1 and redis.call('HGET', key, 'held')
      -- A full server refuses a script before its first write, unless that only deletes: an opening deletes nothing.
      if clear == 1 and redis.call('EXISTS', key) == 1 then redis.call('DEL', key) end
      if fields[1] then redis.call('HSET', key, unpack(fields)) end
      if clear == 1 then
        local after = redis.call('HGET', key, 'held')
        if before ~= after then count(prefix, before, -1) count(prefix, after, 1) end
      end
      if score > 0 then redis.call('ZADD', prefix .. 'expiry', score, key) end
      if score < 0 then
        redis.call('ZREM', prefix .. 'expiry', key)
        redis.call('ZREM', prefix .. 'ids', name)
      end
      if told > 0 then redis.call('SET', prefix .. 'expired:' .. name, '', 'PX', told) end
      if old == '' then
        redis.call('ZADD', prefix .. 'ids', 0, name)
        redis.call('DEL', prefix .. 'expired:' .. name)
      end
    end
    place = place + 1
  end
end
if ARGV[4] == '1' then go_through(false) end
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
