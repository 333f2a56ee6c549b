#!/usr/bin/env node
// The status page: every worker's figures whichever is asked, as JSON and as Prometheus reads them; and what they count.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { agentTo } = require('./lib/client');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, serverDirectives: 'location = /metrics { matrix_sync_status prometheus; }' });
const figuresOf = (page, pid) => page.workers.find((worker) => worker.pid === pid);
const database = (worker) => worker.databases[0];

/** A page as one certain worker gives it. */
async function askedOf(pid, target = '/status') {
  const agent = await agentTo(s.port, pid);
  const answer = await s.request({ method: 'GET', path: target, agent });
  agent.destroy();
  return target === '/status' ? answer.json : parsed(answer.body.toString());
}

/** Of the text format: {name, labels, value} of each sample; whatever Prometheus would not take is an error. */
function parsed(text) {
  assert.ok(text.endsWith('\n'));
  const samples = [];
  const kinds = new Map();
  let kind;
  for (const line of text.trimEnd().split('\n')) {
    const said = /^# (HELP|TYPE) (matrix_sync_[a-z_]+) (.+)$/.exec(line);
    if (said && said[1] === 'HELP') {
      assert.ok(!kinds.has(said[2]), `${said[2]} stands in one place`);
      kinds.set(said[2], '');
      kind = said[2];
    } else if (said) {
      assert.equal(said[2], kind, 'TYPE after its HELP');
      assert.match(said[3], /^(counter|gauge|histogram)$/);
      kinds.set(kind, said[3]);
    } else {
      const [, name, labels, value] = /^(matrix_sync_[a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\} (\d+(?:\.\d+)?)$/.exec(line) || assert.fail(`no sample: ${line}`);
      const of = kinds.get(kind) === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name;
      assert.equal(of, kind, 'a sample stands below its kind');
      samples.push({ name, labels: Object.fromEntries([...labels.matchAll(/([a-z]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text_]) => [key, text_])), value: Number(value), kind: kinds.get(kind) });
    }
  }
  assert.equal(new Set(samples.map(({ name, labels }) => JSON.stringify([name, labels]))).size, samples.length, 'each sample once');
  return samples;
}

const sum = (samples, name, labels = {}) => samples
  .filter((each) => each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value))
  .reduce((all, { value }) => all + value, 0);

let sessions;

test('one page shows all workers, whichever is asked', async () => {
  sessions = [];
  for (const pid of s.nginx.workerPids()) {
    for (let i = 0; i < 3; i++) sessions.push(await s.sessionOn(pid, s.homeserver.device()));
  }
  for (const session of sessions) await session.sync({ to_device: {} });
  const pids = s.nginx.workerPids();
  for (const asked of pids) {
    const page = await until(async () => {
      const got = await askedOf(asked);
      return got.workers.length === 2 && got.workers.every((worker) => database(worker).owned >= 3) && got;
    }, 'three devices on each worker');
    assert.deepEqual(page.workers.map(({ worker }) => worker), [0, 1]);
    assert.deepEqual(page.workers.map(({ pid }) => pid).sort(), [...pids].sort());
    for (const worker of page.workers) {
      assert.ok(worker.age_ms < 5000);
      assert.ok(worker.connections.used > 0 && worker.connections.total === 1024);
      assert.equal(database(worker).postgresql.connected, 1);
      assert.ok(database(worker).sessions >= 3);
    }
  }
});

test('for Prometheus: the same figures, in its format and by its customs', async () => {
  const answer = await s.request({ method: 'GET', path: '/metrics' });
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  const samples = parsed(answer.body.toString());
  const page = await s.status();
  assert.equal(sum(samples, 'matrix_sync_devices_polled'), page.workers.reduce((all, worker) => all + database(worker).owned, 0));
  assert.equal(sum(samples, 'matrix_sync_postgresql_up'), 2);
  assert.equal(sum(samples, 'matrix_sync_build_info', { version: page.version }), 1);
  for (const { name, labels, kind } of samples) {
    assert.equal(kind === 'counter', name.endsWith('_total'), name);
    assert.doesNotMatch(name, /_ms$|milli/);
    if (name !== 'matrix_sync_build_info') assert.match(labels.worker, /^[01]$/);
  }
  for (const worker of ['0', '1']) {
    const buckets = samples.filter(({ name, labels }) => name === 'matrix_sync_ingest_seconds_bucket' && labels.worker === worker);
    assert.equal(buckets.at(-1).labels.le, '+Inf');
    assert.deepEqual(buckets.map(({ value }) => value), buckets.map(({ value }) => value).sort((a, b) => a - b));
    assert.equal(buckets.at(-1).value, sum(samples, 'matrix_sync_ingest_seconds_count', { worker }));
  }
});

test('a counter never goes down from scrape to scrape, whoever answers', async () => {
  let before = 0;
  for (let round = 0; round < 6; round++) {
    await sessions[0].sync();
    const samples = await askedOf(s.nginx.workerPids()[round % 2], '/metrics');
    const requests = sum(samples, 'matrix_sync_requests_total', { worker: '0' });
    assert.ok(requests >= before, `${requests} after ${before}`);
    before = requests;
  }
});

