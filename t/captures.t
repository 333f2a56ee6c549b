#!/usr/bin/env node
// What a real homeserver answered (t/captures), replayed: the rooms, names, counts, members and timelines that come out of it are those
// that a model in this file computes from the same answers, for a session that was there all the time and for one that comes fresh.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { server_name } = require('./lib/homeserver');

const s = stage({ directives: 'matrix_sync_sessions_per_device 64;' });
const folder = path.join(__dirname, 'captures');
const variants = ['default', 'lazy', 'limit5', 'full_leave', 'state_after'];
const kept_unsigned = ['prev_content', 'replaces_state', 'redacted_because', 'invite_room_state', 'transaction_id'];
const shown_in_list = ['m.room.topic', 'm.room.power_levels'];

/** A capture with rooms and events of this variant's own, on the scripted homeserver. */
function capture(file, variant) {
  const text = fs.readFileSync(path.join(folder, file), 'utf8');
  const own = text.replace(/!(\w{18}):localhost/g, `!$1${variant}:localhost`).replace(/\$([\w-]{43})/g, `$$${variant}$1`);
  return JSON.parse(own.replaceAll(':localhost', `:${server_name}`));
}
const increments = fs.readdirSync(folder).filter((file) => /^v2_inc\d\d_/.test(file)).sort();

const key = (event) => `${event.type}|${event.state_key}`;
const isMember = (event) => event.type === 'm.room.member';
const by = (value) => (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);

/** The rooms of one device by the specification's rules, from classic answers. */
class Account {
  constructor(user) {
    Object.assign(this, { user, rooms: new Map(), left: new Map(), direct: new Set(), redacted: new Set(), seen: 0 });
  }

  apply(response, batch) {
    this.left.clear();
    this.concerned = [];
    for (const event of response.account_data?.events || []) {
      if (event.type === 'm.direct') this.direct = new Set(Object.values(event.content).flat());
    }
    for (const [id, part] of Object.entries(response.rooms?.join || {})) this.join(id, part);
    for (const section of ['invite', 'knock']) {
      for (const [id, part] of Object.entries(response.rooms?.[section] || {})) {
        this.rooms.set(id, { section, stripped: part[`${section}_state`].events });
        this.concerned.push(id);
      }
    }
    for (const [id, part] of Object.entries(response.rooms?.leave || {})) {
      const room = this.rooms.get(id);
      if (!room) continue;
      const events = part.timeline.events;
      const out = events.findLast((event) => event.type === 'm.room.member' && event.state_key === this.user);
      this.left.set(id, { before: room, out, membership: out.content.membership });
      this.rooms.delete(id);
    }
    this.batches = [...(this.batches || []), { token: batch, seen: this.seen }];
  }

  join(id, part) {
    this.concerned.push(id);
    let room = this.rooms.get(id);
    if (!room || room.section !== 'join') {
      room = {
        section: 'join', fresh: true, state: new Map(), members: new Map(), timeline: [], chunks: [], receipts: new Map(),
        accountData: new Map(), summary: {},
      };
      this.rooms.set(id, room);
    } else {
      room.fresh = false;
    }
    const { events, limited, prev_batch } = part.timeline;
    if (room.fresh || limited) Object.assign(room, { timeline: [], limited });
    if (events.length) room.chunks.push({ token: prev_batch, seen: this.seen });
    const after = part['org.matrix.msc4222.state_after'] || part.state_after;
    const put = (event) => {
      if (isMember(event)) room.members.set(event.state_key, event);
      else room.state.set(key(event), event);
    };
    for (const event of part.state?.events || []) put(event);
    for (const event of events) {
      room.timeline.push({ event, at: this.seen++ });
      if (event.state_key !== undefined && (!after || isMember(event))) put(event);
      if (event.type === 'm.room.redaction') this.redacted.add(event.content.redacts || event.redacts);
    }
    for (const event of after?.events || []) put(event);
    for (const name of ['unread_notifications', 'unread_thread_notifications']) if (part[name]) room[name] = part[name];
    Object.assign(room.summary, part.summary);
    for (const event of part.account_data?.events || []) room.accountData.set(event.type, event);
    for (const event of part.ephemeral?.events || []) if (event.type === 'm.receipt') foldReceipts(room.receipts, event);
  }

  heroes(room) {
    const known = room.members || new Map(room.stripped.filter(isMember).map((event) => [event.state_key, event]));
    const people = [...known.values()].filter((event) => event.state_key !== this.user);
    if (room.summary?.['m.heroes']) return room.summary['m.heroes'].map((user) => known.get(user));
    const here = people.filter((event) => ['join', 'invite'].includes(event.content.membership));
    return (here.length ? here : people).sort(by((event) => event.state_key)).slice(0, 5);
  }

