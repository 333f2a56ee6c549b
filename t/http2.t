#!/usr/bin/env node
// Clients with TLS and HTTP/2: several waits on one connection, and streams that are reset.
'use strict';

const http2 = require('node:http2');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { path } = require('./lib/client');
const { freePort } = require('./lib/port');
const matrix = require('./lib/matrix');

let tls, port;
const s = stage({
  http: (self) => `
    server {
        listen 127.0.0.1:${port} ssl http2;
        ssl_certificate ${tls.certificate};
        ssl_certificate_key ${tls.certificate.replace(/crt$/, 'key')};
        location = ${path} { matrix_sync ${self.url}; proxy_pass ${self.url}; }
    }`,
});
const { start } = s;
s.start = async function startAll() {
  tls = await this.homeserver.listenTls();
  port = await freePort();
  await start.call(this);
};

let connection;
/** One request on the connection; {json, status} when it ends; `stream` to reset it. */
function ask(device, { since, timeout = 0, body = { to_device: {} } } = {}) {
  connection ||= http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false }).on('error', () => {});
  const query = new URLSearchParams({ timeout, ...(since && { since }) });
  const stream = connection.request({ ':method': 'POST', ':path': `${path}?${query}`, authorization: `Bearer ${device.token}` });
  const answer = new Promise((resolve, reject) => {
    let status, text = '';
    stream.setEncoding('utf8');
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (part) => { text += part; });
    stream.on('end', () => (status ? resolve({ status, json: JSON.parse(text) }) : reject(new Error('reset'))));
    stream.on('error', reject);
  });
  answer.catch(() => {});
  stream.end(JSON.stringify(body));
  return { stream, answer };
}

test('a request, a wait, news', async () => {
  const device = s.homeserver.device();
  const first = await ask(device).answer;
  assert.equal(first.status, 200);
  const wait = ask(device, { since: first.json.next, timeout: 15_000 }).answer;
  await s.waiting(1);
  device.toDevice(matrix.toDevice('1'));
  assert.equal((await wait).json.to_device.events.length, 1);
});

test('many waits on one connection, some of them reset', async () => {
  const devices = Array.from({ length: 20 }, () => s.homeserver.device());
  const firsts = await Promise.all(devices.map((device) => ask(device).answer));
  const waits = devices.map((device, i) => ask(device, { since: firsts[i].json.next, timeout: 20_000 }));
  await s.waiting(20);
  for (let i = 0; i < 20; i += 2) waits[i].stream.close(http2.constants.NGHTTP2_CANCEL);
  await s.waiting(10);
  for (const device of devices) device.toDevice(matrix.toDevice('1'));
  for (let i = 1; i < 20; i += 2) assert.equal((await waits[i].answer).json.to_device.events.length, 1);
  for (let i = 0; i < 20; i += 2) {
    await devices[i].stored();
    assert.equal((await ask(devices[i], { since: firsts[i].json.next }).answer).json.to_device.events.length, 1);
  }
});

test('the connection goes with waits on it', async () => {
  const devices = Array.from({ length: 5 }, () => s.homeserver.device());
  const firsts = await Promise.all(devices.map((device) => ask(device).answer));
  devices.forEach((device, i) => ask(device, { since: firsts[i].json.next, timeout: 20_000 }));
  await s.waiting(5);
  connection.destroy();
  await s.waiting(0);
});

test('an error', async () => {
  connection = null;
  const answer = await ask({ token: 'secret_nobody' }).answer;
  assert.deepEqual([answer.status, answer.json.errcode], [401, 'M_UNKNOWN_TOKEN']);
  connection.close();
  await until(() => connection.closed || connection.destroyed);
});