test('replies are counted by status and errcode', async () => {
  const key = { 200: '200', M_NOT_JSON: '400 M_NOT_JSON', M_UNKNOWN_SYNC_SESSION: '400 M_UNKNOWN_SYNC_SESSION', M_MISSING_TOKEN: '401 M_MISSING_TOKEN', M_UNKNOWN_TOKEN: '401 M_UNKNOWN_TOKEN' };
  const before = Object.fromEntries(await Promise.all(Object.values(key).map(async (each) => [each, await s.figure(each)])));
  await sessions[0].sync();
  await sessions[0].ask('{');
  await sessions[0].ask({}, { since: 'nonsense' });
  await s.request({ body: {} });
  await s.request({ body: {}, headers: { authorization: 'Bearer nobody' } });
  for (const each of Object.values(key)) assert.equal(await s.figure(each), before[each] + 1, each);
  assert.ok((await s.figure('tokens_refused')) >= 1);
});

test('failures of polls are counted by reason', async () => {
  const faults = { error: { status: 500, body: {} }, rate_limited: { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } }, nonsense: { raw: '{' }, unreachable: { reset: true }, unauthorized: { status: 401, body: 'no' } };
  for (const [reason, fault] of Object.entries(faults)) {
    const before = await s.figure(reason);
    const device = s.homeserver.device();
    device.failPolls(fault);
    const asking = s.session(device).ask();
    await until(async () => (await s.figure(reason)) > before, `a failure: ${reason}`);
    await asking;
  }
  await until(async () => (await s.figure('polls_failing')) === 0, 'none fails any more', 20_000);
});

test('how long it took to store, and for a follower to read; what caches were asked', async () => {
  const device = s.homeserver.device();
  const room = matrix.roomId();
  device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  const [first, second] = s.nginx.workerPids();
  const owner = await s.sessionOn(first, device);
  await owner.sync({ to_device: {}, room_list: { p: { limit: 5 } } });
  const follower = await s.sessionOn(second, device);
  await follower.sync({ to_device: {}, room_list: { p: { limit: 5 } } });
  const figures = async (pid) => database(figuresOf(await askedOf(pid), pid));
  const before = [await figures(first), await figures(second)];
  const told = follower.syncUntil((json) => json.to_device);
  device.toDevice(matrix.toDevice('1'));
  await told;
  const after = [await figures(first), await figures(second)];
  assert.ok(after[0].ingest_time.count > before[0].ingest_time.count);
  assert.ok(after[0].ingest_time.within_30000_ms <= after[0].ingest_time.count);
  assert.ok(after[1].tail_time.count > before[1].tail_time.count);
  assert.equal(after[1].followed, 1);
  assert.equal(after[1].tail_lag_ms, 0);
  assert.ok(after[1].cache.events_entries + after[0].cache.events_entries > 0);
  assert.ok(after[1].cache.events_bytes + after[0].cache.events_bytes > 0);
  assert.ok(after[1].cache.events_misses + after[0].cache.events_misses > 0);
});

test('GET and HEAD, nothing else', async () => {
  assert.equal((await s.request({ method: 'HEAD', path: '/metrics' })).status, 200);
  const refused = await s.request({ method: 'POST', path: '/metrics', body: '' });
  assert.equal(refused.status, 405);
  assert.equal(refused.headers.allow, 'GET, HEAD');
});

test('a worker that is frozen is shown as such, and its figures are left out', async () => {
  const [frozen, other] = s.nginx.workerPids();
  const { worker } = figuresOf(await askedOf(frozen), frozen);
  const agent = await agentTo(s.port, other);
  process.kill(frozen, 'SIGSTOP');
  try {
    const page = await until(async () => {
      const got = (await s.request({ method: 'GET', path: '/status', agent })).json;
      return !figuresOf(got, frozen).databases && got;
    }, 'its figures are old', 20_000);
    assert.ok(figuresOf(page, frozen).age_ms > 10_000);
    assert.ok(database(figuresOf(page, other)).owned > 0);
    const samples = parsed((await s.request({ method: 'GET', path: '/metrics', agent })).body.toString());
    assert.ok(sum(samples, 'matrix_sync_figures_age_seconds', { worker: `${worker}` }) > 10);
    assert.equal(samples.filter(({ name, labels }) => name === 'matrix_sync_devices' && labels.worker === `${worker}`).length, 0);
  } finally {
    process.kill(frozen, 'SIGCONT');
    agent.destroy();
  }
  await until(async () => figuresOf(await askedOf(other), frozen).databases, 'it is back');
});

test('one that was killed, or ended by a reload, is shown no more', async () => {
  const [killed] = s.nginx.workerPids();
  await s.nginx.killWorker(killed);
  const shown = async () => (await s.status()).workers.map(({ pid }) => pid).sort();
  await until(async () => JSON.stringify(await shown()) === JSON.stringify(s.nginx.workerPids().sort()), 'the worker in its place');
  const old = s.nginx.workerPids();
  await s.nginx.replaceWorkers();
  const now = await until(async () => { const pids = await shown(); return pids.length === 2 && pids; }, 'two workers');
  assert.ok(now.every((pid) => !old.includes(pid)));
});
