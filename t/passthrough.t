#!/usr/bin/env node
// Today's Matrix on the same path: GET, HEAD and OPTIONS reach the homeserver, and its answer the client, byte for byte. And what other
// modules of nginx have to do with POST.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { path } = require('./lib/client');

const s = stage({ serverDirectives: (made) => `
        location = /mirrored { matrix_sync ${made.url}; proxy_pass ${made.url}; mirror /copy; }
        location = /copy { internal; proxy_pass ${made.url}/copied; }` });
const newest = () => s.homeserver.requests[s.homeserver.requests.length - 1];

test('GET: the query and the headers go up, the bytes come down', async () => {
  const device = s.homeserver.device();
  const bytes = '{"next_batch" :  "s1",\n\t"caf\u00e9":"\\u0041", "rooms":{}}\n';
  device.failPolls({ raw: bytes, headers: { 'x-from': 'homeserver', 'content-type': 'application/json; odd' } });
  const query = '?since=a%2Fb+c&timeout=0&filter={%22x%22:1}&access_token=';
  const answer = await s.request({ method: 'GET', path: path + query, headers: { authorization: `Bearer ${device.token}`, 'x-mine': 'yes' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.body.toString('latin1'), Buffer.from(bytes).toString('latin1'));
  assert.equal(answer.headers['x-from'], 'homeserver');
  assert.equal(answer.headers['content-type'], 'application/json; odd');
  assert.equal(newest().url, path + query);
  assert.equal(newest().headers['x-mine'], 'yes');
});

test('GET: what the homeserver refuses', async () => {
  const answer = await s.request({ method: 'GET', headers: { authorization: 'Bearer nobody' } });
  assert.equal(answer.status, 401);
  assert.deepEqual(answer.json, { errcode: 'M_UNKNOWN_TOKEN', error: 'Unknown token', soft_logout: false });
});

test('GET: a large answer, chunked', async () => {
  const device = s.homeserver.device();
  device.initial = async function* parts() { for (let i = 0; i < 100; i++) yield `${i}`.repeat(10_000); };
  const whole = Array.from({ length: 100 }, (_, i) => `${i}`.repeat(10_000)).join('');
  const answer = await s.request({ method: 'GET', headers: { authorization: `Bearer ${device.token}` } });
  assert.ok(answer.body.equals(Buffer.from(whole)));
});

test('HEAD', async () => {
  const device = s.homeserver.device();
  const answer = await s.request({ method: 'HEAD', headers: { authorization: `Bearer ${device.token}` } });
  assert.equal(answer.status, 200);
  assert.equal(answer.body.length, 0);
  assert.match(newest().method, /HEAD|GET/);
  assert.equal(newest().path, path);
});

test('OPTIONS', async () => {
  const answer = await s.request({ method: 'OPTIONS', headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' } });
  assert.equal(answer.status, 204);
  assert.equal(answer.headers['x-from'], 'homeserver');
  assert.equal(newest().headers.origin, 'https://app.example');
});

test('nothing of it asks the homeserver for anything else', () => {
  const own = s.homeserver.devices[0];   // of the stage itself
  const asked = s.homeserver.requests.filter((seen) => seen.device !== own && seen.route === 'whoami');
  assert.equal(asked.length, 0);
});

test('POST in a location with `mirror`, which has read the body before: it is read again, and the copy is whole', async () => {
  const session = s.session(s.homeserver.device(), { at: '/mirrored' });
  const asks = { to_device: {} };
  for (let i = 0; i < 2; i++) await session.sync(asks);
  const copies = () => s.homeserver.requests.filter((seen) => seen.path.startsWith('/copied'));
  await until(() => copies().length === 2, 'two copies');
  assert.deepEqual(copies().map((copy) => JSON.parse(copy.body)), [asks, asks]);
});

test('POST with conditions on a file: there is none, and they do not count', async () => {
  const session = s.session(s.homeserver.device());
  for (const headers of [{ 'if-match': '"x"' }, { 'if-unmodified-since': 'Mon, 01 Jan 2024 00:00:00 GMT' }, { range: 'bytes=0-3' }]) {
    assert.ok((await session.ask({ to_device: {} }, { headers })).json.next);
  }
});
