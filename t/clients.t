#!/usr/bin/env node
// Clients that are slow, that hang up, that come twice, and that come by the thousand (rules 7, 27, 29, 31).
'use strict';

const http = require('node:http');
const net = require('node:net');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { path, request } = require('./lib/client');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, privatePostgres: true, connections: 4096, directives: 'matrix_sync_max_timeout 60s; matrix_sync_sessions_per_device 1000;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const memory = () => s.nginx.workerPids().reduce((sum, pid) => sum + s.nginx.memory(pid), 0);
const MB = 1024 * 1024;

async function started(body = asks) {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(body);
  await device.stored();
  return { device, session };
}

/** A request on a bare socket, which reads nothing unless told to. */
function bare(session, { timeout = 0, body = '{}' } = {}) {
  const socket = net.connect(s.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  socket.write(`POST ${path}?timeout=${timeout}${session.next ? `&since=${encodeURIComponent(session.next)}` : ''} HTTP/1.1\r\nHost: x\r\n`
    + `Authorization: Bearer ${session.token}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  return socket;
}

test('rule 29: slow readers of large answers cost bounded memory, get all of it, and keep nobody else waiting', async () => {
  const { device, session } = await started();
  const large = 'x'.repeat(50_000);
  for (let i = 0; i < 40; i++) device.toDevice(matrix.toDevice(`${i} ${large}`));
  await device.stored();
  await session.ask();
  const before = memory();
  const slow = Array.from({ length: 20 }, () => bare(session));
  await until(() => slow.every((socket) => socket.connecting === false));
  const other = await started();
  other.device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await other.session.syncUntil((json) => json.to_device)), ['1']);
  // While they read nothing, more comes: it is composed when they come back, not queued.
  for (let i = 0; i < 40; i++) device.toDevice(matrix.toDevice(`${i} ${large}`));
  await device.stored();
  const grown = (memory() - before) / MB;
  if (!process.env.SANITIZE) assert.ok(grown < 20 * 2 * 2.5, `${grown.toFixed(0)} MB for 20 answers of 2 MB`);
  for (const socket of slow) {
    const parts = [];
    socket.on('data', (part) => parts.push(part)).resume();
    await until(() => Buffer.concat(parts).includes('}]', -20), 'the whole answer');
    const text = Buffer.concat(parts).toString();
    assert.ok(JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)).to_device.events.length > 10);
    socket.destroy();
  }
});

test('hang-ups at every moment: nothing stays behind, and the next request is answered', async () => {
  const { device, session } = await started();
  const whole = JSON.stringify({ to_device: { limit: 5 }, x: 'x'.repeat(3000) });
  const head = `POST ${path}?since=${encodeURIComponent(session.next)}&timeout=20000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${session.token}\r\nContent-Length: ${whole.length}\r\n\r\n`;
  const text = head + whole;
  for (let at = 0; at <= text.length; at += Math.ceil(text.length / 60)) {
    const socket = net.connect(s.port, '127.0.0.1');
    socket.on('error', () => {});
    await new Promise((sent) => socket.end(text.slice(0, at), sent));
    socket[at % 2 ? 'destroy' : 'resetAndDestroy']();
  }
  // While it is answered: after as long as it takes, and a little more each time.
  for (let i = 0; i < 40; i++) {
    const socket = bare(session, { body: '{"account_data":{}}' });
    await new Promise((go) => setTimeout(go, i % 8));
    socket.resetAndDestroy();
  }
  // While whoami and a first poll run.
  const hung = s.homeserver.device();
  let release;
  hung.failWhoami({ hold: new Promise((go) => { release = go; }) });
  const early = bare({ token: hung.token });
  await until(() => s.homeserver.requests.some((seen) => seen.device === hung));
  early.destroy();
  release();
  // While many wait, just when they are told.
  const many = Array.from({ length: 10 }, () => s.session(device));
  for (const each of many) await each.sync(asks);
  for (let round = 0; round < 5; round++) {
    const waits = many.map((each) => bare(each, { timeout: 20_000 }));
    await s.waiting(many.length);
    device.toDevice(matrix.toDevice(`${round}`));
    for (const socket of waits) socket.destroy();
    await s.waiting(0);
    for (const each of many) await each.syncUntil((json) => json.to_device);
  }
  const got = [];
  await until(async () => { got.push(...bodies(await session.sync('', { timeout: 1000 }))); return got.length >= 5; });
  assert.deepEqual(got, ['0', '1', '2', '3', '4']);
  await s.session(hung).sync(asks);
  assert.equal(s.homeserver.requests.filter((seen) => seen.device === hung && seen.route === 'whoami').length, 1, 'what was asked for the one that hung up counts');
});

test('rule 27: a second request of a session ends the first one\'s wait, on another worker too', async () => {
  const device = s.homeserver.device();
  const [here, there] = s.nginx.workerPids();
  const first = await s.sessionOn(here, device);
  await first.sync(asks);
  await device.stored();
  for (let round = 0; round < 3; round++) {
    for (const worker of [there, here]) {
      const wait = first.ask('', { timeout: 50_000 });
      await s.waiting(1);
      const second = await s.sessionOn(worker, device);
      second.next = first.next;
      const newer = second.ask('', { timeout: 50_000 });
      const ended = await wait;
      assert.equal(ended.status, 200);
      assert.deepEqual(Object.keys(ended.json), ['next']);
      assert.ok(ended.took < 5000, `${ended.took} ms`);
      await s.waiting(1);
      device.toDevice(matrix.toDevice('1'));
      const answer = await newer;
      assert.deepEqual(bodies(answer.json), ['1'], 'the newer one goes on waiting');
      first.next = answer.json.next;
      await device.stored();
    }
  }
});

test('a thousand sessions of one device, and one more: each gets each message, the longest unused one is dropped', async () => {
  const device = s.homeserver.device();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
  const sessions = Array.from({ length: 1000 }, () => s.session(device, { agent }));
  await Promise.all(sessions.map((session) => session.sync(asks)));
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  for (const json of await Promise.all(sessions.map((session) => session.sync()))) assert.deepEqual(bodies(json), ['1']);
  await s.session(device, { agent }).sync(asks);
  const rows = s.postgres.value(`SELECT count(*) FROM matrix_sync.session t JOIN matrix_sync.device d ON d.id = t.device WHERE d.user_id = '${device.user_id}'`);
  assert.equal(rows, 1000);
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
  agent.destroy();
});

test('rule 31: replayed and forged tokens by the hundred: refused in the same words, and the session goes on', async () => {
  const { device, session } = await started();
  const other = await started();
  const tokens = [];
  for (let i = 0; i < 300; i++) {
    const at = i % session.next.length;
    tokens.push(session.next.slice(0, at) + String.fromCharCode(97 + (i % 26)) + session.next.slice(at + 1), session.next.slice(0, at), `${session.next}${i}`);
  }
  tokens.push(...Array.from({ length: 100 }, () => other.session.next));
  const answers = await Promise.all(tokens.map((since) => session.ask('', { since })));
  for (const [i, answer] of answers.entries()) {
    assert.ok(answer.status === 200 || (answer.status === 400 && answer.json.errcode === 'M_UNKNOWN_SYNC_SESSION'), `${tokens[i]}: ${answer.status} ${answer.body}`);
  }
  for (const answer of answers.slice(-100)) assert.equal(answer.status, 400);
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
});

test('rule 7: two thousand strangers with bad tokens: each is refused, none leaves anything, and others are served meanwhile', async () => {
  const { device, session } = await started();
  const rows = () => s.postgres.query("SELECT (SELECT count(*) FROM matrix_sync.device), (SELECT count(*) FROM matrix_sync.token), (SELECT count(*) FROM matrix_sync.session)")[0];
  const before = rows();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 50 });
  let over = false;
  const strangers = Promise.all(Array.from({ length: 2000 }, (_, i) =>
    request({ port: s.port, agent, path, body: asks, headers: { authorization: `Bearer secret_stranger_${i}` } }))).finally(() => { over = true; });
  let slowest = 0;
  for (let i = 0; !over || i < 3; i++) {
    device.toDevice(matrix.toDevice(`${i}`));
    const begun = Date.now();
    assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), [`${i}`]);
    slowest = Math.max(slowest, Date.now() - begun);
  }
  for (const answer of await strangers) assert.deepEqual([answer.status, answer.json.errcode], [401, 'M_UNKNOWN_TOKEN']);
  assert.ok(slowest < 3000, `a message took ${slowest} ms`);
  assert.deepEqual(rows(), before);
  agent.destroy();
});

test('a session that stays with its worker notifies nobody', async () => {
  s.postgres.query(`ALTER DATABASE ${s.postgres.database} SET log_statement = 'all'`);
  await s.nginx.replaceWorkers();
  const device = s.homeserver.device();
  const [here, there] = s.nginx.workerPids();
  const session = await s.sessionOn(here, device);
  await session.sync(asks);
  const notified = () => s.postgres.logText().match(/ LOG: +execute worker_notify/g)?.length ?? 0;
  const before = notified();
  for (let i = 0; i < 20; i++) await session.sync('', { timeout: 20 });
  assert.equal(notified(), before);
  const other = await s.sessionOn(there, device);
  other.next = session.next;
  await other.sync('', { timeout: 20 });
  await until(() => notified() > before, 'the other worker tells');
});
