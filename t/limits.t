#!/usr/bin/env node
// More devices than connections: new ones are told to come later, those that are there go on, and nginx has connections left for others.
'use strict';

const http = require('node:http');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ connections: 90, allowed: [/worker_connections are not enough/] });
const agent = new http.Agent({ keepAlive: false });

test('429 M_LIMIT_EXCEEDED with retry_after_ms when there is no room for another device', async () => {
  const there = s.session(s.homeserver.device());
  await there.sync({ to_device: {} });
  let refused = 0;
  for (let i = 0; i < 60; i++) {
    const answer = await s.session(s.homeserver.device(), { agent }).ask({ to_device: {} });
    if (answer.status === 200) continue;
    assert.equal(answer.status, 429, String(answer.body));
    assert.equal(answer.json.errcode, 'M_LIMIT_EXCEEDED');
    assert.ok(answer.json.retry_after_ms > 0);
    refused++;
  }
  assert.ok(refused > 0 && refused < 50, `${refused} of 60 were refused`);
  const device = s.homeserver.devices[1];
  device.toDevice(matrix.toDevice('1'));
  assert.equal((await there.syncUntil((json) => json.to_device)).to_device.events.length, 1);
  assert.ok((await s.figure('polls_in_flight')) <= 60);
});

test('more clients than connections: nginx takes no more, those who wait are told their news, and all goes on', async () => {
  const devices = s.homeserver.devices.filter((device) => device.quiet).slice(0, 12);
  const sessions = devices.flatMap((device) => Array.from({ length: 12 }, () => s.session(device, { agent })));
  for (const session of sessions) await session.sync({ to_device: {} });
  const refused = [];
  const asked = sessions.map((session) => session.ask('', { timeout: 30_000 }).catch((error) => { refused.push(error.code); }));
  await until(() => refused.length > 0 && /worker_connections are not enough/.test(s.nginx.log()), 'a client is refused');
  devices.forEach((device, i) => device.toDevice(matrix.toDevice(`full ${i}`)));
  const told = (await Promise.all(asked)).filter(Boolean);
  assert.equal(told.length + refused.length, sessions.length);
  assert.ok(told.length > 0 && refused.every((code) => code === 'ECONNRESET'), `${told.length} were told, ${refused}`);
  for (const { status, json } of told) assert.deepEqual([status, json.to_device?.events.length], [200, 1]);
  for (const device of devices) await device.stored();
  assert.equal(await s.figure('lost'), 0);
  assert.equal((await sessions[0].sync('')).to_device.events.length, 1);
});

test('classic sync still goes through', async () => {
  const device = s.homeserver.device();
  const answer = await s.request({ method: 'GET', headers: { authorization: `Bearer ${device.token}` }, agent });
  assert.equal(answer.status, 200);
});
