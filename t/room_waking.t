#!/usr/bin/env node
// Whom a happening wakes, and whom not: every kind of stream waits, something happens, and who would see nothing of it goes on waiting.
// That is known without a pause: what was polled is stored, as many wait as should, and their answer is the marker that comes next.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ privatePostgres: true, directives: 'matrix_sync_max_timeout 60s; matrix_sync_sessions_per_device 128;' });
const long = { timeout: 50_000 };
const [here, there, dm, space, favourites] = Array.from({ length: 5 }, () => matrix.roomId());
const user = '@wake:hs.test';
let device;

const first = (body, name) => ({ [name]: { ...body[name], p: { ...body[name].p, since: '1' } } });

/** What sessions ask for. `pages`: they have the first page, and wait for another. */
const streams = {
  typing: { typing: { room_id: here } },
  to_device: { to_device: {} },
  account_data: { account_data: {} },
  e2ee: { e2ee: {} },
  room: { room: { room_id: here } },
  'room, of which only the name': { room: { room_id: here, types: ['m.room.name'], required_state: [['m.room.name', '']] } },
  'the direct chat, of which only the name': { room: { room_id: dm, types: ['m.room.name'], required_state: [['m.room.name', '']] } },
  'another room': { room: { room_id: there } },
  members: { room_members: { room_id: here } },
  'another room\'s members': { room_members: { room_id: there } },
  list: { room_list: {} },
  'list of direct chats': { room_list: { filters: { is_dm: true } } },
  'list of a space': { room_list: { spaces: [space] } },
  'list of favourites': { room_list: { filters: { tags: ['m.favourite'] } } },
  'first page of members': { pages: 'room_members', room_members: { room_id: here, p: { sort: 'by_name' } } },
  'first page of the list': { pages: 'room_list', room_list: { p: { limit: 5 } } },
};
const lists = ['list', 'first page of the list'];

let renamed;   // the newest member event of whom the direct chat is named after, which the next one says it replaces, as homeservers do
function hero(displayname) {
  renamed = matrix.member('@a:hs.test', 'join', { content: { membership: 'join', displayname }, unsigned: { replaces_state: renamed?.event_id } });
  return renamed;
}
const inRoom = (room, part) => matrix.join({ [room]: part });
const receipt = (word) => ({ type: 'm.receipt', content: { [`$${word}`]: { 'm.read': { '@reader:hs.test': { ts: 1 } } } } });
const counts = (notification_count) => ({ unread_notifications: { notification_count, highlight_count: 0 } });