  stateOf(room, type) {
    return room.state ? room.state.get(`${type}|`) : room.stripped.find((event) => key(event) === `${type}|`);
  }

  /** Client-server specification, "Calculating the display name for a room". */
  name(room) {
    const named = this.stateOf(room, 'm.room.name')?.content.name || this.stateOf(room, 'm.room.canonical_alias')?.content.alias;
    if (named) return named;
    const names = this.heroes(room).map((event) => event.content.displayname || event.state_key);
    const here = this.heroes(room).filter((event) => ['join', 'invite'].includes(event.content.membership)).length;
    const list = names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join();
    if (here || (room.section !== 'join' && names.length)) return list;
    return names.length ? `Empty Room (was ${list})` : 'Empty Room';
  }

  count(room, membership) {
    const said = room.summary[`m.${membership === 'join' ? 'joined' : 'invited'}_member_count`];
    return said ?? [...room.members.values()].filter((event) => event.content.membership === membership).length;
  }

  /** The member page in its order: power level, then name. All names are ASCII. */
  members(room) {
    const levels = this.stateOf(room, 'm.room.power_levels')?.content;
    const creator = this.stateOf(room, 'm.room.create').sender;
    const level = (user) => (levels ? levels.users?.[user] ?? levels.users_default ?? 0 : user === creator ? 100 : 0);
    const name = (event) => (event.content.displayname || event.state_key.slice(1)).toLowerCase();
    return [...room.members.values()].filter((event) => ['join', 'invite'].includes(event.content.membership))
      .sort((a, b) => level(b.state_key) - level(a.state_key) || by(name)(a, b) || by((event) => event.state_key)(a, b));
  }

  /** What a room list shows of a room, so that two can be compared: neither receipts nor the room's other account data. */
  listed(id) {
    const room = this.rooms.get(id);
    const { section, stripped, summary, unread_notifications, unread_thread_notifications } = room;
    const state = room.state && [...room.state];
    return JSON.stringify([section, stripped, summary, unread_notifications, unread_thread_notifications, state, room.timeline?.at(-1).at,
      room.accountData?.get('m.tag')]);
  }

  /** The event as it is to be shown: `unsigned` without what is one user's, and empty when it was redacted. */
  shown(event) {
    const { unsigned, ...rest } = event;
    const left = Object.fromEntries(Object.entries(unsigned || {}).filter(([name]) => kept_unsigned.includes(name)));
    if (!this.redacted.has(event.event_id)) return Object.keys(left).length ? { ...rest, unsigned: left } : rest;
    return { ...rest, content: {} };
  }

  /** Whether paging back from the token meets everything before the first event shown. */
  leadsBack(room, first, token) {
    const places = [...room.chunks, ...this.batches].filter((place) => place.token === token).map((place) => place.seen);
    return places.some((seen) => seen >= first.at);
  }
}

function foldReceipts(receipts, edu) {
  for (const [event_id, types] of Object.entries(edu.content)) {
    for (const [type, users] of Object.entries(types)) {
      for (const [user, receipt] of Object.entries(users)) {
        receipts.set(JSON.stringify([type, user, receipt.thread_id ?? null]), { event_id, ...receipt });
      }
    }
  }
}

/** A client that holds one room: what is initial replaces all, the rest adds to it. */
class View {
  constructor(session, room_id) {
    Object.assign(this, { session, room_id, members: new Map() });
    this.forget();
  }

  forget() {
    Object.assign(this, { room: null, timeline: [], state: new Map(), receipts: new Map(), accountData: new Map() });
  }

  async sync() {
    const body = { room: { room_id: this.room_id, timeline_limit: 200 }, room_members: { room_id: this.room_id, p: { limit: 100 } } };
    const json = await this.session.sync(body);
    this.said = json;
    if (json.room) this.take(json.room);
    if (json.room_members?.p) this.members = new Map();
    for (const event of json.room_members?.events || []) this.members.set(event.state_key, event);
    return json;
  }

  take(room) {
    if (room.initial) this.forget();
    this.room = { ...this.room, ...room };
    if (room.timeline) {
      const { events, limited, prev_batch } = room.timeline;
      if (limited || room.initial) Object.assign(this, { timeline: [], limited, prev_batch });
      this.timeline.push(...events);
    }
    for (const event of room.state_after?.events || []) this.state.set(key(event), event);
    for (const edu of room.ephemeral?.events || []) foldReceipts(this.receipts, edu);
    for (const event of room.account_data?.events || []) this.accountData.set(event.type, event);
  }
}

