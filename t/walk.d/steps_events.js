// Steps that put events into rooms: messages of several kinds, bursts, gaps that nobody polls through, state of every sort, redactions.
'use strict';

const { encode } = require('./world');
const { roomNames, texts } = require('./names');

const speakers = (world) => world.alive.filter((room) => room.joined.length > 0);

/** A room, one who is in it and one of their devices. */
function someone(world, random, level = 0) {
  const rooms = speakers(world).filter((room) => room.withLevel(level).length > 0);
  if (rooms.length === 0) return null;
  const room = random.pick(rooms);
  const user = random.pick(room.withLevel(level));
  return { room, user, device: random.pick(user.devices) };
}

function content(random, room, user) {
  const body = random.pick(texts);
  const roots = room.events.filter((event) => event.type === 'm.room.message' && !event.thread && event.serial);
  switch (random.below(10)) {
    case 0: return { what: 'mentions', mentions: random.pick(room.joined), content: { msgtype: 'm.text', body } };
    case 1: case 2:
      if (roots.length > 0) return { what: 'answers in a thread', content: { msgtype: 'm.text', body }, root: random.pick(roots.slice(-5)) };
      return { what: 'says', content: { msgtype: 'm.text', body } };
    case 3: return { what: 'sends a notice', content: { msgtype: 'm.notice', body } };
    case 4:
      return { what: 'sends something encrypted', type: 'm.room.encrypted', content: { algorithm: 'm.megolm.v1.aes-sha2', ciphertext: 'AwgA', session_id: user.label } };
    case 5: return { what: 'sends a type of its own', type: 'org.example.ünusual', content: { nested: [{ deep: { null: null, n: 1e15, list: [] } }] } };
    default: return { what: 'says', content: { msgtype: 'm.text', body } };
  }
}

function message(world, random) {
  const who = someone(world, random);
  if (!who) return null;
  const { room, user, device } = who;
  const { what, type = 'm.room.message', content: body, root, mentions } = content(random, room, user);
  if (mentions) body['m.mentions'] = { user_ids: [mentions.id] };
  if (root) body['m.relates_to'] = { rel_type: 'm.thread', event_id: root.id };
  return {
    say: `${user.label} ${what} in ${room.label} from ${device.device_id === user.account.device_id ? 'the first device' : 'another device'}`,
    rooms: [room], users: [],
    run: () => world.send(room, user, encode(type), body, { device, thread: root }),
  };
}

function burst(world, random) {
  const who = someone(world, random);
  if (!who) return null;
  const { room } = who;
  const count = random.between(3, 14);
  return {
    say: `${count} messages at once in ${room.label}`,
    rooms: [room], users: [],
    async run() {
      for (let i = 0; i < count; i++) await world.message(room, random.pick(room.withLevel(0)), `burst ${i}`);
    },
  };
}

/** More than a poll's timeline holds, with changes of state between, while nginx stands still. */
function gap(world, random) {
  const who = someone(world, random, 50);
  if (!who) return null;
  const { room, user } = who;
  const count = random.between(52, 60), changes = random.between(0, 3);
  const name = random.pick(roomNames), leaver = random.pick([null, ...room.joined.filter((each) => each !== user)]);
  return {
    say: `a gap of ${count} messages in ${room.label}, after ${changes} changes${leaver && changes === 3 ? ` and ${leaver.label} has left` : ''}`,
    rooms: [room], users: [],
    frozen: true,
    async run() {
      if (changes >= 1) await world.setState(room, user, 'm.room.name', { name });
      if (changes >= 2) await world.setState(room, user, 'm.room.topic', { topic: `topic before ${world.serial}` });
      if (changes >= 3 && leaver) {
        await leaver.call('POST', `${room.at}/leave`, {});
        world.become(room, leaver, 'leave', leaver);
      }
      for (let i = 0; i < count; i += 4) {
        const sent = await Promise.allSettled([0, 1, 2, 3].map((j) => world.message(room, random.pick(room.withLevel(0)), `gap ${i + j}`)));
        for (const { reason } of sent) if (reason) throw reason;   // none is under way any more
      }
    },
  };
}

// --- state

