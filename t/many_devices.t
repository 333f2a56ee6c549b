#!/usr/bin/env node
// What keeps many devices of one host from being more than a homeserver or a database can bear at once.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');

const workers = 2;
const devices = 60;
const s = stage({ workers, connections: 1024, privatePostgres: true, allowed: [/the connection to the database was lost|cannot connect to the database/] });

const all = [];
const firstPolls = () => s.homeserver.requests.filter(({ route, query, closed }) => route === 'sync' && query.since === undefined && !closed).length;

test('eight first polls of a host are under way at a time; its other devices wait for a place', async () => {
  let release;
  s.homeserver.fail((seen) => seen.route === 'sync', { hold: new Promise((go) => { release = go; }) }, Infinity);
  const before = firstPolls();
  for (let i = 0; i < devices; i++) all.push(s.session(s.homeserver.device()));
  const asked = all.map((session) => session.sync({ to_device: {} }, { timeout: 0 }));
  await until(async () => (await s.figure('first_polls_waiting')) === devices - 8, 'all others wait');
  assert.equal(firstPolls() - before, 8);
  s.homeserver.heal();
  release();
  await Promise.all(asked);
  assert.equal(await s.figure('first_polls_waiting'), 0);
});

test('when the database has been away, the logs of many devices are claimed together', async () => {
  await s.postgres.stop();
  await until(async () => (await s.figure('connected')) === 0, 'both workers know that it is away');
  const before = await s.figure('transactions');
  await s.postgres.restart();
  // Workers register anew, which ends what they owned.
  await until(() => s.postgres.value('SELECT count(*) FROM matrix_sync.device JOIN matrix_sync.worker ON owner = worker.id') > devices,
    'every device has an owner again');
  const transactions = (await s.figure('transactions')) - before;
  assert.ok(transactions < devices / 2, `${transactions} transactions for ${devices} devices`);
  const message = { type: 'm.test', sender: '@a:hs.test', content: { n: 1 } };
  const heard = all.map((session) => session.sync('', { timeout: 20_000 }));
  for (const device of s.homeserver.devices) device.toDevice(message);
  for (const { to_device } of await Promise.all(heard)) assert.deepEqual(to_device.events, [message]);
});