const sorted = (map) => [...map].sort(by(([name]) => name));

/** A room view holds what the model holds. */
function assertRoom(account, id, view, who) {
  const room = account.rooms.get(id);
  const say = (what) => `${who}, ${id}: ${what}`;
  if (!room) {
    assert.equal(view.room?.membership === undefined || ['leave', 'ban'].includes(view.room.membership), true, say('it is not there'));
    return;
  }
  assert.ok(view.room, say('it is there'));
  assert.equal(view.room.membership, room.section, say('membership'));
  assert.equal(view.room.name, account.name(room), say('name'));
  if (room.section !== 'join') {
    assert.deepEqual(view.room[`${room.section}_state`].events, room.stripped, say('stripped state'));
    assert.equal(view.room.timeline, undefined, say('no timeline'));
    return;
  }
  const shown = (event) => account.shown(event);
  assert.deepEqual(view.timeline.map(shown), room.timeline.map(({ event }) => shown(event)), say('timeline'));
  assert.equal(view.limited, room.limited, say('limited'));
  assert.ok(account.leadsBack(room, room.timeline[0], view.prev_batch), say(`prev_batch ${view.prev_batch}`));
  const state = new Map([...view.state].filter(([, event]) => !isMember(event)));
  assert.deepEqual(sorted(state).map(([, event]) => shown(event)), sorted(room.state).map(([, event]) => shown(event)), say('state'));
  for (const event of [...view.state.values()].filter(isMember)) {
    assert.deepEqual(shown(event), shown(room.members.get(event.state_key)), say(`member ${event.state_key}`));
  }
  assert.deepEqual(view.room.unread_notifications, room.unread_notifications, say('counts'));
  assert.deepEqual(view.room.unread_thread_notifications, room.unread_thread_notifications, say('counts of threads'));
  assert.deepEqual(sorted(view.receipts), sorted(room.receipts), say('receipts'));
  assert.deepEqual(sorted(view.accountData), sorted(room.accountData), say('account data'));
}

function assertMembers(account, id, view, who) {
  const room = account.rooms.get(id);
  if (room?.section !== 'join') {
    assert.equal(view.said.room_members?.p, undefined, `${who}, ${id}: no page`);
    return;
  }
  const here = (event) => ['join', 'invite'].includes(event.content.membership);
  const shown = (event) => account.shown(event);
  const found = [...view.members.values()].filter(here);
  const wanted = account.members(room);
  if (who === 'fresh') {
    assert.deepEqual(found.map(shown), wanted.map(shown), `${who}, ${id}: members in order`);
    assert.equal(view.said.room_members.p.count, wanted.length);
  } else {
    const user = (event) => event.state_key;
    assert.deepEqual(found.map(shown).sort(by(user)), wanted.map(shown).sort(by(user)), `${who}, ${id}: members`);
  }
}

/** One entry of the room list. */
function assertListed(account, entry, who) {
  const room = account.rooms.get(entry.room_id);
  const say = (what) => `${who}, ${entry.room_id}: ${what}`;
  assert.ok(room, say('is known'));
  assert.equal(entry.membership, room.section, say('membership'));
  assert.equal(entry.name, account.name(room), say('name'));
  assert.equal(entry.avatar_url, account.stateOf(room, 'm.room.avatar')?.content.url, say('avatar'));
  assert.equal(entry.room_type, account.stateOf(room, 'm.room.create').content.type, say('type'));
  const invitation = room.stripped?.find((event) => event.state_key === account.user);
  assert.equal(entry.is_dm, account.direct.has(entry.room_id) || Boolean(invitation?.content.is_direct), say('is_dm'));
  assert.equal(entry.is_encrypted, Boolean(account.stateOf(room, 'm.room.encryption')), say('is_encrypted'));
  if (!account.stateOf(room, 'm.room.name') && !account.stateOf(room, 'm.room.canonical_alias')) {
    const heroes = account.heroes(room).map(({ state_key: user_id, content: { displayname, avatar_url } }) =>
      ({ user_id, ...(displayname && { displayname }), ...(avatar_url && { avatar_url }) }));
    assert.deepEqual([...entry.heroes].sort(by((hero) => hero.user_id)), heroes.sort(by((hero) => hero.user_id)), say('heroes'));
  }
  if (room.section !== 'join') {
    assert.deepEqual(entry[`${room.section}_state`].events, room.stripped, say('stripped state'));
    for (const absent of ['joined_count', 'invited_count', 'timeline']) assert.equal(entry[absent], undefined, say(absent));
    return;
  }
  assert.deepEqual(entry.tags, room.accountData.get('m.tag')?.content.tags || {}, say('tags'));
  const threads = Object.values(room.unread_thread_notifications || {});
  for (const count of ['highlight_count', 'notification_count']) {
    assert.equal(entry[count], threads.reduce((sum, thread) => sum + thread[count], room.unread_notifications[count]), say(count));
  }
  assert.equal(entry.joined_count, account.count(room, 'join'), say('joined_count'));
  assert.equal(entry.invited_count, account.count(room, 'invite'), say('invited_count'));
  assert.equal(entry.timestamp, room.timeline.at(-1).event.origin_server_ts, say('timestamp'));
  const tail = room.timeline.slice(-5);
  const shown = (event) => account.shown(event);
  assert.deepEqual(entry.timeline.events.map(shown), tail.map(({ event }) => shown(event)), say('timeline'));
  assert.equal(entry.timeline.limited, room.limited || room.timeline.length > tail.length, say('limited'));
  assert.ok(account.leadsBack(room, tail[0], entry.timeline.prev_batch), say(`prev_batch ${entry.timeline.prev_batch}`));
  const state = shown_in_list.map((type) => account.stateOf(room, type)).filter(Boolean);
  assert.deepEqual([...entry.state_after.events].sort(by(key)).map(shown), state.sort(by(key)).map(shown), say('state'));
}

