// Steps that concern what one user has or does beside events: typing, receipts, tags, account data, whom they ignore, their profile, messages
// to devices.
'use strict';

const { encode } = require('./world');
const { displayNames, tags } = require('./names');
const { setDirect } = require('./steps_rooms');

/** A user and a room they are in. */
function inside(world, random) {
  const user = random.pick(world.users);
  const rooms = world.alive.filter((room) => room.membership(user) === 'join');
  return rooms.length === 0 ? null : { user, room: random.pick(rooms) };
}

const steps_of_typing = 12;   // far less than the two minutes after which a typist is forgotten

const typing = (user, room, is) => user.call('PUT', `${room.at}/typing/${encode(user.id)}`, is ? { typing: true, timeout: 120_000 } : { typing: false });

function type(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const is = !room.typing.has(user);
  return {
    say: `${user.label} ${is ? 'types' : 'stops typing'} in ${room.label}`,
    rooms: [room], users: [],
    async run() {
      await typing(user, room, is);
      if (is) world.startTyping(room, user);
      else world.stopTyping(room, user);
    },
  };
}

/** Who has typed for long stops; part of every step, so that no typist is forgotten by a clock. */
async function stopOldTypists(world) {
  const rooms = [];
  for (const room of world.rooms) {
    for (const [user, since] of room.typing) {
      if (world.step - since < steps_of_typing) continue;
      await typing(user, room, false);
      world.stopTyping(room, user);
      rooms.push(room);
    }
  }
  return rooms;
}

function receipt(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const event = random.pick(room.events.slice(-12));
  if (!event) return null;
  const kind = random.pick(['m.read', 'm.read', 'm.read.private']);
  const thread = random.pick([undefined, undefined, event.thread ? event.thread.id : 'main']);
  return {
    say: `${user.label} reads a ${event.type} of ${event.sender.label} in ${room.label} (${kind}${thread ? ', threaded' : ''})`,
    rooms: [room], users: [],
    async run() {
      if (!thread) room.read(user, event);
      await user.call('POST', `${room.at}/receipt/${kind}/${encode(event.id)}`, thread ? { thread_id: thread } : {});
    },
  };
}

function readMarker(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const event = random.pick(room.events.slice(-5));
  if (!event) return null;
  const body = { 'm.fully_read': event.id, ...(random.chance(0.5) ? { 'm.read': event.id } : {}) };
  return {
    say: `${user.label} marks ${room.label} as read with ${Object.keys(body).join(' and ')}`,
    rooms: [room], users: [],
    async run() {
      if (body['m.read']) room.read(user, event);
      await user.call('POST', `${room.at}/read_markers`, body);
    },
  };
}

function tag(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const name = random.pick(tags);
  if (!user.tags.has(room)) user.tags.set(room, new Set());
  const had = user.tags.get(room);
  const remove = had.has(name);
  const at = `/rooms/${encode(room.id)}/tags/${encode(name)}`;
  return {
    say: `${user.label} ${remove ? 'removes' : 'sets'} the tag ${name} on ${room.label}`,
    rooms: [room], users: [user], only: true,
    async run() {
      if (remove) await user.call('DELETE', `/user/${encode(user.id)}${at}`);
      else await user.put(at, random.chance(0.5) ? { order: random.below(100) / 100 } : {});
      if (remove) had.delete(name);
      else had.add(name);
    },
  };
}

function roomAccountData(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const [name, content] = random.pick([['m.marked_unread', { unread: random.chance(0.5) }], ['org.example.room', { value: random.below(1000) }]]);
  return {
    say: `${user.label} sets ${name} of ${room.label} to ${JSON.stringify(content)}`,
    rooms: [room], users: [user], only: true,
    run: () => user.put(`/rooms/${encode(room.id)}/account_data/${name}`, content),
  };
}

function accountData(world, random) {
  const user = random.pick(world.users);
  const name = `org.example.global.${random.below(3)}`;
  return {
    say: `${user.label} sets ${name}`,
    rooms: [], users: [user],
    run: () => user.put(`/account_data/${name}`, { step: world.step, text: 'ü "' }),
  };
}

function direct(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const other = random.pick(world.users.filter((each) => each !== user));
  const is = !(user.direct.get(other.id) || []).includes(room.id);
  return {
    say: `${user.label} says that ${room.label} is ${is ? '' : 'not '}for ${other.label} alone`,
    rooms: [room], users: [user], only: true,
    run: () => setDirect(user, other, room, is),
  };
}

