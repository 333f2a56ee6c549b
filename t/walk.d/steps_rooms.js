// Steps that make rooms and move people: creation of all kinds, every membership change there is, upgrades, spaces. A step is {name, weight,
// plan(world, random)}; a plan is null (not possible now) or {say, rooms, users, run}: `users` and the members of `rooms` are who it concerns.
'use strict';

const { encode } = require('./world');
const { roomNames, orders } = require('./names');

const most_rooms = 15;

const kinds = [
  { kind: 'public', weight: 4, settings: () => ({ preset: 'public_chat' }) },
  { kind: 'private', weight: 3, joinRule: 'invite', settings: () => ({ preset: 'private_chat' }) },
  { kind: 'encrypted', weight: 2, joinRule: 'invite', settings: () => ({ preset: 'private_chat',
    initial_state: [{ type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } }] }) },
  { kind: 'knock', weight: 3, joinRule: 'knock', settings: () => ({ preset: 'private_chat',
    initial_state: [{ type: 'm.room.join_rules', state_key: '', content: { join_rule: 'knock' } }] }) },
  { kind: 'direct', weight: 3, joinRule: 'invite', settings: () => ({ preset: 'trusted_private_chat', is_direct: true }) },
  { kind: 'space', weight: 2, space: true, settings: () => ({ preset: 'public_chat', creation_content: { type: 'm.space' } }) },
  { kind: 'typed', weight: 1, settings: () => ({ preset: 'public_chat', creation_content: { type: 'org.example.board' } }) },
  { kind: 'world readable', weight: 1, settings: () => ({ preset: 'public_chat',
    initial_state: [{ type: 'm.room.history_visibility', state_key: '', content: { history_visibility: 'world_readable' } }] }) },
  { kind: 'since joined', weight: 1, settings: () => ({ preset: 'public_chat',
    initial_state: [{ type: 'm.room.history_visibility', state_key: '', content: { history_visibility: 'joined' } }] }) },
];

const labels = (users) => users.map((user) => user.label).join(' ');

function create(world, random) {
  if (world.alive.length >= most_rooms) return null;
  const creator = random.pick(world.users);
  const { kind, settings, weight, ...fields } = random.weighted(kinds);
  const others = random.sample(world.users.filter((user) => user !== creator), kind === 'direct' ? 1 : random.between(0, 6));
  const invited = kind === 'direct' || random.chance(0.6) ? others : [];
  const version = random.pick(world.versions);
  const body = { room_version: version, ...settings(), invite: invited.map((user) => user.id) };
  if (kind !== 'direct' && random.chance(0.6)) body.name = random.pick(roomNames);
  if (random.chance(0.3)) body.topic = 'A topic';
  return {
    say: `${creator.label} creates a ${kind} room of version ${version} named ${JSON.stringify(body.name)}, inviting ${labels(invited)}`,
    users: [creator, ...invited],
    async run() {
      const room = await world.addRoom(creator, { ...fields, version, kind }, body);
      for (const user of invited) {
        world.become(room, user, 'invite', creator);
        if (kind === 'direct' && version !== '12') room.levels.set(user, 100);
      }
      this.rooms = [room];
      if (kind === 'direct') await setDirect(creator, invited[0], room);
    },
  };
}

async function setDirect(user, other, room, is = true) {
  const rooms = (user.direct.get(other.id) || []).filter((id) => id !== room.id);
  user.direct.set(other.id, is ? [...rooms, room.id] : rooms);
  await user.put('/account_data/m.direct', Object.fromEntries(user.direct));
}

// --- memberships

/** What may happen to a user in a room: [weight, name, who can do it, how]. */
function moves(world, room, user) {
  const admins = room.withLevel(50).filter((each) => each !== user && room.level(each) > room.level(user));
  const friends = room.joined.filter((each) => each !== user);
  const post = (by, action, body = {}) => by.call('POST', `${room.at}/${action}`, body);
  const act = (action, membership) => async (by) => {
    await post(by, action, by === user ? {} : { user_id: user.id, reason: 'walk' });
    world.become(room, user, membership, by);
  };
  const join = async () => {
    await user.call('POST', `/join/${encode(room.id)}`, {});
    world.become(room, user, 'join');
  };
  const leave = act('leave', 'leave'), kick = act('kick', 'leave'), ban = act('ban', 'ban'), invite = act('invite', 'invite');
  const inviters = ['public', 'knock', 'restricted'].includes(room.joinRule) ? friends : room.withLevel(50).filter((each) => each !== user);
  switch (room.membership(user)) {
    case 'join': return [
      { weight: 3, name: 'leaves', by: [user], run: leave },
      { weight: 2, name: 'is kicked', by: admins, run: kick },
      { weight: 1, name: 'is banned', by: admins, run: ban },
      { weight: 2, name: 'leaves and comes back', by: room.joinRule === 'public' ? [user] : [], run: async (by) => { await leave(by); await join(); } },
      { weight: 1, name: 'is kicked and invited again', by: admins, run: async (by) => { await kick(by); await invite(by); } },
      { weight: 1, name: 'is kicked, invited again and joins', by: admins, run: async (by) => { await kick(by); await invite(by); await join(); } },
    ];
    case 'invite': return [
      { weight: 8, name: 'accepts', by: [user], run: join },
      { weight: 2, name: 'refuses', by: [user], run: leave },
      { weight: 1, name: 'is uninvited', by: admins, run: kick },
      { weight: 1, name: 'is banned', by: admins, run: ban },
    ];
    case 'knock': return [
      { weight: 4, name: 'is let in', by: inviters, run: invite },
      { weight: 1, name: 'knocks no more', by: [user], run: leave },
      { weight: 1, name: 'is denied', by: admins, run: kick },
    ];
    case 'ban': return [{ weight: 4, name: 'is unbanned', by: admins, run: act('unban', 'leave') }];
    default: return [
      { weight: 6, name: 'joins', by: room.joinRule === 'public' ? [user] : [], run: join },
      { weight: 4, name: 'is invited', by: inviters, run: invite },
      { weight: 4, name: 'knocks', by: room.joinRule === 'knock' ? [user] : [], run: async () => {
        await user.call('POST', `/knock/${encode(room.id)}`, { reason: 'let me in' });
        world.become(room, user, 'knock');
      } },
      { weight: 1, name: 'is banned from outside', by: admins, run: ban },
    ];
  }
}

