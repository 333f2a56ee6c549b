#!/usr/bin/env node
// An account of 3,000 rooms: the first page of its room list is there before the first poll has ended, and the whole list after it.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_first_poll_timeout 1s;' });
const total = 3000;
// More than the module gathers before it stores what has come.
const early = 1200;
const page = 20;
const children = 100;

const by = (...values) => (a, b) => {
  for (const value of values) if (value(a) !== value(b)) return value(a) < value(b) ? -1 : 1;
  return 0;
};
const down = (value) => (room) => -value(room);
/** A number that looks random and is the same every time. */
const mixed = (i) => (i * 7919 + 13) % 10_007;

let device;
let space;
let session;
let release;
const released = new Promise((go) => { release = go; });

const made = Array.from({ length: total }, (_, i) => ({
  room_id: matrix.roomId(),
  name: `${'ABCDEFGH'[mixed(i) % 8]}${mixed(i) % 700} ${i % 2 ? 'room' : 'Room'}`,
  timestamp: 1_600_000_000_000 + mixed(i) * 1000,
  highlight_count: mixed(i) % 11 === 0 ? mixed(i) % 5 : 0,
  notification_count: mixed(i) % 3 === 0 ? mixed(i) % 40 : 0,
  place: total,
}));

/** The part of a room in the classic answer; what stands before the message makes it as large as rooms are. */
function part(room) {
  const origin_server_ts = room.timestamp;
  const before = Array.from({ length: 3 }, () => matrix.message('m'.repeat(500), { origin_server_ts: origin_server_ts - 1 }));
  return matrix.room(device.user_id, [...before, matrix.message(`the last of ${room.name}`, { origin_server_ts })], {
    state: { events: [matrix.create(), matrix.member(device.user_id), matrix.state('m.room.name', { name: room.name })] },
    unread_notifications: { highlight_count: room.highlight_count, notification_count: room.notification_count },
    summary: { 'm.joined_member_count': 1, 'm.invited_member_count': 0 },
  });
}

/** The space is one of the rooms; its children have an order, or are ordered by when they were added. */
function spacePart(room) {
  const found = part(room);
  const via = ['hs.test'];
  for (let i = 0; i < children; i++) {
    const child = made[(i * 29) % (total - 1)];
    const ordered = i % 3 === 0;
    const order = `o${mixed(i)}`;
    const placed = { state_key: child.room_id, origin_server_ts: 1_500_000_000_000 + i };
    found.state.events.push(matrix.state('m.space.child', { via, ...(ordered && { order }) }, placed));
    child.child = { unordered: !ordered, order: ordered ? order : '', ts: i };
  }
  const order = by((each) => each.child.unordered, (each) => each.child.order, (each) => each.child.ts);
  const inOrder = made.filter((each) => each.child).sort(order);
  inOrder.forEach((each, place) => { each.place = place; });
  return found;
}

async function* answer(next) {
  yield '{"rooms":{"join":{';
  for (const [i, room] of made.entries()) {
    if (i === early) await released;
    yield `${i ? ',' : ''}"${room.room_id}":${JSON.stringify(room === space ? spacePart(room) : part(room))}`;
  }
  yield `}},"next_batch":"${next}"}`;
}

test('the first page comes before the first poll has ended', async () => {
  device = s.homeserver.device();
  space = made[total - 1];
  device.initial = answer;
  // How much has come by then is the machine's affair, not that it is a page soon.
  const json = await until(async () => {
    session = s.session(device);
    const got = await session.sync({ room_list: { p: { limit: page } } });
    assert.equal(got.partial, true);
    return got.room_list.rooms.length >= page && got;
  }, 'a page of rooms');
  assert.equal(json.room_list.rooms.length, page);
  assert.ok(json.room_list.p.count >= page && json.room_list.p.count <= early, `${json.room_list.p.count} rooms`);
  const known = new Map(made.slice(0, early).map((room) => [room.room_id, room]));
  for (const room of json.room_list.rooms) {
    assert.equal(room.name, known.get(room.room_id).name);
    assert.equal(room.timestamp, known.get(room.room_id).timestamp);
  }
  const times = json.room_list.rooms.map((room) => room.timestamp);
  assert.deepEqual(times, [...times].sort((a, b) => b - a));
  assert.equal(device.polls.length, 1);
  assert.equal(device.polls[0].closed, false, 'the poll has not ended');
});

test('its other pages are of the same snapshot, while the poll goes on', async () => {
  const first = await session.sync({ room_list: { p: { since: '1' } } });
  const next = (await session.ask({ room_list: { p: { since: first.room_list.p.next } } })).json;
  assert.equal(next.partial, true);
  assert.equal(next.room_list.p.count, first.room_list.p.count);
  const ids = [...first.room_list.rooms, ...next.room_list.rooms].map((room) => room.room_id);
  assert.equal(new Set(ids).size, 2 * page);
});

