// First pages of a list of 3,000 rooms from the worker's memory, in every order, and the news of one event.
'use strict';

const assert = require('node:assert/strict');
const matrix = require('../../t/lib/matrix');
const { staged } = require('../staged');
const { account, largest, polled } = require('../accounts');
const { load } = require('../wrk');

const limit = 20;

async function measure(figures, stage, name, session, body) {
  const [worker] = stage.nginx.workerPids();
  const asked = { port: stage.port, worker, requests: [[session.target({ timeout: 0 }), session.token, JSON.stringify(body)]] };
  await load({ ...asked, seconds: 1 });
  const runs = [];
  for (let run = 0; run < Math.min(figures.runs, 3); run++) runs.push(await load(asked));
  figures.note(`${name}, 99 %`, 'ms', runs.map(({ p99 }) => p99), [], { most: 2 });
  figures.note(`${name}, worker's CPU`, 'ms', runs.map(({ cpu }) => cpu));
}

module.exports = (figures) => staged(async (stage) => {
  const { rooms, space, initial } = account(largest, true);
  const { device } = await polled(stage, initial);
  stage.postgres.query('ANALYZE');
  for (const sort of ['by_recency', 'by_name', 'by_highlight_count', 'by_notification_count', 'by_space_order']) {
    const session = stage.session(device);
    const { room_list } = await session.sync({ room_list: { ...(sort === 'by_space_order' && { spaces: [space] }), p: { limit, sort } } });
    assert.equal(room_list.rooms.length, limit);
    await measure(figures, stage, `first page ${sort}`, session, { room_list: { p: { since: '1' } } });
  }
  const session = stage.session(device);
  await session.sync({ room_list: {} });
  device.push(matrix.join({ [rooms[7]]: matrix.more(matrix.message('news')) }));
  await device.stored();
  const { json } = await session.ask('', { timeout: 0 });
  assert.equal(json.room_list.rooms.length, 1);
  await measure(figures, stage, 'news of one event', session, {});
});