function membership(world, random) {
  const room = random.pick(world.alive);
  if (!room) return null;
  const user = random.pick(world.users);
  const possible = moves(world, room, user).filter((move) => move.by.length > 0);
  if (possible.length === 0) return null;
  const { name, by, run } = random.weighted(possible);
  const actor = random.pick(by);
  const chatter = random.chance(0.3) ? random.between(1, 4) : 0;
  return {
    say: `${user.label} ${name}, by ${actor.label}, in ${room.label}; then ${chatter} messages of others`,
    rooms: [room], users: [user, actor],
    async run() {
      await run(actor);
      const speakers = room.joined.filter((each) => each !== user);
      for (let i = 0; i < chatter && speakers.length > 0; i++) await world.message(room, random.pick(speakers), `chatter ${i}`);
    },
  };
}

/** When there are too many rooms, one is left by everybody. */
function retire(world, random) {
  if (world.alive.length < most_rooms) return null;
  const room = random.pick(world.alive);
  return {
    say: `everybody leaves ${room.label}`,
    rooms: [room], users: room.concerned,
    async run() {
      for (const user of room.concerned) {
        await user.call('POST', `${room.at}/leave`, {});
        world.become(room, user, 'leave', user);
      }
    },
  };
}

// --- upgrades and spaces

function upgrade(world, random) {
  if (world.alive.length >= most_rooms) return null;
  const room = random.pick(world.alive.filter((each) => !each.replaced && each.withLevel(100).length > 0));
  if (!room) return null;
  const actor = random.pick(room.withLevel(100));
  const version = random.pick(world.versions);
  return {
    say: `${actor.label} upgrades ${room.label} to version ${version}`,
    rooms: [room], users: [...room.concerned],
    async run() {
      const { replacement_room: id } = await actor.call('POST', `${room.at}/upgrade`, { new_version: version });
      room.replaced = true;
      const { joinRule, space, kind } = room;
      const next = world.knowRoom(id, actor, { joinRule, space, kind, version, levels: new Map(room.levels), usersDefault: room.usersDefault });
      for (const user of room.with('ban')) next.members.set(user, 'ban');
      this.rooms = [room, next, ...[...world.rooms].filter((each) => each.space && each.children.has(room))];
    },
  };
}

const via = (random) => random.weighted([{ weight: 8, via: ['localhost'] }, { weight: 1, via: [] }, { weight: 1, via: ['localhost', 'elsewhere.test'] }]).via;

function spaceChild(world, random) {
  const space = random.pick(world.alive.filter((room) => room.space && room.withLevel(50).length > 0));
  if (!space) return null;
  const actor = random.pick(space.withLevel(50));
  const child = random.pick(world.rooms.filter((room) => room !== space));
  if (!child) return null;
  const remove = space.children.has(child) && random.chance(0.3);
  const content = remove ? {} : { via: via(random), ...(random.chance(0.6) ? { order: random.pick(orders) } : {}), ...(random.chance(0.2) ? { suggested: true } : {}) };
  return {
    say: `${actor.label} makes ${child.label} in the space ${space.label}: ${JSON.stringify(content)}`,
    rooms: [space, child], users: [],
    async run() {
      await world.setState(space, actor, 'm.space.child', content, child.id);
      if (remove) space.children.delete(child);
      else space.children.add(child);
    },
  };
}

module.exports = [
  { name: 'create', weight: 6, plan: create },
  { name: 'membership', weight: 34, plan: membership },
  { name: 'retire', weight: 1, plan: retire },
  { name: 'upgrade', weight: 1, plan: upgrade },
  { name: 'space child', weight: 5, plan: spaceChild },
];
module.exports.setDirect = setDirect;
