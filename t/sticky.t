#!/usr/bin/env node
// Sticky parameters: a JSON Merge Patch onto what the token's session asked for.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();

/** A device in a room. */
function inRoom() {
  const device = s.homeserver.device();
  const room = matrix.roomId();
  device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  return { device, room, session: s.session(device) };
}

test('a stream asked for once is answered for ever', async () => {
  const { device, room, session } = inRoom();
  await session.sync({ typing: { room_id: room }, to_device: {} });
  for (const user of ['@a:hs.test', '@b:hs.test']) {
    device.push(matrix.typing(room, user));
    const { typing } = await session.syncUntil((json) => json.typing, '');
    assert.deepEqual(typing.events[0].content, { user_ids: [user] });
  }
});

test('objects merge: what is not named stays', async () => {
  const { device, session } = inRoom();
  await session.sync({ to_device: { limit: 7 } });
  await session.sync({ to_device: {} });
  await session.sync({ account_data: {} });
  device.toDevice(matrix.toDevice('x'));
  assert.equal((await session.syncUntil((json) => json.to_device)).to_device.limit, 7);
});

test('other values replace', async () => {
  const { device, session } = inRoom();
  await session.sync({ to_device: { limit: 7 } });
  device.toDevice(matrix.toDevice('x'));
  assert.equal((await session.syncUntil((json) => json.to_device, { to_device: { limit: 8 } })).to_device.limit, 8);
});

test('null inside a stream removes the parameter', async () => {
  const { device, session } = inRoom();
  await session.sync({ to_device: { limit: 7 } });
  device.toDevice(matrix.toDevice('x'));
  assert.equal((await session.syncUntil((json) => json.to_device, { to_device: { limit: null } })).to_device.limit, 100);
});

test('null drops a stream', async () => {
  const { device, room, session } = inRoom();
  await session.sync({ typing: { room_id: room }, to_device: {} });
  await session.sync({ typing: null });
  device.push(matrix.typing(room, '@a:hs.test'));
  device.toDevice(matrix.toDevice('x'));
  const json = await session.syncUntil((each) => each.to_device);
  assert.equal(json.typing, undefined);
});

test('null for a stream that was never asked for is nothing', async () => {
  const { session } = inRoom();
  assert.deepEqual(Object.keys(await session.sync({ typing: null, e2ee: null })), ['next']);
});

test('removing the room of typing is missing it', async () => {
  const { room, session } = inRoom();
  await session.sync({ typing: { room_id: room } });
  const answer = await session.ask({ typing: { room_id: null } });
  assert.equal(answer.status, 400);
  assert.match(answer.json.error, /typing\.room_id/);
});

test('parameters belong to the token: an older one still asks for what it asked for', async () => {
  const { device, room, session } = inRoom();
  await session.sync({ typing: { room_id: room } });
  const before = session.next;
  await session.sync({ typing: null, to_device: {} });
  const after = session.next;
  device.push({ ...matrix.typing(room, '@a:hs.test'), to_device: { events: [matrix.toDevice('x')] } });
  await device.stored();
  const [old, young] = [await session.ask({}, { since: before }), await session.ask({}, { since: after })];
  assert.equal(old.status, 200);
  assert.deepEqual(old.json.typing.events[0].content.user_ids, ['@a:hs.test']);
  assert.equal(old.json.to_device, undefined);
  assert.equal(young.json.typing, undefined);
  assert.equal(young.json.to_device.events.length, 1);
});

test('sessions do not share parameters', async () => {
  const { device, session } = inRoom();
  const other = s.session(device);
  await session.sync({ to_device: {} });
  await other.sync({ account_data: {} });
  device.toDevice(matrix.toDevice('x'));
  await session.syncUntil((json) => json.to_device);
  assert.equal((await other.sync()).to_device, undefined);
});

test('a stream added later: account_data from everything kept', async () => {
  const { device, session } = inRoom();
  device.initial.account_data = { events: [{ type: 'org.example.a', content: { x: 1 } }] };
  await session.sync({ to_device: {} });
  const { account_data } = await session.sync({ account_data: {} });
  assert.deepEqual(account_data.events, [{ type: 'org.example.a', content: { x: 1 } }]);
});