/** The entries as a client holds them that has taken first page and deltas. */
class List {
  constructor(session) {
    Object.assign(this, { session, rooms: new Map() });
  }

  async sync() {
    const required_state = shown_in_list.map((type) => [type, '']);
    this.said = (await this.session.sync({ room_list: { timeline_limit: 5, required_state, p: { limit: 1000 } } })).room_list;
    if (this.said?.p) this.rooms.clear();
    for (const entry of this.said?.rooms || []) this.rooms.set(entry.room_id, entry);
    this.saidIds = (this.said?.rooms || []).map((entry) => entry.room_id);
  }
}

function assertList(account, list, who) {
  for (const entry of list.rooms.values()) if (!['leave', 'ban'].includes(entry.membership)) assertListed(account, entry, who);
  const there = [...list.rooms.values()].filter((entry) => !['leave', 'ban'].includes(entry.membership)).map((entry) => entry.room_id);
  assert.deepEqual(there.sort(), [...account.rooms.keys()].sort(), `${who}: the rooms`);
}

async function assertFresh(account, device, ids) {
  const list = new List(s.session(device));
  await list.sync();
  assertList(account, list, 'fresh');
  assert.equal(list.said.p.count, account.rooms.size);
  const order = list.said.rooms.map(({ room_id, timestamp }) => ({ room_id, timestamp }));
  assert.deepEqual(order, [...order].sort((a, b) => b.timestamp - a.timestamp || by((entry) => entry.room_id)(a, b)), 'fresh: by recency');
  for (const id of ids) {
    const view = new View(list.session, id);
    await view.sync();
    assertRoom(account, id, view, 'fresh');
    // The list's session already holds the room's members from its start: pages are asked for.
    const page = await list.session.sync({ room: null, room_members: { room_id: id, p: { limit: 100, since: '1' } } });
    view.members = new Map((page.room_members?.events || []).map((event) => [event.state_key, event]));
    view.said = page;
    assertMembers(account, id, view, 'fresh');
    await list.session.sync({ room_members: null });
  }
  list.session.close();
}

/** Those whom the stand-in names when it is asked for a room's members. */
function tellMembers(account) {
  for (const [id, room] of account.rooms) {
    if (room.section !== 'join') continue;
    s.homeserver.rooms[id] = { members: [...room.members.values()], state: [...room.state.values(), ...room.members.values()] };
  }
}

class Replay {
  constructor(variant, goes_on = '') {
    this.variant = variant;
    this.tag = `_${variant}${goes_on}_`;
    this.world = capture('world.json', this.tag);
    this.device = s.homeserver.device(this.world.users.alice, `DEVICE${this.tag}`);
    this.account = new Account(this.world.users.alice);
  }

  async begin() {
    const { response } = capture(`v2_initial_${this.variant}.json`, this.tag);
    const { next_batch, ...rest } = response;
    this.device.initial = rest;
    this.account.apply(response, this.device.batch(0));
    tellMembers(this.account);
    this.list = new List(s.session(this.device));
    await this.list.sync();
    await this.device.stored();
    this.views = new Map();
    for (const id of this.known()) {
      const view = new View(s.session(this.device), id);
      await view.sync();
      this.views.set(id, view);
    }
  }