function ignore(world, random) {
  const user = random.pick(world.users.slice(-2));
  const other = random.pick(world.users.slice(0, 2));
  const is = !user.ignored.has(other);
  return {
    say: `${user.label} ${is ? 'ignores' : 'no longer ignores'} ${other.label}`,
    rooms: world.alive.filter((room) => room.concerned.includes(user)), users: [user], only: true,
    async run() {
      if (is) user.ignored.set(other, world.serial);
      else user.ignored.delete(other);
      user.everIgnored.add(other);
      await user.put('/account_data/m.ignored_user_list', { ignored_users: Object.fromEntries([...user.ignored.keys()].map((each) => [each.id, {}])) });
    },
  };
}

function pushRule(world, random) {
  const user = random.pick(world.users);
  const room = random.pick(world.rooms);
  if (!room) return null;
  const at = `/pushrules/global/override/${encode(`mute ${room.label}`)}`;
  return {
    say: `${user.label} mutes ${room.label}`,
    rooms: [], users: [user],
    run: () => user.call('PUT', at, { conditions: [{ kind: 'event_match', key: 'room_id', pattern: room.id }], actions: [] }),
  };
}

const time_limit = 120_000;   // for all of the user's rooms, of a homeserver that has other things to do

/**
 * The homeserver changes the member events afterwards, room by room: the step ends when the last one has changed. It then says in full what
 * the profile does, whatever the user was called in that room.
 */
function profile(world, random) {
  const user = random.pick(world.users);
  const avatar = random.chance(0.3);
  const value = avatar ? random.pick([`mxc://localhost/avatar${random.below(100)}`, '']) : random.pick(displayNames);
  const rooms = world.alive.filter((room) => room.membership(user) === 'join');
  const name = avatar ? 'avatar_url' : 'displayname';
  return {
    say: `${user.label} changes ${name} to ${JSON.stringify(value)}`,
    rooms, users: [user],
    async run() {
      const at = `/profile/${encode(user.id)}`;
      await user.call('PUT', `${at}/${name}`, { [name]: value || '' });
      const is = await user.call('GET', at).catch((error) => {
        if (!/ 404 /.test(error.message)) throw error;
        return {};   // one without anything in it is none
      });
      const { joined_rooms } = await user.call('GET', '/joined_rooms');   // one that an upgrade left half made is among them
      for (const room of joined_rooms) {
        await world.until(async () => {
          const content = await user.call('GET', `/rooms/${encode(room)}/state/m.room.member/${encode(user.id)}`);
          return ['displayname', 'avatar_url'].every((each) => (content[each] ?? null) === (is[each] ?? null));   // "" is not nothing
        }, `${user.label} has the ${name} ${JSON.stringify(value)} in ${room}`, time_limit);
      }
    },
  };
}

/** A name for one room, as it is: a member event may hold what a profile may not. */
function roomProfile(world, random) {
  const who = inside(world, random);
  if (!who) return null;
  const { user, room } = who;
  const content = { membership: 'join', displayname: random.pick(displayNames), ...(random.chance(0.3) && { avatar_url: `mxc://localhost/room${random.below(100)}` }) };
  return {
    say: `${user.label} is called ${JSON.stringify(content.displayname)} in ${room.label}`,
    rooms: [room], users: [],
    run: () => user.call('PUT', `${room.at}/state/m.room.member/${encode(user.id)}`, content),
  };
}

function toDevice(world, random) {
  const user = random.pick(world.users.filter((each) => each.devices.length > 1));
  const device = random.pick(user.devices.slice(1));
  const sender = random.pick(world.users);
  const count = random.pick([1, 2, 7]);
  return {
    say: `${count} messages from ${sender.label} to a device of ${user.label}`,
    rooms: [], users: [user],
    async run() {
      for (let i = 0; i < count; i++) await world.tell([device], sender.account);
    },
  };
}

module.exports = [
  { name: 'typing', weight: 8, plan: type },
  { name: 'receipt', weight: 9, plan: receipt },
  { name: 'read marker', weight: 4, plan: readMarker },
  { name: 'tag', weight: 4, plan: tag },
  { name: 'room account data', weight: 4, plan: roomAccountData },
  { name: 'account data', weight: 2, plan: accountData },
  { name: 'direct', weight: 3, plan: direct },
  { name: 'ignore', weight: 1, plan: ignore },
  { name: 'push rule', weight: 1, plan: pushRule },
  { name: 'profile', weight: 4, plan: profile },
  { name: 'room profile', weight: 3, plan: roomProfile },
  { name: 'to device', weight: 3, plan: toDevice },
];
module.exports.stopOldTypists = stopOldTypists;
