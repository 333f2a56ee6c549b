#!/usr/bin/env node
// A first poll of 100 MB: the worker grows by at most 32 MB, and others are answered meanwhile.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_first_poll_timeout 280s;' });
const megabyte = 1 << 20;
const total = 100 * megabyte;

/** Rooms of 150 kB until there is enough of them. */
function answer(device, progress) {
  return (next) => (async function* parts() {
    yield `{"account_data":{"events":[{"type":"a","content":{}}]},"rooms":{"join":{`;
    for (progress.rooms = 0; progress.bytes < total; progress.rooms++) {
      const events = Array.from({ length: 20 }, () => matrix.message('m'.repeat(4000)));
      const state = Array.from({ length: 40 }, (_, i) => matrix.event({ type: 'org.example.state', state_key: `${i}`, content: { text: 's'.repeat(1200) } }));
      const room = matrix.room(device.user_id, events);
      room.state.events.push(...state);
      const text = `${progress.rooms ? ',' : ''}"${matrix.roomId()}":${JSON.stringify(room)}`;
      progress.bytes += text.length;
      yield text;
    }
    yield `}},"next_batch":"${next}"}`;
  })();
}

test('100 MB', async () => {
  const [worker] = s.nginx.workerPids();
  const other = s.session(s.homeserver.device());
  await other.sync({ to_device: {} });
  for (let i = 0; i < 50; i++) await other.sync();

  const device = s.homeserver.device();
  const progress = { bytes: 0 };
  device.initial = answer(device, progress);
  const before = s.nginx.memory(worker);
  let peak = before, slowest = 0, answered = 0, over = false;
  const first = s.session(device).ask({ account_data: {} }).finally(() => { over = true; });
  while (!over) {
    const got = await other.ask({}, { timeout: 20 });
    assert.equal(got.status, 200);
    answered++;
    slowest = Math.max(slowest, got.took);
    peak = Math.max(peak, s.nginx.memory(worker));
  }
  const { status, json } = await first;
  assert.equal(status, 200);
  assert.equal(json.partial, undefined);
  assert.equal(json.account_data.events.length, 1);
  assert.ok(progress.bytes >= total);
  assert.equal(s.postgres.value('SELECT count(*) FROM matrix_sync.log WHERE section = 1'), progress.rooms);
  const grown = (peak - before) / megabyte;
  process.stdout.write(`# grew by ${grown.toFixed(1)} MB; ${answered} other requests meanwhile, the slowest in ${slowest.toFixed(0)} ms\n`);
  if (!process.env.SANITIZE) assert.ok(grown <= 32, `the worker grew by ${grown.toFixed(1)} MB`);
  assert.ok(answered > 20, `${answered} other requests`);
  await until(() => device.since === device.batch(0));
}, { limit: 300_000 });
