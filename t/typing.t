#!/usr/bin/env node
// The typing stream (rule 20): who types now, of one room, as the device's own poll said last.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2 });
const [alice, bob] = ['@alice:hs.test', '@bob:hs.test'];

function inRooms(...names) {
  const device = s.homeserver.device();
  const rooms = Object.fromEntries(names.map((name) => [name, matrix.roomId()]));
  device.initial = matrix.join(Object.fromEntries(Object.values(rooms).map((room) => [room, matrix.room(device.user_id)])));
  return { device, session: s.session(device), ...rooms };
}
const typists = (json) => json.typing?.events.map((event) => event.content.user_ids);
const edu = (room_id, ...user_ids) => [{ type: 'm.typing', room_id, content: { user_ids } }];

test('a typist is shown, then nobody when the last one stops', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(here, alice));
  assert.deepEqual((await session.syncUntil((json) => json.typing)).typing.events, edu(here, alice));
  device.push(matrix.typing(here, alice, bob));
  assert.deepEqual((await session.syncUntil((json) => json.typing)).typing.events, edu(here, alice, bob));
  device.push(matrix.typing(here));
  assert.deepEqual((await session.syncUntil((json) => json.typing)).typing.events, edu(here));
});

test('on subscribing: the present typists, at once', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync();
  device.push(matrix.typing(here, alice));
  await device.stored();
  const answer = await session.ask({ typing: { room_id: here } }, { timeout: 10_000 });
  assert.deepEqual(answer.json.typing.events, edu(here, alice));
  assert.ok(answer.took < 2000);
  const young = await s.session(device).sync({ typing: { room_id: here } });
  assert.deepEqual(young.typing.events, edu(here, alice));
});

test('the first poll\'s typists are the present ones', async () => {
  const { device, session, here } = inRooms('here');
  device.initial.rooms.join[here].ephemeral = { events: [{ type: 'm.typing', content: { user_ids: [bob] } }] };
  assert.deepEqual((await session.sync({ typing: { room_id: here } })).typing.events, edu(here, bob));
});

test('nobody types: nothing is said', async () => {
  const { session, here } = inRooms('here');
  assert.equal((await session.sync({ typing: { room_id: here } })).typing, undefined);
});

test('what was said is not said again', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(here, alice));
  await session.syncUntil((json) => json.typing);
  device.push(matrix.typing(here, alice));
  await device.stored();
  assert.equal((await session.sync({}, { timeout: 300 })).typing, undefined);
});

test('at most one event an answer: who types now', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(here, alice));
  device.push(matrix.typing(here, bob));
  await device.stored();
  assert.deepEqual((await session.sync()).typing.events, edu(here, bob));
});

test('another room\'s typists are nothing to it; changing the room shows those of the new one', async () => {
  const { device, session, here, there } = inRooms('here', 'there');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(there, bob));
  await device.stored();
  assert.equal((await session.sync()).typing, undefined);
  assert.deepEqual((await session.sync({ typing: { room_id: there } })).typing.events, edu(there, bob));
  device.push(matrix.typing(here, alice));
  await device.stored();
  assert.equal((await session.sync()).typing, undefined);
  assert.deepEqual((await session.sync({ typing: { room_id: here } })).typing.events, edu(here, alice));
});

test('a room that does not exist, or is no room ID: silence', async () => {
  const { session } = inRooms('here');
  for (const room_id of ['!nowhere:hs.test', 'nonsense', '', '\u0000']) assert.deepEqual(Object.keys(await session.sync({ typing: { room_id } })), ['next']);
});

test('rule 32: nobody types any more in a room that the user has left', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(here, alice));
  await session.syncUntil((json) => json.typing);
  device.push({ rooms: { leave: { [here]: matrix.more(matrix.member(device.user_id, 'leave')) } } });
  await device.stored();
  assert.ok(!typists(await session.sync())?.flat().length);
  assert.equal((await s.session(device).sync({ typing: { room_id: here } })).typing, undefined);
});

test('rule 19, 20: typing is the device\'s own: another device\'s poll says nothing to it', async () => {
  const { device, session, here } = inRooms('here');
  const other = s.homeserver.device();
  other.initial = { rooms: { join: { [here]: matrix.room(other.user_id) } } };
  await s.session(other).sync();
  await session.sync({ typing: { room_id: here } });
  other.push(matrix.typing(here, alice));
  await other.stored();
  assert.equal((await session.sync({}, { timeout: 300 })).typing, undefined);
});

test('a waiting client on the other worker is woken soon', async () => {
  const { device, here } = inRooms('here');
  const sessions = [];
  for (const pid of s.nginx.workerPids()) sessions.push(await s.sessionOn(pid, device));
  for (const session of sessions) await session.sync({ typing: { room_id: here } });
  for (const users of [[alice], [alice, bob], []]) {
    const waits = sessions.map((session) => session.sync({}, { timeout: 10_000 }));
    await s.waiting(2);
    const pushed = Date.now();
    device.push(matrix.typing(here, ...users));
    for (const wait of waits) assert.deepEqual(typists(await wait), [users]);
    assert.ok(Date.now() - pushed < 2000, `${Date.now() - pushed} ms`);
  }
});

test('rule 20: typing ends when the poller is replaced', async () => {
  const { device, session, here } = inRooms('here');
  await session.sync({ typing: { room_id: here } });
  device.push(matrix.typing(here, alice));
  await session.syncUntil((json) => json.typing);
  await s.nginx.replaceWorkers();
  assert.deepEqual((await session.syncUntil((json) => json.typing)).typing.events, edu(here));
  assert.equal((await s.session(device).sync({ typing: { room_id: here } })).typing, undefined);
});