/** Happenings: what the homeserver says, given a word that stands in it, and whose streams show it. */
const happenings = {
  'message in the room': {
    say: (word) => inRoom(here, matrix.more(matrix.message(word))),
    wakes: ['room', ...lists],
  },
  'message in another room': {
    say: (word) => inRoom(there, matrix.more(matrix.message(word))),
    wakes: ['another room', 'list of a space', ...lists],
  },
  'message in a direct chat': {
    say: (word) => inRoom(dm, matrix.more(matrix.message(word))),
    wakes: ['list of direct chats', ...lists],
  },
  'who a direct chat is named after has another name': {
    say: (word) => inRoom(dm, matrix.more(hero(word))),
    wakes: ['list of direct chats', 'the direct chat, of which only the name', ...lists],
  },
  receipt: {
    say: (word) => inRoom(here, { ephemeral: { events: [receipt(word)] } }),
    wakes: ['room', 'room, of which only the name'],
  },
  typing: {
    say: (word) => matrix.typing(here, `@${word}:hs.test`),
    wakes: ['typing'],
  },
  'typing in another room': { say: (word) => matrix.typing(there, `@${word}:hs.test`), wakes: [] },
  'member event': {
    say: (word) => inRoom(here, matrix.more(matrix.member(`@${word}:hs.test`))),
    wakes: ['room', 'members', 'first page of members', ...lists],
  },
  'member event in another room': {
    say: (word) => inRoom(there, matrix.more(matrix.member(`@${word}:hs.test`))),
    wakes: ['another room', 'another room\'s members', 'list of a space', ...lists],
  },
  'power levels': {
    say: (word) => inRoom(here, matrix.more(matrix.state('m.room.power_levels', { users: { [`@${word}:hs.test`]: 50 } }))),
    wakes: ['room', 'first page of members', ...lists],
  },
  'power levels in another room': {
    say: (word) => inRoom(there, matrix.more(matrix.state('m.room.power_levels', { users: { [`@${word}:hs.test`]: 50 } }))),
    wakes: ['another room', 'list of a space', ...lists],
  },
  'name change': {
    say: (word) => inRoom(here, matrix.more(matrix.state('m.room.name', { name: word }))),
    wakes: ['room', 'room, of which only the name', ...lists],
  },
  'a tag that a list looks at': {
    say: (word) => inRoom(here, { account_data: { events: [{ type: 'm.tag', content: { tags: { 'm.favourite': {}, [word]: {} } } }] } }),
    wakes: ['room', 'room, of which only the name', 'list of favourites', ...lists],
  },
  'account data of the room': {
    say: (word) => inRoom(here, { account_data: { events: [{ type: word, content: {} }] } }),
    wakes: ['room', 'room, of which only the name'],
  },
  'counts only': {
    say: (word, number) => inRoom(here, counts(number)),
    wakes: ['room', 'room, of which only the name', 'list of favourites', ...lists],
    silent: true,
  },
  'the tag goes': {
    say: (word) => inRoom(here, { account_data: { events: [{ type: 'm.tag', content: { tags: { [word]: {} } } }] } }),
    wakes: ['room', 'room, of which only the name', 'list of favourites', ...lists],
    silent: true,
  },
  'a room becomes a direct chat': {
    say: (word) => ({ account_data: { events: [{ type: 'm.direct', content: { '@a:hs.test': [dm], [`@${word}:hs.test`]: [here] } }] } }),
    wakes: ['account_data', 'list of direct chats', ...lists],
    silent: true,
  },
  'and is none any more': {
    say: () => ({ account_data: { events: [{ type: 'm.direct', content: { '@a:hs.test': [dm] } }] } }),
    wakes: ['account_data', 'list of direct chats', ...lists],
    silent: true,
  },
  'account data': {
    say: (word) => ({ account_data: { events: [{ type: word, content: {} }] } }),
    wakes: ['account_data'],
  },
  'to-device message': { say: (word) => ({ to_device: { events: [matrix.toDevice(word)] } }), wakes: ['to_device'] },
  'device list': { say: (word) => ({ device_lists: { changed: [`@${word}:hs.test`], left: [] } }), wakes: ['e2ee'] },
  'key counts': { say: (word, number) => ({ device_one_time_keys_count: { signed_curve25519: number } }), wakes: [] },
  'the same counts again': { say: () => inRoom(there, counts(0)), wakes: [] },
  'an answer without anything': { say: () => ({}), wakes: [] },
  'a room with nothing new': { say: () => inRoom(here, { timeline: { events: [], limited: false, prev_batch: 'p' } }), wakes: [] },
};

/** Something for every stream. */
function marker(word) {
  const ephemeral = { events: [
    { type: 'm.typing', content: { user_ids: [`@${word}:hs.test`] } },
    receipt(word),
  ] };
  const part = () => matrix.more(matrix.message(word), matrix.member(`@${word}:hs.test`));
  return {
    ...matrix.join({ [here]: { ...part(), ephemeral }, [there]: part(), [dm]: matrix.more(matrix.message(word), hero(word)), [favourites]: part() }),
    to_device: { events: [matrix.toDevice(word)] },
    account_data: { events: [{ type: word, content: {} }] },
    device_lists: { changed: [`@${word}:hs.test`], left: [] },
  };
}

class Waiter {
  constructor(name) {
    const { pages, ...body } = streams[name];
    Object.assign(this, { name, pages, body, session: s.session(device) });
  }

