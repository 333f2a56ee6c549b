#!/usr/bin/env node
// More devices than connections: new ones are told to come later, those that are there go on, and nginx has connections left for others.
'use strict';

const http = require('node:http');
const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ connections: 90 });
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

test('429 M_LIMIT_EXCEEDED for those who would wait when hardly a connection is left; the others are told their news, and all goes on', async () => {
  const devices = s.homeserver.devices.filter((device) => device.quiet).slice(0, 12);
  const sessions = devices.flatMap((device) => Array.from({ length: 12 }, () => s.session(device, { agent })));
  for (const session of sessions) await session.sync({ to_device: {} });
  // nginx itself may close a connection that it has just accepted, when it has hardly any left.
  const ask = (session, timeout) => session.ask('', { timeout }).catch((error) => ({ reset: error.code }));
  const asked = [];
  let busy;
  for (const session of sessions.slice(1)) {
    asked.push(ask(session, 30_000).then((answer) => { if (answer.status === 429) busy = answer.json; return answer; }));
    const { reset, status, json } = await ask(sessions[0], 0);
    if (!reset) assert.deepEqual([status, Object.keys(json)], [200, ['next']], 'who need not wait is answered');
    if (busy) break;
  }
  assert.equal(busy?.errcode, 'M_LIMIT_EXCEEDED', `${asked.length} wait`);
  assert.ok(busy.retry_after_ms > 0);
  devices.forEach((device, i) => device.toDevice(matrix.toDevice(`full ${i}`)));
  const told = (await Promise.all(asked)).filter(({ status }) => status === 200);
  assert.ok(told.length > 5, `${told.length} of ${asked.length} were told`);
  for (const { json } of told) assert.equal(json.to_device?.events.length, 1);
  for (const device of devices) await device.stored();
  assert.equal(await s.figure('lost'), 0);
  assert.equal((await sessions[0].sync('')).to_device.events.length, 1);
});

test('classic sync still goes through', async () => {
  const device = s.homeserver.device();
  const answer = await s.request({ method: 'GET', headers: { authorization: `Bearer ${device.token}` }, agent });
  assert.equal(answer.status, 200);
});