const states = [
  { weight: 6, type: 'm.room.name', content: (random) => ({ name: random.pick(roomNames) }) },
  { weight: 1, type: 'm.room.name', content: () => ({}) },
  { weight: 3, type: 'm.room.topic', content: (random, world) => ({ topic: `topic ${world.serial} ${random.pick(texts)}` }) },
  { weight: 3, type: 'm.room.avatar', content: (random) => (random.chance(0.3) ? {} : { url: `mxc://localhost/${random.below(1000)}` }) },
  { weight: 1, type: 'm.room.history_visibility', content: (random) => ({ history_visibility: random.pick(['shared', 'joined', 'invited', 'world_readable']) }) },
  { weight: 1, type: 'm.room.guest_access', content: (random) => ({ guest_access: random.pick(['can_join', 'forbidden']) }) },
  { weight: 1, type: 'm.room.encryption', content: () => ({ algorithm: 'm.megolm.v1.aes-sha2', rotation_period_msgs: 100 }) },
  { weight: 2, type: 'm.room.join_rules', content: (random) => ({ join_rule: random.pick(['public', 'invite', 'knock']) }) },
  { weight: 3, type: 'org.example.state', key: (random) => random.pick(['', 'a', 'ключ', 'with / and %']), content: (random) => ({ value: random.below(100) }) },
  { weight: 1, type: 'm.room.pinned_events', content: (random, world, room) => ({ pinned: random.sample(room.events.map((event) => event.id), 2) }) },
];

function state(world, random) {
  const who = someone(world, random, 50);
  if (!who) return null;
  const { room, user } = who;
  const { type, key, content: make } = random.weighted(states);
  const body = make(random, world, room), state_key = key ? key(random) : '';
  return {
    say: `${user.label} sets ${type} ${state_key} in ${room.label}: ${type === 'm.room.pinned_events' ? '' : JSON.stringify(body)}`,
    rooms: [room], users: [],
    async run() {
      await world.setState(room, user, type, body, state_key);
      if (type === 'm.room.join_rules') room.joinRule = body.join_rule;
    },
  };
}

function powerLevels(world, random) {
  const who = someone(world, random, 100);
  if (!who) return null;
  const { room, user } = who;
  const target = random.pick(world.users.filter((each) => each !== user && each !== room.creator));
  const level = random.pick([0, 25, 50, 50, 99, -1]);
  if (room.level(target) >= 100) return null;
  return {
    say: `${user.label} gives ${target.label} the power level ${level} in ${room.label}`,
    rooms: [room], users: [],
    async run() {
      const content = await user.call('GET', `${room.at}/state/m.room.power_levels/`);
      await world.setState(room, user, 'm.room.power_levels', { ...content, users: { ...content.users, [target.id]: level } });
      room.levels.set(target, level);
    },
  };
}

/** The power of everybody who has none of their own. */
function usersDefault(world, random) {
  const who = someone(world, random, 100);
  if (!who) return null;
  const { room, user } = who;
  const level = random.pick([0, 0, 10, 60, -1]);
  return {
    say: `${user.label} makes ${level} everybody's power level in ${room.label}`,
    rooms: [room], users: [],
    async run() {
      const content = await user.call('GET', `${room.at}/state/m.room.power_levels/`);
      await world.setState(room, user, 'm.room.power_levels', { ...content, users_default: level });
      room.usersDefault = level;
    },
  };
}

function alias(world, random) {
  const who = someone(world, random, 50);
  if (!who) return null;
  const { room, user } = who;
  const name = `#a${world.serial}_${random.below(1000)}:localhost`;
  const remove = random.chance(0.3);
  return {
    say: `${user.label} ${remove ? 'removes the canonical alias' : `makes ${name} the canonical alias`} of ${room.label}`,
    rooms: [room], users: [],
    async run() {
      if (!remove) await user.call('PUT', `/directory/room/${encode(name)}`, { room_id: room.id });
      await world.setState(room, user, 'm.room.canonical_alias', remove ? {} : { alias: name });
    },
  };
}

function redaction(world, random) {
  const rooms = speakers(world).filter((room) => room.events.length > 0);
  if (rooms.length === 0) return null;
  const room = random.pick(rooms);
  const event = random.pick(room.events.slice(-25));
  const able = room.joined.filter((user) => user === event.sender || room.level(user) >= 50);
  if (able.length === 0 || room.redacted.has(event.id)) return null;
  const user = random.pick(able);
  return {
    say: `${user.label} redacts a ${event.type} of ${event.sender.label} in ${room.label}`,
    rooms: [room], users: [],
    run: () => world.redact(room, user, event, random.pick(user.devices)),
  };
}

module.exports = [
  { name: 'message', weight: 24, plan: message },
  { name: 'burst', weight: 3, plan: burst },
  { name: 'gap', weight: 1, plan: gap },
  { name: 'state', weight: 12, plan: state },
  { name: 'power levels', weight: 3, plan: powerLevels },
  { name: 'users default', weight: 2, plan: usersDefault },
  { name: 'alias', weight: 3, plan: alias },
  { name: 'redaction', weight: 7, plan: redaction },
];
