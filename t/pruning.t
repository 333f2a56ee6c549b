#!/usr/bin/env node
// The database's size follows what live sessions can ask for (rule 22): with a session expiry of seconds, what nobody can ask for any more
// goes while one looks on; and a device that comes back has lost nothing that was meant for it (rule 23).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_session_expiry 2s; matrix_sync_poll_idle 1s; matrix_sync_poll_timeout 1s;', workers: 2 });
const lists = { room_list: { timeline_limit: 1 } };
const count = (table) => s.postgres.value(`SELECT count(*) FROM matrix_sync.${table}`);
const rooms = (answer) => answer.room_list.rooms.map((room) => room.room_id).sort();
const everything = ['device', 'session', 'token', 'log', 'device_room', 'receipt', 'room_account_data', 'account_data', 'room', 'event',
  'room_state', 'redaction', 'member', 'member_list'];
const nothing = (tables = everything) => until(() => tables.every((table) => count(table) === 0), `nothing in ${tables}`, 40_000);

const receipt = { type: 'm.receipt', content: { $1: { 'm.read': { '@reader:hs.test': { ts: 1 } } } } };

function deviceWithRooms(number) {
  const device = s.homeserver.device();
  device.rooms = Array.from({ length: number }, () => matrix.roomId()).sort();
  const part = () => matrix.room(device.user_id, [matrix.message('hello')], {
    ephemeral: { events: [receipt] }, account_data: { events: [{ type: 'm.tag', content: { tags: {} } }] },
  });
  device.initial = { ...matrix.join(Object.fromEntries(device.rooms.map((id) => [id, part()]))),
    account_data: { events: [{ type: 'm.direct', content: {} }] } };
  return device;
}

test('a device that nobody uses goes with all that only it had', async () => {
  const device = deviceWithRooms(70);
  assert.equal(rooms(await s.session(device).sync({ room_list: { p: { limit: 100 } } })).length, 70);
  await nothing();
});

test('it comes back, and is told everything anew', async () => {
  const device = deviceWithRooms(3);
  const session = s.session(device);
  await session.sync(lists);
  await nothing();
  const old = await session.ask(lists);
  assert.deepEqual([old.status, old.json.errcode], [400, 'M_UNKNOWN_SYNC_SESSION']);
  session.next = undefined;
  assert.deepEqual(rooms(await session.sync(lists)), device.rooms);
});

test('rule 23: a message that no session has acknowledged outlives the sessions', async () => {
  const device = deviceWithRooms(3);
  const session = s.session(device);
  await session.sync({ to_device: {}, ...lists });
  device.toDevice(matrix.toDevice('for you'));
  await device.stored();
  await until(() => count('session') === 0 && count('log') === 0 && count('room') === 0 && count('event') === 0, 'all goes but the message', 40_000);
  assert.equal(count('to_device'), 1);
  session.next = undefined;
  const answer = await session.sync({ to_device: {}, ...lists });
  assert.deepEqual(answer.to_device.events.map((event) => event.content.body), ['for you']);
  assert.deepEqual(rooms(answer), device.rooms);
  await session.sync();
  await nothing();
});

test('what a session that goes on has been given goes, and it misses nothing', async () => {
  const device = deviceWithRooms(1);
  const session = s.session(device);
  const [room] = device.rooms;
  const asks = { room: { room_id: room } };
  const told = (await session.sync(asks)).room.timeline.events.map((event) => event.content.body);
  let sent = 0;
  await until(async () => {
    device.push(matrix.join({ [room]: matrix.more(...Array.from({ length: 20 }, () => matrix.message(String(++sent)))) }));
    const answer = await session.syncUntil((json) => json.room, asks);
    told.push(...answer.room.timeline.events.map((event) => event.content.body));
    return sent > 600 && count('event') < sent - 200;
  }, 'events go', 40_000);
  await device.stored();
  while (told.length <= sent) told.push(...(await session.syncUntil((json) => json.room, asks)).room.timeline.events.map((event) => event.content.body));
  assert.deepEqual(told, ['hello', ...Array.from({ length: sent }, (_, i) => String(i + 1))]);
  const fresh = await s.session(device).sync({ room: { room_id: room, timeline_limit: 200 } });
  assert.equal(fresh.room.timeline.events.length, 200);
});

test('a room that was left goes, though the session goes on', async () => {
  const device = deviceWithRooms(2);
  const session = s.session(device);
  await session.sync(lists);
  const [left, stays] = device.rooms;
  device.push({ rooms: { leave: { [left]: matrix.more(matrix.member(device.user_id, 'leave')) } } });
  await session.syncUntil((json) => json.room_list, lists);
  await until(async () => {
    await session.sync(lists);
    return s.postgres.value(`SELECT count(*) FROM matrix_sync.room WHERE room_id = '${left}'`) === 0;
  }, 'the room goes', 40_000);
  assert.deepEqual(rooms(await s.session(device).sync(lists)), [stays]);
});
