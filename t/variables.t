#!/usr/bin/env node
// What an access log may say of a request: $matrix_sync_user and its kin.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({
  http: (self) => `
    log_format sync '$uri $status user=$matrix_sync_user device=$matrix_sync_device session=$matrix_sync_session '
                    'streams=$matrix_sync_streams wait=$matrix_sync_wait news=$matrix_sync_news';
    access_log ${self.nginx.prefix}/sync.log sync;`,
});

/** What was logged since, as objects. */
const lines = () => fs.readFileSync(path.join(s.nginx.prefix, 'sync.log'), 'utf8').split('\n').filter((line) => line && !line.startsWith('/status '));
async function logged(make) {
  const before = lines().length;
  await make();
  const line = await until(() => lines()[before], 'a line in the access log');
  const [, status, ...facts] = line.split(' ');
  return { status, ...Object.fromEntries(facts.map((fact) => [fact.slice(0, fact.indexOf('=')), fact.slice(fact.indexOf('=') + 1)])) };
}
const nothing = { user: '-', device: '-', session: '-', streams: '-', wait: '-', news: '-' };
const without = ({ status, ...facts }) => facts;

let device, session, id;

test('a new session: whose it is, and what it got', async () => {
  device = s.homeserver.device('@alice:hs.test', 'PHONE');
  device.initial = { account_data: { events: [{ type: 'a', content: {} }] } };
  session = s.session(device);
  const line = await logged(() => session.sync({ account_data: {}, to_device: {} }));
  assert.match(line.session, /^[0-9a-f-]{36}$/);
  id = line.session;
  assert.deepEqual(without(line), { user: '@alice:hs.test', device: 'PHONE', session: id, streams: 'to_device,account_data', wait: '0.000', news: 'account_data' });
});

test('one that waited in vain: for how long', async () => {
  const line = await logged(() => session.sync({}, { timeout: 300 }));
  assert.ok(Number(line.wait) >= 0.29 && Number(line.wait) < 5, line.wait);
  assert.match(line.wait, /^\d+\.\d{3}$/);
  assert.deepEqual({ ...without(line), wait: '' }, { user: '@alice:hs.test', device: 'PHONE', session: id, streams: 'to_device,account_data', wait: '', news: '-' });
});

test('one that waited for news: of which streams', async () => {
  const line = await logged(async () => {
    const asking = session.sync({}, { timeout: 10_000 });
    await s.waiting(1);
    device.push({ to_device: { events: [matrix.toDevice('1')] }, account_data: { events: [{ type: 'b', content: {} }] } });
    return asking;
  });
  assert.ok(Number(line.wait) > 0);
  assert.equal(line.news, 'to_device,account_data');
  assert.equal(line.status, '200');
});

test('one that was hung up on', async () => {
  const hangUp = new AbortController();
  const line = await logged(async () => {
    const asking = session.ask({}, { timeout: 10_000, signal: hangUp.signal }).catch(() => {});
    await s.waiting(1);
    hangUp.abort();
    return asking;
  });
  assert.equal(line.status, '499');
  assert.equal(line.session, id);
  assert.match(line.wait, /^\d+\.\d{3}$/);
  assert.equal(line.news, '-');
});

test('one that is refused: as far as it came', async () => {
  const bad = await logged(() => session.ask({ typing: { room_id: 5 } }));
  assert.deepEqual(without(bad), { ...nothing, user: '@alice:hs.test', device: 'PHONE' });
  assert.equal(bad.status, '400');
  const stranger = await logged(() => s.request({ body: {}, headers: { authorization: 'Bearer nobody' } }));
  assert.deepEqual(without(stranger), nothing);
  assert.equal(stranger.status, '401');
});

test('nothing for requests that are not the module\'s', async () => {
  for (const each of [{ method: 'GET', path: '/worker' }, { method: 'GET', path: '/_matrix/client/v3/sync' }, { method: 'DELETE' }]) {
    assert.deepEqual(without(await logged(() => s.request(each))), nothing);
  }
});
