#!/usr/bin/env node
// Reload, binary upgrade and graceful quit under load: no request fails, waiting clients get their token, devices change hands at once, and
// nothing of the module keeps an old worker.
'use strict';

const http = require('node:http');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, daemon: true, directives: 'matrix_sync_max_timeout 60s;', privatePostgres: true });
const asks = { to_device: {} };
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const at_most = process.env.SANITIZE ? 10_000 : 5_000;   // for an old worker to end; one that polls is kept for 30 s
const lease = 6000;                    // what a takeover takes when nobody lets go

/** Clients that sync without a pause until they have read `count` messages, and strangers that come for the first time meanwhile. */
class Load {
  constructor(devices) {
    this.devices = Array.from({ length: devices }, () => s.homeserver.device());
    this.sessions = this.devices.flatMap((device) => [s.session(device), s.session(device)]);
    this.said = 0;
    this.strangers = 0;
  }

  async start() {
    for (const session of this.sessions) await session.sync(asks);
    this.over = false;
    this.running = Promise.all([...this.sessions.map((session) => this.read(session)), this.newcomers()]);
    this.running.catch(() => {});
  }

  async read(session) {
    session.got = [];
    while (!this.over || session.got.length < this.said) session.got.push(...bodies(await session.sync({}, { timeout: 1500 })));
  }

  /** Each on a connection of its own, as a new client is. */
  async newcomers() {
    while (!this.over) {
      const session = s.session(s.homeserver.device(), { agent: new http.Agent({ keepAlive: false }) });
      await session.sync(asks);
      this.strangers++;
    }
  }

  /** Until every session has what each device is told now. */
  async hears() {
    const text = `${this.said++}`;
    const begun = Date.now();
    for (const device of this.devices) device.toDevice(matrix.toDevice(text));
    await Promise.race([this.running, until(() => this.sessions.every((session) => session.got.includes(text)), `message ${text}`, 20_000)]);
    return Date.now() - begun;
  }

  async end() {
    this.over = true;
    await this.running;
    const all = Array.from({ length: this.said }, (_, i) => `${i}`);
    for (const session of this.sessions) assert.deepEqual(session.got, all);
    for (const device of this.devices) {
      assert.equal(device.overlaps, 0, 'two polls at once');
      assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1, 'first polls');
    }
    assert.ok(this.strangers > 0);
  }
}

const ended = (pids) => until(() => s.nginx.pids().every((pid) => !pids.includes(pid)), 'the old workers have ended', at_most);

/** Runs while clients come and wait and are told things; none may meet an error. */
async function underLoad(run) {
  const load = new Load(4);
  await load.start();
  try {
    await load.hears();
    await run(load);
    await load.end();
  } finally {
    load.over = true;
  }
}

test('rule 28: reloads under load: no request fails, and devices do not wait for a lease', () => underLoad(async (load) => {
  for (let i = 0; i < 3; i++) {
    const old = await s.nginx.reload();
    const took = await load.hears();
    assert.ok(took < lease, `${took} ms until everybody had heard`);
    await ended(old);
  }
}));

test('rule 28: a binary upgrade under load', () => underLoad(async (load) => {
  const took = await s.nginx.upgrade();
  assert.ok(took < at_most, `the old workers took ${took} ms`);
  const heard = await load.hears();
  assert.ok(heard < lease, `${heard} ms until everybody had heard`);
}));

test('a graceful quit: waiting clients get their token, and nginx that starts again has the devices at once', async () => {
  const devices = Array.from({ length: 4 }, () => s.homeserver.device());
  const sessions = devices.map((device) => s.session(device));
  for (const session of sessions) await session.sync(asks);
  for (const device of devices) await device.stored();
  const waits = sessions.map((session) => session.ask({}, { timeout: 30_000 }));
  await s.waiting(sessions.length);
  const begun = Date.now();
  assert.deepEqual(await s.nginx.quit(at_most), { code: 0, signal: null });
  for (const [i, wait] of waits.entries()) {
    const answer = await wait;
    assert.equal(answer.status, 200);
    sessions[i].next = answer.json.next;
    devices[i].toDevice(matrix.toDevice('1'));
  }
  await s.nginx.start();
  for (const session of sessions) assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', lease)), ['1']);
  assert.ok(Date.now() - begun < 2 * lease, `${Date.now() - begun} ms`);
  for (const device of devices) assert.equal(device.overlaps, 0);
});

/** A reload while a request meets something on the homeserver. */
async function reloadDuring(device, asked) {
  const ask = s.session(device, { agent: new http.Agent({ keepAlive: false }) }).ask(asks);
  await until(() => s.homeserver.requests.some((seen) => seen.device === device && seen.route === asked), asked);
  const old = await s.nginx.reload();
  return { ask, old };
}

test('a reload while the homeserver is asked whose the token is: the request is answered', async () => {
  const device = s.homeserver.device();
  let release;
  device.failWhoami({ hold: new Promise((go) => { release = go; }) });
  const { ask, old } = await reloadDuring(device, 'whoami');
  release();
  const answer = await ask;
  assert.equal(answer.status, 200, String(answer.body));
  await ended(old);
});

test('a reload while the homeserver does not say whose the token is: 503, and no worker stays for it', async () => {
  const device = s.homeserver.device();
  device.failWhoami({ never: true });
  const { ask, old } = await reloadDuring(device, 'whoami');
  const answer = await ask;
  assert.equal(answer.status, 503, String(answer.body));
  assert.ok(Number(answer.headers['retry-after']) > 0);
  await ended(old);
});

test('a reload while a first poll runs: an answer says that it is partial, and the new workers poll', async () => {
  const device = s.homeserver.device();
  device.initial = { to_device: { events: [matrix.toDevice('1')] } };
  device.failPolls({ never: true });
  const { ask, old } = await reloadDuring(device, 'sync');
  const answer = await ask;
  assert.equal(answer.status, 200);
  assert.equal(answer.json.partial, true);
  await ended(old);
  const session = s.session(device);
  session.next = answer.json.next;
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
});

test('a reload while PostgreSQL is frozen: no worker stays for it', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  const wait = session.ask({}, { timeout: 30_000 });
  await s.waiting(1);
  const thaw = s.postgres.freeze();
  try {
    const old = await s.nginx.reload();
    await ended(old);
    const answer = await wait;
    assert.ok([200, 503].includes(answer.status), `${answer.status}`);
    if (answer.status === 200) session.next = answer.json.next;
  } finally {
    thaw();
  }
  device.toDevice(matrix.toDevice('1'));
  const got = [];
  await until(async () => {
    const answer = await session.ask({}, { timeout: 500 });
    if (answer.status === 200) session.next = answer.json.next;
    if (answer.status === 200) got.push(...bodies(answer.json));
    return got.length > 0;
  }, 'the message', 30_000);
  assert.deepEqual(got, ['1']);
});
