// What grows with the work: CPU of the worker and of its connections to PostgreSQL, for one, four and sixteen times as much of it. Nothing
// should grow faster than n log n.
'use strict';

const assert = require('node:assert/strict');
const matrix = require('../../t/lib/matrix');
const { until } = require('../../t/lib/tap');
const { staged } = require('../staged');
const { account, polled, Crowd } = require('../accounts');
const { cpuTime } = require('../figures');

const factors = [1, 4, 16];
const repeats = 20;

/** CPU time of the worker and PostgreSQL for something, in milliseconds; not what PostgreSQL does on its own account. */
async function spent(stage, run) {
  const connections = stage.postgres.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
  const pids = [...stage.nginx.workerPids(), ...connections.flat().map(Number)];
  const before = cpuTime(...pids);
  await run();
  return cpuTime(...pids) - before;
}

/** The first poll of so many rooms with ten members each. */
async function ingest(stage, rooms) {
  const { initial } = account([[rooms, 10]], false);
  return spent(stage, () => polled(stage, initial));
}

/** One message to so many devices, whose clients wait for it. */
async function fanOut(stage, devices) {
  const room = matrix.roomId();
  const connected = Array.from({ length: devices }, () => {
    const device = stage.homeserver.device();
    device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
    return { device, session: stage.session(device) };
  });
  for (const { session } of connected) await session.sync({ room: { room_id: room } });
  await until(() => connected.every(({ device }) => device.quiet), 'all rest', 30_000);
  const ms = await spent(stage, async () => {
    for (let i = 0; i < repeats; i++) {
      const answers = connected.map(({ session }) => session.syncUntil(({ room: news }) => news));
      await stage.waiting(devices);
      const news = matrix.join({ [room]: matrix.more(matrix.message(`message ${i}`)) });
      for (const { device } of connected) device.push(news);
      await Promise.all(answers);
    }
    await until(() => connected.every(({ device }) => device.quiet), 'all rest', 30_000);
  });
  for (const { session } of connected) session.close();
  return ms / repeats;
}

/** The first look at so many members. */
async function members(stage, count) {
  const room = new Crowd(count);
  stage.homeserver.rooms[room.room_id] = room;
  const { session } = await polled(stage, room.firstPoll());
  return spent(stage, async () => {
    const { room_members } = await session.sync({ room_members: { room_id: room.room_id, p: { since: '1' } } });
    assert.equal(room_members.p.count, count);
  });
}

/** The first page of a list of so many rooms, each time after an event. */
async function list(stage, count) {
  const { rooms, initial } = account([[count, 10]], true);
  const { device, session } = await polled(stage, initial);
  const ms = await spent(stage, async () => {
    for (let i = 0; i < repeats; i++) {
      device.push(matrix.join({ [rooms[i]]: matrix.more(matrix.message('news')) }));
      await device.stored();
      const { room_list } = await session.sync({ room_list: { p: { since: '1', sort: 'by_name' } } }, { timeout: 0 });
      assert.equal(room_list.p.count, count);
    }
  });
  return ms / repeats;
}

module.exports = (figures) => staged(async (stage) => {
  const works = [
    ['first poll', 'rooms', ingest, 200], ['one message', 'devices', fanOut, 25], ['first look', 'members', members, 2000], ['an event and the first page', 'rooms in the list', list, 200],
  ];
  for (const [what, things, cost, least] of works) {
    await cost(stage, least);
    const found = factors.map(() => []);
    for (let run = 0; run < Math.min(figures.runs, 3); run++) {
      for (const [i, factor] of factors.entries()) found[i].push(await cost(stage, factor * least));
    }
    for (const [i, factor] of factors.entries()) {
      const n = factor * least;
      const ratio = Number(((factor * Math.log2(n)) / Math.log2(least)).toFixed(1));
      figures.note(`${what}, ${n} ${things}`, 'ms', found[i], factor > 1 ? found[0] : [], factor > 1 ? { ratio } : {});
    }
  }
}, { connections: 16_384 });