test('what arrives later comes as deltas, each room once; then nothing is partial any more', async () => {
  const before = await session.sync({ room_list: { p: { limit: 1000, since: '1' } } });
  const pages = [before, ...await restOf(session, before)];
  const had = new Set(pages.flatMap((json) => json.room_list.rooms).map((room) => room.room_id));
  assert.equal(had.size, before.room_list.p.count);
  release();
  const told = [];
  const last = await session.syncUntil((json) => {
    told.push(...(json.room_list?.rooms || []).map((room) => room.room_id));
    return json.partial === undefined && had.size + told.length >= total;
  }, {}, 50_000);
  assert.equal(last.room_list?.p, undefined);
  assert.deepEqual([...had, ...told].sort(), made.map((room) => room.room_id).sort());
  await until(() => device.since === device.batch(0));
  assert.equal((await session.sync()).partial, undefined);
});

/** The pages behind a first one. */
async function restOf(of, first) {
  const pages = [];
  for (let at = first.room_list.p.next; at; at = pages.at(-1).room_list.p.next) {
    const { status, json } = await of.ask({ room_list: { p: { since: at } } });
    assert.equal(status, 200, JSON.stringify(json));
    pages.push(json);
    assert.ok(pages.length <= total, 'there is a last page');
  }
  return pages;
}

const id = (room) => room.room_id;
const orders = {
  by_recency: by(down((room) => room.timestamp), id),
  by_name: by((room) => room.name.toLowerCase(), id),
  by_highlight_count: by(down((room) => room.highlight_count), id),
  by_notification_count: by(down((room) => room.notification_count), id),
  'by_highlight_count,by_notification_count,by_name':
    by(down((room) => room.highlight_count), down((room) => room.notification_count), (room) => room.name.toLowerCase(), id),
  'by_notification_count,by_recency': by(down((room) => room.notification_count), down((room) => room.timestamp), id),
};

for (const [sorts, order] of Object.entries(orders)) {
  test(`all pages, ${sorts}: each room once, in order`, async () => {
    const sort = sorts.split(',');
    const terms = { timeline_limit: 0, p: { limit: 1000, sort } };
    const first = await session.sync({ room_list: { ...terms, p: { ...terms.p, since: '1' } } });
    assert.equal(first.room_list.p.count, total);
    assert.deepEqual([].concat(first.room_list.p.sort), sort);
    const rooms = [first, ...await restOf(session, first)].flatMap((json) => json.room_list.rooms);
    assert.deepEqual(rooms.map(id), [...made].sort(order).map(id));
  });
}

test('by_space_order: the children of the space in theirs, nothing else', async () => {
  const terms = { spaces: [space.room_id], p: { limit: 30, sort: 'by_space_order' } };
  const fresh = s.session(device);
  const first = await fresh.sync({ room_list: terms });
  assert.deepEqual([].concat(first.room_list.p.sort), ['by_space_order']);
  const rooms = [first, ...await restOf(fresh, first)].flatMap((json) => json.room_list.rooms);
  const wanted = made.filter((room) => room.child).sort(by((room) => room.place));
  assert.equal(first.room_list.p.count, wanted.length);
  assert.deepEqual(rooms.map(id), wanted.map(id));
});

test('small pages: the true first page has 20, and all of them hold each room once', async () => {
  const fresh = s.session(device);
  const first = await fresh.sync({ room_list: {} });
  assert.equal(first.partial, undefined);
  assert.equal(first.room_list.rooms.length, page);
  assert.deepEqual(first.room_list.p, { limit: page, sort: first.room_list.p.sort, count: total, next: first.room_list.p.next });
  assert.deepEqual(first.room_list.rooms.map(id), [...made].sort(orders.by_recency).slice(0, page).map(id));
  assert.ok(first.room_list.rooms.every((room) => room.timeline.events.at(-1).content.body === `the last of ${room.name}`));
  // What happens meanwhile changes no page.
  const news = () => matrix.more(matrix.message('news', { origin_server_ts: 1_700_000_000_000 }));
  device.push(matrix.join(Object.fromEntries([2999, 1500, 20].map((i) => [made[i].room_id, news()]))));
  await device.stored();
  const rooms = [first, ...await restOf(fresh, first)].flatMap((json) => json.room_list.rooms);
  assert.deepEqual(rooms.map(id), [...made].sort(orders.by_recency).map(id));
});

test('the first poll was made once', () => {
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});
