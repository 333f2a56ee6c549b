#!/usr/bin/env node
// The SQL of docs/scaling.md, on a database in use: sessions go on, and nothing of a log is lost.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();
const room = matrix.roomId();
const asks = { room: { room_id: room, timeline_limit: 10 }, to_device: {}, room_list: { timeline_limit: 1 } };
const bodies = (answer) => answer.room.timeline.events.filter(({ type }) => type === 'm.room.message').map(({ content }) => content.body);

test('a log in partitions is the log it was', async () => {
  const devices = Array.from({ length: 8 }, () => s.homeserver.device());
  const sessions = devices.map((device) => s.session(device));
  for (const device of devices) device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  for (const session of sessions) await session.sync(asks);
  for (const device of devices) device.push(matrix.join({ [room]: matrix.more(matrix.message('before')) }));
  for (const device of devices) await device.stored();

  await s.nginx.quit();
  const [[, sql]] = fs.readFileSync(path.join(__dirname, '../docs/scaling.md'), 'utf8').matchAll(/^```sql\n([\s\S]*?)^```/gm);
  const rows = s.postgres.value('SELECT count(*) FROM matrix_sync.log');
  s.postgres.query(sql);
  assert.equal(s.postgres.value('SELECT count(*) FROM matrix_sync.log'), rows);
  assert.equal(s.postgres.value("SELECT relkind FROM pg_class WHERE oid = 'matrix_sync.log'::regclass"), 'p');
  const used = s.postgres.value('SELECT count(DISTINCT tableoid) FROM matrix_sync.log');
  assert.ok(used > 1, `${used} partitions have rows`);
  await s.nginx.start();

  for (const session of sessions) assert.deepEqual(bodies(await session.sync('')), ['before']);
  for (const device of devices) device.push(matrix.join({ [room]: matrix.more(matrix.message('after')) }));
  for (const session of sessions) assert.deepEqual(bodies(await session.sync('', { timeout: 10_000 })), ['after']);
  for (const device of devices) assert.deepEqual(bodies(await s.session(device).sync(asks)).slice(-2), ['before', 'after']);
});