  /** All rooms that are ever spoken of. */
  known() {
    const sections = increments.flatMap((file) => Object.values(capture(file, this.tag).response.rooms || {}));
    return new Set([...Object.values(this.world.rooms), ...sections.flatMap((section) => Object.keys(section))]);
  }

  assertLive(ids) {
    assertList(this.account, this.list, 'live');
    for (const id of ids) {
      const view = this.views.get(id);
      assertRoom(this.account, id, view, 'live');
      assertMembers(this.account, id, view, 'live');
    }
  }

  async step(file) {
    const { response } = capture(file, this.tag);
    const { next_batch, ...rest } = response;
    const batch = this.device.push(rest);
    const before = new Map([...this.account.rooms.keys()].map((id) => [id, this.account.listed(id)]));
    this.account.apply(response, batch);
    tellMembers(this.account);
    await this.device.stored();
    await this.list.sync();
    const { left, concerned } = this.account;
    const changed = concerned.filter((id) => this.account.listed(id) !== before.get(id));
    const told = [...this.list.saidIds].sort();
    assert.deepEqual(told, [...changed, ...left.keys()].sort(), 'the list tells of those that it shows otherwise now');
    for (const [id, view] of this.views) await this.look(id, view, response.rooms?.join?.[id]);
    const ids = [...concerned, ...left.keys()];
    this.assertLive(ids);
    await assertFresh(this.account, this.device, ids);
    for (const id of left.keys()) this.views.get(id).forget();
  }

  /** One room's session comes back after a step; `part` is what the step said of it. */
  async look(id, view, part) {
    const { left, concerned } = this.account;
    const { room, room_members } = await view.sync();
    const concerns = concerned.includes(id) && !onlyTyping(part);
    if (left.has(id)) assertLeft(left.get(id), room, room_members, id, this.list.rooms.get(id));
    else if (!concerns) assert.deepEqual([room, room_members], [undefined, undefined], `${id} has nothing new`);
    assert.equal(Boolean(room_members?.limited), Boolean(part?.timeline.limited), `${id}: limited members`);
    if (room_members?.limited) view.said = await this.again(view);
  }

  async again(view) {
    const json = await view.session.sync({ room_members: { room_id: view.room_id, p: { limit: 100, since: '1' } } });
    view.members = new Map(json.room_members.events.map((event) => [event.state_key, event]));
    return json;
  }
}

function onlyTyping(part) {
  const events = part ? [...part.timeline.events, ...part.account_data.events] : ['what an invitation says'];
  return events.length === 0 && part.ephemeral.events.every((event) => event.type === 'm.typing');
}

/** What is said once of a room that the user has left. */
function assertLeft({ before, out, membership }, room, room_members, id, entry) {
  assert.equal(room?.membership, membership, `${id}: ${membership}`);
  assert.equal(room.timeline.events.at(-1).event_id, out.event_id);
  assert.equal(entry.membership, membership);
  assert.equal(entry.timeline.events.at(-1).event_id, out.event_id);
  if (before.section === 'join') assert.equal(room_members.events.at(-1).event_id, out.event_id);
}

for (const variant of variants) {
  test(`first poll: ${variant}`, async () => {
    const replay = new Replay(variant);
    await replay.begin();
    replay.assertLive(replay.known());
    await assertFresh(replay.account, replay.device, replay.known());
    const { rooms } = replay.world;
    const list = replay.list.rooms;
    const plain = (name) => list.get(rooms[name])?.name;
    assert.deepEqual(['dm_bob', 'dm_carol', 'group_noname', 'invite_dm'].map(plain), ['Bob', 'Carol', 'Bob and Carol', 'Bob']);
    for (const name of ['left', 'kicked', 'banned']) assert.equal(plain(name), undefined);
  });
}

/** Whether the increments go on from it: of the same moment, and asked for with all members, as they were. */
function continued(variant) {
  const { request, response } = capture(`v2_initial_${variant}.json`, '');
  const lazy = JSON.parse(request.query.filter || '{}').room?.state?.lazy_load_members;
  return !lazy && response.next_batch === capture(increments[0], '').request.query.since;
}

for (const variant of variants.filter(continued)) {
  const replay = new Replay(variant, '_on');
  test(`${variant}, for what came after it`, () => replay.begin());
  for (const file of increments) test(`${variant}: ${file.slice(3, -5)}`, () => replay.step(file));
}

test('no poll overlapped another (rule 1)', () => assert.ok(s.homeserver.devices.every((device) => device.overlaps === 0)));