  async begin() {
    await this.session.sync(this.body);
    await this.session.sync();
  }

  wait() {
    this.waiting = this.session.sync(this.pages ? first(this.body, this.pages) : {}, long);
    // Whoever awaits it is told; until then it is no error that nobody does.
    this.waiting.catch(() => {});
  }
}

let waiters;
let number = 0;

test('they have what there is', async () => {
  device = s.homeserver.device(user);
  const named = (name, more = []) => {
    const room = matrix.room(user, [matrix.message('first')], counts(0));
    room.state.events.push(matrix.state('m.room.topic', { topic: name }), ...more);
    return room;
  };
  const child = matrix.state('m.space.child', { via: ['hs.test'] }, { state_key: there });
  const favourite = named('favourite');
  favourite.account_data = { events: [{ type: 'm.tag', content: { tags: { 'm.favourite': {} } } }] };
  const chat = named('chat', [hero('A')]);
  chat.state.events = chat.state.events.filter(({ type }) => type !== 'm.room.name');
  chat.summary = { 'm.heroes': ['@a:hs.test'], 'm.joined_member_count': 2, 'm.invited_member_count': 0 };
  device.initial = {
    ...matrix.join({
      [here]: named('here'), [there]: named('there'), [dm]: chat, [space]: named('space', [child]), [favourites]: favourite,
    }),
    account_data: { events: [{ type: 'm.direct', content: { '@a:hs.test': [dm] } }] },
  };
  for (const room of [here, there]) s.homeserver.rooms[room] = { members: [matrix.member(user)] };
  waiters = Object.keys(streams).map((name) => new Waiter(name));
  for (const waiter of waiters) await waiter.begin();
});

for (const [name, { say, wakes, silent }] of Object.entries(happenings)) {
  test(`${name} wakes ${wakes.join(', ') || 'nobody'}`, async () => {
    const word = `happening_${++number}`;
    const mark = `marker_${number}`;
    for (const waiter of waiters) waiter.wait();
    await s.waiting(waiters.length);
    device.push(say(word, number));
    for (const waiter of waiters.filter((each) => wakes.includes(each.name))) {
      const json = await waiter.waiting;
      const text = JSON.stringify(json);
      assert.ok(Object.keys(json).length > 1, `${waiter.name}: ${text}`);
      if (waiter.pages) assert.ok(json[waiter.pages].p, `${waiter.name}: a page`);
      else if (!silent && !waiter.name.startsWith('list of')) assert.ok(text.includes(word), `${waiter.name}: ${text}`);
    }
    await device.stored();
    await s.waiting(waiters.length - wakes.length);
    device.push(marker(mark));
    for (const waiter of waiters.filter((each) => !wakes.includes(each.name))) {
      const text = JSON.stringify(await waiter.waiting);
      assert.ok(text.includes(mark), `${waiter.name} waits for what concerns it, but was told ${text}`);
      if (!waiter.pages) assert.ok(!text.includes(word), `${waiter.name} sees nothing of it: ${text}`);
    }
    // Those that were woken take the marker, too.
    for (const waiter of waiters.filter((each) => wakes.includes(each.name))) {
      waiter.wait();
      const text = JSON.stringify(await waiter.waiting);
      assert.ok(text.includes(mark), `${waiter.name} was told ${text}`);
    }
  });
}

