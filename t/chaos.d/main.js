// Runs chaos and checks what it left, for t/chaos and t/chaos.t.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert, until, comment, after, onFailure } = require('../lib/tap');
const { Chaos, host_count, worker_count, database_connections } = require('./chaos');

const top = path.join(__dirname, '../..');
const most_memory = 200 * 1024 * 1024;
const most_own_descriptors = 40;

function chaos({ seed, seconds }) {
  const run = new Chaos({ seed, seconds, directory: process.env.TAP_LOGS || path.join(top, 'build') });
  const nginxes = () => run.hosts.map(({ nginx }) => nginx);
  const workers = () => nginxes().flatMap((nginx) => nginx.workerPids().map((pid) => ({ nginx, pid })));
  after(() => run.end());
  onFailure(() => nginxes().map((nginx, i) => {
    const file = run.file.replace(/log$/, `nginx${i}.log`);
    fs.writeFileSync(file, nginx.log());
    return `what nginx said: ${file}`;
  }).join('\n'));

  test('two hosts, PostgreSQL and its standby: every client begins', () => run.begin(), { limit: 180_000 });

  test(`chaos --seed ${seed} --seconds ${seconds}: every client got everything, each once and in order`, async () => {
    comment(`seed ${seed}, ${run.steps.length} steps; what happened: ${run.file}`);
    await run.run();
    const { delivered, ...figures } = run.figures.summary(run.feed.said);
    const memory = workers().map(({ nginx, pid }) => Math.round(nginx.memory(pid) / 1e6));
    comment(JSON.stringify({ ...figures, delivered, repeated: repeated(run), overlapping_polls: overlaps(run), database_away: run.database_away.toFixed(2), memory_mb: memory }));
    const stranded = run.clients.filter((client) => client.broken).map((client) => `${client.name}: ${client.lacks()}`);
    assert.deepEqual(stranded, []);
  }, { limit: (seconds + 400) * 1000 });

  test('no request failed that could have been answered', () => { assert.deepEqual(run.failures, []); });

  test('what was acknowledged is gone from the database', async () => {
    for (const table of ['to_device', 'device_list']) {
      await until(async () => (await run.cluster.value(`SELECT count(*) FROM matrix_sync.${table}`)) === 0, `${table} is empty`, 30_000);
    }
  });

  test('no device was polled from the beginning twice', () => {
    const again = run.feed.devices.filter((device) => device.polls.filter((poll) => poll.query.since === undefined).length !== 1);
    assert.deepEqual(again.map((device) => device.user_id), []);
  });

  test('nobody keeps what nobody needs: no connection, no descriptor, no memory', async () => {
    for (const client of run.clients) client.close();
    await until(async () => (await run.workers()).every(idle), 'all polls have ended', 60_000);
    await until(async () => (await run.cluster.connections()) <= host_count * worker_count * database_connections, 'as few connections as configured', 20_000);
    const descriptors = workers().map(({ pid }) => fs.readdirSync(`/proc/${pid}/fd`).length);
    assert.ok(Math.max(...descriptors) <= most_own_descriptors, `descriptors of the workers: ${descriptors}`);
    const memory = workers().map(({ nginx, pid }) => nginx.memory(pid));
    if (!process.env.SANITIZE) assert.ok(Math.max(...memory) <= most_memory, `memory of the workers: ${memory}`);
  }, { limit: 120_000 });

  test('what nobody can ask for any more goes: not a row is left of users, devices and rooms', async () => {
    const held = await run.filled();
    for (const table of ['session', 'log', 'event', 'device_room']) assert.ok(held.includes(table), `${table} is among ${held}`);
    await run.expire();
    let left;
    await until(async () => (left = await run.filled()).length === 0, 'everything has gone', 90_000).catch((error) => { throw new Error(`${error.message}: left in ${left}`); });
    assert.equal(await run.cluster.value('SELECT count(*) FROM matrix_sync.worker WHERE alive_until > now()'), host_count * worker_count);
  }, { limit: 150_000 });

  test('nginx ends gracefully, its logs are clean and hold no access token', async () => {
    const secrets = run.homeserver.devices.flatMap((device) => device.tokens);
    for (const nginx of nginxes()) {
      assert.deepEqual(await nginx.quit(), { code: 0, signal: null });
      nginx.assertCleanLog({ secrets });
    }
  });
}

const idle = ({ databases }) => databases.every((each) => each.waiting === 0 && each.polls_in_flight === 0 && each.owned === 0);
const repeated = (run) => run.clients.reduce((sum, client) => sum + client.messages.repeated + client.events.repeated, 0);
const overlaps = (run) => run.feed.devices.reduce((sum, device) => sum + device.overlaps, 0);

module.exports = { chaos };
