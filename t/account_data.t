#!/usr/bin/env node
// The account_data stream: all of the user's global account data at first, then what changed.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();
const asks = { account_data: {} };
const data = (...events) => ({ account_data: { events } });
const one = (type, content) => ({ type, content });
const sorted = (json) => (json.account_data ? [...json.account_data.events].sort((a, b) => (a.type < b.type ? -1 : 1)) : undefined);

async function started(initial) {
  const device = s.homeserver.device();
  device.initial = initial;
  const session = s.session(device);
  return { device, session, first: await session.sync(asks) };
}
async function push(device, answer) {
  device.push(answer);
  await device.stored();
}

test('all at first', async () => {
  const { first } = await started(data(one('m.direct', { '@a:hs.test': ['!r'] }), one('org.example', { x: null })));
  assert.deepEqual(sorted(first), [one('m.direct', { '@a:hs.test': ['!r'] }), one('org.example', { x: null })]);
});

test('none: nothing is said', async () => {
  assert.equal((await started({})).first.account_data, undefined);
});

test('then what changed; of two changes the newest', async () => {
  const { device, session } = await started(data(one('a', { n: 0 }), one('b', { n: 0 })));
  await push(device, data(one('a', { n: 1 })));
  await push(device, data(one('a', { n: 2 }), one('c', {})));
  assert.deepEqual(sorted(await session.sync()), [one('a', { n: 2 }), one('c', {})]);
  assert.equal((await session.sync()).account_data, undefined);
});

test('a change ends a wait', async () => {
  const { device, session } = await started({});
  const wait = session.ask({}, { timeout: 15_000 });
  await s.waiting(1);
  device.push(data(one('a', {})));
  assert.deepEqual((await wait).json.account_data.events, [one('a', {})]);
});

test('a new session gets all of it as it is now', async () => {
  const { device } = await started(data(one('a', { n: 0 }), one('b', { n: 0 })));
  await push(device, data(one('a', { n: 1 })));
  assert.deepEqual(sorted(await s.session(device).sync(asks)), [one('a', { n: 1 }), one('b', { n: 0 })]);
});

test('byte for byte', async () => {
  const { device, session } = await started({});
  const text = '{ "content":{"z":1.0,"a":"\\u00e9\u00e9\\u0000\\ud800"} ,"type":"org.example.odd","more": 1e2}';
  await push(device, (next) => `{"next_batch":"${next}","account_data":{"events":[${text}]}}`);
  assert.ok((await session.ask()).body.includes(Buffer.from(text)));
});

test('a room\'s account data is not global', async () => {
  const device = s.homeserver.device();
  device.initial = matrix.join({ [matrix.roomId()]: matrix.room(device.user_id, [], { account_data: { events: [one('m.tag', { tags: {} })] } }) });
  assert.equal((await s.session(device).sync(asks)).account_data, undefined);
});

test('another user\'s is another\'s', async () => {
  const { device } = await started(data(one('a', {})));
  const { session } = await started({});
  await push(device, data(one('a', { n: 1 })));
  assert.equal((await session.sync({}, { timeout: 200 })).account_data, undefined);
});