for (const name of ['room_members', 'room_list']) {
  const body = { [name]: name === 'room_members' ? { room_id: here } : {} };

  test(`${name}: time up: no page; timeout 0: always the page`, async () => {
    const session = s.session(device);
    const got = await session.sync(body);
    assert.ok(got[name].p);
    const late = await session.ask(first(body, name), { timeout: 400 });
    assert.deepEqual(Object.keys(late.json), ['next']);
    assert.ok(late.took >= 390, `${late.took} ms`);
    session.next = late.json.next;
    for (let i = 0; i < 2; i++) assert.deepEqual((await session.sync(first(body, name)))[name], got[name]);
    assert.deepEqual((await session.sync(first(body, name), { timeout: 0 }))[name], got[name]);
  });

  test(`${name}: a token that came with no page, or with other parameters, does not wait`, async () => {
    const session = s.session(device);
    await session.sync();
    const added = await session.ask(first(body, name), long);
    assert.ok(added.json[name].p);
    session.next = added.json.next;
    const other = { [name]: { ...body[name], p: { since: '1', sort: 'by_name' } } };
    const changed = await session.ask(other, long);
    assert.deepEqual([].concat(changed.json[name].p.sort), ['by_name']);
    session.next = changed.json.next;
    await session.sync();
    const again = session.ask(other, long);
    const mark = `marker_${++number}`;
    await s.waiting(1);
    device.push(marker(mark));
    const { json } = await again;
    assert.ok(json[name].p && JSON.stringify(json).includes(mark));
  });
}

test('a room that the user is not in: the page is silence, and the wait for it ends when the user joins', async () => {
  const room = matrix.roomId();
  const body = { room_members: { room_id: room } };
  const session = s.session(device);
  assert.equal((await session.sync(body)).room_members, undefined);
  const wait = session.sync(first(body, 'room_members'), long);
  await s.waiting(1);
  device.push(marker(`marker_${++number}`));
  await device.stored();
  await s.waiting(1);
  s.homeserver.rooms[room] = { members: [matrix.member(user)] };
  device.push(matrix.join({ [room]: matrix.room(user) }));
  assert.equal((await wait).room_members.p.count, 1);
});

// What a worker does every so often is not counted: its own row, what is used or has expired, and pruning.
const often = /worker_|session_(lock_devices|touch|find_expired)|pruning_|execute (backend|begin|commit)|ALTER DATABASE/;
const counted = (line) => /^ +(execute|statement)/.test(line) && !often.test(line);
const queries = () => s.postgres.logText().split(' LOG: ').filter(counted);

test('waiting costs no query: what happens to others is stored as if nobody waited', async () => {
  s.postgres.query(`ALTER DATABASE ${s.postgres.database} SET log_statement = 'all'`);
  await s.nginx.replaceWorkers();
  const concerned = happenings['member event in another room'].wakes;
  const strangers = Object.keys(streams).filter((name) => !concerned.includes(name));
  const statements = async (word) => {
    const before = queries().length;
    device.push(happenings['message in another room'].say(word));
    await device.stored();
    device.push(happenings['member event in another room'].say(word));
    await device.stored();
    return queries().slice(before).map((line) => line.trim().split(/[:\n]/)[0]);
  };
  for (const waiter of waiters) await waiter.session.sync();
  await device.stored();
  await statements('warm');
  const alone = await statements('nobody');
  assert.ok(alone.length > 0, 'queries are logged');
  const crowd = Array.from({ length: 5 }, () => strangers.map((name) => new Waiter(name))).flat();
  for (const waiter of crowd) await waiter.begin();
  for (const waiter of crowd) waiter.wait();
  await s.waiting(crowd.length);
  const crowded = await statements('many');
  await s.waiting(crowd.length);
  assert.deepEqual(crowded.sort(), alone.sort());
  device.push(marker('marker_last'));
  for (const waiter of crowd) assert.ok(JSON.stringify(await waiter.waiting).includes('marker_last'), waiter.name);
});

test('what has just been stored is not read back to be shown', async () => {
  const waiter = new Waiter('room');
  await waiter.begin();
  const readBack = async (word) => {
    const before = queries().length;
    waiter.wait();
    await s.waiting(1);
    device.push(happenings['message in the room'].say(word));
    assert.ok(JSON.stringify(await waiter.waiting).includes(word));
    return queries().slice(before).map((line) => line.trim()).filter((line) => line.startsWith('execute rooms_get')).map((line) => line.split(':')[0]);
  };
  await readBack('its_sender_is_known_now');
  assert.deepEqual(await readBack('what_was_just_stored'), []);
});
